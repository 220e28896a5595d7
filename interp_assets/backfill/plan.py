"""The plan of a backfill: which partitions it would make and which it would keep, from manifests and settings alone."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import dagster as dg
import numpy as np

from interp_assets.assets.feature_matches.matching import asked_matches
from interp_assets.assets.score_stability.asked import AskedAgain, asked_again, asks_for_stability, stability_inputs, stability_version
from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition, range_holding
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.scoring import SCORERS
from interp_assets.orchestration.chosen_features import with_chosen_features
from interp_assets.orchestration.stage import RangeStage, Versioned, Versions
from interp_assets.orchestration.versions import activations_version, embeddings_version, neighbours_version, sample_version
from interp_assets.tables import (
    ACTIVATIONS,
    DICTIONARY_EMBEDDINGS,
    DICTIONARY_SAMPLES,
    EXPLANATIONS,
    FEATURE_MATCHES,
    FEATURE_NEIGHBOURS,
    FEATURE_STATISTICS,
    SCORE_VARIANCES,
    SCORES,
    Table,
)
from resources.store.lake import Lake, LakeError

STABILITY = "score_stability"
BEFORE_RANGES = ("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")
"""Assets of a whole dictionary that ranges are made from. Other assets of a whole dictionary are made from the ranges."""

ModelRevisions = Callable[[DictionaryRecord], str]


@dataclass(frozen=True)
class PlannedAsset:
    """What a backfill means for one asset and dictionary (None: over all dictionaries).

    `to_make` and `blocked` are feature ranges, or "" for an asset that is not made by range. A blocked range lacks an input that the
    backfill does not make: `reason` names the input. `asked` says whether the settings ask for any rows; if not, a partition costs nothing.
    `features` counts, by explanation method, the features that a language model may be asked about. `again` are the questions about each of
    `n_again` features whose scores are taken again. `certain` is False where the asset itself decides which partitions it keeps.
    `n_without_features` of the ranges to make hold no selected feature. `deals` has, by explanation method, how many texts of a feature are
    judged, where they are several.
    """

    asset: str
    dictionary: str | None
    to_make: tuple[str, ...]
    n_kept: int
    blocked: tuple[str, ...] = ()
    reason: str = ""
    asked: bool = True
    certain: bool = True
    features: Mapping[str, int] = field(default_factory=dict)
    n_without_features: int = 0
    again: tuple[AskedAgain, ...] = ()
    n_again: int = 0
    deals: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Expected:
    data_version: str


class PathVersions(Versions, Protocol):
    """The data versions of partitions, and the paths that tell partitions apart: a lake is one."""

    def path(self, table: str, partition: Mapping[str, str]) -> str: ...


class LakeAfter:
    """The data versions of a lake as they will be after the planned partitions are made: the `Versions` of later stages."""

    def __init__(self, lake: PathVersions) -> None:
        self._lake = lake
        self._expected: dict[str, _Expected] = {}

    def expect(self, table: Table, partition: Mapping[str, str], data_version: str) -> bool:
        """Note that a partition will have this version. Returns whether the partition must be made for it."""
        known = self.manifest(table.name, partition)
        self._expected[self._lake.path(table.name, partition)] = _Expected(data_version)
        return known is None or known.data_version != data_version

    def manifest(self, table: str, partition: Mapping[str, str]) -> Versioned | None:
        """The expected manifest of a partition; None where the partition will not exist."""
        return self._expected.get(self._lake.path(table, partition)) or self._lake.manifest(table, partition)

    def require(self, table: str, partition: Mapping[str, str]) -> Versioned:
        """The expected manifest of a partition. Raises `LakeError` naming the partition where it will not exist."""
        return self._expected.get(self._lake.path(table, partition)) or self._lake.require(table, partition)


def ranges_holding(record: DictionaryRecord, features: AskedFeatures) -> tuple[str, ...]:
    """The feature ranges that hold any of `features`, in order. Raises `UserError` where the record selects none of them."""
    selected = record.selected_features
    places = np.flatnonzero(np.isin(selected, features.among(selected)))
    found = tuple(FEATURE_RANGE_KEYS[index] for index in sorted({range_holding(place, len(selected)) for place in places.tolist()}))
    if not found:
        raise UserError(
            f"--features: dictionary {record.key} selects none of these features; it selects {len(selected):,} features"
            + (f" between {selected[0]} and {selected[-1]}" if len(selected) else "")
        )
    return found


def ranges_with_features(lake: Lake, record: DictionaryRecord) -> tuple[str, ...]:
    """The feature ranges that hold any selected feature, in order; all ranges where none does, and before the harvest of a dictionary whose
    condition chooses the features."""
    try:
        record = with_chosen_features(lake, record)
    except LakeError:
        return FEATURE_RANGE_KEYS
    return tuple(name for name in FEATURE_RANGE_KEYS if len(record.features_of(RangeKey(record.key, name)))) or FEATURE_RANGE_KEYS


@dataclass(frozen=True)
class Planner:
    """Everything that the data versions of a site depend on. `tokenizer_revision` and `encoder_revision` look models up, without their
    weights."""

    lake: Lake
    registry: DictionaryRegistry
    settings: PlatformSettings
    stages: tuple[RangeStage, ...]
    tokenizer_revision: ModelRevisions
    encoder_revision: Callable[[], str]

    def plan(
        self,
        assets: Mapping[str, dg.AssetsDefinition],
        dictionaries: Sequence[str],
        ranges: Mapping[str, Sequence[str]],
        after: "LakeAfter | None" = None,
    ) -> list[PlannedAsset]:
        """What a backfill of `assets` (by name, in the order of the graph) would make of the dictionaries' feature ranges.

        Inputs are looked up as they will be: where a stage is made again under the same version, stages after it are kept. Assets that this
        module does not know decide for themselves when they run. `after` is told the expected versions.
        """
        after = after or LakeAfter(self.lake)
        stages = {stage.asset: stage for stage in self.stages}
        planned: list[PlannedAsset] = []
        for name, asset in assets.items():
            if asset.partitions_def is None:
                planned.append(PlannedAsset(name, None, ("",), 0))
                continue
            for key in dictionaries:
                record = self.registry.get(key)
                if name in stages:
                    planned.append(self._by_range(after, stages[name], record, ranges[key]))
                else:
                    planned.append(self._by_dictionary(after, name, record))
        return planned

    def _by_dictionary(self, after: LakeAfter, asset: str, record: DictionaryRecord) -> PlannedAsset:
        """The plan of an asset that is made by dictionary."""
        partition, stages = {"dictionary": record.key}, self.settings.stage_settings(record.stages)

        def sample() -> str:
            return after.require(DICTIONARY_SAMPLES.name, partition).data_version

        def activations() -> str:
            return after.require(ACTIVATIONS.name, lake_partition(RangeKey(record.key, FEATURE_RANGE_KEYS[0]))).data_version

        def written() -> Iterator[tuple[Table, Mapping[str, str], str]]:
            if asset == "token_sample":
                yield DICTIONARY_SAMPLES, partition, sample_version(record, self.tokenizer_revision(record))
            elif asset == "activation_shards":
                version = activations_version(record, stages, sample())
                for name in FEATURE_RANGE_KEYS:
                    for table in (ACTIVATIONS, FEATURE_STATISTICS):
                        yield table, lake_partition(RangeKey(record.key, name)), version
            elif asset == "feature_neighbours":
                yield FEATURE_NEIGHBOURS, partition, neighbours_version(stages, activations())
            elif asset == "window_embeddings":
                yield DICTIONARY_EMBEDDINGS, partition, embeddings_version(record, stages, sample(), self.encoder_revision)
            elif asset == "feature_matches":
                matches = asked_matches(after, self.registry, self.settings, record, self.encoder_revision)
                yield FEATURE_MATCHES, partition, matches.data_version
            elif asset == STABILITY:
                yield SCORE_VARIANCES, partition, stability_version(stages, self.settings, stability_inputs(after, record, stages))

        try:
            tables = list(written())
        except LakeError as error:
            return PlannedAsset(asset, record.key, (), 0, ("",), str(error))
        if not tables:
            return PlannedAsset(asset, record.key, ("",), 0, certain=False)
        made = [after.expect(*one) for one in tables]
        planned = PlannedAsset(asset, record.key, ("",) if any(made) else (), int(not any(made)))
        if asset != STABILITY or not any(made):
            return planned
        n_again = min(stages.stability.n_features, len(record.selected_features))
        return replace(planned, asked=asks_for_stability(stages), again=tuple(asked_again(stages)), n_again=n_again)

    def _by_range(self, after: LakeAfter, stage: RangeStage, record: DictionaryRecord, ranges: Sequence[str]) -> PlannedAsset:
        """The plan of a per-range stage."""
        with contextlib.suppress(LakeError):  # before the harvest, a condition chooses any feature
            record = with_chosen_features(self.lake, record)
        stages = self.settings.stage_settings(record.stages)
        to_make: list[str] = []
        blocked: dict[str, str] = {}
        versions: list[tuple[RangeKey, str]] = []
        for name in ranges:
            key = RangeKey(record.key, name)
            try:
                versions.append((key, stage.data_version(stages, self.settings, stage.inputs(after, record, key, stages))))
            except LakeError as error:
                blocked[name] = str(error)
        for key, version in versions:
            if after.expect(stage.table, stage.partition(key), version):
                to_make.append(key.feature_range)
        asked = stage.asked_for(stages, self.settings)
        counts = [len(record.features_of(RangeKey(record.key, name))) for name in to_make]
        n_features = sum(counts)
        features = dict.fromkeys(_methods(stage, stages), n_features) if asked and n_features else {}
        n_kept = len(versions) - len(to_make)
        return PlannedAsset(
            stage.asset,
            record.key,
            tuple(to_make),
            n_kept,
            tuple(blocked),
            next(iter(blocked.values()), ""),
            asked,
            True,
            features,
            counts.count(0),
            deals={method: stages.explaining.deals(method) for method in features if stage.table is SCORES},
        )


def _methods(stage: RangeStage, stages: StageSettings) -> Sequence[str]:
    """The explanation methods of a stage's questions in the ledger; empty for a stage without explanation methods."""
    if stage.table is EXPLANATIONS:
        return [stage.extra["explanation_method"]]
    if stage.table is SCORES:
        (scorer,) = (scorer for scorer in SCORERS if stage.extra["scorer"] == scorer.NAME)
        return stages.scored(scorer)
    return []


def unblocked(planned: Sequence[PlannedAsset], ranges: Mapping[str, Sequence[str]]) -> Callable[[str, str], Sequence[str]]:
    """The ranges of each asset and dictionary without the blocked ranges, as `partitions_by_asset` takes them."""
    blocked = {(one.asset, one.dictionary): set(one.blocked) for one in planned}
    return lambda asset, dictionary: [name for name in ranges[dictionary] if name not in blocked.get((asset, dictionary), ())]


def count_of(planned: Sequence[PlannedAsset]) -> Counter:
    """Partitions of a plan by fate: to make, to make without rows, kept, blocked, and left to their asset's decision. `without_features`
    counts the partitions to make that hold no selected feature."""
    count: Counter = Counter()
    for one in planned:
        count["unsure" if not one.certain else "to_make" if one.asked else "empty"] += len(one.to_make)
        count["without_features"] += one.n_without_features if one.asked else 0
        count["kept"] += one.n_kept
        count["blocked"] += len(one.blocked)
    return count
