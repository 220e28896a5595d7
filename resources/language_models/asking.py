"""Asking: equal questions once, stored answers from the store, the rest as one flat batch, every reply kept as it comes."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from resources.language_models.interface import LanguageModel, Reply, Request, refuse_unsupported, request_key
from resources.language_models.ledger import PRICES_FILE, price_usd
from resources.language_models.reply_store import ReplyStore

FLUSH_REPLIES = 32
FLUSH_SECONDS = 2.0
PROGRESS_SECONDS = 10.0
BURST_GAP_SECONDS = 0.2


@dataclass(frozen=True)
class Progress:
    """How far a batch is: questions asked of the model and answered; `rate` answers a second; `eta_seconds` None before the first."""

    done: int
    total: int
    from_store: int
    rate: float
    eta_seconds: float | None


@dataclass(frozen=True)
class Budget:
    """The most that one call may spend: tokens (prompt and completion, cached ones too) and US dollars by `prices.yaml`.

    None: no bound. A bound in dollars for a model without a price is an error, since it would bound nothing.
    """

    tokens: int | None = None
    usd: float | None = None

    def refuse_unpriced(self, model: str) -> None:
        """Raise ValueError where dollars are bounded and `model` has no price."""
        if self.usd is not None and price_usd(model, 0, 0, 0) is None:
            raise ValueError(f"a budget of ${self.usd:g} needs a price for {model!r}: add it to {PRICES_FILE}, or give a budget in tokens.")

    def spent(self, tokens: int, usd: float) -> str | None:
        """Which bound these reach, in words with the numbers; None while there is something left."""
        if self.tokens is not None and tokens >= self.tokens:
            return f"the budget of {self.tokens:,} tokens is spent ({tokens:,})"
        if self.usd is not None and usd >= self.usd:
            return f"the budget of ${self.usd:,.2f} is spent (${usd:,.4f})"
        return None


class BudgetExhausted(RuntimeError):
    """The budget was reached. What was answered is kept; the same call with a larger budget asks only the rest."""


def ask_all(
    model: LanguageModel,
    requests: Sequence[Request],
    store: ReplyStore,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    budget: Budget = Budget(),
) -> Iterator[tuple[int, Reply, bool]]:
    """(index into requests, reply, whether it was in the store), every index exactly once.

    Stored replies come first. The others are asked in one batch, ordered so that requests with the same leading messages stand
    together, and kept at most FLUSH_REPLIES or FLUSH_SECONDS after they come; an error is a reply that is not kept. Closing the
    iterator, or an exception in the model, keeps what has come. Raises `UnsupportedRequest` before anything is asked and
    `BudgetExhausted` with the numbers.
    """
    refuse_unsupported(model, requests)
    budget.refuse_unpriced(model.identity.model)
    places: dict[str, list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        places[request_key(model.identity, request)].append(index)
    stored = store.get_many(places)
    for key in places:
        if key in stored:
            yield from ((index, stored[key], True) for index in places[key])
    missing = _prefixes_together([key for key in places if key not in stored], {k: requests[v[0]] for k, v in places.items()})
    started = reported = flushed = last = time.monotonic()
    tokens, usd, done = 0, 0.0, 0
    try:
        for number, reply in model.ask([requests[places[key][0]] for key in missing]):
            key, now = missing[number], time.monotonic()
            # Local models answer in bursts, one a batch: between two bursts the rate is that of whole batches.
            if done and now - reported > (PROGRESS_SECONDS if now - last > BURST_GAP_SECONDS else 2 * PROGRESS_SECONDS):
                reported = now
                on_progress(_progress(done, len(missing), len(stored), last - started))
            store.append(key, model.identity, reply)
            done, last = done + 1, now
            if store.n_pending >= FLUSH_REPLIES or now - flushed > FLUSH_SECONDS:
                store.flush()
                flushed = now
            if done == len(missing):
                on_progress(_progress(done, len(missing), len(stored), now - started))
            first, *copies = places[key]
            yield first, reply, False
            yield from ((index, reply, True) for index in copies)
            tokens += reply.prompt_tokens + reply.completion_tokens
            usd += price_usd(model.identity.model, reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens) or 0.0
            if done < len(missing) and (spent := budget.spent(tokens, usd)):
                raise BudgetExhausted(
                    f"{spent} after {done} of {len(missing)} questions; their replies are kept. "
                    "Raise the budget and run again to ask the rest."
                )
    finally:
        store.flush()
        store.compact()


def _progress(done: int, total: int, from_store: int, seconds: float) -> Progress:
    rate = done / max(seconds, 1e-9)
    return Progress(done, total, from_store, rate, (total - done) / rate)


def _prefixes_together(keys: list[str], request_of: dict[str, Request]) -> list[str]:
    """The keys with equal leading messages side by side, groups and members in order of first appearance."""
    groups: dict[object, list[str]] = defaultdict(list)
    for key in keys:
        request = request_of[key]
        groups[request.messages[: request.shared_messages]].append(key)
    return [key for group in groups.values() for key in group]
