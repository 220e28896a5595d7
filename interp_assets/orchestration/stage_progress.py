"""How far a stage is: in the log of its run, on its asset's page, and to whoever watches a run in this process."""

import time
from collections.abc import Callable

import dagster as dg

from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.orchestration.watching import watchers
from resources.progress import Progress

OBSERVE_SECONDS = 30.0
"""Pause between two observations of an asset that say how far its run is."""
LOG_SECONDS = 10.0
"""Pause between two lines of progress in the log of a run that is watched, whose stages report more often."""


def features_done(context: dg.AssetExecutionContext, partition: RangePartition, what: str) -> Callable[[int], None]:
    """A function to call with the number of newly done features; it reports the progress of the partition.

    `what` says in the report what is done to a feature, such as "explained".
    """
    report, started, done = progress_of(context, f"{partition.key}: features {what}"), time.monotonic(), 0
    total = len(partition.record.features_of(partition.key))

    def advance(n_features: int) -> None:
        nonlocal done
        done += n_features
        rate = done / max(time.monotonic() - started, 1e-9)
        report(Progress(done, total, 0, rate, (total - done) / rate if rate else None))

    return advance


def tell_begun(context: dg.AssetExecutionContext) -> None:
    """Tell the watchers of this process that the asset of `context` begins."""
    for watcher in watchers():
        watcher.begun("/".join(context.asset_key.path), context.run.run_id)


def progress_of(context: dg.AssetExecutionContext, what: str) -> Callable[[Progress], None]:
    """A callback that logs `what` with done, total, rate and ETA. From time to time it also records these numbers as an observation of the
    asset, so that the asset's page shows them during the run."""
    observed = logged = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal observed, logged
        for watcher in watchers():
            watcher.progressed("/".join(context.asset_key.path), what, progress)
        if watchers() and progress.done < progress.total and time.monotonic() - logged < LOG_SECONDS:
            return
        logged = time.monotonic()
        context.log.info(f"{what}: {progress}")
        if time.monotonic() - observed >= OBSERVE_SECONDS:
            observed = time.monotonic()
            now = {"done": progress.done, "total": progress.total, "kept": progress.kept, "rate": round(progress.rate, 2)}
            if progress.eta_seconds is not None:
                now["eta_seconds"] = round(progress.eta_seconds)
            context.log_event(dg.AssetObservation(context.asset_key, description=f"{what} so far", metadata=now))

    return report
