"""A language model and a sentence encoder in a process of its own, which imports torch and loads the weights on another core while we
prepare its questions.

    we:      start ── load ───── plan, examples ──── ask ─▶ replies ── plan scores ── ask ─▶ replies ── embed ─▶ vectors
    process:   └─ import torch ─ load language model ┘ └─ load encoder

The process is only a head start. Where it cannot answer, since it has ended, found a card or met an error, the caller's own model answers,
and meets the same error. The process ends when its other end of the connection closes: also where we are killed.
"""

import contextlib
import itertools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import numpy as np

from resources.language_models.interface import Capability, LanguageModel, ModelIdentity, Reply, Request
from resources.sentence_encoder import SentenceEncoder, load_sentence_encoder

CARDS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of graphics cards. Beside a card models work in our own process, where one model makes room for another."""

BACKEND = "transformers"
"""The back end whose models the process loads: all other back ends load no weights on a CPU."""

PROGRAM = (
    "import sys; sys.argv[1] in sys.path or sys.path.insert(0, sys.argv[1]); "
    "from resources.models_process import answer; answer(int(sys.argv[2]))"
)

ModelName = tuple[str, str | None, dict[str, Any]]
"""Source, revision and options of a language model of the back end `transformers`."""

NAMED = 0
"""The number of a message that names a model to load; questions have numbers of their own."""

NOTHING = "nothing"
"""The last part of an answer, and the whole answer of a process that cannot answer."""


class ModelsProcess:
    """The process, seen from outside. Its imports are under way from the beginning; the `load_…` methods say which models it loads."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: "Connection[Any, Any]") -> None:
        self._process, self._connection = process, connection
        self._encoder: tuple[str, str | None] | None = None
        self._language_model: ModelName | None = None
        self._answers = True
        self._numbers = itertools.count(NAMED + 1)

    def load_encoder(self, source: str, revision: str | None) -> None:
        """Load this encoder, and return at once."""
        self._encoder = source, revision
        self._send("encoder", NAMED, self._encoder)

    def free_encoder(self) -> None:
        """Free the weights of the encoder."""
        self._encoder = None
        self._send("encoder", NAMED, None)

    def loads_encoder(self, source: str, revision: str | None) -> bool:
        """Whether this encoder is loaded, or being loaded."""
        return self._answers and self._encoder == (source, revision)

    def load_language_model(self, model: str, revision: str | None, options: dict[str, Any]) -> None:
        """Load this language model in the place of another, unless it is loaded or being loaded, and return at once."""
        if self._language_model != (model, revision, options):
            self._language_model = model, revision, options
            self._send("language_model", NAMED, self._language_model)

    def free_language_model(self) -> None:
        """Free the weights of the language model."""
        self._language_model = None
        self._send("language_model", NAMED, None)

    def loaded_language_model(self) -> tuple[ModelIdentity, frozenset[Capability]] | None:
        """What the language model is and can, once it is loaded; None where the process cannot load it."""
        found = next(self._answered("identity", None), None)
        if found is None:
            self._language_model = None
        return found

    def replies(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """(index, reply) of requests as the language model gives them; fewer where the process stops to answer."""
        yield from self._answered("ask", list(requests))

    def embed(self, texts: Sequence[str]) -> np.ndarray | None:
        """The vectors float32 [texts, dimensions] that the encoder gives; None where the process cannot answer, now or later."""
        vectors = next(self._answered("embed", list(texts)), None)
        if vectors is None:
            self._encoder = None
        return vectors

    def close(self) -> None:
        """End the process."""
        self._answers = False
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _answered(self, what: str, content: object) -> Iterator[Any]:
        """The parts of the answer to a message, until the process says that there is none left. A caller that closes the iterator before
        stops the process's work on it."""
        number, ended = next(self._numbers), False
        self._send(what, number, content)
        try:
            while not ended and self._answers:
                try:
                    about, part = self._connection.recv()
                except (EOFError, OSError):
                    self.close()
                    return
                except BaseException:  # an interrupt may leave half of a message unread
                    self.close()
                    raise
                if about == number:  # and not the rest of an answer that its caller left
                    ended = isinstance(part, str) and part == NOTHING
                    if not ended:
                        yield part
        finally:
            if not ended:
                self._send("stop", number, None)

    def _send(self, what: str, number: int, content: object) -> None:
        if self._answers:
            try:
                self._connection.send((what, number, content))
            except OSError:  # it has ended
                self.close()


class EncoderAhead:
    """A sentence encoder whose vectors come from a process as long as the process answers, then from the encoder itself."""

    def __init__(self, encoder: SentenceEncoder, process: ModelsProcess) -> None:
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
        self._process.free_encoder()
        self._encoder.close()


class LanguageModelAhead:
    """A language model whose replies come from a process as long as the process answers, then from the model itself, loaded by `load`."""

    def __init__(
        self, process: ModelsProcess, loaded: tuple[ModelIdentity, frozenset[Capability]], load: Callable[[], LanguageModel]
    ) -> None:
        self._process, self._load = process, load
        self._identity, self._capabilities = loaded
        self._own: LanguageModel | None = None

    @property
    def identity(self) -> ModelIdentity:
        """The model's identity."""
        return self._identity

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The model's capabilities."""
        return self._capabilities

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """The model's answers, as the process gives them; where it stops to answer, the own model answers what is left."""
        left = dict.fromkeys(range(len(requests)))
        if self._own is None:
            for index, reply in self._process.replies(requests):
                del left[index]
                yield index, reply
        if left:
            if self._own is None:
                self._process.free_language_model()
                self._own = self._load()
            indices = list(left)
            for place, reply in self._own.ask([requests[index] for index in indices]):
                yield indices[place], reply

    def close(self) -> None:
        """Free the weights."""
        if self._own is not None:
            self._own.close()
        else:
            self._process.free_language_model()


def start_models_process() -> ModelsProcess | None:
    """A process that imports the packages of models; None on a machine with a card, or with one core for us."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2 or any(Path(one).exists() for one in CARDS):
        return None
    ours, its = Pipe()
    with its:
        # Our own file, whatever folder `resources` the user is beside. A session of its own: Ctrl-C in a terminal interrupts us alone.
        command = [sys.executable, "-P", "-c", PROGRAM, str(Path(__file__).parents[1]), str(its.fileno())]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()], start_new_session=True)
    return ModelsProcess(process, ours)


class _Models:
    """The models of the process. Weights are loaded while there is nothing to answer, the language model first, or when they are needed."""

    def __init__(self) -> None:
        self._named: dict[str, Any] = {"language_model": None, "encoder": None}
        self._loaded: dict[str, Any] = {}

    def name(self, what: str, model: Any) -> None:
        """Take a model in the place of another, which is freed."""
        if (held := self._loaded.pop(what, None)) is not None:
            held.close()
        self._named[what] = model

    def waiting(self) -> str | None:
        """A model that is named and not loaded."""
        return next((what for what, model in self._named.items() if model is not None and what not in self._loaded), None)

    def get(self, what: str) -> Any:
        """The named model, loaded. Whatever its load raises is raised, and the model is named no more."""
        import torch

        if what not in self._loaded:
            model, threads = self._named[what], torch.get_num_threads()
            assert model is not None, f"{what} is not named, or did not load"
            self._named[what] = None
            torch.set_num_threads(1)  # our caller has work for its core
            try:
                self._loaded[what] = _language_model(*model) if what == "language_model" else _encoder(*model)
            finally:
                torch.set_num_threads(threads)
            self._named[what] = model
        return self._loaded[what]

    def answer(self, what: str, content: Any) -> Iterator[Any]:
        """The parts of the answer to a message."""
        if what == "embed":
            yield self.get("encoder").embed(content)
        elif what == "identity":
            model = self.get("language_model")
            yield model.identity, model.capabilities
        else:
            yield from self.get("language_model").ask(content)


def _language_model(source: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
    from resources.language_models import load_language_model

    model: Any = load_language_model(BACKEND, model=source, revision=revision, **options)
    model.try_ways()
    return model


def _encoder(source: str, revision: str | None) -> SentenceEncoder:
    encoder = load_sentence_encoder(source, revision)
    encoder.embed([""])  # which loads its weights
    return encoder


def answer(descriptor: int) -> None:
    """Answer the messages of a connection one after another: part by part, then by NOTHING. The program of the process."""
    connection: Connection[Any, Any] = Connection(descriptor)
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stopped: set[int] = set()
    threading.Thread(target=_hear, args=(connection, messages, stopped), daemon=True).start()
    from resources.model_loading import import_generation

    import_generation()
    import torch

    models, works = _Models(), not torch.cuda.is_available()
    while True:
        if works and messages.empty() and (waiting := models.waiting()) is not None:
            _try(lambda what=waiting: models.get(what))
            continue
        what, number, content = messages.get()
        if number == NAMED:
            models.name(what, content)
            continue
        if works:
            _try(lambda what=what, number=number, content=content: _tell(connection, stopped, number, models.answer(what, content)))
        connection.send((number, NOTHING))


def _tell(connection: "Connection[Any, Any]", stopped: set[int], number: int, parts: Iterator[Any]) -> None:
    for part in parts:
        if number in stopped:
            return
        connection.send((number, part))


def _try(work: Callable[[], Any]) -> None:
    with contextlib.suppress(Exception):  # the caller's own model meets it again, and says it
        work()


def _hear(connection: "Connection[Any, Any]", messages: "queue.SimpleQueue[Any]", stopped: set[int]) -> None:
    """Hand messages on, and end the process when the other end has closed, whatever it is doing."""
    try:
        while True:
            message = connection.recv()
            if message[0] == "stop":
                stopped.add(message[1])
            else:
                messages.put(message)
    except (EOFError, OSError):
        os._exit(0)
