"""Which alerts were sent, kept in Dagster's storage: a sensor that was killed, or took too long, meets the same events again."""

import json
from enum import StrEnum

import dagster as dg

KEPT = 500
"""Alerts that are remembered, the newest."""


class Delivery(StrEnum):
    """How far an alert came: not begun, begun by a process that did not come to its end, or ended."""

    NEW = "new"
    BEGUN = "begun"
    ENDED = "ended"


class Delivered:
    """The alerts about one kind of event."""

    def __init__(self, instance: dg.DagsterInstance, event: str) -> None:
        self._storage, self._key = instance.run_storage, f"interp/alerts/{event}"

    def state(self, alert: str) -> Delivery:
        """How far the alert of this name came."""
        return Delivery(self._kept().get(alert, Delivery.NEW))

    def mark(self, alert: str, state: Delivery) -> None:
        """Remember how far an alert came."""
        kept = self._kept()
        kept.pop(alert, None)
        newest = dict(list({**kept, alert: state.value}.items())[-KEPT:])
        self._storage.set_cursor_values({self._key: json.dumps(newest)})

    def _kept(self) -> dict[str, str]:
        return json.loads(self._storage.get_cursor_values({self._key}).get(self._key, "{}"))
