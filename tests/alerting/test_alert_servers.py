"""Alerts to servers that refuse, repeat secrets, are slow or odd: nothing is lost or sent twice without a word; no secret is told."""

import base64
import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from test_alerts import ALERT, mail_server, served, settings

from interp_assets.alerting import once, sending
from interp_assets.alerting.sending import Alert, send
from interp_assets.alerting.waiting import waiting_alerts
from interp_assets.alerting.webhook import content, form_of, post
from interp_assets.graph import alert_sensors as sensors
from interp_assets.graph.alert_sensors import alert_sensors

SECRET = "xoxb-1234567890-abcdefghij"
Answer = tuple[int, dict[str, str], str]


@contextmanager
def answering(*answers: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook with these answers in turn, the last for ever: its address, and what was posted."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, headers, text = answers[min(len(taken), len(answers)) - 1]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with served(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}/services/{SECRET}?sig={SECRET[::-1]}", taken


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", "slack"),
        ("https://discord.com/api/webhooks/1/x", "discord"),
        ("https://canary.discord.com/api/webhooks/1/x", "discord"),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/x", "teams"),
        ("https://default1.1.environment.api.powerplatform.com/powerautomate/x", "teams"),
        ("https://chat.example.org/hooks/x", "json"),
        ("https://discord.com.example.org/x", "json"),
        ("http://[::1", "json"),
    ],
)
def test_the_form_goes_by_the_service(address: str, form: str) -> None:
    assert form_of(address) == form


