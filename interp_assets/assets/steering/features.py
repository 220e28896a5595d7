"""Steers the features of a dictionary: prompts from the activation store, strengths for all features of a block at once, and the rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from interp_assets.assets.steering.sets import SteeredSet, fixed_prompt_ids, steered_sets
from interp_assets.config.directions import directions_of
from interp_assets.config.keys import RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.domain.outcomes import SteeredSetOutcome, SteeringOutcome
from interp_assets.domain.seeds import generator
from interp_assets.domain.steering.strengths import SteeringPrompts, SteeringSettings, Tuned, steering_prompts, tune
from interp_assets.measuring.directions import decoder_rows
from interp_assets.measuring.loaded_models import LoadedModels
from interp_assets.measuring.vocabulary import VocabularyTexts
from interp_assets.reading.activations import activations_in_order
from interp_assets.reading.token_sample import TokenSample, read_token_sample
from interp_assets.tables import STEERED_TEXTS, STEERING
from resources.model_provider import ModelProvider
from resources.store.lake import Lake
from resources.subject.document_breaks import ReadableTexts
from resources.subject.interface import SubjectTokenizer
from resources.subject.steerer import Interventions, Steerer, TokenShifts


@dataclass(frozen=True, eq=False)
class TunedRun:
    """One feature under one intervention. `tuned` is None for zero-ablation; `completions` and `shifts` have an entry for each prompt."""

    tuned: Tuned | None
    realised_kl: float
    completions: list[list[int]]
    shifts: TokenShifts

    @property
    def key(self) -> dict[str, Any]:
        """Columns that tell this run from other runs of the feature."""
        return {"intervention": "strength" if self.tuned else "zero_ablation", "target_kl": self.tuned.target if self.tuned else None}


@dataclass(frozen=True, eq=False)
class SteeredFeature:
    """One feature with its prompts and their completions; without runs unless the outcome is "ok".

    `fixed` is the feature's set on the fixed prompts, None where there are no fixed prompts. The set needs no contexts of the feature, and
    so has its own outcome.
    """

    feature: int
    outcome: SteeringOutcome
    n_contexts: int
    prompts: SteeringPrompts | None = None
    clean: tuple[list[int], ...] = ()
    runs: tuple[TunedRun, ...] = ()
    fixed: SteeredSet | None = None


class FeatureSteerer:
    """Steers the features of one range after the other."""

    def __init__(self, models: ModelProvider, lake: Lake) -> None:
        self._loaded, self._lake = LoadedModels(models), lake
        self._sample: tuple[str, TokenSample] | None = None

    def blocks(self, record: DictionaryRecord, key: RangeKey, stages: StageSettings) -> Iterator[list[SteeredFeature]]:
        """The features of a range in their order, block by block; nothing for no features.

        A block ends when the prompts of its features fill two batches, or when one fixed prompt for each feature fills two batches.
        Imported and planted dictionaries have no decoder here. The model is loaded for the first feature with prompts.
        """
        features, settings = record.features_of(key), stages.steering
        if not record.reads_hook:
            sets = [SteeredSet(feature, "no_decoder") if settings.fixed.prompts else None for feature in features.tolist()]
            yield [SteeredFeature(feature, "no_decoder", 0, fixed=one) for feature, one in zip(features.tolist(), sets, strict=True)]
            return
        size = max(2 * settings.batch_rows // settings.n_prompts, 1)
        block: list[tuple[int, SteeringPrompts]] = []
        for item in self._prompts(record, key, stages):
            block.append(item)
            if sum(prompts.outcome == "ok" for _, prompts in block) == size or len(block) == 2 * settings.batch_rows:
                yield self._steered(record, block, stages)
                block = []
        if block:
            yield self._steered(record, block, stages)

    def tokenizer(self, record: DictionaryRecord) -> SubjectTokenizer:
        """The tokenizer of a dictionary's model."""
        return self._loaded.tokenizer(record.model)

    def close(self) -> None:
        """Free the models."""
        self._loaded.close()

    def _prompts(self, record: DictionaryRecord, key: RangeKey, stages: StageSettings) -> Iterator[tuple[int, SteeringPrompts]]:
        """Every feature of a range with its prompts."""
        sample, first = self._sample_of(record)
        for feature, (positions, values) in activations_in_order(self._lake, key, record.features_of(key), directions_of(record).narrowed):
            rng = generator(stages.seed, feature, "steering prompts")
            silent = stages.examples.silent_share
            yield feature, steering_prompts(positions, values, sample.tokens, stages.steering, rng, first, silent, sample.passages)

    def _steered(
        self, record: DictionaryRecord, block: Sequence[tuple[int, SteeringPrompts]], stages: StageSettings
    ) -> list[SteeredFeature]:
        fixed = stages.steering.fixed
        wanted = [item for item in block if fixed.prompts or item[1].outcome == "ok"]
        unwritten: dict[int, SteeredSetOutcome] = {}
        found: dict[int, SteeredFeature] = {}
        sets: dict[int, SteeredSet] = {}
        if wanted:
            subject, dictionary = self._loaded.subject(record.model), self._loaded.dictionary(record)
            rows = decoder_rows(dictionary, np.array([feature for feature, _ in wanted]))
            written = [False] * len(wanted) if rows is None else rows.any(dim=1).tolist()
            lacking: SteeredSetOutcome = "no_decoder" if rows is None else "zero_decoder"
            unwritten = {feature: lacking for (feature, _), writes in zip(wanted, written, strict=True) if not writes}
            steerable = [item for item in wanted if item[0] not in unwritten]
            if fixed.prompts:
                sets = {feature: SteeredSet(feature, outcome) for feature, outcome in unwritten.items()}
            if steerable:
                steerer = Steerer(subject, dictionary, stages.steering.batch_rows)
                if fixed.prompts:
                    ids = fixed_prompt_ids(fixed, self.tokenizer(record), bool(self._sample_of(record)[1]))
                    made = steered_sets(steerer, [feature for feature, _ in steerable], ids, stages.steering, stages.seed)
                    sets |= {one.feature: one for one in made}
                if in_context := [item for item in steerable if item[1].outcome == "ok"]:
                    texts = self._loaded.texts(record.model)
                    found = {one.feature: one for one in steered_features(steerer, in_context, stages.steering, stages.seed, texts)}
        return [
            replace(
                found.get(feature)
                or SteeredFeature(
                    feature, unwritten.get(feature, "ok") if prompts.outcome == "ok" else prompts.outcome, prompts.n_contexts
                ),
                fixed=sets.get(feature),
            )
            for feature, prompts in block
        ]

    def _sample_of(self, record: DictionaryRecord) -> tuple[TokenSample, int]:
        """The dictionary's sample, and 1 where its rows begin with BOS, else 0."""
        if self._sample is None or self._sample[0] != record.key:
            self._sample = record.key, read_token_sample(self._lake, record.key)
        return self._sample[1], self._sample[1].first_position(self.tokenizer(record).bos_token_id)


