"""Sends an alert once, whichever process sends it: a sensor of Dagster, or a command that works without a daemon."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import dagster as dg

from interp_assets.alerting.delivered import Delivered, Delivery
from interp_assets.alerting.sending import Alert, send
from interp_assets.alerting.waiting import keep_waiting
from interp_assets.config.alerts import AlertSettings

SEND_SECONDS = 10.0
"""Longest wait for the channels of one alert. Unit: seconds."""


class Log(Protocol):
    """Where it is told what came of an alert: a log of Dagster, or a terminal."""

    def info(self, message: str, /) -> None:
        """An alert was sent."""
        ...

    def error(self, message: str, /) -> None:
        """A channel did not take an alert."""
        ...


def send_once(instance: dg.DagsterInstance, settings: AlertSettings, name: str, alert: Alert, log: Log) -> None:
    """Send the alert of this name unless it was sent, and log for each channel what came of it. A channel that does not take it gets it
    later. An alert whose sending was broken off is sent again, and says so."""
    delivered = Delivered(instance, alert.event)
    state = delivered.state(name)
    if state is Delivery.ENDED:
        log.info(f"was sent before: {alert.subject}")
        return
    if state is Delivery.BEGUN:
        alert = replace(alert, subject=f"(perhaps again) {alert.subject}")
    delivered.mark(name, Delivery.BEGUN)
    outcomes = send(settings, alert, SEND_SECONDS)
    log_outcomes(log, alert, outcomes)
    if failed := [channel for channel, problem in outcomes.items() if problem]:
        keep_waiting(instance, alert, failed, time.time())
    delivered.mark(name, Delivery.ENDED)


def log_outcomes(log: Log, alert: Alert, outcomes: Mapping[str, str]) -> None:
    """Log for each channel what came of an alert."""
    for channel, problem in outcomes.items():
        if problem:
            log.error(f"no alert by {channel}: {problem}. The alert was: {alert.subject}")
        else:
            log.info(f"alert by {channel}: {alert.subject}")
