"""A judge that is asked about some windows: which windows, group by group, and what earlier groups say of the judge's answers."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, cast

import numpy as np

from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.scoring import SAMPLED, SampledScorer, Scorer
from interp_assets.domain.scoring.shared.prediction_powered import (
    FIRST_GROUP,
    LARGEST_GROUP,
    JudgePrediction,
    PredictionPoweredSettings,
    allocated,
    drawn,
    expected_spread,
)
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.stratified_sample import sampled_rate
from interp_assets.domain.trials import TrialItem, Verdict, deal_of, of_deal
from interp_assets.measuring.answerer import AnsweredInput, Judging, Planned
from interp_assets.measuring.control_variates import N_COLUMNS, ControlVariates
from resources.model_provider import ModelProvider

Predictions = dict[tuple[str, bool], JudgePrediction]
"""By explanation method and kind of window."""


def sampling_settings(scorer: Scorer, settings: PredictionPoweredSettings | None, platform: PlatformSettings) -> list[Any]:
    """The settings that decide which windows a scorer's judge is asked about; none where all windows are asked about."""
    if settings is None or scorer not in SAMPLED:
        return []
    return [settings, *([platform.sentence_encoder.versioned_settings] if "embedding" in settings.control_variates else [])]


@dataclass(frozen=True)
class Sampled:
    """A scorer input of which some windows are asked about, with what its answers will teach. `columns` are of all `items`, and
    `chosen` are the places of the items asked about."""

    planned: Planned
    items: list[TrialItem]
    columns: np.ndarray
    chosen: np.ndarray


