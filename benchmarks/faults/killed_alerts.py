"""Attacks on sensors that alert: the process ends while it sends. No alert is lost, and none is sent twice without a word."""

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.faults.attacks import RIGHT, WRONG, Result, attack

SENSOR = """
import sys, dagster as dg
from interp_assets.config.alerts import AlertSettings
from interp_assets.graph.alert_sensors import alert_sensors

@dg.asset(check_specs=[dg.AssetCheckSpec("sound", asset="checked")])
def checked():
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="sound", passed=False)])

with dg.DagsterInstance.get() as instance:
    if sys.argv[1] == "make":
        dg.materialize([checked], instance=instance)
    else:
        sensors = {one.name: one for one in alert_sensors(AlertSettings(webhook=sys.argv[2]), list(checked.check_keys), 1)}
        sensors["alert_failed_checks"](dg.build_sensor_context(instance=instance, cursor="0"))
"""


@attack("a sensor that is killed while it sends", seconds=120, end=signal.SIGKILL)
@attack("a sensor that is terminated while it sends", seconds=120, end=signal.SIGTERM)
def ended_while_sending(folder: Path, quick: bool, end: signal.Signals) -> Result:
    subjects: list[str] = []
    slow = threading.Event()

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            subjects.append(self.rfile.read(int(self.headers["Content-Length"])).decode().partition("\\n")[0])
            slow.wait(5)
            try:
                self.send_response(200)
                self.end_headers()
            except OSError:
                pass  # nobody is there any more

        def log_message(self, format: str, *args: Any) -> None:
            pass

    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/hook"

        def process(what: str) -> subprocess.Popen[bytes]:
            environment = {**os.environ, "DAGSTER_HOME": str(folder)}
            return subprocess.Popen([sys.executable, "-c", SENSOR, what, address], env=environment, stderr=subprocess.DEVNULL)

        process("make").wait()
        sending = process("tick")
        while not subjects and sending.poll() is None:
            time.sleep(0.02)
        sending.send_signal(end)
        sending.wait()
        slow.set()
        for _ in range(2):  # the tick after the end, and one whose cursor was lost
            process("tick").wait()
        server.shutdown()
    said = [("(perhaps again)" in subject) for subject in subjects]
    return Result(RIGHT if said == [False, True] else WRONG, "; ".join(subjects))
