"""A small OpenAI-compatible server on 127.0.0.1 for tests and benchmarks: answers by rule, counts what it is asked, misbehaves on demand.

    python stub_server.py COUNT_FILE [LATENCY_SECONDS]     prints its port, and writes a line per question that it answered

In a question, "trial 17" is answered with a list of as many answers as the constraint asks for.
"""

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Refusal = tuple[int, dict[str, str], dict[str, Any]]  # status, headers, body


class StubServer(ThreadingHTTPServer):
    """`refuse(question, times seen before)` returns a refusal, or None to answer; `offers` names what the server understands."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        refuse: Callable[[str, int], Refusal | None] = lambda question, seen: None,
        offers: frozenset[str] = frozenset({"vllm", "logprobs"}),
        latency_seconds: float = 0.0,
        count_file: Path | None = None,
        port: int = 0,
    ) -> None:
        self.refuse, self.offers, self.latency_seconds, self.count_file = refuse, offers, latency_seconds, count_file
        self.bodies: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.times: dict[str, list[float]] = {}
        self.keys: set[str] = set()
        self.lock = threading.Lock()
        self.running = self.most_at_once = 0
        super().__init__(("127.0.0.1", port), _Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, body: dict[str, Any], question: str) -> dict[str, Any]:
        """The completion."""
        return answer(body, question, self.offers)

    def counted(self, body: dict[str, Any], question: str) -> str | None:
        """The line of a question in the count file, if it gets one."""
        return question if "trial" in question else None

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: StubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        with server.lock:
            times = server.times.setdefault(question, [])
            times.append(time.monotonic())
            refusal = server.refuse(question, len(times) - 1)
            server.running += 1
            server.most_at_once = max(server.most_at_once, server.running)
            server.bodies.append(body)
            server.keys.add(self.headers["Authorization"] or "")
        time.sleep(server.latency_seconds)
        with server.lock:
            server.running -= 1
            if refusal is None:
                server.asked.append(question)
                if server.count_file and (line := server.counted(body, question)) is not None:
                    with server.count_file.open("a") as file:
                        file.write(line + "\n")
        if refusal is not None:
            self._send(*refusal)
        elif "json_schema" not in server.offers and "response_format" in body:
            self._send(400, {}, {"error": {"message": "response_format is not known here"}})
        else:
            self._send(200, {}, server.answer(body, question))

    def _send(self, status: int, headers: dict[str, str], content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def answer(body: dict[str, Any], question: str, offers: frozenset[str]) -> dict[str, Any]:
    """A completion: a constrained list of first options where one is asked for and understood, else "reply to <question>"."""
    tokens = ["reply", " to ", question]
    regex = body.get("structured_outputs", {}).get("regex", "") if "vllm" in offers else ""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    if regex:
        options = re.findall(r"\(([^|()]+)\|", regex)
        tokens = ["[", *[part for option in options for part in (option, ", ")][:-1], "]"]
    elif schema:
        answers = schema["properties"]["answers"]
        parts = [part for _ in range(answers["minItems"]) for part in (str(answers["items"]["enum"][0]), ", ")]
        tokens = ['{"answers": [', *parts[:-1], "]}"]
    text = "".join(tokens)
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}, "text": text}
    if body.get("logprobs") and "logprobs" in offers:
        # P(chosen) = 3/4 of the two options' sum: ln 0.6 against ln 0.2.
        other = {"1": "0", "0": "1", "7": "3"}
        listed = [[{"token": other[t], "logprob": -1.6094379}] if t in other else [] for t in tokens]
        choice["logprobs"] = {
            "content": [{"token": t, "logprob": -0.5108256, "top_logprobs": top} for t, top in zip(tokens, listed, strict=True)]
        }
    content: dict[str, Any] = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
    content["usage"] = {"prompt_tokens": 10, "completion_tokens": len(tokens), "prompt_tokens_details": {"cached_tokens": 4}}
    if "prompt_logprobs" in body and "prompt_logprobs" in offers:
        # A token a word or other character; where "?" stands, 1 and 0 could have stood too.
        listed = [[(token, -0.25), *([("1", -0.5108256), ("0", -1.6094379)] if token == "?" else [])] for token in words(question)]
        content["prompt_logprobs"] = [
            None,
            *({str(n): {"logprob": value, "decoded_token": token} for n, (token, value) in enumerate(place)} for place in listed),
        ]
    return content


def words(text: str) -> list[str]:
    """The server's tokens: runs of letters, and every other character by itself."""
    return re.findall(r"[^\W\d_]+|.", text, re.DOTALL)


if __name__ == "__main__":
    stub = StubServer(count_file=Path(sys.argv[1]), latency_seconds=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
    print(stub.server_address[1], flush=True)
    stub.thread.join()