class Sampling:
    """Answers by a judge, about a sample of the windows where a partition's settings ask for it (`prediction_powered`), else about all.

    A partition is asked in groups of scorer inputs. The windows of a group are chosen by predictions fitted to the answers of the
    partition's earlier groups, so that what is asked depends on the partition alone: not on what else a run makes, nor on where an earlier
    run stopped.
    """

    def __init__(self, scorer: Scorer, judging: Judging, settings: PlatformSettings, models: ModelProvider) -> None:
        self._scorer, self._judging = cast(SampledScorer, scorer), judging
        self._cheap = ControlVariates(settings.sentence_encoder, models)

    def answer(self, planned: Iterator[Planned]) -> Iterator[AnsweredInput]:
        """Answers in planned order."""
        for sampled, works in groupby(planned, key=lambda work: work.partition.settings.scoring.prediction_powered is not None):
            if not sampled:
                yield from self._judging.answer(works)
                continue
            for _, partition in groupby(works, key=lambda work: work.partition.key):
                yield from self._partition(partition)

    def close(self) -> None:
        """Free the judge and the encoder."""
        self._judging.close()
        self._cheap.close()

    def _partition(self, works: Iterator[Planned]) -> Iterator[AnsweredInput]:
        size, predictions = FIRST_GROUP, cast(Predictions, {})
        while group := list(islice(works, size)):
            sampled = self._sampled(group, predictions)
            asked = [sampled[number].planned if number in sampled else work for number, work in enumerate(group)]
            learned: list[tuple[Sampled, AnsweredInput]] = []
            for number, found in enumerate(self._judging.answer(iter(asked))):
                if number in sampled:
                    learned.append((sampled[number], found))
                yield found
            for one, found in learned:
                self._learn(one, found, predictions)
            size = min(2 * size, LARGEST_GROUP)

    def _sampled(self, group: Sequence[Planned], predictions: Predictions) -> dict[int, Sampled]:
        """The scorer inputs of a group of which some windows are asked about, by their place in the group."""
        concerned: dict[int, tuple[Planned, list[tuple[TrialItem, str]]]] = {}
        for number, work in enumerate(group):
            if work.scorer_input is not None and work.trials:
                settings = work.partition.settings
                concerned[number] = (work, self._scorer.items(work.scorer_input, settings.scoring.of(self._scorer), settings.seed))
        if not concerned:
            return {}
        stages = group[0].partition.settings
        scoring, powered = stages.scoring, cast(PredictionPoweredSettings, stages.scoring.prediction_powered)
        asked = [(work.scorer_input, [item for item, _ in items]) for work, items in concerned.values() if work.scorer_input is not None]
        columns = self._cheap.columns(powered.control_variates, asked, scoring.embedding.instruction)
        n_columns = sum(N_COLUMNS[name] for name in powered.control_variates)
        predicted: list[np.ndarray] = []
        truths = [np.array([item.truth for item in items], dtype=bool) for _, items in asked]
        for (scorer_input, _), own, truth in zip(asked, columns, truths, strict=True):
            values = np.zeros(len(truth))
            for kind in (True, False):
                if (truth == kind).any():
                    prediction = predictions.setdefault((scorer_input.method, kind), JudgePrediction(n_columns))
                    values[truth == kind] = prediction.predict(own[truth == kind])
            predicted.append(values)
        per_prompt = scoring.of(self._scorer).per_prompt
        counts = allocated([expected_spread(one) for one in predicted], truths, powered.share, per_prompt)
        found: dict[int, Sampled] = {}
        for (number, (work, items)), own, values, truth, n in zip(concerned.items(), columns, predicted, truths, counts, strict=True):
            if sum(n.values()) < len(items):
                found[number] = self._planned(work, items, own, values, truth, n)
        return found

    def _planned(
        self, work: Planned, items: Sequence[tuple[TrialItem, str]], columns: np.ndarray, predicted: np.ndarray, truth: np.ndarray,
        n: dict[bool, int],
    ) -> Sampled:  # fmt: skip
        """The scorer input with trials about `n` windows of each kind."""
        assert work.scorer_input is not None
        settings = work.partition.settings
        deal = deal_of(work.trials[0].trial_id)
        rng = generator(settings.seed, work.scorer_input.feature, f"{self._scorer.NAME} sample{f' of deal {deal + 1}' if deal else ''}")
        chosen, weights = drawn(predicted, truth, n, rng)
        some = [
            (replace(items[place][0], weight=weight, predicted=float(predicted[place])), items[place][1])
            for place, weight in zip(chosen.tolist(), weights.tolist(), strict=True)
        ]
        trials = self._scorer.plan_some(work.scorer_input, some, settings.scoring.of(self._scorer), settings.seed)
        trials = of_deal(trials, deal)
        left = np.setdiff1d(np.arange(len(items)), chosen).tolist()
        planned = replace(work, trials=trials, left_out=tuple(items[place][0] for place in left))
        return Sampled(planned, [item for item, _ in items], columns, chosen)

    def _learn(self, one: Sampled, found: AnsweredInput, predictions: Predictions) -> None:
        """Let the answers about a scorer input improve the predictions; an input on which the scorer's own code fails teaches nothing."""
        scorer_input = one.planned.scorer_input
        assert scorer_input is not None
        try:
            verdicts = self._scorer.grade(scorer_input, found.trials, one.planned.partition.settings.scoring.of(self._scorer))
        except Exception:
            return
        places = _places(one, found)
        by_kind: dict[bool, list[tuple[int, Verdict]]] = defaultdict(list)
        for verdict in verdicts:
            if verdict.prediction is not None:
                by_kind[verdict.truth].append((places[verdict.trial_id, verdict.item], verdict))
        truth = np.array([item.truth for item in one.items], dtype=bool)
        for kind, answered in by_kind.items():
            own = np.flatnonzero(truth == kind)
            here = np.searchsorted(own, [place for place, _ in answered])
            answers = np.array([verdict.prediction for _, verdict in answered], dtype=np.float64)
            weights = np.array([verdict.weight or 1 for _, verdict in answered])
            values = np.array([verdict.predicted or 0.0 for _, verdict in answered])
            rate = sampled_rate(answers > 0, weights, values, len(own)).value
            predictions[scorer_input.method, kind].learn(one.columns[own], here, answers, rate)


def _places(one: Sampled, found: AnsweredInput) -> dict[tuple[str, int], int]:
    """The place among all items of each item asked about, by trial and place in the trial. An item is known by its window and truth."""
    place_of = {(one.items[place].example_id, one.items[place].truth): place for place in one.chosen.tolist()}
    return {
        (answered.trial.trial_id, number): place_of[item.example_id, item.truth]
        for answered in found.trials
        for number, item in enumerate(answered.trial.items)
    }
