"""Ledger rows of questions, and their sums."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.asking.questions import Answer
from interp_assets.config.keys import RangeKey
from interp_assets.tables import LEDGER
from resources.language_models.ledger import price_usd


def ledger_rows(asset: str, partition: RangeKey, answers: Sequence[Answer], first: int) -> pa.Table:
    """Ledger rows of some questions of a range, in planned order, numbered from `first`; empty when nothing was asked.

    A reply counts with its cost at the time of asking, in this run or an earlier run; a question that is planned twice costs once.
    """
    rows = []
    for number, answer in enumerate(answers, start=first):
        reply, paid = answer.reply, answer.source != "repeated"
        tokens = [count if paid else 0 for count in (reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens)]
        shareable = round(tokens[0] * answer.shareable)
        rows.append(
            {
                "asset": asset, "dictionary": partition.dictionary, "feature_range": partition.feature_range, "question": number,
                "feature": answer.question.feature, "explanation_method": answer.question.explanation_method, "model": answer.model,
                "reply": None if reply.error else answer.key, "source": answer.source,
                "prompt_tokens": tokens[0], "cached_tokens": tokens[1], "shareable_tokens": shareable, "completion_tokens": tokens[2],
                "seconds": reply.seconds if paid else 0.0, "price_usd": price_usd(answer.model, *tokens),
            }
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=LEDGER.schema)


class LedgerSums:
    """Sums of the costs of a range's questions, for its materialisation."""

    SUMMED = ("prompt_tokens", "cached_tokens", "shareable_tokens", "completion_tokens", "seconds", "price_usd")

    def __init__(self) -> None:
        self._sources: Counter = Counter()
        self._sums: dict[str, float] = defaultdict(float)
        self._estimated = 0
        self._other_models: Counter = Counter()

    def add(self, ledger: pa.Table, answers: Sequence[Answer] = ()) -> None:
        """Count further rows of the ledger, and the answers of these rows."""
        replies = [answer.reply for answer in answers if answer.source != "repeated"]
        self._estimated += sum(reply.tokens_are_estimated for reply in replies)
        self._other_models.update(reply.other_model for reply in replies if reply.other_model)
        self._sources.update(ledger.column("source").to_pylist())
        for name in self.SUMMED:
            self._sums[name] += float(pc.sum(ledger.column(name)).as_py() or 0)

    @property
    def numbers(self) -> dict[str, Any]:
        """The number of questions, the number of free questions, and the sums of costs; zeros when nothing was asked.

        `cached_share` is the share of prompt tokens that came out of a prefix cache, `shareable_share` the most that it can be.
        Where there are any: the number of questions with estimated tokens, since the server did not count them, and other models that
        answered.
        """
        sources = self._sources
        counts = {"questions": sources.total(), "from_store": sources["store"], "repeated": sources["repeated"]}
        odd: dict[str, Any] = {"questions_with_estimated_tokens": self._estimated} if self._estimated else {}
        if self._other_models:
            odd["answered_by_other_models"] = ", ".join(f"{name} ({n:,} questions)" for name, n in self._other_models.most_common(5))
        prompt = self._sums["prompt_tokens"]
        shares = {f"{kind}_share": round(self._sums[f"{kind}_tokens"] / prompt, 3) for kind in ("cached", "shareable") if prompt}
        return {**counts, **{name: round(self._sums[name], 4) for name in self.SUMMED}, **shares, **odd}
