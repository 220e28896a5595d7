"""The explainers: one file each. A new one is a file, a name in one of the tuples and, where it has settings, its `ExplainingSettings`.

EXPLAINERS ask a language model about each feature on its own. DERIVED make explanations out of those of other methods, or out of
nothing. IMPORTED_METHODS are read from files that people or other tools wrote, PLANTED_METHODS from the rules of a planted dictionary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from interp_assets.domain.explaining import (
    candidates,
    constant,
    contrastive,
    ensemble_concat,
    ensemble_raw,
    intervention,
    max_act,
    max_act_cot,
    planted_false,
    shuffled,
    single_token,
    token_change,
    vocab_proj,
)
from interp_assets.domain.explaining.candidates import CandidatesSettings
from interp_assets.domain.explaining.contrastive import ContrastiveSettings
from interp_assets.domain.explaining.ensemble_raw import EnsembleRawSettings
from interp_assets.domain.explaining.intervention import InterventionSettings
from interp_assets.domain.explaining.max_act import MaxActSettings
from interp_assets.domain.explaining.max_act_cot import MaxActCotSettings
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads
from interp_assets.domain.explaining.single_token import SingleTokenSettings
from interp_assets.domain.explaining.token_change import TokenChangeExplainerSettings
from interp_assets.domain.explaining.vocab_proj import VocabProjSettings
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.planted.rules import PLANTED_CLAIMS
from interp_assets.domain.prompting.prompts import Comparison, Prompt
from interp_assets.domain.trials import Explanation


class Explainer(Protocol):
    """Plans prompts about a feature, and reads an explanation out of the replies.

    READS says what of the material it may need, and `ExplainingSettings.reads` what it does. One that CHOOSES among explanations is a
    `ChoosingExplainer`.
    """

    NAME: str
    VERSION: str
    READS: frozenset[Reads]
    CHOOSES: bool

    def plan(self, explainer_input: ExplainerInput, settings: Any, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
        """What to ask, or the outcome that says why nothing is asked."""
        ...

    def grade(self, explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: Any) -> Explanation:
        """The explanation in the replies to the prompts, in their order, or a named outcome."""
        ...


class ChoosingExplainer(Explainer, Protocol):
    """An explainer that compares several explanations with the validation examples, by the sentence encoder, and keeps one."""

    def compare(self, explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: Any) -> Comparison | None:
        """Explanations as queries and windows as texts; None where there is nothing to choose between."""
        ...

    def choose(
        self, explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: Any, cosines: Sequence[Sequence[float]]
    ) -> Explanation:
        """The explanation kept, given the cosines [queries][texts] of `compare`'s answer."""
        ...


class Derived(Protocol):
    """Makes explanations out of those of the methods in SOURCES, or out of nothing; out of OPTIONAL_SOURCES where they are made too.

    One that SHUFFLES gives features the explanations of others, and may be given those of more features than it is to explain.
    """

    NAME: str
    VERSION: str
    SOURCES: tuple[str, ...]
    OPTIONAL_SOURCES: tuple[str, ...]
    SHUFFLES: bool

    def explain(self, features: Sequence[int], sources: Mapping[str, Mapping[int, Explanation]], run_seed: int) -> tuple[Explanation, ...]:
        """One explanation, or named outcome, for each of `features`, in order; `sources` has each method's by feature."""
        ...


@dataclass(frozen=True)
class ExplainingSettings:
    """A block for each explainer that has settings, named after it."""

    max_act: MaxActSettings = field(default_factory=MaxActSettings)
    max_act_cot: MaxActCotSettings = field(default_factory=MaxActCotSettings)
    contrastive: ContrastiveSettings = field(default_factory=ContrastiveSettings)
    single_token: SingleTokenSettings = field(default_factory=SingleTokenSettings)
    vocab_proj: VocabProjSettings = field(default_factory=VocabProjSettings)
    token_change: TokenChangeExplainerSettings = field(default_factory=TokenChangeExplainerSettings)
    intervention: InterventionSettings = field(default_factory=InterventionSettings)
    ensemble_raw: EnsembleRawSettings = field(default_factory=EnsembleRawSettings)
    candidates: CandidatesSettings = field(default_factory=CandidatesSettings)

    def of(self, explainer: Explainer) -> Any:
        """The explainer's own block."""
        return getattr(self, explainer.NAME)

    def reads(self, explainer: Explainer) -> frozenset[Reads]:
        """What the explainer reads under its settings: all of its READS but what they leave `unread`."""
        return explainer.READS - getattr(self.of(explainer), "unread", frozenset())


EXPLAINERS: tuple[Explainer, ...] = (
    max_act, max_act_cot, contrastive, single_token, vocab_proj, token_change, intervention, ensemble_raw, candidates,
)  # fmt: skip
DERIVED: tuple[Derived, ...] = (shuffled, ensemble_concat, constant, planted_false)
IMPORTED_METHODS: tuple[str, ...] = ("human", "imported")
BASELINES: tuple[str, ...] = (shuffled.NAME, constant.NAME)
PLANTED_METHODS: tuple[str, ...] = tuple(PLANTED_CLAIMS)
METHODS: tuple[str, ...] = (*(member.NAME for member in (*EXPLAINERS, *DERIVED)), *IMPORTED_METHODS, *PLANTED_METHODS)

__all__ = [
    "BASELINES",
    "DERIVED",
    "EXPLAINERS",
    "IMPORTED_METHODS",
    "METHODS",
    "PLANTED_METHODS",
    "ChoosingExplainer",
    "Derived",
    "Explainer",
    "ExplainingSettings",
]
