"""Runs planned assets in this process, as runs of the home's Dagster instance: the UI shows them, and no daemon is needed."""

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import dagster as dg

from interp_assets.alerting.failed_runs import tell_failed_runs
from interp_assets.asking.asker import RunSpending
from interp_assets.backfill.command import chosen_assets
from interp_assets.backfill.plan import BEFORE_RANGES
from interp_assets.config.base import UserError
from interp_assets.config.directions import DirectedRegistry
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.graph.assembly import IN_PROCESS, resources_of
from interp_assets.installation.home import Home
from interp_assets.installation.instance import opened_instance
from interp_assets.installation.interrupts import DUCKDB_WORDS
from interp_assets.installation.server import prepare_instance, refuse_unusable
from interp_assets.orchestration.partitions import DICTIONARIES
from interp_assets.orchestration.watching import Watcher, watched_by
from interp_assets.single_features.plan import STAGES, PlannedRun, assets_by_name
from resources.event_log import write_events_quickly
from resources.kept_models import KeptModels
from resources.language_models.budget import Spending
from resources.model_provider import ModelProvider
from resources.quick_imports import without_collecting
from resources.run_launcher import IN_PROCESS_TAG, birth_of, has_ended

UNFINISHED = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
PARTITION_TAGS = (PARTITION_TAG, *RANGE_TAGS)


class RunWatcher(Watcher, Protocol):
    """A watcher that shows what a run has spent so far."""

    def spends(self, spending: Spending) -> None:
        """The next stages count on this spending."""
        ...

    def ended(self) -> None:
        """The run has ended."""
        ...


@dataclass(frozen=True)
class RunResult:
    """What a run in this process made: the ids of its Dagster runs, its spending, and an error for each failed stage."""

    runs: tuple[str, ...]
    tokens: int
    usd: float
    errors: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether every stage was made."""
        return not self.errors


def run_here(home: Home, planned: PlannedRun, models: ModelProvider, watcher: RunWatcher, say: Callable[[str], None]) -> RunResult:
    """Make what is planned in this process. Interrupted, the same call continues: finished partitions and all replies are kept.

    Kept `models` bring the tokenizers of the plan with them. Models in memory are freed at the end.

    Another run of this kind over the same dictionary is waited for. Raises `UserError` while a run of Dagster makes the dictionary, and
    `ServerError` where Dagster cannot work in the home.
    """
    key = planned.record.key
    # Assets of the whole dictionary are made for all its features, whatever features the run is about.
    directed = DirectedRegistry(home.registry, [planned.record])
    groups = (
        _Group.of_dictionaries(planned.before, [key], home.registry),
        _Group.of_ranges(planned.assets, [key], planned.ranges, directed),
        _Group.of_dictionaries(planned.after, [key], home.registry),
    )
    return _made(home, [key], groups, models, watcher, say)


def make_here(home: Home, keys: Sequence[str], models: ModelProvider, watcher: RunWatcher, say: Callable[[str], None]) -> RunResult:
    """Make everything that the settings ask for of whole dictionaries in this process, and what is made over all dictionaries.

    Each stage makes all dictionaries together: a model is loaded once, and the questions about all of them are one batch. Interruptions,
    waiting and errors are as in `run_here`.
    """
    assets = chosen_assets(home, keys, ()).assets
    whole = [name for name, asset in assets.items() if asset.partitions_def == DICTIONARIES]
    groups = (
        _Group.of_dictionaries([name for name in whole if name in BEFORE_RANGES], keys, home.registry),
        _Group.of_ranges([name for name in assets if name in STAGES], keys, FEATURE_RANGE_KEYS, home.registry),
        _Group.of_dictionaries([name for name in whole if name not in BEFORE_RANGES], keys, home.registry),
        _Group(tuple(name for name, asset in assets.items() if asset.partitions_def is None), None, (), home.registry),
    )
    return _made(home, keys, groups, models, watcher, say)


@dataclass(frozen=True)
class _Group:
    """Assets that one run of Dagster makes: their names, the partitions of the run, the first and the last of these, and the records."""

    names: tuple[str, ...]
    partitions: dg.PartitionsDefinition | None
    ends: tuple[str, ...]
    registry: DictionaryRegistry

    @classmethod
    def of_dictionaries(cls, names: Sequence[str], keys: Sequence[str], registry: DictionaryRegistry) -> "_Group":
        """Assets by dictionary."""
        return cls(tuple(names), dg.StaticPartitionsDefinition(list(keys)), (keys[0], keys[-1]), registry)

    @classmethod
    def of_ranges(cls, names: Sequence[str], keys: Sequence[str], ranges: Sequence[str], registry: DictionaryRegistry) -> "_Group":
        """Assets by range, in the same two dimensions as the graph's own."""
        dimensions = {"dictionary": dg.StaticPartitionsDefinition(list(keys)), "feature_range": dg.StaticPartitionsDefinition(list(ranges))}
        ends = (str(RangeKey(keys[0], ranges[0])), str(RangeKey(keys[-1], ranges[-1]))) if ranges else ()
        return cls(tuple(names), dg.MultiPartitionsDefinition(dimensions), ends, registry)

    @property
    def tags(self) -> dict[str, str]:
        """Tags that name the run's partitions: Dagster's own, which its list of runs shows beside the assets where there is one
        partition, and for several partitions our own, which the list shows below the run."""
        if not self.ends:
            return {}
        first, last = self.ends
        if first == last:
            dimensions = dict(zip(("dictionary", "feature_range"), first.split("|"), strict=False)) if "|" in first else {}
            return {PARTITION_TAG: first, **{f"{PARTITION_TAG}/{name}": value for name, value in dimensions.items()}}
        assert self.partitions is not None, self.names
        keys = [str(key).partition("|") for key in self.partitions.get_partition_keys()]
        tags = {"dictionaries": ", ".join(sorted({dictionary for dictionary, *_ in keys}))}
        if ranges := {feature_range for *_, feature_range in keys if feature_range}:
            tags["ranges"] = _ranges_in_words(ranges)
        return dict(zip(RANGE_TAGS, self.ends, strict=True)) | tags


