"""Attacks on processes and what is around them: signals and kills, two commands at once, damaged files, odd environments, hostile weights.
Those that start a real Dagster are in the full form alone."""

import io
import json
import os
import pickle
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save as safetensors_bytes

from benchmarks.faults.attacks import BLOCKS, HANG, MENDED, PATIENCE, REFUSED, RIGHT, WRONG, Result, attack
from interp_assets.installation.dagster_files import unusable_home
from interp_assets.installation.home import Home
from interp_assets.installation.one_dagster import AlreadyClaimed, claim_on, claimed
from interp_assets.installation.server import prepare_instance
from resources.dictionaries import DictionaryError
from resources.dictionaries.weight_files import read_tensors
from resources.language_models.interface import ModelIdentity, Reply
from resources.language_models.reply_store import ReplyStore
from resources.run_launcher import birth_of

QUICK = "--quick" in sys.argv
KEY = "bench/00/neurons"
RECORD = {"key": KEY, "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 4, "width": 64}
PROGRAM = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("runs", flush=True)
time.sleep(600)
"""
COMMAND = """
import os, sys, time
from interp_assets.installation.interrupts import Interrupted
from interp_assets.installation.process_group import started_group
try:
    with started_group([sys.executable, "-c", sys.argv[1]], os.environ, end_seconds=2):
        time.sleep(600)
except Interrupted as interrupted:
    sys.exit(interrupted.exit_status)
"""


def environment(home: Path, **changes: str | None) -> dict[str, str]:
    """The environment of a command with its home; None takes a variable out."""
    own = {**os.environ, "INTERP_HOME": str(home), "OMP_NUM_THREADS": "1", **changes}
    return {name: value for name, value in own.items() if value is not None}


def marked(home: Path) -> list[int]:
    """Process ids of all that runs with this home in its environment."""
    found, mark = [], f"INTERP_HOME={home}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0") and birth_of(int(path.parent.name)):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def all_ended(home: Path, seconds: float) -> Result:
    """Whether nothing of a home runs any more after a while; what does is ended."""
    deadline = time.monotonic() + seconds
    while (left := marked(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return Result(WRONG, f"{len(left)} processes go on") if left else Result(RIGHT)


def ended_by(folder: Path, quick: bool, number: signal.Signals, after: float) -> Result:
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, PROGRAM], env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(after)
    command.send_signal(number)
    try:
        command.wait(15 * PATIENCE)
    except subprocess.TimeoutExpired:
        command.kill()
        return Result(HANG, "the command goes on")
    return all_ended(folder, 6 * PATIENCE)


for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
    for after in (0.05, 0.5) if QUICK else (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0):
        attack(f"{number.name} to a command {after} s after its start", number=number, after=after)(ended_by)


def interp(
    home: Path, *arguments: str, options: tuple[str, ...] = (), before: str = "", **changes: str | None
) -> subprocess.CompletedProcess:
    """A command as it is typed, with `before` in the same shell."""
    command = [sys.executable, *options, "-m", "interp_assets.cli.main", *arguments]
    line = f"{before}exec " + " ".join(f"'{part}'" for part in command)
    return subprocess.run(["bash", "-c", line], env=environment(home, **changes), capture_output=True, text=True, timeout=100 * PATIENCE)


def registered(home: Path) -> None:
    """A home with one record, whose corpus has letters outside ASCII in its name."""
    record = {**RECORD, "token_sample": {"corpus": ["text:/größe/*.txt"], "n_tokens": 4096, "context_tokens": 64}}
    (home / "dictionaries").mkdir(parents=True, exist_ok=True)
    file = home / "mine.yaml"
    file.write_text(yaml.safe_dump(record, allow_unicode=True), encoding="utf-8")
    Home(home, str(home / "lake")).registry.write(Home(home, str(home / "lake")).registry.parse(file.read_text(encoding="utf-8"), "mine"))


def in_an_odd_world(folder: Path, quick: bool, before: str = "", options: tuple[str, ...] = (), **changes: str | None) -> Result:
    registered(folder)
    for arguments in (("query", "dictionaries", "--format", "csv"), ("dictionaries",), ("replies",))[: 1 if quick else 3]:
        done = interp(folder, *arguments, options=options, before=before, **changes)
        if "Traceback" in done.stderr:
            return Result(BLOCKS, f"{arguments[0]}: {done.stderr.strip().splitlines()[-1]}")
        if done.returncode == 0 and arguments[0] != "replies" and KEY not in done.stdout and "bench" not in done.stdout:
            return Result(WRONG, done.stdout[:200])
        if done.returncode:
            return Result(REFUSED, done.stderr.strip().splitlines()[-1])
    return Result(RIGHT)


attack("HOME is unset", HOME=None)(in_an_odd_world)
attack("HOME is no folder", HOME="/nowhere")(in_an_odd_world)
attack("LC_ALL=C", LC_ALL="C", LANG=None)(in_an_odd_world)
attack("LC_ALL=C without UTF-8 mode", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")(in_an_odd_world)
attack("TZ=Pacific/Kiritimati", TZ="Pacific/Kiritimati")(in_an_odd_world)
attack("TZ is nonsense", TZ="No/Such:Zone")(in_an_odd_world)
attack("python -O", options=("-O",))(in_an_odd_world)
attack("ulimit -n 64", before="ulimit -n 64; ")(in_an_odd_world)
attack("TMPDIR is no folder", TMPDIR="/nowhere")(in_an_odd_world)


@attack("a home that has moved")
def moved_home(folder: Path, quick: bool) -> Result:
    registered(folder / "old")
    interp(folder / "old", "query", "dictionaries")
    (folder / "old").rename(folder / "new")
    done = interp(folder / "new", "query", "dictionaries", "--format", "csv")
    return Result(RIGHT) if "bench" in done.stdout else Result(BLOCKS, done.stderr[-200:])


@attack("a home in the place of a file")
def home_is_a_file(folder: Path, quick: bool) -> Result:
    (folder / "home").write_text("")
    done = interp(folder / "home", "replies")
    if "Traceback" in done.stderr:
        return Result(BLOCKS, done.stderr.strip().splitlines()[-1])
    return Result(REFUSED, done.stderr.strip()) if done.returncode else Result(WRONG, done.stdout)


def damaged_database(folder: Path, quick: bool, damage: str) -> Result:
    path = folder / "history" / "runs.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,) for _ in range(100)])
    connection.close()
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[:16] = b"not a database.."
    elif damage == "page":
        content[8192:12288] = b"\xff" * 4096
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    why = unusable_home(folder)
    return Result(REFUSED, why) if why and str(path) in why else Result(WRONG, str(why))


for damage in ("header", "page", "cut"):
    attack(f"Dagster's database is damaged ({damage})", damage=damage)(damaged_database)


@attack("dagster.yaml is empty after a kill")
def empty_instance_file(folder: Path, quick: bool) -> Result:
    home = Home(folder, str(folder / "lake"))
    home.dagster.mkdir()
    (home.dagster / "dagster.yaml").write_text("")
    prepare_instance(home)
    return Result(MENDED) if "run_monitoring" in (home.dagster / "dagster.yaml").read_text() else Result(WRONG)


@attack("Dagster's history was moved away")
def new_history(folder: Path, quick: bool) -> Result:
    import dagster as dg

    registered(folder)
    home = Home(folder, str(folder / "lake"))
    prepare_instance(home)
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        there = instance.get_dynamic_partitions("dictionary")
    return Result(MENDED) if there == [KEY] else Result(WRONG, str(there))


@attack("a stale claim with the id of another process")
def stale_claim(folder: Path, quick: bool) -> Result:
    (folder / "running.lock").write_text("")
    (folder / "running.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 1}))
    return Result(RIGHT) if claim_on(folder) is None else Result(BLOCKS)


@attack("a second Dagster of one home")
def second_dagster(folder: Path, quick: bool) -> Result:
    with claimed(folder, "http://127.0.0.1:1"):
        try:
            with claimed(folder, "http://127.0.0.1:2"):
                return Result(WRONG, "two Dagsters")
        except AlreadyClaimed as error:
            return Result(REFUSED, str(error))


@attack("two writers of the reply store, one killed")
def two_writers(folder: Path, quick: bool) -> Result:
    code = (
        "import sys; from pathlib import Path; from resources.language_models.reply_store import ReplyStore\n"
        "from resources.language_models.interface import ModelIdentity, Reply\nstore = ReplyStore(Path(sys.argv[1]))\n"
        "for n in range(10**9):\n store.append(f'{sys.argv[2]}{n}', ModelIdentity('a', 'b', 'c'), Reply(str(n), 'stop', 1, 0, 1, 0.0))\n"
        " print(n, flush=True)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(folder), name], stdout=subprocess.PIPE, text=True) for name in "xy"]
    counts = []
    for writer in writers:
        assert writer.stdout is not None
        for _ in range(300):
            writer.stdout.readline()
    for writer in writers:
        writer.kill()
        counts.append(300 + len((writer.communicate()[0] or "").splitlines()))
    store = ReplyStore(folder)
    store.append("z", ModelIdentity("a", "b", "c"), Reply("z", "stop", 1, 0, 1, 0.0))
    store.flush()
    for name, n in zip("xy", counts, strict=True):
        found = store.get_many([f"{name}{number}" for number in range(n - 1)])
        if len(found) != n - 1 or any(found[f"{name}{number}"].text != str(number) for number in range(n - 1)):
            return Result(WRONG, f"{len(found)} of {n} replies of {name}")
    return Result(RIGHT)


@attack("the clock jumps by a day while a run works")
def clock_jump(folder: Path, quick: bool) -> Result:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    now, first = time.time, birth_of(process.pid)
    try:
        time.time = lambda: now() + 86_400
        return Result(RIGHT) if first and birth_of(process.pid) == first else Result(WRONG)
    finally:
        time.time = now
        process.kill()
        process.wait()


class Code:
    """Ends the process when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (os._exit, (7,))


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zipped(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def header(**changes: object) -> bytes:
    content = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}).encode()
    return struct.pack("<Q", len(content)) + content + b"\0" * 16


