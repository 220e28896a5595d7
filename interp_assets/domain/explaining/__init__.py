"""The explainers: one file each. A new explainer is a file, a name in one of the tuples and, for its settings, a field of
`ExplainingSettings`.

EXPLAINERS ask a language model about each feature on its own. COMPUTED describe each feature by its examples, without a model. DERIVED make
explanations out of the explanations of other methods, or out of nothing; SHUFFLED are the derived methods that shuffle the explanations of
one method, and BASELINES all methods that know nothing of their feature. IMPORTED_METHODS are read from files that people or other tools
wrote, PLANTED_METHODS from the rules of a planted dictionary.
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
    pattern,
    planted_false,
    single_token,
    token_change,
    token_list,
    vocab_proj,
)
from interp_assets.domain.explaining.candidates import CandidatesSettings
from interp_assets.domain.explaining.contrastive import ContrastiveSettings
from interp_assets.domain.explaining.ensemble_raw import EnsembleRawSettings
from interp_assets.domain.explaining.intervention import InterventionSettings
from interp_assets.domain.explaining.max_act import MaxActSettings
from interp_assets.domain.explaining.max_act_cot import MaxActCotSettings
from interp_assets.domain.explaining.pattern import PatternSettings
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads
from interp_assets.domain.explaining.shuffled import Shuffled, ShuffledSettings, baseline_of
from interp_assets.domain.explaining.single_token import SingleTokenSettings
from interp_assets.domain.explaining.token_change import TokenChangeExplainerSettings
from interp_assets.domain.explaining.token_list import TokenListSettings
from interp_assets.domain.explaining.vocab_proj import VocabProjSettings
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.planted.rules import PLANTED_CLAIMS
from interp_assets.domain.prompting.prompts import Comparison, Prompt
from interp_assets.domain.trials import Explanation


class Explainer(Protocol):
    """Plans prompts about a feature, and reads an explanation out of the replies.

    READS names the parts of an explainer input that the explainer may read, `ExplainingSettings.reads` the parts that it reads under given
    settings. An explainer that CHOOSES among explanations is a `ChoosingExplainer`.
    """

    NAME: str
    VERSION: str
    READS: frozenset[Reads]
    CHOOSES: bool

    def plan(self, explainer_input: ExplainerInput, settings: Any, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
        """The prompts, or the outcome that says why nothing is asked."""
        ...

    def grade(self, explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: Any) -> Explanation:
        """The explanation in the replies, or a named outcome; replies stand in the order of their prompts."""
        ...


class ChoosingExplainer(Explainer, Protocol):
    """An explainer that compares several explanations with the validation examples, by the sentence encoder, and keeps the best."""

    def compare(self, explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: Any) -> Comparison | None:
        """A comparison with explanations as queries and windows as texts; None where there is nothing to choose between."""
        ...

    def choose(
        self, explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: Any, cosines: Sequence[Sequence[float]]
    ) -> Explanation:
        """The explanation kept, given the cosines [queries][texts] that answer the comparison of `compare`."""
        ...


class ComputedExplainer(Protocol):
    """Describes a feature by its own examples, without a model. READS names the parts of an explainer input that it reads."""

    NAME: str
    VERSION: str
    READS: frozenset[Reads]

    def explain(self, explainer_input: ExplainerInput, settings: Any) -> Explanation:
        """The explanation of the feature, or a named outcome."""
        ...


class Derived(Protocol):
    """Makes explanations out of the explanations of the methods in SOURCES, or out of nothing.

    Methods in OPTIONAL_SOURCES are read too where the dictionary has them. A method that SHUFFLES gives each feature the explanation of
    another feature; its sources may hold explanations of more features than it is to explain.
    """

    NAME: str
    VERSION: str
    SOURCES: tuple[str, ...]
    OPTIONAL_SOURCES: tuple[str, ...]
    SHUFFLES: bool

    def explain(self, features: Sequence[int], sources: Mapping[str, Mapping[int, Explanation]], run_seed: int) -> tuple[Explanation, ...]:
        """One explanation, or named outcome, for each of `features`, in order; `sources` has each method's explanations by feature."""
        ...