def _ranges_in_words(ranges: set[str]) -> str:
    """Ranges as a short text: "0-3, 7 of 16"."""
    runs: list[list[int]] = []
    for number in sorted(FEATURE_RANGE_KEYS.index(one) for one in ranges):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return f"{', '.join(f'{a}-{b}' if b > a else str(a) for a, b in runs)} of {len(FEATURE_RANGE_KEYS)}"


def _made(
    home: Home, keys: Sequence[str], groups: Sequence[_Group], models: ModelProvider, watcher: RunWatcher, say: Callable[[str], None]
) -> RunResult:
    """Make groups of assets one after another, until one fails."""
    refuse_unusable(home)
    home.begin_lost_lake_anew(say)
    with without_collecting():  # Dagster imports its storage here
        prepare_instance(home)
        write_events_quickly()
    kept = models if isinstance(models, KeptModels) else KeptModels(models)
    spending = RunSpending(home.settings.budget, home.settings.alerts)
    ids, errors = [], []
    with ExitStack() as held:
        for key in sorted(keys):
            held.enter_context(_alone(home.dagster, key, say))
        instance = held.enter_context(opened_instance(home))
        held.enter_context(watched_by(watcher))
        end_dead_runs(instance)
        for key in keys:
            _refuse_busy(instance, key)
        instance.add_dynamic_partitions(DICTIONARIES.name or "", list(keys))
        resources = {**resources_of(home, kept), "spending": spending}
        try:
            for group in groups:
                if not group.names or errors:
                    continue
                run_id = str(uuid.uuid4())
                ids.append(run_id)
                watcher.spends(spending.of(run_id))
                errors += _executed(instance, run_id, group, {**resources, "registry": group.registry})
        finally:
            kept.close()
            watcher.ended()
        if errors:
            tell_failed_runs(instance, home.settings.alerts, ids, say)
    return RunResult(tuple(ids), sum(spending.of(one).tokens for one in ids), sum(spending.of(one).usd for one in ids), tuple(errors))


def _executed(instance: dg.DagsterInstance, run_id: str, group: _Group, resources: Mapping[str, object]) -> list[str]:
    """Run assets over partitions as one run of Dagster, and return an error for each failed stage.

    The assets have the partitions of this run alone, since Dagster runs over an interval of partitions, and the ranges of a few features
    are scattered. The events carry the keys that these partitions have in the graph.
    """
    assets = assets_by_name(group.names)
    if group.partitions is not None:
        own_partitions = group.partitions
        assets = [dg.map_asset_specs(lambda spec: spec.replace_attributes(partitions_def=own_partitions), [one])[0] for one in assets]
    job = dg.Definitions(assets=assets, resources=resources, executor=IN_PROCESS).resolve_implicit_global_asset_job_def()
    birth = birth_of(os.getpid())
    own = {"dagster/max_retries": "0", **({IN_PROCESS_TAG: birth} if birth else {})}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    try:
        result = job.execute_in_process(
            run_config=quiet,
            instance=instance,
            tags={**group.tags, **own},
            run_id=run_id,
            raise_on_error=False,
            asset_selection=[key for one in assets for key in one.keys],  # Dagster's list of runs shows no other assets than these
        )
    except dg.DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    finally:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_canceled(run, "interrupted")
    if result.success:
        return []
    if any(event.is_step_failure and _interrupted(event) for event in result.all_events):
        raise KeyboardInterrupt
    failed = [_failure(event) for event in result.all_events if event.is_step_failure]
    return failed or [f"run {run_id} failed: see its log in the UI"]


def _interrupted(event: dg.DagsterEvent) -> bool:
    """Whether a stage failed because the process was interrupted."""
    error = event.step_failure_data.error
    while error is not None:
        if error.cls_name in ("KeyboardInterrupt", "Interrupted", "DagsterExecutionInterruptedError") or DUCKDB_WORDS in error.message:
            return True
        error = error.cause
    return False


def _failure(event: dg.DagsterEvent) -> str:
    """What a failed stage says: the message of the innermost error, without the name of our own class."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    said = error.message.strip() if error is not None else str(event.message)
    words = re.sub(r"^(?:(?:interp_assets|resources)[\w.]*\.\w+|ValueError): ", "", said)
    return f"{(event.step_key or '').replace('__', '/', 1)} failed: {words}"


@contextlib.contextmanager
def _alone(folder: Path, key: str, say: Callable[[str], None]) -> Iterator[None]:
    """A block that no two processes are in for the same dictionary: they would write the same partitions for different features."""
    with (folder / f"run-{quote(key, safe='')}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another command makes features of {key}; this one goes on when it has ended")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs in processes that were killed as failed: nobody else does while no daemon runs."""
    for run in instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED))):
        if has_ended(run.tags.get(IN_PROCESS_TAG, "")):
            instance.report_run_failed(run, "its process is gone")


def _refuse_busy(instance: dg.DagsterInstance, key: str) -> None:
    """Raise `UserError` while a run of Dagster's daemon makes partitions of the dictionary."""
    for run in instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED))):
        named = {run.tags.get(tag, "").partition("|")[0] for tag in PARTITION_TAGS}
        if key in named and IN_PROCESS_TAG not in run.tags:
            raise UserError(
                f"run {run.run_id} of this home's Dagster makes partitions of {key}: wait for its end, or end it in the UI; what it has "
                "finished is kept"
            )
