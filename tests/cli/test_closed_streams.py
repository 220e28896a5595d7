"""Commands whose standard streams are closed, full or not read."""

import subprocess
import sys
from pathlib import Path

import pytest

SHOWN = """
import os, sys
from interp_assets.cli import main, start
@main.app.command()
def write(path: str) -> None:
    with open(path, "w") as file:
        print("printed"), sys.stdout.flush(), print("said", file=sys.stderr, flush=True), os.write(1, b"by C")
        file.write("kept")
sys.argv = ["interp", "write", sys.argv[1]]
start.main()
"""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error_and_no_file_takes_its_place(closed: str, tmp_path: Path) -> None:
    command = ["sh", "-c", f'exec "$0" -c "$1" "$2" {closed}', sys.executable, SHOWN, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert (tmp_path / "file").read_text() == "kept"
