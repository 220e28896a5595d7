"""The scorers: one file each. A new scorer is a file, a name in SCORERS and a field of `ScoringSettings`.

Every scorer plans trials about a scorer input, names the model that answers, grades the answers item by item, and sums the verdicts up.
Parts of several scorers stand in `shared`: `classifier` (yes or no), `choice` (one of several options), `ranking` (a number for each
window), `rating` (texts rated 0 to 2), `likelihood` (of a text in two contexts), `generated` (texts that a model writes), `sequential`
(when to stop asking), `prediction_powered` (about which windows to ask) and `estimated` (scores from some of the windows).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from interp_assets.domain.bounds import ADDED_LATER, PositiveCount
from interp_assets.domain.scoring import (
    clarity,
    description_likelihood,
    detection,
    discrimination,
    embedding,
    example_embedding,
    faithfulness,
    fuzzing,
    input_based,
    intervention,
    intruder,
    matcher,
    output_based,
    purity,
    responsiveness,
    sensitivity,
    simulation,
    surprisal,
)
from interp_assets.domain.scoring.clarity import ClaritySettings
from interp_assets.domain.scoring.description_likelihood import DescriptionLikelihoodSettings
from interp_assets.domain.scoring.detection import DetectionSettings
from interp_assets.domain.scoring.discrimination import DiscriminationSettings
from interp_assets.domain.scoring.embedding import EmbeddingSettings
from interp_assets.domain.scoring.example_embedding import ExampleEmbeddingSettings
from interp_assets.domain.scoring.faithfulness import FaithfulnessSettings
from interp_assets.domain.scoring.fuzzing import FuzzingSettings
from interp_assets.domain.scoring.input_based import InputBasedSettings
from interp_assets.domain.scoring.intervention import InterventionSettings
from interp_assets.domain.scoring.intruder import IntruderSettings
from interp_assets.domain.scoring.matcher import MatcherSettings
from interp_assets.domain.scoring.output_based import OutputBasedSettings
from interp_assets.domain.scoring.purity import PuritySettings
from interp_assets.domain.scoring.responsiveness import ResponsivenessSettings
from interp_assets.domain.scoring.sensitivity import SensitivitySettings
from interp_assets.domain.scoring.shared.prediction_powered import PredictionPoweredSettings
from interp_assets.domain.scoring.shared.sequential import SequentialSettings
from interp_assets.domain.scoring.simulation import SimulationSettings
from interp_assets.domain.scoring.surprisal import SurprisalSettings
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, TrialItem, Verdict


class Scorer(Protocol):
    """Plans trials about a scorer input, grades their answers, and sums verdicts up.

    MODEL says who answers: the "scorer" (a judge), the "generator" (a language model that writes texts), the "base" language model
    (likelihoods), the sentence "encoder", or no model but the "machine" itself. `texts` reads the generator's texts, and the subject model
    is run on them. HEADLINE is the metric that stands for the scorer in overviews. READS names the parts of a scorer input that the scorer
    needs beside examples. A scorer that reads no explanation is run once for each feature.
    """

    NAME: str
    VERSION: str
    MODEL: Model
    HEADLINE: str
    READS: frozenset[Reads]

    def plan(self, scorer_input: ScorerInput, settings: Any, run_seed: int) -> tuple[Trial, ...]:
        """Questions about the scorer input; none where there is nothing to ask about."""
        ...

    def grade(self, scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: Any) -> tuple[Verdict, ...]:
        """One verdict for each item of each trial, whatever the answers."""
        ...

    def summarise(
        self, scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: Any, n_bootstrap: int, run_seed: int
    ) -> tuple[ScoreRow, ...]:
        """Score rows, always with a row for HEADLINE; a row without a value has a named outcome."""
        ...


class SampledScorer(Scorer, Protocol):
    """A scorer that can be asked about some of its items, and estimates its score over all of them (`prediction_powered`)."""

    def items(self, scorer_input: ScorerInput, settings: Any, run_seed: int) -> list[tuple[TrialItem, str]]:
        """Every item with the text that the judge reads; `plan` asks about all of them."""
        ...

    def plan_some(
        self, scorer_input: ScorerInput, items: Sequence[tuple[TrialItem, str]], settings: Any, run_seed: int
    ) -> tuple[Trial, ...]:
        """Trials over some of the items."""
        ...


class GeneratorScorer(Scorer, Protocol):
    """A scorer whose MODEL is "generator"."""

    def texts(self, answered: AnsweredTrial) -> tuple[str, ...]:
        """The texts in a reply, on which the subject model is run; none where the reply cannot be read."""
        ...


@dataclass(frozen=True)
class ScoringSettings:
    """A block for each scorer, named after the scorer, and the settings that all scorers share."""

    n_bootstrap: PositiveCount = 1000
    """Bootstrap replicates, which say how wide intervals must be. Unit: replicates."""
    sequential: SequentialSettings | None = None
    """When to stop asking about a feature; without it every question is asked."""
    prediction_powered: Annotated[PredictionPoweredSettings | None, ADDED_LATER] = None
    """Which share of detection's and fuzzing's questions to ask, and what predicts the others; without it every question is asked."""
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    fuzzing: FuzzingSettings = field(default_factory=FuzzingSettings)
    simulation: SimulationSettings = field(default_factory=SimulationSettings)
    surprisal: SurprisalSettings = field(default_factory=SurprisalSettings)
    embedding: EmbeddingSettings = field(default_factory=EmbeddingSettings)
    intruder: IntruderSettings = field(default_factory=IntruderSettings)
    example_embedding: ExampleEmbeddingSettings = field(default_factory=ExampleEmbeddingSettings)
    discrimination: DiscriminationSettings = field(default_factory=DiscriminationSettings)
    input_based: InputBasedSettings = field(default_factory=InputBasedSettings)
    clarity: ClaritySettings = field(default_factory=ClaritySettings)
    responsiveness: ResponsivenessSettings = field(default_factory=ResponsivenessSettings)
    purity: PuritySettings = field(default_factory=PuritySettings)
    intervention: InterventionSettings = field(default_factory=InterventionSettings)
    output_based: OutputBasedSettings = field(default_factory=OutputBasedSettings)
    faithfulness: FaithfulnessSettings = field(default_factory=FaithfulnessSettings)
    matcher: MatcherSettings = field(default_factory=MatcherSettings)
    description_likelihood: DescriptionLikelihoodSettings = field(default_factory=DescriptionLikelihoodSettings)
    sensitivity: SensitivitySettings = field(default_factory=SensitivitySettings)

    def __post_init__(self) -> None:
        if self.sequential is not None and self.prediction_powered is not None:
            raise ValueError(
                "sequential and prediction_powered are both set, and each decides what is asked; set sequential for intervals of a given "
                "width, prediction_powered for a given share of the questions"
            )

    def of(self, scorer: Scorer) -> Any:
        """The scorer's own block."""
        return getattr(self, scorer.NAME)


SCORERS: tuple[Scorer, ...] = (
    detection, fuzzing, simulation, surprisal, embedding, intruder, example_embedding, discrimination, input_based, clarity,
    responsiveness, purity, intervention, output_based, faithfulness, matcher,
    description_likelihood, sensitivity,
)  # fmt: skip


SAMPLED: tuple[SampledScorer, ...] = (detection, fuzzing)
"""The scorers that `prediction_powered` concerns: their score is made of two rates, which a sample of windows estimates without bias."""


def reads_steering(scorer: Scorer) -> bool:
    """Whether a scorer reads results of steering."""
    return not scorer.READS.isdisjoint({"steered", "steered_sets"})


__all__ = ["SAMPLED", "SCORERS", "GeneratorScorer", "SampledScorer", "Scorer", "ScoringSettings", "SequentialSettings", "reads_steering"]
