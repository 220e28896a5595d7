"""Calls to a server that can be slow, busy or gone: jittered back-off, Retry-After, a circuit that opens once, and a bridge from
asynchronous calls to a plain iterator. Knows nothing of what is asked."""

import asyncio
import email.utils
import queue
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class ServerGone(ConnectionError):
    """The server cannot be reached, or answers nothing but errors: the whole batch stops with this one error."""


class ServerRefused(PermissionError):
    """The server turned the caller away (key, permission, unknown model): asking again cannot help."""


class CallFailed(RuntimeError):
    """One call failed for good; others may go well."""


class TryAgain(Exception):
    """One attempt failed in a way that may pass: `unreachable` when no connection was made, `after` seconds asked for by the server."""

    def __init__(self, reason: str, unreachable: bool = False, after: float | None = None) -> None:
        super().__init__(reason)
        self.unreachable = unreachable
        self.after = after


@dataclass(frozen=True)
class Patience:
    """How long to go on: attempts per call, seconds of the first and the longest pause, and when a server counts as gone."""

    max_retries: int = 6
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0
    gone_after_seconds: float = 30.0
    gone_after_failed_calls: int = 64


@dataclass
class Circuit:
    """Counts failures since the last success, over all calls to one server. Opens (raises `ServerGone`) once."""

    server: str
    patience: Patience
    ever_reached: bool = False
    _unreachable: int = 0
    _since: float = 0.0
    _failed_calls: int = 0
    _last_reason: str = field(default="")

    def success(self) -> None:
        """A call was answered."""
        self.ever_reached = True
        self._unreachable = self._failed_calls = 0

    def unreachable(self, reason: str) -> None:
        """No connection. Raises `ServerGone` at the third attempt if there never was one, else after `gone_after_seconds`."""
        now = time.monotonic()
        if self._unreachable == 0:
            self._since = now
        self._unreachable += 1
        gone = now - self._since >= self.patience.gone_after_seconds if self.ever_reached else self._unreachable >= 3
        if gone:
            raise ServerGone(
                f"no connection to {self.server}: {self._unreachable} attempts in {now - self._since:.0f} s failed ({reason}). "
                "Start the server or correct base_url; replies so far are kept."
            )

    def failed_call(self, reason: str) -> None:
        """A call failed for good. Raises `ServerGone` when many did in a row with no success between."""
        self._failed_calls += 1
        if self._failed_calls >= self.patience.gone_after_failed_calls:
            raise ServerGone(
                f"{self.server} answered {self._failed_calls} calls in a row with errors, the last: {reason}. "
                "Look at the server's log; replies so far are kept."
            )


async def call_patiently(attempt: Callable[[], Awaitable[Answer]], circuit: Circuit) -> Answer:
    """The answer of `attempt`, tried again on `TryAgain`. Raises `CallFailed` when the retries are used up, or `ServerGone`.

    The pause doubles from `first_pause_seconds`, is drawn from [½, 1½) of that so that callers spread out, and is never shorter than
    the server asked for. Unreachable servers are the circuit's business and use up no retries.
    """
    patience, failures, pause = circuit.patience, 0, circuit.patience.first_pause_seconds
    while True:
        try:
            answer = await attempt()
        except TryAgain as again:
            if again.unreachable:
                circuit.unreachable(str(again))
            else:
                failures += 1
                if failures > patience.max_retries:
                    circuit.failed_call(str(again))
                    raise CallFailed(f"{again} ({failures} attempts)") from again
            await asyncio.sleep(max(pause * random.uniform(0.5, 1.5), again.after or 0.0))
            pause = min(2 * pause, patience.longest_pause_seconds)
        except CallFailed as error:
            circuit.failed_call(str(error))
            raise
        else:
            circuit.success()
            return answer


def retry_after_seconds(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or an HTTP date); None without one or when it cannot be read."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def in_background(work: Callable[[Callable[[Any], None]], Awaitable[None]]) -> Iterator[Any]:
    """What the coroutine `work(emit)` emits, as it comes, from an event loop in a thread of its own.

    An exception in `work` is raised here after what was emitted before it; closing the iterator cancels `work` and waits for it.
    """
    results: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(task)
            results.put(("end", None))
        except BaseException as error:
            results.put(("error", error))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def main() -> None:
        await work(lambda item: results.put(("item", item)))

    task = loop.create_task(main())
    thread = threading.Thread(target=run, name="language-model-calls", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = results.get()
            if kind == "item":
                yield value
            elif kind == "error":
                raise value
            else:
                return
    finally:
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # the loop closed meanwhile: nothing is left to cancel
                pass
        thread.join()
