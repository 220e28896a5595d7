"""Sensors that send alerts: a failed run, an asset check that did not pass, and alerts that a channel did not take at first.

Dagster ends a tick after a minute and forgets what it did. So a tick waits a few seconds for each alert, begins none late, and remembers
apart from Dagster which alerts were sent.
"""

import time
from collections.abc import Sequence

import dagster as dg
from dagster import AssetCheckKey

from interp_assets.alerting.failed_runs import failed_run_alert, is_tried_again
from interp_assets.alerting.once import SEND_SECONDS, log_outcomes, send_once
from interp_assets.alerting.sending import Alert, send
from interp_assets.alerting.waiting import GIVEN_UP, replace_waiting, waiting_alerts
from interp_assets.config.alerts import AlertSettings

TICK_SECONDS = 30.0
"""A tick that has taken so long sends no further alert about checks; the next tick does. Unit: seconds."""

EVALUATIONS = 20
"""Most evaluations of one check that a tick looks at, the newest first."""


def alert_sensors(settings: AlertSettings, checks: Sequence[AssetCheckKey], tick_seconds: int) -> list[dg.SensorDefinition]:
    """The sensors for the events that the settings name; none without a channel."""
    sensors: list[dg.SensorDefinition] = []
    if settings.wants("run_failed"):
        sensors.append(_failed_runs(settings, tick_seconds))
    if settings.wants("check"):
        sensors.append(_failed_checks(settings, checks, tick_seconds))
    return [*sensors, _late_alerts(settings, tick_seconds)] if sensors else []


def _failed_runs(settings: AlertSettings, tick_seconds: int) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="alert_failed_runs",
        minimum_interval_seconds=tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends an alert when a run has failed and is not tried again.",
    )
    def alert_failed_runs(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        if not is_tried_again(run):
            otherwise = context.failure_event.message or "no step says why"
            alert = failed_run_alert(run, context.get_step_failure_events(), otherwise, settings.ui_url)
            send_once(context.instance, settings, run.run_id, alert, context.log)

    return alert_failed_runs


def _failed_checks(settings: AlertSettings, checks: Sequence[AssetCheckKey], tick_seconds: int) -> dg.SensorDefinition:
    @dg.sensor(
        name="alert_failed_checks",
        minimum_interval_seconds=tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends an alert when an asset check did not pass: once for each evaluation.",
    )
    def alert_failed_checks(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        storage = context.instance.event_log_storage
        summaries = storage.get_asset_check_summary_records(list(checks))
        newest = {key: one.last_check_execution_record for key, one in summaries.items()}
        last = max((record.id for record in newest.values() if record is not None), default=0)
        if context.cursor is None:
            context.update_cursor(str(last))
            return dg.SkipReason("evaluations of earlier days send no alert")
        seen = int(context.cursor)
        failed = []
        for key in (key for key, record in newest.items() if record is not None and record.id > seen):
            for record in reversed(storage.get_asset_check_execution_history(key, limit=EVALUATIONS)):
                event = record.event and record.event.dagster_event
                if record.id > seen and event is not None and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                    failed += [] if event.asset_check_evaluation_data.passed else [(record.id, event.asset_check_evaluation_data)]
        began, n_sent = time.monotonic(), 0
        for number, evaluation in sorted(failed, key=lambda one: one[0]):
            if time.monotonic() - began > TICK_SECONDS:
                last = number - 1
                break
            name = f"{'/'.join(evaluation.asset_key.path)}: {evaluation.check_name}"
            level = "did not pass" if evaluation.severity is dg.AssetCheckSeverity.ERROR else "warns"
            told = "; ".join(f"{key}: {value.value}" for key, value in evaluation.metadata.items())
            url = f"{settings.ui_url}/assets/{'/'.join(evaluation.asset_key.path)}?view=checks"
            alert = Alert("check", f"{name} {level}", evaluation.description or told, url)
            send_once(context.instance, settings, str(number), alert, context.log)
            n_sent += 1
        context.update_cursor(str(max(last, seen)))
        left = f"; {len(failed) - n_sent} wait for the next tick" if n_sent < len(failed) else ""
        return dg.SkipReason(f"{n_sent} evaluations sent an alert{left}")

    return alert_failed_checks


def _late_alerts(settings: AlertSettings, tick_seconds: int) -> dg.SensorDefinition:
    @dg.sensor(
        name="alert_late",
        minimum_interval_seconds=tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends alerts again that a channel did not take: after a minute, then ever more rarely, for a day.",
    )
    def alert_late(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        began, now = time.monotonic(), time.time()
        due = [one for one in waiting_alerts(context.instance) if one.due <= now]
        for one in due:
            if time.monotonic() - began > TICK_SECONDS:
                break
            if now - one.since > GIVEN_UP:
                context.log.error(f"given up after {one.tries} tries by {', '.join(one.channels)}: {one.alert.subject}")
                replace_waiting(context.instance, one, None)
                continue
            outcomes = send(settings, one.again, SEND_SECONDS, one.channels)
            log_outcomes(context.log, one.again, outcomes)
            failed = [channel for channel, problem in outcomes.items() if problem]
            replace_waiting(context.instance, one, one.after(failed, time.time()) if failed else None)
        return dg.SkipReason(f"{len(due)} alerts were due, and {len(waiting_alerts(context.instance))} wait")

    return alert_late