def steered_features(
    steerer: Steerer, wanted: Sequence[tuple[int, SteeringPrompts]], settings: SteeringSettings, run_seed: int, texts: VocabularyTexts
) -> Iterator[SteeredFeature]:
    """Each feature steered to every target and, if asked for, ablated. All features have the same number of prompts and go through the
    model together.

    The random numbers of a prompt's completions are drawn by feature, and are the same for the clean completion and for all steered
    completions. So a difference between two completions comes from the steering, while each completion by itself is a fair sample.
    """
    n = settings.n_prompts
    features = np.array([feature for feature, _ in wanted], dtype=np.int64)
    prepared = steerer.prepare([ids for _, prompts in wanted for ids in prompts.token_ids], settings.max_new_tokens)
    own = np.arange(len(wanted) * n).reshape(len(wanted), n)

    def adding(places: np.ndarray, strengths: np.ndarray) -> Interventions:
        return Interventions.adding(own[places].ravel(), np.repeat(features[places], n), np.repeat(strengths, n))

    def measure(places: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        return steerer.divergences(prepared, adding(places, strengths)).reshape(-1, n).mean(1)

    tuned = tune(len(wanted), settings, measure)
    ends: list[tuple[int, Tuned]] = [(place, end) for place, of_feature in enumerate(tuned) for end in of_feature]
    plan = adding(np.array([place for place, _ in ends], dtype=np.int64), np.array([end.strength for _, end in ends]))
    everyone = np.arange(len(wanted)) if settings.zero_ablation else np.arange(0)
    ablation = Interventions.ablating(own[everyone].ravel(), np.repeat(features[everyone], n))
    plan = Interventions.joined([plan, ablation])
    draws = np.concatenate([generator(run_seed, f, "steering completions").random((n, settings.max_new_tokens)) for f in features.tolist()])
    ablated = steerer.divergences(prepared, ablation).reshape(-1, n).mean(1).tolist()
    clean = steerer.completions(prepared, Interventions.clean(own.ravel()), draws, settings.temperature)
    completions = steerer.completions(prepared, plan, draws[plan.prompt], settings.temperature)
    shifts = steerer.shifts(prepared, plan, settings.n_shift_tokens, texts.left_out(prepared.clean.shape[1]))
    runs: dict[int, list[TunedRun]] = {place: [] for place in range(len(wanted))}
    kinds: list[tuple[int, Tuned | None]] = [*ends, *((place, None) for place in everyone.tolist())]
    for number, (place, end) in enumerate(kinds):
        part = slice(number * n, (number + 1) * n)
        runs[place].append(TunedRun(end, end.realised_kl if end else ablated[place], completions[part], shifts.take(part)))
    for place, (feature, prompts) in enumerate(wanted):
        part = slice(place * n, (place + 1) * n)
        yield SteeredFeature(feature, "ok", prompts.n_contexts, prompts, tuple(clean[part]), tuple(runs[place]))


def steering_rows(key: RangeKey, steered: Sequence[SteeredFeature]) -> pa.Table:
    """Rows of the table `steering`: one row for each run of a feature, or one row with the feature's outcome."""
    rows: list[dict[str, Any]] = []
    for one in steered:
        common = {"dictionary": key.dictionary, "feature_range": key.feature_range, "feature": one.feature, "n_contexts": one.n_contexts}
        if not one.runs:
            rows.append({**common, "n_prompts": 0, "outcome": one.outcome})
        for run in one.runs:
            realised_kl = run.realised_kl if np.isfinite(run.realised_kl) else None
            rows.append({**common, **run.key, "realised_kl": realised_kl, "n_prompts": len(one.clean), **_tuned_columns(run.tuned)})
    return pa.Table.from_pylist(rows, schema=STEERING.schema)


def _tuned_columns(tuned: Tuned | None) -> dict[str, Any]:
    if tuned is None:
        return {"outcome": "ok"}
    tried = [{"strength": pair.strength, "kl": pair.kl} for pair in tuned.tried]
    return {"strength": tuned.strength, "n_steps": tuned.n_steps, "tried": tried, "outcome": tuned.outcome}


def text_rows(key: RangeKey, steered: Sequence[SteeredFeature], tokenizer: SubjectTokenizer) -> pa.Table:
    """Rows of the table `steered_texts`: one for each prompt of each run."""
    shown = ReadableTexts(tokenizer)
    rows: list[dict[str, Any]] = []
    for one, run in ((feature, run) for feature in steered for run in feature.runs):
        assert one.prompts is not None, one.feature
        sides = [_shifted(run.shifts, side, tokenizer) for side in (0, 1)]
        for number, (ids, role) in enumerate(zip(one.prompts.token_ids, one.prompts.roles, strict=True)):
            start = int(one.prompts.starts[number])
            rows.append({
                "dictionary": key.dictionary, "feature_range": key.feature_range, "feature": one.feature, **run.key, "prompt": number,
                "role": role, "row": int(one.prompts.rows[number]), "start": start, "prompt_token_ids": ids.tolist(),
                "prompt_text": shown.text(ids[one.prompts.first_token :]), "clean_completion": shown.text(one.clean[number]),
                "steered_completion": shown.text(run.completions[number]), "raised_tokens": sides[0][number],
                "lowered_tokens": sides[1][number],
            })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=STEERED_TEXTS.schema)


def _shifted(shifts: TokenShifts, side: int, tokenizer: SubjectTokenizer) -> list[list[dict[str, Any]]]:
    """For each prompt the shifted tokens of one side."""
    ids = shifts.token_ids[:, side]
    tokens = iter(tokenizer.texts(ids.ravel()))
    found: list[list[dict[str, Any]]] = [[] for _ in ids]
    for row, column in product(*map(range, ids.shape)):
        found[row].append({
            "token_id": int(ids[row, column]), "token": next(tokens), "clean_logprob": float(shifts.clean[row, side, column]),
            "steered_logprob": float(shifts.steered[row, side, column]),
        })  # fmt: skip
    return found
