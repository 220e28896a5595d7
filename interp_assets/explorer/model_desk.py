"""The models of the explorer: one thread that holds one subject model and one dictionary, loads them when a page needs them, and frees
them after a while without work.

A page asks for work under a key. Where the work takes longer than a reader should wait, the page says what it waits for and asks again
under the same key; the answer is kept until then.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from interp_assets.config.settings import SentenceEncoderSettings
from interp_assets.measuring.loaded_models import LoadedModels
from resources.model_provider import ModelProvider

if TYPE_CHECKING:
    from resources.sentence_encoder import SentenceEncoder
    from resources.subject.interface import SubjectTokenizer

T = TypeVar("T")
IDLE_SECONDS = 300.0
"""Models are freed after so long without work."""

PATIENCE_SECONDS = 1.5
"""How long a page waits for an answer before it says what it waits for."""

MOST_WAITING = 8
"""Questions that may wait for the models at once; a further question is refused."""

KEPT_ANSWERS = 256


class StillWorking(RuntimeError):
    """The answer is not there yet; the message says what is waited for."""


class Busy(RuntimeError):
    """Too many questions wait for the models."""


@dataclass
class ModelDesk:
    """Answers questions that need models, one at a time. `idle_seconds` after the last one the models are freed."""

    models: ModelProvider
    encoder_settings: SentenceEncoderSettings = field(default_factory=SentenceEncoderSettings)
    idle_seconds: float = IDLE_SECONDS

    def __post_init__(self) -> None:
        self.loaded = LoadedModels(self.models)
        self._encoder: SentenceEncoder | None = None
        self._tokenizers: dict[tuple[str, str | None], SubjectTokenizer] = {}
        self._lock = threading.Lock()
        self._asked: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._timer: threading.Timer | None = None
        self._last = time.monotonic()

    def ask(self, key: Hashable, what: str, work: Callable[[], T], patience: float = PATIENCE_SECONDS) -> T:
        """The answer of `work`, which runs in the models' thread; asked again under the same key, the same answer. `what` says what is
        waited for.

        Raises `StillWorking` where the answer takes longer than `patience` seconds, `Busy` where too many questions wait already, and what
        `work` raises, which is not kept.
        """
        with self._lock:
            future = self._asked.get(key)
            if future is None:
                if sum(not one.done() for one in self._asked.values()) >= MOST_WAITING:
                    raise Busy("Too many questions wait for the models. Ask again in a minute.")
                future = self._asked[key] = self._worker.submit(self._working, work)
            self._asked.move_to_end(key)
            done = [old for old, one in self._asked.items() if one.done() and old != key]
            for old in done[: max(0, len(self._asked) - KEPT_ANSWERS)]:
                del self._asked[old]
        try:
            return future.result(patience)
        except TimeoutError:
            if future.done():
                raise
            raise StillWorking(what) from None
        except Exception:
            with self._lock:
                self._asked.pop(key, None)
            raise

    def tokenizer(self, source: str, revision: str | None) -> "SubjectTokenizer":
        """A model's tokenizer, kept; for work in the models' thread."""
        found = self._tokenizers.get((source, revision))
        if found is None:
            found = self._tokenizers[source, revision] = self.models.tokenizer(source, revision)
        return found

    def encoder(self) -> "SentenceEncoder":
        """The sentence encoder, loaded; for work in the models' thread."""
        if self._encoder is None:
            self._encoder = self.models.sentence_encoder(self.encoder_settings.source, self.encoder_settings.revision)
        return self._encoder

    def close(self) -> None:
        """Free the models and end the thread."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._free()

    def _working(self, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            self._last = time.monotonic()
            with self._lock:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = threading.Timer(self.idle_seconds, self._free_later)
                self._timer.daemon = True
                self._timer.start()

    def _free_later(self) -> None:
        try:
            self._worker.submit(self._free_if_idle)
        except RuntimeError:
            return  # the desk was closed meanwhile

    def _free_if_idle(self) -> None:
        if time.monotonic() - self._last >= self.idle_seconds:
            self._free()

    def _free(self) -> None:
        self.loaded.close()
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None
