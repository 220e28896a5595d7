"""The plan of a run in this process: which assets it makes, of which feature ranges, and for which features.

With features, a partition is made for these features alone (see `orchestration/narrowing.py`). A range whose partition is whole and current
already has the features, and is kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from interp_assets.backfill.command import chosen_assets
from interp_assets.backfill.launch import known_assets
from interp_assets.backfill.plan import BEFORE_RANGES, LakeAfter, PlannedAsset, Planner
from interp_assets.config.base import UserError
from interp_assets.config.directions import DirectedRecord, DirectedRegistry, Directions
from interp_assets.config.feature_lists import AskedFeatures, selected_among
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.explaining import DERIVED
from interp_assets.domain.scoring import SCORERS
from interp_assets.graph.assembly import ASSETS, RANGE_STAGES
from interp_assets.installation.home import Home
from interp_assets.orchestration.narrowing import WholeVersions, features_made, narrowed_version, whole_version
from interp_assets.orchestration.stage import RangeStage, Upstream, Versioned
from resources.model_provider import ModelProvider
from resources.store.lake import Lake, LakeError
from resources.weights import WeightsError

STAGES: Mapping[str, RangeStage] = {stage.asset: stage for stage in RANGE_STAGES}
SUBJECT_STAGES = ("vocabulary_projections", "token_changes", "steering")
"""Stages by range that load the subject model, which takes longer than a few questions."""

SHUFFLING = tuple(derived.NAME for derived in DERIVED if derived.SHUFFLES)
"""Methods whose explanations are other features' explanations: a few features have no others to draw from."""


@dataclass(frozen=True)
class PlannedRun:
    """What a run in this process makes: assets of the whole dictionary `before`, assets of `ranges`, and assets of the whole dictionary
    `after`. `record` has the run's directions; `notes` are lines for the user."""

    record: DirectedRecord
    before: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def is_empty(self) -> bool:
        """Whether everything is there."""
        return not (self.before or self.assets or self.after)


def planned_run(
    home: Home, key: str, asked: AskedFeatures | None, only: Sequence[str], models: ModelProvider, replace: bool = False
) -> PlannedRun:
    """The plan of a run of one dictionary; with `asked` of these features alone, and with `only` of these assets alone.

    Raises `UserError` for a feature that the record does not select, for assets that nothing asks for or that lack an input, and, without
    `replace`, where rows of other features of a range would go.
    """
    record = home.registry.get(key)
    features = None if asked is None else selected_among(record, record.selected_features, asked).tolist()
    ranges = FEATURE_RANGE_KEYS if features is None else tuple(sorted({record.range_of(one).feature_range for one in features}))
    chosen = chosen_assets(home, [key], only).assets
    if everywhere := [name for name in only if chosen.get(name) is not None and chosen[name].partitions_def is None]:
        raise UserError(f"{', '.join(everywhere)} is made over all dictionaries: dg launch --assets {','.join(everywhere)}")
    assets = {name: asset for name, asset in chosen.items() if asset.partitions_def is not None}
    planned = {one.asset: one for one in _planned(home, record, assets, ranges, models, LakeAfter(home.lake))}
    if features is None:
        return _whole(record, planned, bool(only))
    return _Narrowing(home, record, assets, planned, ranges, frozenset(features), only, replace).planned(models)


def _planned(
    home: Home, record: DictionaryRecord, assets: Mapping[str, Any], ranges: Sequence[str], models: ModelProvider, after: LakeAfter
) -> list[PlannedAsset]:
    """The plan over `after`. Raises `UserError` where a model is not found."""
    encoder = home.settings.sentence_encoder
    registry = DirectedRegistry(home.registry, [record] if isinstance(record, DirectedRecord) else [])
    planner = Planner(
        home.lake, registry, home.settings, RANGE_STAGES,
        lambda one: models.tokenizer(one.model.source, one.model.revision).revision,
        lambda: models.sentence_encoder(encoder.source, encoder.revision).revision,
    )  # fmt: skip
    try:
        return planner.plan(assets, [record.key], {record.key: ranges}, after)
    except WeightsError as error:
        raise UserError(str(error)) from error


