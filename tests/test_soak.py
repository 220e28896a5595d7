"""Eight runs at once on one installation with a reader beside them, briefly; `benchmarks/soak.py` does it for ten minutes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.mark.slow
def test_eight_runs_at_once_disturb_neither_one_another_nor_a_reader() -> None:
    words = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0", "--readers", "1"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    # Twice the eight runs and the harvest; every question of a feature's explanation and score is asked, and kept, once.
    assert found["run_statuses"] == {"SUCCESS": 17} and found["runs"] == 16 and found["queries"] > 0
    assert (found["errors"], found["changed_files"], found["wrong_counts"]) == (0, 0, 0)
    assert (found["rows"]["explanations"], found["rows"]["feature_examples"]) == (64, 64)
