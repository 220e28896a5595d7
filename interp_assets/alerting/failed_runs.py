"""The alert about a failed run."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import dagster as dg

from interp_assets.alerting.delivered import Delivered, Delivery
from interp_assets.alerting.once import send_once
from interp_assets.alerting.sending import Alert
from interp_assets.config.alerts import AlertSettings

RUN_FAILED: Final = "run_failed"

NAMED = 5
"""Most assets that one alert names; further assets are counted."""

REASON_LINES = 12
OWN_ERROR = re.compile(r"^interp_assets\.config\.base\.UserError: ")


@dataclass(frozen=True)
class Terminal:
    """Tells each outcome to `info` and `error`, which print a line."""

    info: Callable[[str], None]
    error: Callable[[str], None]


def is_tried_again(run: dg.DagsterRun) -> bool:
    """Whether Dagster tries a failed run again."""
    return run.tags.get("dagster/will_retry") == "true"


def failed_run_alert(run: dg.DagsterRun, failures: Iterable[dg.DagsterEvent], otherwise: str, ui_url: str) -> Alert:
    """The alert about a failed run, with the reason of its first failed step, or `otherwise` where no step failed."""
    reasons = [_reason(event) for event in failures]
    assets = sorted("/".join(key.path) for key in run.asset_selection or ())
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    ranges = run.tags.get("dagster/partition") or (first if first == last else f"{first} to {last}")
    subject = f"run {run.run_id[:8]} failed: {_some(assets) or run.job_name}{f', {ranges}' if ranges else ''}"
    return Alert(RUN_FAILED, subject, _first_lines(reasons[0] if reasons else otherwise), f"{ui_url}/runs/{run.run_id}")


def tell_failed_runs(instance: dg.DagsterInstance, settings: AlertSettings, run_ids: Iterable[str], say: Callable[[str], None]) -> None:
    """Send the alerts about those of the runs that failed, unless a sensor has begun to send them: for a command that works without a
    daemon, or whose daemon ends with it. `say` gets a line for each channel. Nothing where the settings want no such alert."""
    if not settings.wants(RUN_FAILED):
        return
    for run_id in run_ids:
        run = instance.get_run_by_id(run_id)
        if run is None or run.status is not dg.DagsterRunStatus.FAILURE or is_tried_again(run):
            continue
        if Delivered(instance, RUN_FAILED).state(run_id) is not Delivery.NEW:
            continue
        entries = instance.all_logs(run_id, of_type={dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE})
        events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
        otherwise = next((event.message or "" for event in events if not event.is_step_failure), "")
        alert = failed_run_alert(
            run, [event for event in events if event.is_step_failure], otherwise or "no step says why", settings.ui_url
        )
        send_once(instance, settings, run_id, alert, Terminal(say, say))


def _reason(event: dg.DagsterEvent) -> str:
    """What a failed step says: the message of the innermost error, without the name of our own class."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return OWN_ERROR.sub("", error.message.strip()) if error is not None else str(event.message)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _first_lines(reason: str) -> str:
    """The first lines of an error, without its stack trace."""
    return "\n".join(reason.split("Stack Trace:")[0].strip().splitlines()[:REASON_LINES])