def _whole(record: DictionaryRecord, planned: Mapping[str, PlannedAsset], by_name: bool) -> PlannedRun:
    """The plan of a run of all features."""
    to_make = {name: one for name, one in planned.items() if one.to_make}
    blocked = {name: one.reason for name, one in planned.items() if one.blocked and one.asked}
    _refuse_blocked(blocked, by_name and not to_make)
    by_range = [name for name in to_make if name in STAGES]
    ranges = tuple(one for one in FEATURE_RANGE_KEYS if any(one in to_make[name].to_make for name in by_range))
    return PlannedRun(
        DirectedRecord.of(record, Directions()),
        tuple(name for name in to_make if name in BEFORE_RANGES),
        tuple(by_range),
        ranges,
        tuple(name for name in to_make if name not in BEFORE_RANGES and name not in STAGES),
        tuple(f"left out: {name}: {reason}" for name, reason in blocked.items()),
    )


def _refuse_blocked(blocked: Mapping[str, str], alone: bool) -> None:
    if blocked and alone:
        raise UserError("; ".join(f"{name} cannot be made: {reason}" for name, reason in blocked.items()))


class _MarklessLake:
    """A lake whose partitions of some features count as whole, as `LakeAfter` reads it."""

    def __init__(self, lake: Lake) -> None:
        self._versions, self.path = WholeVersions(lake), lake.path

    def manifest(self, table: str, partition: Mapping[str, str]) -> Versioned | None:
        """As `WholeVersions.manifest`."""
        return self._versions.manifest(table, partition)

    def require(self, table: str, partition: Mapping[str, str]) -> Versioned:
        """As `WholeVersions.require`."""
        return self._versions.require(table, partition)


class _Narrowing:
    """Plans a run of a few features. `whole` is the plan of a run of all features of `ranges`: it says which partitions are current."""

    def __init__(
        self,
        home: Home,
        record: DictionaryRecord,
        assets: Mapping[str, Any],
        whole: Mapping[str, PlannedAsset],
        ranges: tuple[str, ...],
        features: frozenset[int],
        only: Sequence[str],
        replace: bool,
    ) -> None:
        self._home, self._record, self._assets, self._whole = home, record, assets, whole
        self._ranges, self._features, self._only, self._replace = ranges, features, only, replace
        self._stages = narrowed_stages(record, home.settings)
        self._after = LakeAfter(_MarklessLake(home.lake))

    def planned(self, models: ModelProvider) -> PlannedRun:
        """The plan."""
        settings = self._home.settings
        named = settings.stage_settings(self._stages)
        asked = [name for name in self._assets if name in STAGES and STAGES[name].asked_for(named, settings)]
        unread = [] if self._only else [name for name in asked if _is_by_the_way(name, asked, named)]
        asked = [name for name in asked if name not in unread]
        shuffled = [name for name in self._assets if name.removeprefix("explanations/") in SHUFFLING and name not in asked]
        record = DirectedRecord.of(self._record, Directions(self._features), self._stages)
        first = {name: self._assets[name] for name in self._assets if name in BEFORE_RANGES}
        chosen = {**first, **{name: self._assets[name] for name in asked}}
        planned = {one.asset: one for one in _planned(self._home, record, chosen, self._ranges, models, self._after)}
        blocked = {name: one.reason for name, one in planned.items() if one.blocked}
        _refuse_blocked(blocked, any(name in self._only for name in blocked) or (bool(self._only) and len(blocked) == len(chosen)))
        names = [name for name in asked if name not in blocked]
        kept = self._kept(names)
        union = self._features | self._made_before(names)
        record = DirectedRecord.of(self._record, Directions(union, kept), self._stages)
        to_make = [name for name in names if any(self._is_due(name, one, record, kept) for one in self._ranges)]
        self._refuse_inputs_of_others(to_make, record)
        left_out = [*shuffled, *blocked]
        notes = [f"left out, since it runs the subject model and nothing here reads it: {name} (--only {name})" for name in unread]
        notes += [f"left out, since a few features alone cannot be made: {', '.join(left_out)}"] if left_out else []
        before = tuple(name for name in first if planned[name].to_make)
        return PlannedRun(record, before, tuple(to_make), self._ranges if to_make else (), (), tuple(notes))

    def _kept(self, names: Sequence[str]) -> frozenset[tuple[str, str]]:
        """Partitions that are whole and current. Raises `UserError` for a partition that is whole and of another version."""
        kept, others = set(), []
        for name in names:
            whole = self._whole[name]
            current = set(self._ranges) - set(whole.to_make) - set(whole.blocked)
            for one in self._ranges:
                manifest = self._manifest(name, one)
                if manifest is None or features_made(manifest) is not None:
                    continue
                if one in current:
                    kept.add((name, one))
                elif manifest.rows and not self._replace:
                    others.append((name, one))
        if others:
            key, assets = self._record.key, list(dict.fromkeys(name for name, _ in others))
            shown = "; ".join(f"{name} of {one}" for name, one in others[:4]) + (" …" if len(others) > 4 else "")
            raise UserError(
                f"these partitions of {key} hold all features of their range, made with other settings or inputs than the present ones: "
                f"{shown}. `interp backfill {key} {' '.join(f'--only {name}' for name in assets)}` makes them again whole; --replace makes "
                "the named features alone, and lets the rows of the other features go (their replies are kept)"
            )
        return frozenset(kept)

    def _made_before(self, names: Sequence[str]) -> frozenset[int]:
        """Features that earlier runs of a few features made under the same version."""
        found: set[int] = set()
        for name in names:
            for one in self._ranges:
                manifest = self._manifest(name, one)
                made = features_made(manifest)
                if manifest is not None and made and whole_version(manifest.data_version) == self._version(name, one):
                    found |= made
        return frozenset(found)

    def _is_due(self, name: str, one: str, record: DirectedRecord, kept: frozenset[tuple[str, str]]) -> bool:
        """Whether a partition is not there for all features of the run."""
        manifest, features = self._manifest(name, one), record.features_of(RangeKey(record.key, one)).tolist()
        if (name, one) in kept or not features:
            return False
        return manifest is None or manifest.data_version != narrowed_version(self._version(name, one), features)

    def _refuse_inputs_of_others(self, names: Sequence[str], record: DirectedRecord) -> None:
        """Raise `UserError` where an input that the run does not make holds other features alone."""
        stages = self._home.settings.stage_settings(self._stages)
        for name in names:
            for upstream in STAGES[name].upstream:
                source = _maker(upstream)
                if source is None or source in names or not upstream.needed(stages):
                    continue
                for one in self._ranges:
                    features = set(record.features_of(RangeKey(record.key, one)).tolist())
                    made = features_made(self._manifest(source, one))
                    if made is not None and not features <= made:
                        lacking = ", ".join(map(str, sorted(features - made)))
                        raise UserError(f"{name} reads {source}, which is not made for {lacking}: leave --only out, or add --only {source}")

    def _manifest(self, name: str, one: str) -> Any:
        stage = STAGES[name]
        return self._home.lake.manifest(stage.table.name, stage.partition(RangeKey(self._record.key, one)))

    def _version(self, name: str, one: str) -> str:
        stage = STAGES[name]
        try:
            return self._after.require(stage.table.name, stage.partition(RangeKey(self._record.key, one))).data_version
        except LakeError:
            return ""


