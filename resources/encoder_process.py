"""A sentence encoder in a process of its own, which imports torch and loads the weights on another core while we prepare its texts.

    we:      start ── load ───── plan, examples, explanations ──── embed ─▶ vectors
    process:   └─ import torch ─ load weights ─────────────────────┘

The process is only a head start. Where it cannot answer, since it has ended, found a card or met an error, the own encoder answers,
and meets the same error. The process ends when its other end of the connection closes: also where we are killed.
"""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import numpy as np

from resources.sentence_encoder import SentenceEncoder, load_sentence_encoder

CARDS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of graphics cards. Beside a card the encoder works in our own process, where one model makes room for another."""


class EncoderProcess:
    """The process, seen from outside. Its imports are under way from the beginning; `load` says which encoder it loads."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: "Connection[Any, Any]") -> None:
        self._process, self._connection = process, connection
        self._loads: tuple[str, str | None] | None = None
        self._answers = True

    def load(self, source: str, revision: str | None) -> None:
        """Load this encoder, and return at once."""
        self._loads = source, revision
        self._send(self._loads)

    def loads(self, source: str, revision: str | None) -> bool:
        """Whether this encoder is loaded, or being loaded."""
        return self._answers and self._loads == (source, revision)

    def embed(self, texts: Sequence[str]) -> np.ndarray | None:
        """The vectors float32 [texts, dimensions] that the encoder gives; None where the process cannot answer, now or later."""
        self._send(list(texts))
        if not self._answers:
            return None
        try:
            vectors = self._connection.recv()
        except (EOFError, OSError):
            vectors = None
        if vectors is None:
            self.close()
        return vectors

    def close(self) -> None:
        """End the process."""
        self._answers = False
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message: object) -> None:
        if self._answers:
            try:
                self._connection.send(message)
            except OSError:  # it has ended
                self.close()


class EncoderAhead:
    """A sentence encoder whose vectors come from a process as long as the process answers, then from the encoder itself."""

    def __init__(self, encoder: SentenceEncoder, process: EncoderProcess) -> None:
        self._encoder, self._process = encoder, process

    @property
    def revision(self) -> str:
        """The encoder's revision."""
        return self._encoder.revision

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The encoder's vectors, float32 [texts, dimensions]."""
        vectors = self._process.embed(texts)
        return self._encoder.embed(texts) if vectors is None else vectors

    def close(self) -> None:
        """Free the weights."""
        self._process.close()
        self._encoder.close()


def start_encoder_process() -> EncoderProcess | None:
    """A process that imports an encoder's packages; None on a machine with a card, or with one core for us."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2 or any(Path(one).exists() for one in CARDS):
        return None
    ours, its = Pipe()
    with its:
        command = [sys.executable, "-m", __name__, str(its.fileno())]
        # A session of its own: Ctrl-C in a terminal interrupts us alone.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()], start_new_session=True)
    return EncoderProcess(process, ours)


def _answer(connection: "Connection[Any, Any]") -> None:
    """Answer lists of texts by the vectors of the encoder that was named last, and by None from the first error on."""
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_hear, args=(connection, messages), daemon=True).start()
    import torch

    encoder: SentenceEncoder | None = None
    works = not torch.cuda.is_available()
    while True:
        message = messages.get()
        vectors = None
        try:
            if works and isinstance(message, tuple):
                encoder = load_sentence_encoder(*message)
                encoder.embed([""])  # which loads its weights
            elif works and encoder is not None:
                vectors = encoder.embed(message)
        except Exception:  # the caller's own encoder meets it again, and says it
            works = False
        if isinstance(message, list):
            connection.send(vectors)


def _hear(connection: "Connection[Any, Any]", messages: "queue.SimpleQueue[Any]") -> None:
    """Hand messages on, and end the process when the other end has closed, whatever it is doing."""
    try:
        while True:
            messages.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    _answer(Connection(int(sys.argv[1])))
