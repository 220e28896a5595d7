"""Runs planned assets in this process, as runs of the home's Dagster instance: the UI shows them, and no daemon is needed."""

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import dagster as dg

from interp_assets.asking.asker import RunSpending
from interp_assets.config.base import UserError
from interp_assets.config.directions import DirectedRegistry
from interp_assets.config.keys import RangeKey
from interp_assets.graph.assembly import IN_PROCESS, resources_of
from interp_assets.installation.home import Home
from interp_assets.installation.server import prepare_instance, refuse_unusable
from interp_assets.orchestration.partitions import DICTIONARIES
from interp_assets.orchestration.watching import Watcher, watched_by
from interp_assets.single_features.plan import PlannedRun, assets_by_name
from resources.event_log import write_events_quickly
from resources.kept_models import KeptModels
from resources.language_models.budget import Spending
from resources.model_provider import ModelProvider
from resources.run_launcher import IN_PROCESS_TAG, birth_of, has_ended

UNFINISHED = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
PARTITION_TAGS = ("dagster/partition", *RANGE_TAGS)


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
    refuse_unusable(home)
    prepare_instance(home)
    write_events_quickly()
    kept = models if isinstance(models, KeptModels) else KeptModels(models)
    key, spending = planned.record.key, RunSpending(home.settings.budget, home.settings.alerts)
    groups = (
        (planned.before, dg.StaticPartitionsDefinition([key]), (key, key)),
        (planned.assets, _ranges_of(planned), tuple(str(RangeKey(key, one)) for one in (*planned.ranges[:1], *planned.ranges[-1:]))),
        (planned.after, dg.StaticPartitionsDefinition([key]), (key, key)),
    )
    ids, errors, spent = [], [], Spending()
    with _alone(home.dagster, key, say), dg.DagsterInstance.from_config(str(home.dagster)) as instance, watched_by(watcher):
        end_dead_runs(instance)
        _refuse_busy(instance, key)
        instance.add_dynamic_partitions(DICTIONARIES.name or "", [key])
        resources = {**resources_of(home, kept), "registry": home.registry, "spending": spending}
        directed = {**resources, "registry": DirectedRegistry(home.registry, [planned.record])}
        try:
            for names, partitions, ends in groups:
                if not names or errors:
                    continue
                run_id = str(uuid.uuid4())
                ids.append(run_id)
                spent = spending.of(run_id)
                watcher.spends(spent)
                # Assets of the whole dictionary are made for all its features, whatever features the run is about.
                given = directed if names is planned.assets else resources
                errors += _executed(instance, run_id, names, partitions, dict(zip(RANGE_TAGS, ends or ("", ""), strict=True)), given)
        finally:
            kept.close()
            watcher.ended()
    return RunResult(tuple(ids), sum(spending.of(one).tokens for one in ids), sum(spending.of(one).usd for one in ids), tuple(errors))


def _ranges_of(planned: PlannedRun) -> dg.PartitionsDefinition:
    """The partitions of the run, in the same two dimensions as the graph's own."""
    dimensions = {
        "dictionary": dg.StaticPartitionsDefinition([planned.record.key]),
        "feature_range": dg.StaticPartitionsDefinition(list(planned.ranges)),
    }
    return dg.MultiPartitionsDefinition(dimensions)


def _executed(
    instance: dg.DagsterInstance,
    run_id: str,
    names: Sequence[str],
    partitions: dg.PartitionsDefinition,
    tags: Mapping[str, str],
    resources: Mapping[str, object],
) -> list[str]:
    """Run assets over partitions as one run of Dagster, and return an error for each failed stage.

    The assets have the partitions of this run alone, since Dagster runs over an interval of partitions, and the ranges of a few features
    are scattered. The events carry the keys that these partitions have in the graph.
    """
    assets = [
        dg.map_asset_specs(lambda spec: spec.replace_attributes(partitions_def=partitions), [asset])[0] for asset in assets_by_name(names)
    ]
    job = dg.Definitions(assets=assets, resources=resources, executor=IN_PROCESS).resolve_implicit_global_asset_job_def()
    birth = birth_of(os.getpid())
    own = {"dagster/max_retries": "0", **({IN_PROCESS_TAG: birth} if birth else {})}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    try:
        result = job.execute_in_process(
            run_config=quiet, instance=instance, tags={**tags, **own}, run_id=run_id, raise_on_error=False
        )  # fmt: skip
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
    names = []
    while error is not None:
        names.append(error.cls_name)
        error = error.cause
    return bool({"KeyboardInterrupt", "DagsterExecutionInterruptedError"}.intersection(names))


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
