"""Asks a batch of questions: equal questions once, stored replies from the store, the rest as one flat batch."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Literal

from resources.language_models.budget import BudgetExhausted, Spending
from resources.language_models.earlier_replies import stored_replies
from resources.language_models.interface import (
    LINGER_SECONDS,
    LanguageModel,
    NoMoreQuestions,
    Reply,
    Request,
    refuse_unsupported,
    request_key,
)
from resources.language_models.reply_store import ReplyStore
from resources.progress import Progress

Source = Literal["model", "store", "repeated"]  # asked now, asked earlier, or the same question elsewhere in this batch


PROGRESS_SECONDS = 10.0


BURST_GAP_SECONDS = 0.2


def ask_all(
    model: LanguageModel,
    requests: Sequence[Request],
    store: ReplyStore,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    spending: Spending | None = None,
    progress_seconds: float | None = None,
) -> Generator[tuple[int, Reply, Source]]:
    """(index into requests, reply, source of the reply), every index exactly once.

    Stored replies come first. All other requests are asked in one batch, and requests with the same leading messages stand together. A
    reply is kept as it comes, but an error reply is not kept. Where the budget or the model ends the batch, the questions that are under
    way are answered, kept and yielded before the error is raised; where the caller does, by an error or by closing the iterator, they are
    kept as far as they come within LINGER_SECONDS. Progress is reported every `progress_seconds`, by default PROGRESS_SECONDS. Raises
    `UnsupportedRequest` before anything is asked, and `BudgetExhausted` with the numbers.
    """
    pause = PROGRESS_SECONDS if progress_seconds is None else progress_seconds
    refuse_unsupported(model, requests)
    spending = spending or Spending()
    spending.refuse_unpriced(model.identity.model)
    places: dict[str, list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        places[request_key(model.identity, request)].append(index)
    stored = stored_replies(store, model.identity, {key: requests[indices[0]] for key, indices in places.items()})
    for key in places:
        if key in stored:
            yield from _answers(places[key], stored[key], "store")
    missing = _prefixes_together([key for key in places if key not in stored], {k: requests[v[0]] for k, v in places.items()})
    if missing:
        _refuse_spent(spending, 0, len(missing))
    started = reported = last = time.monotonic()
    done, spent, kept, numbered = 0, False, None, None
    asked = iter(model.ask([requests[places[key][0]] for key in missing]))
    replies = asked
    try:
        while (numbered := next(replies, None)) is not None:
            number, reply = numbered
            if number == kept:
                continue
            key, now = missing[number], time.monotonic()
            # Local models answer in bursts, one a batch: only between two bursts does the rate count whole batches.
            if done and now - reported > (pause if now - last > BURST_GAP_SECONDS else 2 * pause):
                reported = now
                on_progress(_progress(done, len(missing), len(stored), last - started))
            store.append(key, model.identity, reply)
            kept = number
            done, last = done + 1, now
            if done == len(missing):
                on_progress(_progress(done, len(missing), len(stored), now - started))
            spending.add(model.identity.model, reply)
            yield from _answers(places[key], reply, "model")
            if not spent and done < len(missing) and spending.exhausted():
                spent, replies = True, _under_way(asked, math.inf)
        if spent and done < len(missing):
            _refuse_spent(spending, done, len(missing))
    except BaseException:
        for number, reply in chain([numbered] if numbered else [], _under_way(asked, LINGER_SECONDS)):
            if number != kept:  # an interrupt came before it was kept
                store.append(missing[number], model.identity, reply)
                spending.add(model.identity.model, reply)
                kept = number
        raise
    finally:
        store.flush()


def _under_way(asked: Iterator[tuple[int, Reply]], seconds: float) -> Iterator[tuple[int, Reply]]:
    """The replies to the questions that a back end has begun, as far as they come within so many seconds; none where it has ended."""
    if isinstance(asked, Generator):
        with suppress(NoMoreQuestions, StopIteration):
            yield asked.throw(NoMoreQuestions(seconds))
        yield from asked


def _answers(places: Sequence[int], reply: Reply, source: Source) -> Iterator[tuple[int, Reply, Source]]:
    """One reply at every index of its question."""
    first, *copies = places
    yield first, reply, source
    for index in copies:
        yield index, reply, "repeated"


def _refuse_spent(spending: Spending, done: int, total: int) -> None:
    if reached := spending.exhausted():
        raise BudgetExhausted(
            f"{reached} after {done} of {total} questions; their replies are kept. Raise `budget` in settings.yaml and run again to ask "
            "the rest."
        )


def _progress(done: int, total: int, from_store: int, seconds: float) -> Progress:
    rate = done / max(seconds, 1e-9)
    return Progress(done, total, from_store, rate, (total - done) / rate)


def _prefixes_together(keys: list[str], request_of: dict[str, Request]) -> list[str]:
    """The keys, with equal leading messages side by side; groups and members are in order of first appearance."""
    groups: dict[object, list[str]] = defaultdict(list)
    for key in keys:
        request = request_of[key]
        groups[request.messages[: request.shared_messages]].append(key)
    return [key for group in groups.values() for key in group]
