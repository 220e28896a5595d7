"""Replicates of a dictionary whose windows cannot be drawn again, and of a scorer whose own code fails."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg

from interp_assets.assets.score_stability.redrawn import Redrawn
from interp_assets.assets.score_stability.repeated import Repeater
from interp_assets.assets.score_stability.variances import variance_rows
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.scoring import detection
from interp_assets.measuring.answerer import AnsweredInput, Planned
from interp_assets.reading.examples import StoredExamples

RECORD = DictionaryRecord(key="m/0/a", hook="blocks.0.mlp.hook_post", kind="neurons", width=64)
STAGES = PlatformSettings(stages={"scores": {"fuzzing": []}, "stability": {"n_features": 2}}).stage_settings({})
LOG = cast(dg.DagsterLogManager, logging.getLogger(__name__))


class Silent:
    """Answers nothing, and takes every planned input."""

    def answer(self, planned: Iterator[Planned]) -> Iterator[AnsweredInput]:
        """Each input without answers."""
        for one in planned:
            yield AnsweredInput(one, (), (), "")

    def close(self) -> None:
        """There is nothing to free."""


def test_windows_that_cannot_be_drawn_again_are_named() -> None:
    repeater = Repeater(RECORD, STAGES, [3, 5], None, LOG)
    repeater.judge(detection, Silent(), {})
    assert len(repeater.found.rows) == 16 and {row["outcome"] for row in repeater.found.rows} == {"no_activations"}
    assert all(row["value"] is None for row in repeater.found.rows) and not repeater.found.undone
    (row,) = variance_rows("m/0/a", STAGES, repeater.found.rows, {}, 2)
    assert (row["outcome"], row["n_features"], row["n_incomplete"], row["n_windows"]) == ("too_few_features", 0, 2, None)


def test_a_scorer_that_fails_leaves_named_rows_and_is_tried_again() -> None:
    def fails(*arguments: Any) -> Any:
        raise RuntimeError("a defect")

    broken: Any = SimpleNamespace(**{name: getattr(detection, name) for name in ("NAME", "VERSION", "MODEL", "HEADLINE", "READS", "grade")})
    broken.plan = broken.summarise = fails
    example = Example("3/0/0", 3, "held_out", "activating", "quantiles", 0, 0, 0, (1, 2), (0.0, 1.0))
    evidence = StoredExamples(3, "ok", 1, (example,), {1: "a", 2: " b"})
    drawn = Redrawn({(3, draw): evidence for draw in range(2)})
    repeater = Repeater(RECORD, STAGES, [3], drawn, LOG)
    repeater.judge(broken, Silent(), {})
    assert {row["outcome"] for row in repeater.found.rows} == {"failed"} and repeater.found.undone["failed"] == 8
