"""The explainers: one file each. A new one is a file and a line in EXPLAINERS.

An explainer asks a language model about each feature on its own. `shuffled` asks nobody: it deals out the finished explanations
of another method, so it stands in BASELINES.
"""

from collections.abc import Sequence
from typing import Protocol

from interp_assets.domain.explaining import max_act, shuffled
from interp_assets.domain.explaining.max_act import ExplainerSettings
from interp_assets.domain.prompts import Prompt
from interp_assets.domain.rendering import TokenTexts
from interp_assets.domain.sampling import Example
from interp_assets.domain.trials import Explanation


class Explainer(Protocol):
    """Plans one prompt from a feature's shown examples, and reads the reply."""

    NAME: str
    VERSION: str

    def plan(self, feature: int, shown: Sequence[Example], token_texts: TokenTexts, settings: ExplainerSettings) -> Prompt | None: ...

    def grade(self, feature: int, reply_text: str | None, error: str | None = None) -> Explanation: ...


class Baseline(Protocol):
    """Makes explanations out of those of another method."""

    NAME: str
    VERSION: str

    def explain(self, explanations: Sequence[Explanation], run_seed: int) -> tuple[Explanation, ...]: ...


EXPLAINERS: tuple[Explainer, ...] = (max_act,)
BASELINES: tuple[Baseline, ...] = (shuffled,)

__all__ = ["BASELINES", "EXPLAINERS", "Baseline", "Explainer", "ExplainerSettings"]