def test_each_service_gets_the_body_that_it_takes_and_no_text_notifies_or_links() -> None:
    alert = Alert("check", "scores <!channel> & more", "@everyone look\n\n*now* <http://evil|here>", "http://ui/runs/1")
    assert content("slack", alert, alert.message)["text"].startswith("scores &lt;!channel&gt; &amp; more\n@everyone")
    discord = content("discord", alert, "x" * 2500)
    assert len(discord["content"]) == 2000 and discord["allowed_mentions"] == {"parse": []}
    (attachment,) = content("teams", alert, alert.message)["attachments"]
    card = attachment["content"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive" and card["type"] == "AdaptiveCard"
    assert [block["inlines"][0]["text"] for block in card["body"]] == [alert.subject, "@everyone look", "*now* <http://evil|here>"]
    assert (
        card["actions"][0]["url"] == alert.url
        and "actions" not in content("teams", Alert("a", "b", "c", ""), "b")["attachments"][0]["content"]
    )
    with answering((202, {}, "")) as (address, posted):
        assert send(settings(webhook=address, webhook_form="teams"), alert) == {"webhook": ""}
    assert posted[0]["type"] == "message"


def test_a_service_that_asks_to_wait_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering((429, {"Retry-After": "0.05"}, ""), (503, {"Retry-After": "0"}, ""), (204, {}, "")) as (address, posted):
        assert send(settings(webhook=address), ALERT) == {"webhook": ""} and len(posted) == 3
    with answering((429, {"Retry-After": "3600"}, "slow down")) as (address, posted):
        told = send(settings(webhook=address), ALERT)["webhook"]
        assert told == "ConnectionError: status 429: slow down; it asks to wait 3600 s" and len(posted) == 1
    with answering((503, {"Retry-After": "0"}, "")) as (address, posted):
        assert send(settings(webhook=address), ALERT)["webhook"].endswith("status 503; it asks to wait 0 s, after 3 tries")
        assert len(posted) == 3
    with answering((500, {}, "oh")) as (address, posted):  # it may have taken the alert
        assert send(settings(webhook=address), ALERT) == {"webhook": "ConnectionError: status 500: oh"} and len(posted) == 1
    with answering((404, {}, "no\nhook\0" + "x" * 30_000_000)) as (address, _):
        assert send(settings(webhook=address), ALERT, seconds=3.0) == {"webhook": f"ConnectionError: status 404: no↵hook\ufffd{'x' * 192}"}
    with answering((302, {"Location": "/elsewhere"}, "")) as (address, posted):
        assert "status 302. The webhook has moved" in send(settings(webhook=address), ALERT)["webhook"] and len(posted) == 1


def test_no_address_is_told_whatever_the_service_repeats(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    repeated = f"no hook /services/{SECRET}?sig={SECRET[::-1]} {base64.b64encode(SECRET.encode()).decode()}"
    with answering((404, {}, repeated)) as (address, _):
        told = send(settings(webhook=address), ALERT)["webhook"]
    assert told.startswith("ConnectionError: status 404: no hook /services/<key>")
    for part in (SECRET[:12], SECRET[::-1][:12], base64.b64encode(SECRET.encode()).decode()[:12]):
        assert part not in told and part not in caplog.text


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Sends an alert by mail: what the channel says."""
    monkeypatch.setenv("INTERP_SMTP_PASSWORD", SECRET)

    def sent(port: int, **changes: Any) -> str:
        base = {"to": "ada@example.org", "sender": "interp@example.org", "host": "127.0.0.1", "port": port, "security": "none"}
        return send(settings(email={**base, **changes}), ALERT, seconds=4.0)["email"]

    return sent


def test_a_mail_has_a_date_and_an_id_and_asks_for_no_answer(mail: Callable[..., str]) -> None:
    with mail_server() as (port, mailed):
        assert mail(port) == ""
    header = mailed[0].partition("\r\n\r\n")[0]
    assert "\r\nDate: " in header and "@example.org>" in header.partition("Message-ID: ")[2] and "Auto-Submitted: auto-generated" in header


@contextmanager
def speaking(**answers: str) -> Iterator[int]:
    """A mail server with an answer for some commands; the answer "" closes the connection."""
    import socketserver

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write((answers.get("hello", "220 here") + "\r\n").encode())
            while line := self.rfile.readline().decode():
                command = line.split()[0].upper()
                said = answers.get(command, {"DATA": "354 go on", "QUIT": "221 bye"}.get(command, "250 ok"))
                if not said:
                    return
                self.wfile.write(f"{said}\r\n".encode())
                if said.startswith("354"):
                    while self.rfile.readline() != b".\r\n":
                        pass
                    self.wfile.write(b"250 taken\r\n")

    with served(socketserver.TCPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


def test_a_mail_that_is_taken_is_sent_whatever_the_server_says_at_the_end(mail: Callable[..., str]) -> None:
    for ending in ("421 going down", "", "nonsense"):
        with speaking(QUIT=ending) as port:
            assert mail(port) == ""


@pytest.mark.parametrize(
    ("answers", "changes", "told"),
    [
        ({"EHLO": "250-here\r\n250 AUTH PLAIN", "AUTH": f"535 not {SECRET}"}, {"user": "ada"}, "refused the login of ada: 535 not <key>"),
        ({"EHLO": "250-here\r\n250 AUTH PLAIN", "AUTH": "535 no AGFkYQ=="}, {"user": "ada"}, "refused the login of ada: 535 no AGFkYQ=="),
        ({}, {"security": "starttls"}, "STARTTLS extension not supported by server.; write security: tls, or none"),
        ({}, {"security": "tls"}, "does not begin with TLS (WRONG_VERSION_NUMBER); write security: starttls"),
        ({"RCPT": "550 no such user"}, {}, "the server refused all 1 addresses: ada@example.org: 550 no such user"),
        ({"DATA": ""}, {}, "closed the connection"),
        ({"hello": "554 not you"}, {}, "answered: 554 not you"),
    ],
)  # fmt: skip
def test_what_a_mail_server_does_not_do_is_said(
    mail: Callable[..., str], answers: dict[str, str], changes: dict[str, Any], told: str
) -> None:
    with speaking(**answers) as port:
        said = mail(port, **changes)
    assert said.startswith("ConnectionError: ") and told in said and SECRET[:12] not in said and "b'" not in said


def test_a_password_with_letters_beyond_ascii_is_named_and_not_told(mail: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_SMTP_PASSWORD", "geheim-äöü-geheim")
    with speaking(EHLO="250-here\r\n250 AUTH PLAIN") as port:
        said = mail(port, user="ada")
    assert "takes no letters beyond ASCII" in said and "INTERP_SMTP_PASSWORD" in said and "ä" not in said and "geheim" not in said


def test_a_certificate_of_ones_own_is_refused_and_trusted_by_ssl_cert_file(
    mail: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = own_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with mail_server(context=context) as (port, mailed):
        said = mail(port, security="tls")
        assert f"the certificate of 127.0.0.1:{port} is not trusted" in said and "set SSL_CERT_FILE" in said and not mailed
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert mail(port, security="tls") == "" and len(mailed) == 1


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody else has signed, and its key."""
    import datetime
    import ipaddress

    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    own, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "own")])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(name, name, own.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=2))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = built.add_extension(names, False).add_extension(x509.BasicConstraints(True, None), True).sign(own, hashes.SHA256())
    (folder / "own.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form, locked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "own.key").write_bytes(own.private_bytes(serialization.Encoding.PEM, form, locked))
    return folder / "own.pem", folder / "own.key"


def test_a_silent_channel_does_not_keep_the_alert_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_RESTING", {})
    silent = threading.Event()
    monkeypatch.setattr(sending, "mail", lambda *_: silent.wait(5))
    email = {"to": "a@b.c", "sender": "i@b.c", "host": "127.0.0.1"}
    with answering((200, {}, "")) as (address, posted):
        assert send(settings(webhook=address, email=email), ALERT, seconds=0.5) == {
            "webhook": "",
            "email": "TimeoutError: no end after 0.5 s",
        }
    silent.set()
    assert len(posted) == 1


@dg.asset(check_specs=[dg.AssetCheckSpec("sound", asset="checked")])
def checked() -> dg.MaterializeResult:
    """An asset whose check does not pass."""
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="sound", passed=False)])


class Killed(BaseException):
    """The process ends here."""


