"""What a scorer did as rows of its tables: trials with their replies, verdicts, scores."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from interp_assets.domain.scoring.shared.asked_again import NOT_ASKED
from interp_assets.domain.trials import ScoreRow, Verdict
from interp_assets.measuring.answerer import AnsweredInput
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.tables import SCORES, TRIALS, VERDICTS


def trial_rows(partition: RangePartition, work: AnsweredInput, version: str) -> pa.Table:
    """A row per planned trial; the outcome of a trial that was never asked is "stopped_early".

    One further row, "not_asked", has all windows that an estimate leaves out.
    """
    rows: list[dict[str, Any]] = []
    for number, trial in enumerate(work.planned.trials):
        asked = number < len(work.trials)
        error = work.trials[number].error if asked else None
        reply = work.answers[number] if number < len(work.answers) else None
        rows.append(
            {
                "dictionary": partition.key.dictionary, "feature_range": partition.key.feature_range, "feature": trial.feature,
                "explanation_method": trial.explanation_method, "scorer": trial.scorer, "trial": trial.trial_id,
                "reply": None if reply is None or error else reply.key,
                "outcome": "stopped_early" if not asked else "model_error" if error else "answered",
                "example_ids": [item.example_id for item in trial.items], "truths": [item.truth for item in trial.items],
                "reply_text": "" if reply is None else reply.reply.text, "error": error,
                "prompt_tokens": 0 if reply is None else reply.reply.prompt_tokens,
                "cached_tokens": 0 if reply is None else reply.reply.cached_tokens,
                "completion_tokens": 0 if reply is None else reply.reply.completion_tokens,
                "model": work.model, "prompt_version": version,
            }
        )  # fmt: skip
    if left_out := work.planned.left_out:
        counts = dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), 0)
        name = f"{work.planned.trials[0].trial_id.rpartition('/')[0]}/{NOT_ASKED}"
        unasked = {"trial": name, "outcome": NOT_ASKED, "reply": None, "reply_text": "", "error": None, **counts}
        items = {"example_ids": [item.example_id for item in left_out], "truths": [item.truth for item in left_out]}
        rows.append({**rows[0], **unasked, **items})
    return pa.Table.from_pylist(rows, schema=TRIALS.schema)


def verdict_rows(partition: RangePartition, verdicts: Iterable[Verdict]) -> pa.Table:
    """A row per graded item."""
    here = {"dictionary": partition.key.dictionary, "feature_range": partition.key.feature_range}
    return pa.Table.from_pylist([{**here, **vars(v), "trial": v.trial_id} for v in verdicts], schema=VERDICTS.schema)


def score_rows(partition: RangePartition, rows: Sequence[ScoreRow], headline: str) -> pa.Table:
    """A row per metric; `headline` marks the rows of the scorer's headline metric."""
    here = {"dictionary": partition.key.dictionary, "feature_range": partition.key.feature_range}
    made = [
        {**here, **vars(row), "headline": row.metric == headline, "deals": [asdict(deal) for deal in row.deals] or None} for row in rows
    ]
    return pa.Table.from_pylist(made, schema=SCORES.schema)
