"""Alerts that a channel did not take, kept in Dagster's storage until it does: what fails a run, such as a network, fails its alert too."""

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import dagster as dg

from interp_assets.alerting.sending import Alert

KEY = "interp/alerts/waiting"
KEPT = 100
"""Alerts that wait at most, the newest."""

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
"""Pause before an alert is tried again, which doubles with each try, and the longest pause. Unit: seconds."""

GIVEN_UP = 86_400.0
"""An alert that has waited for so long is given up. Unit: seconds."""

_LOCK = threading.Lock()  # the sensors of a code location run in threads of one process


@dataclass(frozen=True)
class Waiting:
    """An alert, the channels that have not taken it, when it was first sent and when it is tried again, and the tries so far. Times are
    seconds since 1970."""

    alert: Alert
    channels: tuple[str, ...]
    since: float
    due: float
    tries: int = 1

    @property
    def again(self) -> Alert:
        """The alert with the time at which it should have come."""
        return replace(self.alert, subject=f"(late, of {datetime.fromtimestamp(self.since, UTC):%Y-%m-%d %H:%M} UTC) {self.alert.subject}")

    def after(self, channels: Sequence[str], now: float) -> "Waiting":
        """The same after a try that `channels` did not take."""
        pause = min(FIRST_PAUSE * 2**self.tries, LONGEST_PAUSE)
        return replace(self, channels=tuple(channels), due=now + pause, tries=self.tries + 1)


def waiting_alerts(instance: dg.DagsterInstance) -> list[Waiting]:
    """All alerts that wait, the oldest first."""
    stored = json.loads(instance.run_storage.get_cursor_values({KEY}).get(KEY, "[]"))
    return [Waiting(**{**one, "alert": Alert(**one["alert"]), "channels": tuple(one["channels"])}) for one in stored]


def keep_waiting(instance: dg.DagsterInstance, alert: Alert, channels: Sequence[str], now: float) -> None:
    """Let an alert wait for the channels that have not taken it."""
    with _LOCK:
        _store(instance, [*waiting_alerts(instance), Waiting(alert, tuple(channels), now, now + FIRST_PAUSE)])


def replace_waiting(instance: dg.DagsterInstance, old: Waiting, new: Waiting | None) -> None:
    """Put `new` in the place of an alert that waits, or take it away."""
    with _LOCK:
        kept = [new if one == old else one for one in waiting_alerts(instance)]
        _store(instance, [one for one in kept if one is not None])


def _store(instance: dg.DagsterInstance, waiting: Sequence[Waiting]) -> None:
    instance.run_storage.set_cursor_values({KEY: json.dumps([asdict(one) for one in waiting[-KEPT:]])})