def test_a_sensor_that_is_killed_or_starts_over_sends_nothing_twice_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering((200, {}, "")) as (address, posted), dg.DagsterInstance.ephemeral() as instance:
        _, sensor, _ = alert_sensors(settings(webhook=address), list(checked.check_keys), 1)

        def tick(cursor: str) -> str | None:
            context = dg.build_sensor_context(instance=instance, cursor=cursor)
            sensor(context)
            return context.cursor

        assert dg.materialize([checked], instance=instance).success
        tick("0")
        assert tick("0") and len(posted) == 1, "a tick whose cursor was lost"
        assert dg.materialize([checked], instance=instance).success

        def killed(*_: object) -> dict[str, str]:
            raise Killed

        monkeypatch.setattr(once, "send", killed)
        with pytest.raises(Killed):
            tick("0")
        monkeypatch.setattr(once, "send", send)
        tick("0")
        assert [one["text"].splitlines()[0] for one in posted] == [
            "checked: sound did not pass",
            "(perhaps again) checked: sound did not pass",
        ]
        monkeypatch.setattr(sensors, "TICK_SECONDS", -1.0)
        assert dg.materialize([checked], instance=instance).success
        cursor = tick("0")
        monkeypatch.setattr(sensors, "TICK_SECONDS", 30.0)
        assert len(posted) == 2 and cursor is not None
        tick(cursor)
        assert len(posted) == 3, "what a tick has no time for is sent by the next one"


def test_an_alert_comes_late_where_a_channel_was_away_and_to_that_channel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook is away when a check fails, and mail is not. The webhook gets the alert after its pauses, once, and mail gets no second."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(sensors.time, "time", lambda: now[0])
    with mail_server() as (port, mailed), dg.DagsterInstance.ephemeral() as instance:
        email = {"to": "ada@example.org", "sender": "interp@example.org", "host": "127.0.0.1", "port": port, "security": "none"}
        with answering((404, {}, "no such hook")) as (address, refused):
            gone = settings(webhook=address, email=email)
            _, sensor, late = alert_sensors(gone, list(checked.check_keys), 1)
            assert dg.materialize([checked], instance=instance).success
            sensor(dg.build_sensor_context(instance=instance, cursor="0"))
            for seconds, tries in ((59, 1), (2, 2), (60, 2), (61, 3)):
                now[0] += seconds
                late(dg.build_sensor_context(instance=instance))
                assert len(refused) == tries, f"after {now[0] - 1_800_000_000:.0f} s"
        with answering((200, {}, "")) as (address, taken):
            late = alert_sensors(settings(webhook=address, email=email), [], 1)[-1]
            for _ in range(2):
                now[0] += 3600
                late(dg.build_sensor_context(instance=instance))
        assert [one["text"].splitlines()[0] for one in taken] == ["(late, of 2027-01-15 08:00 UTC) checked: sound did not pass"]
        assert len(mailed) == 1 and waiting_alerts(instance) == []


def test_an_alert_that_nobody_takes_is_given_up_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_800_000_000.0]
    monkeypatch.setattr(sensors.time, "time", lambda: now[0])
    with answering((404, {}, "no such hook")) as (address, refused), dg.DagsterInstance.ephemeral() as instance:
        _, sensor, late = alert_sensors(settings(webhook=address), list(checked.check_keys), 1)
        assert dg.materialize([checked], instance=instance).success
        sensor(dg.build_sensor_context(instance=instance, cursor="0"))
        for _ in range(25 * 60):
            now[0] += 61
            late(dg.build_sensor_context(instance=instance))
        assert 25 <= len(refused) <= 32 and waiting_alerts(instance) == []


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"HTTP_PROXY": "http://127.0.0.1:1"}, None),
        ({"ALL_PROXY": "socks4://127.0.0.1:1", "NO_PROXY": "[::1"}, None),
        ({"NO_PROXY": "fd00::/8,10.0.0.0/8"}, None),
        ({"HTTP_PROXY": "socks4://user:sesame@proxy:1"}, "HTTP_PROXY is 'socks4://proxy:1', which is no proxy's address"),
        ({"HTTP_PROXY": "http://user:sesame@127.0.0.1:1"}, "no answer (ConnectError) through the proxy http://127.0.0.1:1"),
    ],
)
def test_the_proxies_of_the_environment_are_read_as_for_a_language_model(
    environment: dict[str, str], told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service on this machine is asked directly, and a proxy that cannot be used is named; neither host nor password is told."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with answering((200, {}, "ok")) as (address, taken):
        where = address if told is None else "http://alerts.example.org/hook"
        end = time.monotonic()  # one try
        if told is None:
            post(settings(webhook=where), ALERT, "a message", 5, end)
            assert len(taken) == 1
            return
        with pytest.raises(ConnectionError) as refused:
            post(settings(webhook=where), ALERT, "a message", 5, end)
        assert told in str(refused.value) and "sesame" not in str(refused.value) and "alerts.example" not in str(refused.value)
