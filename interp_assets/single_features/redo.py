"""`interp redo`: makes partitions of one feature again, and asks its questions again where that is asked for."""

from collections.abc import Sequence

from interp_assets.backfill.launch import known_assets
from interp_assets.config.asset_names import is_named, prefix_of
from interp_assets.config.base import UserError
from interp_assets.config.directions import DirectedRecord, Directions
from interp_assets.config.keys import RangeKey, lake_partition
from interp_assets.graph.assembly import ASSETS
from interp_assets.installation.home import Home
from interp_assets.installation.unfinished_runs import home_instance, refuse_asking
from interp_assets.orchestration.narrowing import features_made
from interp_assets.single_features.plan import STAGES, PlannedRun, narrowed_stages
from interp_assets.tables import LEDGER


def planned_redo(home: Home, key: str, feature: int, only: Sequence[str]) -> tuple[list[PlannedRun], list[str]]:
    """Runs that make the named assets, by default explanations and scores, of a feature's range again, and the names of the assets.

    What is made from them follows: scores of an explanation, and explanations made out of it. Partitions that hold a few features are made
    for these features, and whole partitions whole; questions with a kept reply are not asked. Raises `UserError` where nothing is made.
    """
    record = home.registry.get(key)
    here = record.range_of(feature)
    named = known_assets(ASSETS, only)
    if wrong := [name for name in only if name in named and name not in STAGES]:
        raise UserError(f"{', '.join(wrong)} is not made by feature range; interp redo makes {', '.join(STAGES)}")
    there = [name for name in STAGES if _is_there(home, name, here, feature)]
    chosen = [name for name in there if (is_named(name, only) if only else prefix_of(name) is not None)]
    if missing := [name for name in only if not any(is_named(one, [name]) for one in there)]:
        raise UserError(f"{', '.join(missing)} of feature {feature} is not made yet: interp run {key} --features {feature}")
    if not chosen:
        raise UserError(f"feature {feature} of {key} has no explanations and no scores yet: interp run {key} --features {feature}")
    again = [name for name in there if name in chosen or _follows(home, name, chosen, here)]
    made = {name: features_made(_manifest(home, name, here)) for name in again}
    runs = []
    for narrowed in (False, True):
        names = tuple(name for name in again if (made[name] is not None) == narrowed)
        if names:
            features = frozenset[int]().union(*(made[name] or () for name in names)) if narrowed else None
            directions = Directions(features, again=frozenset((name, here.feature_range) for name in names))
            stages = narrowed_stages(record, home.settings) if narrowed else None
            runs.append(PlannedRun(DirectedRecord.of(record, directions, stages), assets=names, ranges=(here.feature_range,)))
    return runs, chosen


def forget_replies(home: Home, key: str, feature: int, assets: Sequence[str]) -> int:
    """Remove the replies to an asset's questions about a feature from the reply store, and return their number: they will be asked
    again. Raises `UserError` while a run of Dagster is unfinished."""
    with home_instance(home) as instance:
        refuse_asking(instance)
    here = home.registry.get(key).range_of(feature)
    keys: set[str] = set()
    for asset in assets:
        in_lake = {"asset": asset, **lake_partition(here)}
        if home.lake.manifest(LEDGER.name, in_lake) is not None:
            rows = home.lake.read(LEDGER.name, in_lake, columns=["reply"], filters=[("feature", "=", feature)])
            keys |= {one for one in rows.column("reply").to_pylist() if one is not None}
    return home.replies.forget(keys)


def _manifest(home: Home, name: str, here: RangeKey):  # type: ignore[no-untyped-def]
    return home.lake.manifest(STAGES[name].table.name, STAGES[name].partition(here))


def _is_there(home: Home, name: str, here: RangeKey, feature: int) -> bool:
    """Whether a stage has rows in the range, of the feature where it holds a few features."""
    manifest = _manifest(home, name, here)
    made = features_made(manifest)
    return manifest is not None and bool(manifest.rows) and (made is None or feature in made)


def _follows(home: Home, name: str, chosen: Sequence[str], here: RangeKey) -> bool:
    """Whether a stage is made from one of the chosen stages, directly or through explanations that are there."""
    stages = home.settings.stage_settings(home.registry.get(here.dictionary).stages)
    sources = [
        other
        for upstream in STAGES[name].upstream
        if upstream.needed(stages)
        for other, stage in STAGES.items()
        if (stage.table, stage.extra) == (upstream.table, upstream.extra)
    ]
    return any(source in chosen or _follows(home, source, chosen, here) for source in sources)
