"""Ranges that wait for other ranges of their dictionary, and the run that makes them.

Some stages read another stage in all ranges of a dictionary, such as shuffled explanations of a small dictionary. Dagster makes one run for
each series of neighbouring ranges, so a selection with gaps in Dagster's UI, or failed ranges apart, become several runs, and the runs
before the last lack inputs that another run makes. Such a run leaves its waiting ranges unmade, with all that its run was to make of them
afterwards, and notes each as an observation of the asset. A later run of the same asset makes the noted ranges of its dictionaries beside
its own ranges, once their inputs are there.

The note is logged before the inputs are looked up a second time, and a later run looks for notes after its own inputs were written. So of
two runs at the same time at least one makes the ranges.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG, PARTITION_NAME_TAG

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.orchestration.partitions import DICTIONARY_BY_RANGE

WAITS_FOR = "waits_for"
"""Name in an observation's metadata of the input that a range waits for."""
MADE_BY = "made_by_run"
"""Name in an observation's metadata of the run that makes a range which waited."""
NOTES_LOOKED_AT = 10
"""Observations that are looked at for each range, newest first."""
MOST_NOTES = 1000
"""Most observations that are looked at: as many as Dagster gives at once."""


class RangesWait(Exception):
    """Raised where a run ends a stage with ranges that wait: `checks` are the results over the ranges that were made."""

    def __init__(self, checks: Sequence[dg.AssetCheckResult]) -> None:
        super().__init__("ranges wait for other ranges")
        self.checks = tuple(checks)


def partition_key(key: RangeKey) -> dg.MultiPartitionKey:
    """A range as Dagster's key."""
    return dg.MultiPartitionKey({"dictionary": key.dictionary, "feature_range": key.feature_range})


def note_waiting(context: dg.AssetExecutionContext, waiting: Mapping[RangeKey, str]) -> None:
    """Note ranges of the run's stage that wait, each with the reason, for the run that completes their inputs."""
    for key, reason in waiting.items():
        context.log_event(_observation(context.asset_key, key, WAITS_FOR, reason))


def note_left_out(context: dg.AssetExecutionContext, waiting: Mapping[RangeKey, str]) -> None:
    """Say which ranges wait, and note for every later stage of the run that the run leaves out all its ranges: Dagster goes on from a stage
    with all ranges or with none."""
    reason = f"{context.asset_key.to_user_string()} of {', '.join(map(str, waiting))}"
    for asset in _later_stages(context):
        for one in context.partition_keys:
            context.log_event(_observation(asset, RangeKey.of(one), WAITS_FOR, reason))
    dictionaries = " ".join(dict.fromkeys(key.dictionary for key in waiting))
    context.log.warning(
        f"{', '.join(map(str, waiting))} wait for other ranges, and so do the later stages of this run. The run that makes the last of "
        "these ranges makes the waiting ranges too. Where no such run is under way, run: interp backfill "
        f"{dictionaries}. First reason: {next(iter(waiting.values()))}"
    )


def _later_stages(context: dg.AssetExecutionContext) -> list[dg.AssetKey]:
    """The run's stages by range that come after its present stage."""
    layer = context.job_def.asset_layer
    graph, chosen = layer.asset_graph, layer.selected_asset_keys
    found: list[dg.AssetKey] = []
    to_visit = [context.asset_key]
    while to_visit:
        for child in sorted(graph.get(to_visit.pop()).child_keys):
            if child in chosen and child not in found and graph.get(child).partitions_def == DICTIONARY_BY_RANGE:
                found.append(child)
                to_visit.append(child)
    return found


def _observation(asset: dg.AssetKey, key: RangeKey, name: str, text: str) -> dg.AssetObservation:
    return dg.AssetObservation(asset, partition=partition_key(key), description=f"{name.replace('_', ' ')} {text}", metadata={name: text})


