"""Sends an alert to every channel of the settings. A channel that fails is named, and stops neither another channel nor the caller."""

import os
import smtplib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage

from interp_assets.config.alerts import AlertSettings, EmailSettings

SECONDS = 15.0
"""Longest wait for a channel. Unit: seconds."""

MOST_SECONDS = 40.0
"""Longest time for a channel altogether: a server that sends a byte now and then would be waited for without end. Unit: seconds."""

LONGEST = 3000
"""Most characters of an alert: chat services cut or refuse longer texts."""


@dataclass(frozen=True)
class Alert:
    """What happened, in a line for a subject and a text, and where to look."""

    event: str
    subject: str
    text: str
    url: str

    @property
    def message(self) -> str:
        """The whole alert as one text of at most LONGEST characters."""
        room = LONGEST - len(self.subject) - len(self.url) - 8
        text = self.text if len(self.text) <= room else f"{self.text[:room]} …"
        return sendable("\n".join(part for part in (self.subject, text, self.url) if part))


def sendable(text: str) -> str:
    """The text without halves of characters, which odd bytes of a path become, and without NUL: neither mail nor UTF-8 holds them."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def send(settings: AlertSettings, alert: Alert) -> dict[str, str]:
    """Send an alert, and return for each channel "" where it was taken, or the reason why not. Empty without a channel."""
    channels: dict[str, Callable[[], None]] = {}
    if settings.webhook or settings.webhook_env:
        channels["webhook"] = lambda: _post(settings, alert)
    if settings.email is not None:
        mail = settings.email
        channels["email"] = lambda: _mail(mail, alert)
    outcomes = {}
    for name, deliver in channels.items():
        try:
            _within(MOST_SECONDS, deliver)
            outcomes[name] = ""
        except Exception as error:  # an alert must never end the run that it is about
            outcomes[name] = f"{type(error).__name__}: {error}"
    return outcomes


def _within(seconds: float, deliver: Callable[[], None]) -> None:
    """Deliver in a thread that is waited for so long. Raises what `deliver` raises, and TimeoutError."""
    raised: list[Exception] = []

    def work() -> None:
        try:
            deliver()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True, name="alert")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no end after {seconds:g} s")
    if raised:
        raise raised[0]


def _post(settings: AlertSettings, alert: Alert) -> None:
    import httpx

    address = settings.webhook or os.environ.get(settings.webhook_env or "")
    if not address:
        raise ValueError(f"the environment variable {settings.webhook_env} is not set where this process runs")
    content = {"text": alert.message, "content": alert.message[:2000], "event": alert.event, "url": alert.url}
    try:
        answer = httpx.post(address, json=content, timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ConnectionError(f"no answer ({type(error).__name__})") from None  # the error's own text holds the address
    if answer.is_error or answer.is_redirect:
        raise ConnectionError(f"status {answer.status_code}: {answer.text[:200]}")


def _mail(settings: EmailSettings, alert: Alert) -> None:
    message = EmailMessage()
    message["From"], message["To"] = settings.sender, ", ".join(settings.to)
    message["Subject"] = sendable(" ".join(f"interp: {alert.subject}".split())[:200])
    message.set_content(alert.message)
    context = ssl.create_default_context()
    opened = smtplib.SMTP_SSL if settings.security == "tls" else smtplib.SMTP
    more = {"context": context} if settings.security == "tls" else {}
    with opened(settings.host, settings.port, timeout=SECONDS, **more) as server:  # type: ignore[arg-type]
        if settings.security == "starttls":
            server.starttls(context=context)
        if settings.user is not None:
            password = os.environ.get(settings.password_env)
            if password is None:
                raise ValueError(f"the environment variable {settings.password_env} is not set where this process runs")
            server.login(settings.user, password)
        refused = server.send_message(message)
    if refused:
        reasons = "; ".join(f"{address}: {code} {reason.decode(errors='replace')}" for address, (code, reason) in refused.items())
        raise ConnectionError(f"the server refused {len(refused)} of {len(settings.to)} addresses: {reasons}")
