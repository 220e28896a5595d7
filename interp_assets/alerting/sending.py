"""Sends an alert to every channel of the settings. A channel that fails is named, and stops neither another channel nor the caller."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from interp_assets.alerting.mail import mail
from interp_assets.alerting.webhook import post
from interp_assets.config.alerts import AlertSettings

SECONDS, SHARE = 15.0, 0.8
"""Longest wait for a byte of a server, and its largest share of the time for all channels: a silent server is told from a slow one. Unit:
seconds, share."""

MOST_SECONDS = 40.0
"""Longest time for all channels together: a server that sends a byte now and then would be waited for without end. Unit: seconds."""

REST_SECONDS = 60.0
"""So long a channel is not tried again after a try without an end: sensors send several alerts in one tick, which may take a minute.
Unit: seconds."""

LONGEST = 3000
"""Most characters of an alert: chat services cut or refuse longer texts."""

_RESTING: dict[str, float] = {}
"""For each channel that did not end, the time of the monotonic clock until which it is not tried again."""


@dataclass(frozen=True)
class Alert:
    """What happened, in a line for a subject and a text, and where to look."""

    event: str
    subject: str
    text: str
    url: str

    @property
    def sendable(self) -> "Alert":
        """The alert with at most LONGEST characters, of which channels take each."""
        room = max(LONGEST - len(self.subject) - len(self.url) - 8, 0)
        text = self.text if len(self.text) <= room else f"{self.text[:room]} …"
        return replace(self, subject=_writable(self.subject), text=_writable(text), url=_writable(self.url))

    @property
    def message(self) -> str:
        """The whole alert as one text of at most LONGEST characters."""
        own = self.sendable
        return "\n".join(part for part in (own.subject, own.text, own.url) if part)


def _writable(text: str) -> str:
    """The text without halves of characters, which odd bytes of a path become, and without NUL: neither mail nor UTF-8 holds them."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def send(
    settings: AlertSettings, alert: Alert, seconds: float | None = None, only: Collection[str] | None = None
) -> dict[str, str]:  # fmt: skip
    """Send an alert to all channels, or to the channels `only`, at the same time, and return for each "" where it was taken, or the reason
    why not. Empty without a channel. Takes at most `seconds`, by default MOST_SECONDS."""
    limit = MOST_SECONDS if seconds is None else seconds
    deadline, wait = time.monotonic() + limit, min(SECONDS, SHARE * limit)
    own = alert.sendable
    channels: dict[str, Callable[[], None]] = {}
    if settings.webhook or settings.webhook_env:
        channels["webhook"] = lambda: post(settings, own, alert.message, wait, deadline)
    if settings.email is not None:
        email = settings.email
        channels["email"] = lambda: mail(email, own.subject, alert.message, wait)
    channels = {name: deliver for name, deliver in channels.items() if only is None or name in only}
    outcomes: dict[str, str] = {}
    waiting: dict[str, threading.Thread] = {}
    for name, deliver in channels.items():
        if (rest := _RESTING.get(f"{name} {settings!r}", 0.0) - time.monotonic()) > 0:
            outcomes[name] = f"not tried: the last try had no end; the next may come in {rest:.0f} s"
            continue
        waiting[name] = threading.Thread(target=_outcome, args=(deliver, name, outcomes), daemon=True, name=f"alert by {name}")
        waiting[name].start()
    for name, thread in waiting.items():
        thread.join(max(deadline - time.monotonic(), 0.0))
        if thread.is_alive():
            _RESTING[f"{name} {settings!r}"] = time.monotonic() + REST_SECONDS
    return {name: outcomes.get(name, f"TimeoutError: no end after {limit:g} s") for name in channels}


def _outcome(deliver: Callable[[], None], name: str, outcomes: dict[str, str]) -> None:
    try:
        deliver()
        outcomes[name] = ""
    except Exception as error:  # an alert must never end the run that it is about
        outcomes[name] = f"{type(error).__name__}: {error}"
