"""The key of a server, wherever it stands: hidden in every text that leaves the back end, and in the log lines of the HTTP libraries."""

import base64
import html
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from urllib.parse import parse_qsl, quote, unquote, urlsplit

HIDDEN = "<key>"
TOLD_PART = 8
"""So many characters of a key in a row are hidden. Shorter keys, such as `none` for a server on this machine, are hidden as whole words."""

TALKATIVE = (
    "httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks", "openai._base_client",
)  # fmt: skip
"""Loggers that write addresses and headers."""


@dataclass(frozen=True)
class Secrets:
    """Texts that nobody may be told: a key, and the user, password and query of an address."""

    texts: tuple[str, ...]

    @cached_property
    def _forms(self) -> tuple[str, ...]:
        """Each text as it is and as servers repeat it: within JSON, a URL, HTML, Python, or base64."""
        forms = set[str]()
        for text in self.texts:
            packed = {base64.b64encode(f"{before}{text}".encode()).decode().rstrip("=")[2 * len(before) :] for before in ("", ":")}
            forms |= {
                text,
                unquote(text),
                json.dumps(text)[1:-1],
                repr(text)[1:-1],
                quote(text),
                quote(text, ""),
                html.escape(text),
                *packed,
            }
        return tuple(sorted(forms, key=lambda form: (-len(form), form)))

    @cached_property
    def _parts(self) -> frozenset[str]:
        return frozenset(form[at : at + TOLD_PART].lower() for form in self._forms for at in range(len(form) - TOLD_PART + 1))

    def hide(self, text: str) -> str:
        """The text without the secrets, without TOLD_PART or more characters of one in a row, and without what looks like a key."""
        for form in self._forms:
            if len(form) < TOLD_PART:
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", HIDDEN, text)
        text = self._without_parts(text, lambda run: True)
        return re.sub(r"(?i)\b(?:sk-|Bearer )[\w*.-]+", HIDDEN, text)

    def hide_in_reply(self, text: str) -> str:
        """The text without the secrets as they are, and without more than TOLD_PART characters of one in a row with a digit among them:
        words that happen to be in a key too, as in `no-key-required`, stay. Quick enough for every reply."""
        for secret in self.texts:
            if len(secret) >= TOLD_PART and secret in text:
                text = text.replace(secret, HIDDEN)
        lower = text.lower()
        few = len(self._sampled) <= len(lower)
        told = any(part in lower for part in self._sampled) if few else any(
            lower[at : at + TOLD_PART] in self._sampled for at in range(len(lower) - TOLD_PART + 1)
        )  # fmt: skip
        return self._without_parts(text, lambda run: len(run) > TOLD_PART and any(map(str.isdigit, run))) if told else text

    @cached_property
    def _sampled(self) -> frozenset[str]:
        """Every second part of each form: more than TOLD_PART characters in a row have one of them."""
        return frozenset(form[at : at + TOLD_PART].lower() for form in self._forms for at in range(0, len(form) - TOLD_PART + 1, 2))

    def _without_parts(self, text: str, is_secret: Callable[[str], bool]) -> str:
        """The text without runs of TOLD_PART or more characters of a secret, where `is_secret` says so of the run."""
        lower, told = text.lower(), bytearray(len(text))
        if len(lower) != len(text):
            return text
        for at in range(len(text) - TOLD_PART + 1):
            if lower[at : at + TOLD_PART] in self._parts:
                told[at : at + TOLD_PART] = b"\1" * TOLD_PART
        runs = ((text[run.start() : run.end()], told[run.start()]) for run in re.finditer(b"\0+|\1+", told))
        return "".join(HIDDEN if is_part and is_secret(run) else run for run, is_part in runs)

    def hide_in_logs(self) -> None:
        """Hide the secrets in log lines of the HTTP libraries, from now on."""
        for name in TALKATIVE:
            logging.getLogger(name).addFilter(_Hiding(self))  # an equal filter is not added twice


@lru_cache(maxsize=16)
def secrets_of(texts: tuple[str, ...]) -> Secrets:
    """The secrets, whose forms are made once."""
    return Secrets(texts)


@dataclass(frozen=True)
class _Hiding:
    """A filter of log records."""

    secrets: Secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """True for every record; its message has no secret from then on."""
        record.msg, record.args = self.secrets.hide(record.getMessage()), ()
        return True


@dataclass(frozen=True)
class Address:
    """The address of a server in parts: without user, password and query; those apart."""

    bare: str
    user: str | None
    password: str
    query: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, base_url: str) -> "Address":
        """The parts of a `checked_url`."""
        where = urlsplit(base_url)
        bare = where._replace(netloc=where.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")
        user = unquote(where.username) if where.username is not None else None
        return cls(bare, user, unquote(where.password or ""), tuple(parse_qsl(where.query, keep_blank_values=True)))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password (without one the user), and the values of the query."""
        return (*filter(None, [self.password or self.user or ""]), *(value for _, value in self.query if len(value) >= TOLD_PART))


def without_credentials(base_url: str) -> str:
    """Any text that should be an address, without what stands before an @, behind a ? and behind a #."""
    return re.sub(r"[?#].*", "", re.sub(r"(?s)(://|^(?!.*://)).*@", r"\1", base_url))
