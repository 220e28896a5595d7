"""An alert to a webhook, in the form that the service behind its address takes. No address and no part of one is ever told."""

import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from interp_assets.config.alerts import AlertSettings, WebhookForm
from interp_assets.domain.prompting.rendering import visible
from resources.secrets import Address, Secrets

if TYPE_CHECKING:
    from interp_assets.alerting.sending import Alert

TRIES, PAUSE_SECONDS = 3, 2.0
"""Most tries where the service says that it took nothing, and the pause between two where it does not say how long."""

TOLD = 200
"""Most characters of an answer that are told."""

TOKEN = 12
"""Parts of an address's path of so many characters are taken for secrets."""

AGAIN = (429, 502, 503)
"""Answers of a service that has not taken the alert and may take it soon."""

SERVICES: dict[str, WebhookForm] = {
    "hooks.slack.com": "slack", "hooks.slack-gov.com": "slack", "discord.com": "discord", "discordapp.com": "discord",
    "logic.azure.com": "teams", "powerplatform.com": "teams", "webhook.office.com": "teams",
}  # fmt: skip


def post(settings: AlertSettings, alert: "Alert", message: str, wait: float, deadline: float) -> None:
    """Post an alert, waiting `wait` seconds for a byte of the answer. Raises ConnectionError where the alert is not taken before
    `deadline` of the monotonic clock, ValueError without an address."""
    import httpx

    from resources.language_models.openai_server.connection import ServerRefused
    from resources.language_models.openai_server.way_there import believed_certificates, proxy_to

    address = settings.webhook or os.environ.get(settings.webhook_env or "")
    if not address:
        raise ValueError(f"the environment variable {settings.webhook_env} is not set where this process runs")
    secrets = secrets_of(address)
    secrets.hide_in_logs()  # of httpx, which logs addresses
    form = settings.webhook_form if settings.webhook_form != "auto" else form_of(address)
    body = content(form, alert, message)
    for number in range(1, TRIES + 1):
        pause, proxy = PAUSE_SECONDS, None
        try:
            proxy = proxy_to(address.strip())
            with httpx.Client(trust_env=False, proxy=proxy and proxy.url, verify=believed_certificates(address.strip())) as client:
                answer = client.post(address.strip(), json=body, timeout=wait)
        except ServerRefused as error:  # of a variable of the environment; it names the host
            raise ConnectionError(str(error).replace(urlsplit(address.strip()).hostname or " ", "the webhook's host")) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            why = f"no answer ({type(error).__name__})" + (f" through {proxy.shown}" if proxy else "")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ConnectionError(f"no answer ({type(error).__name__})") from None  # the error's own text holds the address
        else:
            if not (answer.is_error or answer.is_redirect):
                return
            why = f"status {answer.status_code}: {_told(answer.text, secrets)}".rstrip(": ")
            if answer.is_redirect:
                raise ConnectionError(f"{why}. The webhook has moved: take its new address from the service")
            if answer.status_code not in AGAIN:
                raise ConnectionError(why)
            asked = answer.headers.get("Retry-After", "")
            pause = float(asked) if asked.replace(".", "", 1).isdecimal() else PAUSE_SECONDS
            why += f"; it asks to wait {asked} s" if asked else ""
        if number == TRIES or time.monotonic() + pause >= deadline:
            raise ConnectionError(why if number == 1 else f"{why}, after {number} tries")
        time.sleep(pause)


def _told(text: str, secrets: Secrets) -> str:
    """The beginning of an answer on one line, without secrets: an answer may be long, and hold what a log must not."""
    return visible(secrets.hide(text[: 10 * TOLD]).strip()[:TOLD])


def form_of(address: str) -> WebhookForm:
    """The form for the service at an address, by its host; the form `json` for a host that is not known."""
    try:
        host = urlsplit(address.strip()).hostname or ""
    except ValueError:
        return "json"
    for name, form in SERVICES.items():
        if host == name or host.endswith(f".{name}"):
            return form
    return "json"


def secrets_of(address: str) -> Secrets:
    """What nobody may be told of an address: long parts of its path, values of its query, its password."""
    try:
        path = urlsplit(address.strip()).path
        parts = [part for part in path.split("/") if len(part) >= TOKEN]
        return Secrets((*parts, *Address.of(address.strip()).secrets))
    except ValueError:
        return Secrets((address,))


def content(form: WebhookForm, alert: "Alert", message: str) -> dict[str, Any]:
    """The body of an alert. In no form does a text of the alert notify people, or is read as a link or as markup."""
    if form == "slack":
        escaped = message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return {"text": escaped, "unfurl_links": False}
    if form == "discord":
        return {"content": message if len(message) <= 2000 else f"{message[:1998]} …", "allowed_mentions": {"parse": []}}
    if form == "teams":
        lines = [(alert.subject, "Bolder"), *((line, "Default") for line in alert.text.splitlines() if line.strip())]
        body = [{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, "weight": weight}]} for text, weight in lines]
        card: dict[str, Any] = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.2", "body": body,
        }  # fmt: skip
        if alert.url:
            card["actions"] = [{"type": "Action.OpenUrl", "title": "Look", "url": alert.url}]
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        return {"type": "message", "attachments": [attachment]}
    return {"text": message, "content": message[:2000], "event": alert.event, "url": alert.url}
