"""Importing the graph has no effect: no file, no folder, and no look at the environment but in what Dagster loads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WATCHED = """
import os, sys

def watch(event, arguments):
    made = event in ("os.mkdir", "os.rename", "os.link", "os.symlink")
    flags = arguments[2] if event == "open" and arguments[0] != os.devnull and isinstance(arguments[2], int) else 0
    if made or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        print("effect:", event, arguments[0])

sys.addaudithook(watch)
print("watching")
import {module}
print("imported")
"""


def effects_of_importing(module: str, folder: Path, **environment: str) -> list[str]:
    """What importing a module writes or makes, in a fresh interpreter in an empty folder that it may only read."""
    folder.mkdir()
    folder.chmod(0o555)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("INTERP_", "DAGSTER_"))}
    command = [sys.executable, "-B", "-c", WATCHED.format(module=module)]
    done = subprocess.run(command, cwd=folder, env=inherited | environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "watching" and lines[-1] == "imported"
    assert not list(folder.iterdir()) and "BetaWarning" not in done.stderr
    return lines[1:-1]


def test_importing_what_dagster_loads_makes_no_folder_and_writes_no_file(tmp_path: Path) -> None:
    assert effects_of_importing("interp_assets.definitions", tmp_path / "empty") == []


@pytest.mark.parametrize("module", ["interp_assets.graph.assembly", "interp_assets.orchestration.range_run"])
def test_the_graph_is_importable_without_a_home(module: str, tmp_path: Path) -> None:
    """No home could be opened, and no executor chosen, in this environment: whoever read it would fail."""
    nowhere = {"INTERP_HOME": "/dev/null/home", "INTERP_LAKE": "nowhere://bucket/lake", "INTERP_EXECUTOR": "none"}
    assert effects_of_importing(module, tmp_path / "empty", **nowhere) == []
