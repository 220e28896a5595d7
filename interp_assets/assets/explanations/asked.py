"""What a language model is asked about each feature by an explainer, and the explanation that its answers are graded to."""

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import dagster as dg

from interp_assets.asking.asker import Asker, answered_in_order, waves
from interp_assets.asking.encoder import cosines
from interp_assets.asking.questions import Answer, Question
from interp_assets.assets.explanations.explainer_inputs import read_explainer_inputs
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.explaining import ChoosingExplainer, ComputedExplainer, Explainer
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply
from interp_assets.domain.outcomes import FAILED, ExplanationOutcome
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.trials import Explanation
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.reading.examples import StoredExamples
from resources.model_provider import ModelProvider
from resources.store.lake import Lake


@dataclass(frozen=True)
class PlannedFeature:
    """A feature with its prompts, or with the outcome that takes their place; without stored examples, the end of its partition."""

    partition: RangePartition
    evidence: StoredExamples | None = None
    explainer_input: ExplainerInput | None = None
    prompts: tuple[Prompt, ...] | ExplanationOutcome = ()

    def questions(self, method: str) -> list[Question]:
        """The questions to the language model about the feature; none for an outcome."""
        prompts = () if isinstance(self.prompts, str) or self.explainer_input is None else self.prompts
        return [Question(self.explainer_input.feature, method, prompt) for prompt in prompts] if self.explainer_input else []


def planned_features(
    lake: Lake, explainer: Explainer, partitions: Sequence[RangePartition], log: dg.DagsterLogManager
) -> Iterator[PlannedFeature]:
    """Every feature of every partition; after the features of a partition, the end of the partition."""
    for partition in partitions:
        for evidence, explainer_input in read_explainer_inputs(lake, partition, explainer):
            prompts: tuple[Prompt, ...] | ExplanationOutcome
            try:
                prompts = explainer.plan(explainer_input, partition.settings.explaining.of(explainer), partition.settings.seed)
            except Exception:
                prompts = failed_explanation(explainer, explainer_input, log).outcome
            yield PlannedFeature(partition, evidence, explainer_input, prompts)
        yield PlannedFeature(partition)


def failed_explanation(explainer: Explainer | ComputedExplainer, explainer_input: ExplainerInput, log: dg.DagsterLogManager) -> Explanation:
    """The outcome of a feature on which the explainer's own code fails. Other features go on; the error being handled goes to the log."""
    log.error(f"{explainer.NAME} failed on feature {explainer_input.feature}:\n{traceback.format_exc()}")
    return Explanation(explainer_input.feature, explainer.NAME, None, FAILED, "", explainer.VERSION)


def answered_features(
    explainer: Explainer,
    asker: Asker,
    planned: Iterator[PlannedFeature],
    models: ModelProvider,
    settings: PlatformSettings,
    log: dg.DagsterLogManager,
) -> Iterator[tuple[PlannedFeature, list[Answer], Explanation | None]]:
    """Each planned feature with the answers and its explanation, in order; the explanation is None at the end of a partition."""
    for wave in waves(planned, lambda work: len(work.questions(explainer.NAME))):
        answers = answered_in_order(asker, [work.questions(explainer.NAME) for work in wave])
        if not explainer.CHOOSES:
            for work, given in zip(wave, answers, strict=True):
                yield work, given, _graded(explainer, work, given, log)
            continue
        yield from _chosen_by_encoder(cast(ChoosingExplainer, explainer), asker, wave, list(answers), models, settings, log)


def _graded(explainer: Explainer, work: PlannedFeature, answers: Sequence[Answer], log: dg.DagsterLogManager) -> Explanation | None:
    if work.explainer_input is None:
        return None
    if isinstance(work.prompts, str):
        return Explanation(work.explainer_input.feature, explainer.NAME, None, work.prompts, "", explainer.VERSION)
    try:
        return explainer.grade(work.explainer_input, _replies(answers), work.partition.settings.explaining.of(explainer))
    except Exception:
        return failed_explanation(explainer, work.explainer_input, log)


def _chosen_by_encoder(
    explainer: ChoosingExplainer,
    asker: Asker,
    wave: Sequence[PlannedFeature],
    answers: Sequence[list[Answer]],
    models: ModelProvider,
    settings: PlatformSettings,
    log: dg.DagsterLogManager,
) -> Iterator[tuple[PlannedFeature, list[Answer], Explanation | None]]:
    """Each feature of a wave with the answers and its explanation, where an explainer compares its candidates by the sentence encoder.

    The language model is freed before the encoder is loaded.
    """
    comparisons = []
    for work, given in zip(wave, answers, strict=True):
        own = work.partition.settings.explaining.of(explainer)
        asked = work.explainer_input is not None and not isinstance(work.prompts, str)
        try:
            comparisons.append(explainer.compare(work.explainer_input, _replies(given), own) if asked and work.explainer_input else None)
        except Exception:  # grading meets the same failure and names it
            comparisons.append(None)
    asked_for = [comparison for comparison in comparisons if comparison is not None]
    found: list[tuple[tuple[float, ...], ...]] = []
    if asked_for:
        asker.close()
        encoder = models.sentence_encoder(settings.sentence_encoder.source, settings.sentence_encoder.revision)
        try:
            found = list(cosines(encoder.embed, asked_for))
        finally:
            encoder.close()
    cosine = iter(found)
    for work, given, comparison in zip(wave, answers, comparisons, strict=True):
        own = work.partition.settings.explaining.of(explainer)
        if comparison is None or work.explainer_input is None:
            yield work, given, _graded(explainer, work, given, log)
            continue
        here = next(cosine)
        try:
            chosen = explainer.choose(work.explainer_input, _replies(given), own, here)
        except Exception:
            chosen = failed_explanation(explainer, work.explainer_input, log)
        yield work, given, chosen


def _replies(answers: Sequence[Answer]) -> list[ExplainerReply]:
    return [ExplainerReply(answer.reply.text, answer.reply.error) for answer in answers]
