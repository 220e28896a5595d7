"""Alerts about the failed runs of a backfill whose Dagster ends with it: its sensors may not have looked once since a run failed."""

from collections.abc import Callable

import dagster as dg

from interp_assets.alerting.failed_runs import RUN_FAILED, tell_failed_runs
from interp_assets.installation.home import Home
from interp_assets.installation.instance import opened_instance

BACKFILL_TAG = "dagster/backfill"


def tell_failed_backfill(home: Home, backfill_id: str, say: Callable[[str], None]) -> None:
    """Send the alerts about the failed runs of a backfill that no sensor has sent. Nothing where the settings want no such alert."""
    alerts = home.settings.alerts
    if not alerts.wants(RUN_FAILED):
        return
    with opened_instance(home) as instance:
        runs = instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: backfill_id}, statuses=[dg.DagsterRunStatus.FAILURE]))
        tell_failed_runs(instance, alerts, [run.run_id for run in runs], say)