@dataclass(frozen=True)
class ExplainingSettings:
    """A block for each explainer that has settings, named after the explainer."""

    max_act: MaxActSettings = field(default_factory=MaxActSettings)
    max_act_cot: MaxActCotSettings = field(default_factory=MaxActCotSettings)
    contrastive: ContrastiveSettings = field(default_factory=ContrastiveSettings)
    single_token: SingleTokenSettings = field(default_factory=SingleTokenSettings)
    vocab_proj: VocabProjSettings = field(default_factory=VocabProjSettings)
    token_change: TokenChangeExplainerSettings = field(default_factory=TokenChangeExplainerSettings)
    intervention: InterventionSettings = field(default_factory=InterventionSettings)
    ensemble_raw: EnsembleRawSettings = field(default_factory=EnsembleRawSettings)
    candidates: CandidatesSettings = field(default_factory=CandidatesSettings)
    pattern: PatternSettings = field(default_factory=PatternSettings)
    token_list: TokenListSettings = field(default_factory=TokenListSettings)
    shuffled: ShuffledSettings = field(default_factory=ShuffledSettings)
    """Of all shuffled baselines."""

    def of(self, explainer: Explainer | ComputedExplainer) -> Any:
        """The explainer's own block."""
        return getattr(self, explainer.NAME)

    def deals(self, method: str) -> int:
        """How many texts a method deals to a feature: several only for shuffled baselines."""
        return self.shuffled.deals if method in {baseline.NAME for baseline in SHUFFLED} else 1

    def reads(self, explainer: Explainer | ComputedExplainer) -> frozenset[Reads]:
        """The parts of an explainer input that the explainer reads: its READS without the parts that its settings name as `unread`."""
        unread: frozenset[Reads] = getattr(self.of(explainer), "unread", frozenset())
        return explainer.READS - unread


EXPLAINERS: tuple[Explainer, ...] = (
    max_act, max_act_cot, contrastive, single_token, vocab_proj, token_change, intervention, ensemble_raw, candidates, pattern,
)  # fmt: skip
COMPUTED: tuple[ComputedExplainer, ...] = (token_list,)
IMPORTED_METHODS: tuple[str, ...] = ("human", "imported")
SHUFFLED: tuple[Shuffled, ...] = tuple(
    Shuffled(source)
    for source in ("max_act", "token_list", *(member.NAME for member in EXPLAINERS[1:]), ensemble_concat.NAME, *IMPORTED_METHODS)
)
DERIVED: tuple[Derived, ...] = (*SHUFFLED, ensemble_concat, constant, planted_false)
BASELINES: tuple[str, ...] = (*(baseline.NAME for baseline in SHUFFLED), constant.NAME)
PLANTED_METHODS: tuple[str, ...] = tuple(PLANTED_CLAIMS)
METHODS: tuple[str, ...] = (*(member.NAME for member in (*EXPLAINERS, *COMPUTED, *DERIVED)), *IMPORTED_METHODS, *PLANTED_METHODS)


def control_of(method: str) -> str | None:
    """The baseline that a method's explanations are held against on the same features, as in the view leaderboard: other features'
    explanations by the same method. None for baselines, and for methods whose explanations are not shuffled."""
    return next((baseline.NAME for baseline in SHUFFLED if method in baseline.SOURCES), None)


__all__ = [
    "BASELINES",
    "COMPUTED",
    "DERIVED",
    "EXPLAINERS",
    "IMPORTED_METHODS",
    "METHODS",
    "PLANTED_METHODS",
    "SHUFFLED",
    "ChoosingExplainer",
    "ComputedExplainer",
    "Derived",
    "Explainer",
    "ExplainingSettings",
    "Shuffled",
    "baseline_of",
    "control_of",
]
