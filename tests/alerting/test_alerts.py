"""Alerts reach a real webhook and a real mail server, and a channel that fails stops nothing."""

import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import pytest

from interp_assets.alerting import sending
from interp_assets.alerting import webhook as webhook_channel
from interp_assets.alerting.failed_runs import tell_failed_runs
from interp_assets.alerting.sending import LONGEST, Alert, send
from interp_assets.alerting.waiting import waiting_alerts
from interp_assets.asking.asker import RunSpending
from interp_assets.config.alerts import AlertSettings
from interp_assets.config.base import UserError, validated
from interp_assets.config.settings import BudgetSettings
from interp_assets.graph.alert_sensors import alert_sensors
from resources.language_models.interface import Reply

ALERT = Alert("run_failed", "run 1 failed: scores/fuzzing", "no room <left>\non the disk", "http://ui/runs/1")


@contextmanager
def served(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def webhook(status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes alerts: its address, and the alerts."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"no such channel" if status >= 400 else b"ok")

        def log_message(self, *_: object) -> None:
            pass

    with served(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}/hook/secret-token", taken


@contextmanager
def mail_server(unknown: str = "nobody", context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[str]]]:
    """A server that speaks as much SMTP as takes a message, over TLS with `context`: its port, and the messages. It refuses the addressee
    `unknown`."""
    messages: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline().decode():
                command = line.split()[0].upper() if line.split() else ""
                if command == "DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = ""
                    while (line := self.rfile.readline().decode()) != ".\r\n":
                        text += line
                    messages.append(text)
                if command == "RCPT" and unknown in line:
                    self.wfile.write(b"550 no such user\r\n")
                    continue
                self.wfile.write(b"221 bye\r\n" if command == "QUIT" else b"250 ok\r\n")
                if command == "QUIT":
                    return

    class Server(socketserver.TCPServer):
        def get_request(self) -> tuple[Any, Any]:
            plain, address = super().get_request()
            return (plain if context is None else context.wrap_socket(plain, server_side=True)), address

    with served(Server(("127.0.0.1", 0), Handler)) as port:
        yield port, messages


def settings(**content: Any) -> AlertSettings:
    return validated(AlertSettings, content, "alerts")


def test_an_alert_is_posted_and_mailed(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook() as (address, posted), mail_server() as (port, mailed):
        monkeypatch.setenv("ALERT_HOOK", address)
        email = {"to": "ada@example.org", "sender": "interp@example.org", "host": "127.0.0.1", "port": port, "security": "none"}
        assert send(settings(webhook_env="ALERT_HOOK", email=email), ALERT) == {"webhook": "", "email": ""}
    assert posted[0]["text"] == f"{ALERT.subject}\n{ALERT.text}\n{ALERT.url}" and posted[0]["event"] == "run_failed"
    assert "Subject: interp: run 1 failed: scores/fuzzing" in mailed[0] and "no room <left>" in mailed[0] and ALERT.url in mailed[0]


def test_a_channel_that_fails_is_named_without_its_secret_and_the_other_channel_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook(404) as (address, _), mail_server() as (port, mailed):
        email = {"to": ["a@b.c"], "sender": "i@b.c", "host": "127.0.0.1", "port": port, "security": "none"}
        outcome = send(settings(webhook=address, email=email), ALERT)
    assert outcome == {"webhook": "ConnectionError: status 404: no such channel", "email": ""} and len(mailed) == 1
    monkeypatch.setattr(webhook_channel, "PAUSE_SECONDS", 0.0)
    nobody = send(settings(webhook="http://127.0.0.1:9/secret-token"), ALERT)["webhook"]
    assert nobody.startswith("ConnectionError: no answer") and "secret" not in nobody
    monkeypatch.delenv("NOT_THERE", raising=False)
    assert send(settings(webhook_env="NOT_THERE"), ALERT) == {
        "webhook": "ValueError: the environment variable NOT_THERE is not set where this process runs"
    }
    email |= {"user": "ada", "password_env": "NOT_THERE"}
    with mail_server() as (port, mailed):
        assert "NOT_THERE is not set" in send(settings(email=email | {"port": port}), ALERT)["email"]
    assert send(AlertSettings(), ALERT) == {}


def test_an_addressee_that_the_server_refuses_is_named_and_the_others_get_the_mail() -> None:
    with mail_server(unknown="eve") as (port, mailed):
        email = {"to": ["a@b.c", "eve@b.c"], "sender": "i@b.c", "host": "127.0.0.1", "port": port, "security": "none"}
        told = send(settings(email=email), ALERT)["email"]
    assert told == "ConnectionError: the server refused 1 of 2 addresses: eve@b.c: 550 no such user" and len(mailed) == 1


def test_half_of_a_character_in_a_reason_stops_no_alert() -> None:
    odd = Alert("run_failed", "run 1 failed: caf\udce9", "no room in /data/caf\udce9\0 or \ud83d", "http://127.0.0.1:3000/runs/1")
    with webhook() as (address, posted), mail_server() as (port, mailed):
        email = {"to": "a@b.c", "sender": "i@b.c", "host": "127.0.0.1", "port": port, "security": "none"}
        assert send(settings(webhook=address, email=email), odd) == {"webhook": "", "email": ""}
    assert "no room in /data/caf" in posted[0]["text"] and len(mailed) == 1


def test_a_long_reason_is_cut_and_keeps_its_link() -> None:
    message = Alert("check", "s", "x" * 10_000, "http://ui").message
    assert len(message) <= LONGEST and message.endswith("…\nhttp://ui")


def test_most_of_a_budget_sends_one_alert() -> None:
    with webhook() as (address, posted):
        spending = RunSpending(BudgetSettings(tokens=1000), settings(webhook=address, budget_share=0.5))

        @dg.asset
        def asks(context: dg.AssetExecutionContext) -> None:
            for _ in range(4):
                spending.of_run(context).add("some-model", Reply("[1]", "stop", 200, 0, 0, 0.0))

        with dg.DagsterInstance.ephemeral() as instance:
            assert dg.materialize([asks], instance=instance).success
        for thread in threading.enumerate():
            if thread is not threading.main_thread() and not thread.daemon and "serve_forever" not in thread.name:
                thread.join(timeout=10)
    assert [one["text"].splitlines()[0].partition(": ")[2] for one in posted] == ["50% of the budget of 1,000 tokens is spent (600)"]


def test_a_check_that_does_not_pass_sends_one_alert_an_evaluation() -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec("sound", asset="scores")])
    def scores(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        passed = context.run.tags["passed"] == "yes"
        severity = dg.AssetCheckSeverity.WARN
        return dg.MaterializeResult(
            check_results=[dg.AssetCheckResult(check_name="sound", passed=passed, severity=severity, metadata={"n": 3})]
        )

    with webhook() as (address, posted), dg.DagsterInstance.ephemeral() as instance:
        _, sensor, _ = alert_sensors(settings(webhook=address), list(scores.check_keys), 1)
        cursor = None

        def tick() -> int:
            nonlocal cursor
            context = dg.build_sensor_context(instance=instance, cursor=cursor)
            sensor(context)
            cursor = context.cursor
            return len(posted)

        def run(passed: str) -> None:
            assert dg.materialize([scores], instance=instance, tags={"passed": passed}).success

        run("no")
        assert tick() == 0, "what is old when the sensor begins sends nothing"
        run("yes")
        assert tick() == 0
        run("no")
        assert tick() == 1 and tick() == 1
        run("no")
        assert tick() == 2
    assert posted[0]["text"] == "scores: sound warns\nn: 3\nhttp://127.0.0.1:3000/assets/scores?view=checks"


def test_a_failed_run_sends_an_alert_with_its_reason() -> None:
    @dg.asset
    def broken() -> None:
        raise UserError("dictionary a/0/b has no folder /x: give one")

    with webhook() as (address, posted), dg.DagsterInstance.ephemeral() as instance:
        sensor, *_ = alert_sensors(settings(webhook=address), [], 1)
        result = dg.materialize([broken], instance=instance, raise_on_error=False)
        event = next(event for event in result.all_events if event.event_type is dg.DagsterEventType.RUN_FAILURE)
        context = dg.build_run_status_sensor_context(
            sensor_name="alert_failed_runs", dagster_instance=instance, dagster_run=result.dagster_run, dagster_event=event
        )
        sensor(context.for_run_failure())
    text = posted[0]["text"]
    assert f"run {result.run_id[:8]} failed: " in text and "dictionary a/0/b has no folder /x: give one" in text
    assert text.endswith(f"/runs/{result.run_id}") and "Stack Trace" not in text
    assert text.splitlines()[1] == "dictionary a/0/b has no folder /x: give one", "no words of Dagster's around the reason"


def test_a_command_tells_of_failed_runs_that_no_sensor_has_told_of() -> None:
    """A Dagster that ends with its backfill may end before its sensor looks, and `interp run` has no sensor."""

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a/0/b|00of16"]))
    def broken() -> None:
        raise UserError("dictionary a/0/b has no folder /x: give one")

    def failed(instance: dg.DagsterInstance, **tags: str) -> str:
        ends = {f"dagster/asset_partition_range_{end}": "a/0/b|00of16" for end in ("start", "end")}
        return dg.materialize([broken], instance=instance, raise_on_error=False, tags={**ends, **tags}).run_id

    with webhook() as (address, posted), dg.DagsterInstance.ephemeral() as instance:
        wants, said = settings(webhook=address), list[str]()
        first, again = failed(instance), failed(instance, **{"dagster/will_retry": "true"})
        fine = dg.materialize([dg.asset(name="fine")(lambda: None)], instance=instance).run_id
        tell_failed_runs(instance, settings(webhook=address, on=["check"]), [first], said.append)
        assert posted == [] and said == []
        for _ in range(2):
            tell_failed_runs(instance, wants, [first, again, fine, "gone"], said.append)
        assert [one["text"].splitlines()[0] for one in posted] == [
            f"run {first[:8]} failed: __ephemeral_asset_job__, a/0/b|00of16"
        ] and len(said) == 1
        event = next(one for one in instance.all_logs(first) if one.dagster_event_type is dg.DagsterEventType.RUN_FAILURE).dagster_event
        run = instance.get_run_by_id(first)
        assert run is not None and event is not None
        context = dg.build_run_status_sensor_context("alert_failed_runs", event, instance, run)
        alert_sensors(wants, [], 1)[0](context.for_run_failure())
        assert len(posted) == 1
    with dg.DagsterInstance.ephemeral() as instance:
        away = failed(instance)
        tell_failed_runs(instance, wants, [away], said.append)  # nobody is at the address any more
        assert said[-1].startswith("no alert by webhook: ConnectionError: no answer") and len(waiting_alerts(instance)) == 1


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"webhook": "hooks.slack.com/x"}, "begins neither with http:// nor with https://"),
        ({"webhook": "http://a", "webhook_env": "B"}, "webhook and webhook_env both name an address"),
        ({"email": {"to": "ada", "sender": "a@b", "host": "h"}}, "'ada' is no address such as ada@example.org"),
        ({"on": ["run_fails"]}, "run_failed"),
        ({"budget_share": 80}, "budget_share"),
    ],
)
def test_a_wrong_channel_is_refused(content: dict, named: str) -> None:
    with pytest.raises(UserError) as error:
        settings(**content)
    assert named in str(error.value)


def test_without_a_channel_there_is_no_sensor() -> None:
    assert alert_sensors(AlertSettings(), [], 1) == []
    assert [sensor.name for sensor in alert_sensors(settings(webhook="http://a", on=["check"]), [], 1)] == [
        "alert_failed_checks",
        "alert_late",
    ]


def test_a_channel_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MOST_SECONDS", 0.05)
    monkeypatch.setattr(sending, "_RESTING", {})
    monkeypatch.setattr(sending, "post", lambda *_: threading.Event().wait(5))
    own = AlertSettings(webhook="http://127.0.0.1:1/")
    assert send(own, ALERT) == {"webhook": "TimeoutError: no end after 0.05 s"}
    assert send(own, ALERT)["webhook"].startswith("not tried: the last try had no end"), "several alerts of one tick wait once"
    assert send(AlertSettings(webhook="http://127.0.0.1:2/"), ALERT) == {"webhook": "TimeoutError: no end after 0.05 s"}
    monkeypatch.setattr(sending, "REST_SECONDS", 0.0)
    monkeypatch.setattr(sending, "_RESTING", {})
    assert [send(own, ALERT) for _ in range(2)] == [{"webhook": "TimeoutError: no end after 0.05 s"}] * 2