def _is_by_the_way(name: str, asked: Sequence[str], stages: StageSettings) -> bool:
    """Whether a stage runs the subject model, writes neither explanations nor scores, and is read by no stage among `asked`."""
    if name in SUBJECT_STAGES:
        return not any(_maker(upstream) == name for other in asked for upstream in STAGES[other].upstream if upstream.needed(stages))
    return False


def _maker(upstream: Upstream) -> str | None:
    """The range stage that makes an input; None where a stage of the whole dictionary does."""
    return next((name for name, one in STAGES.items() if (one.table, one.extra) == (upstream.table, upstream.extra)), None)


def narrowed_stages(record: DictionaryRecord, settings: PlatformSettings) -> dict[str, Any]:
    """The stage settings of a run of a few features: the record's own over the site's, without methods that shuffle explanations."""
    stages = settings.stage_settings(record.stages)
    explanations = [name for name in stages.explanations if name not in SHUFFLING]
    scores: dict[str, Any] = {
        scorer.NAME: [name for name in chosen if name in explanations]
        for scorer in SCORERS
        if (chosen := stages.scores.get(scorer.NAME)) and chosen != "all"
    }
    every = {name: chosen for name, chosen in stages.scores.items() if name not in scores}
    return {**record.stages, "explanations": explanations, "scores": {**every, **scores}}


def assets_by_name(names: Iterable[str]) -> list[dg.AssetsDefinition]:
    """The definitions of assets, in the order of the graph."""
    wanted = set(names)
    return [asset for name, asset in known_assets(ASSETS).items() if name in wanted]
