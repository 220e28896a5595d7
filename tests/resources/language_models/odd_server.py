"""An OpenAI-compatible server on 127.0.0.1 that answers each question as it is told: with any bytes, slowly, or not at all."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What is sent. `piece_seconds` is the pause before every byte of the content; `announced` a length that it claims to have."""

    content: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    piece_seconds: float = 0.0
    announced: int | None = None

    @property
    def body(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


def completion(text: Any = "yes", model: str = "stub", **changes: Any) -> dict[str, Any]:
    """A whole completion, its top-level fields changed; None leaves one out."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}, "text": text}
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    content = {"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice], "usage": usage, **changes}
    return {name: value for name, value in content.items() if value is not None}


class OddServer(ThreadingHTTPServer):
    """`respond(question, times seen before)` gives the `Answer`; the questions stand in `asked`, in order."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, respond: Callable[[str, int], Answer]) -> None:
        self.respond, self.asked, self.lock = respond, list[str](), threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> "OddServer":
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: OddServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"] if "messages" in body else body.get("prompt", "")
        with self.server.lock:
            seen = self.server.asked.count(question)
            self.server.asked.append(question)
        answer = self.server.respond(question, seen)
        length = len(answer.body) if answer.announced is None else answer.announced
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(length), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if not answer.piece_seconds:
            self.wfile.write(answer.body)
        for byte in answer.body if answer.piece_seconds else b"":
            time.sleep(answer.piece_seconds)
            self.wfile.write(bytes([byte]))
        if answer.announced is not None:
            self.close_connection = True

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
