"""A wheel in an environment of its own, outside the checkout: the demo begins its work there, and the UI answers (make test-install).

The packages that the wheel needs are those of the environment that runs the test; the project itself is not.
"""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

pytestmark = [pytest.mark.install, pytest.mark.slow]


@pytest.fixture(scope="module")
def interp(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    python = folder / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    )
    (Path(where.stdout.strip()) / "requirements.pth").write_text(sysconfig.get_path("purelib"))
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, timeout=120)
    return folder / "bin" / "interp"


def clean_environment() -> dict[str, str]:
    """The environment without a home, and without what Python adds to its path."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("INTERP_", "DAGSTER_", "PYTHON"))}


def ended(interp: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that has ended by itself."""
    return subprocess.run([str(interp), *words], cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=120)


class Command:
    """`interp` at work in a folder, with what it has printed so far, and the processes that ran under it."""

    def __init__(self, interp: Path, folder: Path, *words: str) -> None:
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen([str(interp), *words], cwd=folder, env=clean_environment(), **pipe)
        self.lines: list[str] = []
        self.below: list[psutil.Process] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def output(self) -> str:
        """All that was printed."""
        return "".join(self.lines)

    def wait_for(self, holds: Callable[[], bool], seconds: float = 400) -> None:
        """Fails unless it holds before the command ends and before the time is over."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.2)
        self.below = psutil.Process(self.process.pid).children(recursive=True)

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        """End the command where the test has failed before it did."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(90)

    def end(self, number: signal.Signals) -> int:
        """Status after a signal, once nothing that ran under the command is left."""
        self.process.send_signal(number)
        status = self.process.wait(90)
        assert self.below and not [p for p in self.below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        return status


def test_the_ui_answers_on_its_port_and_ends_with_all_that_it_started(interp: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "__init__.py").write_text("raise RuntimeError('the folder of the user was imported')")
    with Command(interp, tmp_path, "ui", "--port", str(port)) as command:
        command.wait_for(lambda: f"http://127.0.0.1:{port}" in command.output and "Ctrl-C ends it" in command.output)
        page = httpx.get(f"http://127.0.0.1:{port}/", timeout=60, trust_env=False)
        assert page.status_code == 200 and "<html" in page.text
        second = ended(interp, tmp_path, "ui", "--port", str(port))
        assert second.returncode == 0 and "is already at" in second.stdout
        (tmp_path / "elsewhere").mkdir()
        other = ended(interp, tmp_path / "elsewhere", "ui", "--port", str(port))
        assert other.returncode == 1 and f"nothing can listen at 127.0.0.1, port {port}" in other.stderr
        assert command.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert "have ended" in command.output
        assert (tmp_path / ".interp" / "dagster" / "dagster.yaml").exists()


@pytest.mark.real_model
def test_the_demo_begins_its_work(interp: Path, tmp_path: Path) -> None:
    with Command(interp, tmp_path, "demo") as command:
        command.wait_for(lambda: "activation_shards started" in command.output)
        assert "registered smollm2-135m/09/res-2k: 16 of" in command.output
        assert command.end(signal.SIGINT) == 130
        assert "the same command continues" in command.output
