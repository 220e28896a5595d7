"""The scorers: one file each. A new one is a file and a line in SCORERS."""

from collections.abc import Sequence
from typing import Protocol

from interp_assets.domain.rendering import TokenTexts
from interp_assets.domain.sampling import Example
from interp_assets.domain.scoring import detection, fuzzing
from interp_assets.domain.scoring.classifier import ScorerSettings
from interp_assets.domain.trials import AnsweredTrial, Explanation, ScoreOutcome, ScoreRow, Trial, Verdict


class Scorer(Protocol):
    """Plans trials about an explanation from held-out examples, grades the replies, and sums verdicts up."""

    NAME: str
    VERSION: str

    def plan(
        self,
        explanation: Explanation,
        held_out: Sequence[Example],
        token_texts: TokenTexts,
        settings: ScorerSettings,
        run_seed: int,
    ) -> tuple[Trial, ...]: ...

    def grade(self, answered: AnsweredTrial) -> tuple[Verdict, ...]: ...

    def summarise(
        self,
        feature: int,
        explanation_method: str,
        verdicts: Sequence[Verdict],
        settings: ScorerSettings,
        run_seed: int,
        absent: ScoreOutcome = "no_examples",
    ) -> tuple[ScoreRow, ...]: ...


SCORERS: tuple[Scorer, ...] = (detection, fuzzing)

__all__ = ["SCORERS", "Scorer", "ScorerSettings"]
