"""An OpenAI-compatible server on 127.0.0.1 that answers by the whole body of a request: it refuses what its rule does not take."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Rule = Callable[[dict[str, Any]], tuple[int, Any]]


class PickyServer(ThreadingHTTPServer):
    """`rule(body)` gives a status and a JSON value; the bodies of all requests stand in `bodies`."""

    daemon_threads = True

    def __init__(self, rule: Rule) -> None:
        self.rule, self.bodies, self.lock = rule, list[dict[str, Any]](), threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> "PickyServer":
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: PickyServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            status, content = self.server.rule(body)
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def answered(content: Any = "yes", finish: str = "stop", logprobs: Any = None, **message: Any) -> tuple[int, dict[str, Any]]:
    """A completion of status 200; further fields go into the message."""
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": content, **message},
        "text": content,
        "logprobs": logprobs,
    }
    return 200, {"model": "stub", "choices": [choice], "usage": {"prompt_tokens": 40, "completion_tokens": 3}}


def refused(message: str, status: int = 400) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, "type": "invalid_request_error", "code": None}}
