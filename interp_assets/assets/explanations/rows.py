"""Explanations as rows of their table, and the report of a partition: outcomes, and the first explanations beside their windows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from interp_assets.asking.questions import Answer
from interp_assets.domain.explaining.labels import label_of
from interp_assets.domain.prompting import rendering
from interp_assets.domain.prompting.instructions import prompt_version
from interp_assets.domain.trials import Explanation
from interp_assets.orchestration.range_partition import PartitionReport, RangePartition
from interp_assets.reading.examples import StoredExamples, read_examples
from interp_assets.reporting.materialisation import breakable, markdown, preview_table, text_or_outcome
from interp_assets.tables import EXPLANATIONS
from resources.store.lake import Lake

PREVIEWED = 10
"""Explanations of a range in its preview."""


def explanation_rows(partition: RangePartition, made: Sequence[Explanation], answers: Sequence[Answer]) -> pa.Table:
    """Rows of the table explanations. `answers` are the answers that an asked explanation was read out of: `made` has then one entry."""
    explaining = partition.settings.explaining
    failed = any(answer.reply.error for answer in answers)
    rows = [
        {
            "dictionary": partition.key.dictionary, "feature_range": partition.key.feature_range, "feature": e.feature,
            "explanation_method": e.method, "outcome": e.outcome, "explanation": e.text, "raw_reply": e.raw_reply or None,
            "replies": [] if failed else [answer.key for answer in answers], "donor_feature": e.donor_feature,
            "model": answers[0].model if answers else "",
            "prompt_version": prompt_version(e.prompt_version, getattr(explaining, e.method, None)),
            "label": label_of(e.text, e.raw_reply), "further_deals": [asdict(deal) for deal in e.further_deals] or None,
        }
        for e in made
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=EXPLANATIONS.schema)


class ExplanationReport:
    """Counts of outcomes, and the first explanations, each beside the strongest window of its feature."""

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._lines: list[tuple] = []

    def add(self, made: Explanation, evidence: StoredExamples) -> None:
        """Count one explanation."""
        self._outcomes[made.outcome] += 1
        if len(self._lines) < PREVIEWED:
            self._lines.append((made.feature, text_or_outcome(made.text, made.outcome), breakable(_strongest(evidence))))

    def of_partition(self, numbers: Mapping[str, Any]) -> PartitionReport:
        """The report of the finished partition."""
        table = preview_table(["feature", "explanation", "strongest shown window"], self._lines)
        return PartitionReport(self._outcomes, {"preview": markdown(table), **numbers})


def report_of(lake: Lake, partition: RangePartition, made: Sequence[Explanation]) -> PartitionReport:
    """The report of a partition that no language model was asked about; `made` are all its explanations, features ascending."""
    report = ExplanationReport()
    for explanation, evidence in zip(made, read_examples(lake, partition.key) if made else (), strict=True):
        assert explanation.feature == evidence.feature, (explanation.feature, evidence.feature)
        report.add(explanation, evidence)
    return report.of_partition({})


def _strongest(item: StoredExamples) -> str:
    if not item.shown:
        return ""
    best = max(item.shown, key=lambda example: max(example.activations))
    return rendering.markdown([item.token_texts[i] for i in best.token_ids], rendering.marked_positions(best.activations, 0.3))
