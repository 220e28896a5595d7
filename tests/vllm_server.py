"""vLLM's own server with SmolLM2 on a free port of this machine, which a test may kill and start again."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from resources.weights import resolve_model_folder

EMBEDDED = "embedded:smollm2-135m-instruct"
QUICK_START = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""Environment of an engine with a small cache and without a process of its own for the worker, which would import everything once more."""


class VllmServer:
    """Started by its module: the `vllm serve` command looks for the GPU package's metadata."""

    NAME = "smollm2"

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        """Where an OpenAI client finds it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self, seconds: float = 600.0) -> None:
        """Start it and wait until it answers. Without compiling the model, which takes longer than all questions of a test."""
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", resolve_model_folder(EMBEDDED).location,
            "--served-model-name", self.NAME, "--host", "127.0.0.1", "--port", str(self.port), "--dtype", "float32",
            "--max-model-len", "2048", "--enable-prefix-caching", "--enable-prompt-tokens-details", "--enforce-eager",
        ]  # fmt: skip
        environment = {**os.environ, **QUICK_START}
        self._process = subprocess.Popen(command, env=environment, start_new_session=True)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"vllm serve ended with {self._process.returncode}"
            try:
                self._get("/health")
                return
            except OSError:
                time.sleep(1.0)
        self.kill()
        raise AssertionError(f"vllm serve was not up after {seconds:g} seconds")

    def answered(self) -> int:
        """Questions that it has answered since its start."""
        counts = re.findall(r"^vllm:request_success_total\{[^}]*\} ([0-9.e+]+)$", self._get("/metrics"), re.MULTILINE)
        return int(sum(map(float, counts)))

    def kill(self) -> None:
        """SIGKILL, the engine in its process of its own too."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=60)

    def stop(self) -> None:
        """SIGTERM, as an operator would end it; SIGKILL for a server that does not end within a minute."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
            return response.read().decode()