WEIGHTS = {
    "an empty ae.pt": ("ae.pt", b""),
    "half an ae.pt": ("ae.pt", saved({"a": torch.ones(999)})[:1500]),
    "an ae.pt of code": ("ae.pt", saved({"a": Code()})),
    "a bare pickle of code": ("ae.pt", pickle.dumps(Code())),
    "a pointer of Git LFS": ("ae.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "safetensors cut short": ("s.safetensors", safetensors_bytes({"a": torch.ones(999)})[:-100]),
    "a header of 2^60 bytes": ("s.safetensors", struct.pack("<Q", 2**60)),
    "a header whose shape lies": ("s.safetensors", header(shape=[999])),
    "a header whose offsets lie": ("s.safetensors", header(data_offsets=[0, 10**12])),
    "an npz cut short": ("params.npz", zipped(a=np.ones(999))[:999]),
    "an npz of objects": ("params.npz", zipped(a=np.array([Code()], dtype=object))),
}


def hostile_weights(folder: Path, quick: bool, file: str, content: bytes) -> Result:
    (folder / file).write_bytes(content)
    try:
        return Result(WRONG, str(list(read_tensors(folder / file))))
    except DictionaryError as error:
        return Result(REFUSED, str(error)) if "\n" not in str(error) else Result(BLOCKS, "more than a sentence")


for name, (file, content) in WEIGHTS.items():
    attack(f"weights: {name}", file=file, content=content)(hostile_weights)


def real_command(folder: Path, quick: bool, number: signal.Signals, arguments: tuple[str, ...], when: str | float) -> Result:
    """A command over a real Dagster is ended `when` so many seconds are over, or it has printed this."""
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("The ferry leaves at noon, and comes back in the evening. " * 2_000)
    home = folder / "home"
    record = {**RECORD, "token_sample": {"corpus": [f"text:{folder}/texts/*.txt"], "n_tokens": 8192, "context_tokens": 64}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(record))
    done = interp(home, "register", str(folder / "mine.yaml"), "--no-check")
    if done.returncode:
        return Result(BLOCKS, done.stderr[-200:])
    command = [sys.executable, "-m", "interp_assets.cli.main", *arguments]
    process = subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    if isinstance(when, str):
        for line in process.stdout:
            if when in line:
                break
    else:
        time.sleep(when)
    process.send_signal(number)
    try:
        process.communicate(timeout=60 * PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return Result(HANG, "the command goes on")
    return all_ended(home, 40 * PATIENCE)


if not QUICK:
    for name, arguments, moments in (
        ("backfill", ("backfill", KEY, "--only", "token_sample", "--only", "activation_shards"), (2.0, 6.0, "backfill ", "started")),
        ("ui", ("ui", "--port", "3988"), (2.0, 6.0, "is at")),
        ("demo", ("demo",), (4.0, "in this process", "started")),
        ("demo with a server", ("demo", "--port", "3989"), ("backfill ",)),
    ):
        for when in moments:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
                moment = f"after {when} s" if isinstance(when, float) else f"at {when!r}"
                label = f"{number.name} to a real interp {name}, {moment}"
                attack(label, seconds=400, number=number, arguments=arguments, when=when)(real_command)