def ranges_that_waited(context: dg.AssetExecutionContext) -> list[RangeKey]:
    """Ranges of the run's stage that an earlier run left waiting and no run makes at present, in key order.

    Looked at are the ranges beside the run, of the run's dictionaries and of the runs that left any of them.
    """
    here = {RangeKey.of(one) for one in context.partition_keys}
    beside = {RangeKey(one.dictionary, name) for one in here for name in FEATURE_RANGE_KEYS} - here
    notes = _latest_notes(context, beside)
    runs = {note.left_by for note in notes.values()}
    more = {key for run in runs for key in _ranges_of(context.instance, run)} - here - beside
    notes |= _latest_notes(context, more)
    made = _made_since(context, notes)
    return sorted(
        key for key, note in notes.items() if key not in made and (note.made_by is None or _is_over(context.instance, note.made_by))
    )


@dataclass(frozen=True)
class _Note:
    """The run that left a range last, the run that was the last to make it since, if any, and when it was left, in seconds since 1970."""

    left_by: str
    made_by: str | None
    noted: float


def note_maker(context: dg.AssetExecutionContext, keys: Iterable[RangeKey]) -> None:
    """Note that this run makes ranges that waited, so that no other run makes them at the same time."""
    for key in keys:
        context.log_event(_observation(context.asset_key, key, MADE_BY, context.run.run_id))


def _latest_notes(context: dg.AssetExecutionContext, keys: Iterable[RangeKey]) -> dict[RangeKey, _Note]:
    """The latest note of each range that has one."""
    partitions = [partition_key(key) for key in sorted(keys)]
    if not partitions:
        return {}
    filtered = dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=partitions)
    found: dict[RangeKey, _Note] = {}
    makers: dict[RangeKey, str] = {}
    looked_at = min(NOTES_LOOKED_AT * len(partitions), MOST_NOTES)
    for record in context.instance.fetch_observations(filtered, limit=looked_at).records:
        seen = record.asset_observation
        if seen is None or seen.partition is None or record.run_id == context.run.run_id:
            continue
        key = RangeKey.of(seen.partition)
        if MADE_BY in seen.metadata:
            makers.setdefault(key, str(seen.metadata[MADE_BY].value))
        elif WAITS_FOR in seen.metadata:
            found.setdefault(key, _Note(record.run_id, makers.get(key), record.timestamp))
    return found


def _made_since(context: dg.AssetExecutionContext, notes: Mapping[RangeKey, _Note]) -> set[RangeKey]:
    """The ranges that were made after they were noted: whoever makes them again later decides so anew."""
    if not notes:
        return set()
    filtered = dg.AssetRecordsFilter(
        asset_key=context.asset_key,
        asset_partitions=[partition_key(key) for key in notes],
        after_timestamp=min(note.noted for note in notes.values()),
    )
    made = context.instance.fetch_materializations(filtered, limit=MOST_NOTES).records
    times = [(RangeKey.of(str(record.partition_key)), record.timestamp) for record in made]
    return {key for key, time in times if key in notes and time > notes[key].noted}


def _ranges_of(instance: dg.DagsterInstance, run_id: str) -> list[RangeKey]:
    """The ranges that a run was to make."""
    run = instance.get_run_by_id(run_id)
    tags = run.tags if run else {}
    if one := tags.get(PARTITION_NAME_TAG):
        return [RangeKey.of(one)]
    ends = tags.get(ASSET_PARTITION_RANGE_START_TAG), tags.get(ASSET_PARTITION_RANGE_END_TAG)
    if not all(ends):
        return []
    span = dg.PartitionKeyRange(*ends)  # type: ignore[arg-type]
    try:
        return [RangeKey.of(one) for one in DICTIONARY_BY_RANGE.get_partition_keys_in_range(span, dynamic_partitions_store=instance)]
    except dg.DagsterInvariantViolationError:  # a dictionary has been forgotten since
        return []


def _is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished
