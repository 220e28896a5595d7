"""Which events a site wants to hear of, and where alerts go."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from interp_assets.config.base import Closed

Event = Literal["run_failed", "budget", "check"]
WebhookForm = Literal["auto", "json", "slack", "discord", "teams"]
EVENTS: tuple[Event, ...] = ("run_failed", "budget", "check")


class EmailSettings(Closed):
    """A mail server, and who gets mail."""

    to: Annotated[tuple[str, ...], Field(min_length=1)]
    """Addresses that get each alert."""
    sender: Annotated[str, Field(min_length=1)]
    """Address that alerts come from."""
    host: Annotated[str, Field(min_length=1)]
    """The mail server (SMTP)."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    """Port of the mail server. Unit: port number."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted. `none` is for a mail server on this machine."""
    user: str | None = None
    """Name at the mail server. Without it, nobody logs in."""
    password_env: str = "INTERP_SMTP_PASSWORD"
    """Environment variable with the password; it is read by every process that alerts."""

    @field_validator("to", mode="before")
    @classmethod
    def _one_or_several(cls, to: object) -> object:
        return [to] if isinstance(to, str) else to

    @field_validator("to", "sender")
    @classmethod
    def _addresses(cls, given: object) -> object:
        for address in (given,) if isinstance(given, str) else tuple(given):  # type: ignore[arg-type]
            if "@" not in address or any(one.isspace() for one in address):
                raise ValueError(f"{address!r} is no address such as ada@example.org")
        return given


class AlertSettings(Closed):
    """Where alerts go, and which events send one. Without a webhook and without email, nothing is sent."""

    webhook_env: str | None = None
    """Environment variable with the address of a webhook, since the address is often a secret. Each alert is posted there as JSON."""
    webhook: str | None = None
    """Address of a webhook without a secret in it."""
    webhook_form: WebhookForm = "auto"
    """Keys of the JSON. `slack`, `discord` and `teams` (an adaptive card, for a workflow) are for these services, and `json` has the keys
    `text`, `content`, `event` and `url`, for Mattermost and programs of your own. `auto` goes by the address."""
    email: EmailSettings | None = None
    """Mail for each alert."""
    on: tuple[Event, ...] = EVENTS
    """`run_failed`: a run has failed. `budget`: a run has spent `budget_share` of its budget. `check`: an asset check did not pass."""
    budget_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of a run's budget that, once spent, sends an alert. Unit: share."""
    ui_url: str = "http://127.0.0.1:3000"
    """Address of Dagster's UI for the links in alerts."""

    @field_validator("webhook", "ui_url")
    @classmethod
    def _http(cls, address: str | None) -> str | None:
        if address is not None and not address.startswith(("http://", "https://")):
            raise ValueError(f"{address!r} begins neither with http:// nor with https://")
        return address

    @model_validator(mode="after")
    def _one_webhook(self) -> Self:
        if self.webhook and self.webhook_env:
            raise ValueError("webhook and webhook_env both name an address: leave one of them out")
        return self

    @property
    def is_on(self) -> bool:
        """Whether there is anywhere to send an alert."""
        return bool(self.webhook or self.webhook_env or self.email)

    def wants(self, event: Event) -> bool:
        """Whether an event sends an alert."""
        return self.is_on and event in self.on
