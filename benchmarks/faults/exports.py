"""Attacks on commands that write for others: KILL and TERM at every change they make to files.

The command counts its own openings for writing, renamings and removals, and ends itself at one of them, so that the moment does not depend
on the machine's load. After the kill no file or folder stands in its place half written, and the same command makes all of it.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "explorer"))

from small_home import KEY, empty_home, small_home

from benchmarks.faults.attacks import BLOCKS, HANG, MENDED, PATIENCE, WRONG, Result, attack
from benchmarks.faults.processes import environment
from interp_assets.config.records import DictionaryRecord
from interp_assets.tables import ACTIVATIONS

PROGRAM = """
import os, sys
watched, number, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
count = 0
def hook(event, arguments):
    global count
    changes = event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "shutil.rmtree") or (
        event == "open" and len(arguments) > 2 and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    if changes and watched in str(arguments[0]):
        count += 1
        if count == last:
            os.kill(os.getpid(), number)
sys.addaudithook(hook)
sys.argv = ["interp", *sys.argv[4:]]
from interp_assets.cli import main
leave = os._exit
def counted(status):
    print("changes", count, file=sys.stderr, flush=True)
    leave(status)
os._exit = counted
main.main()
"""
FOLDERS: dict[str, tuple[str, ...]] = {
    "export circuit-tracer": ("export", "circuit-tracer", KEY, "{out}/tracer"),
    "export dataset": ("export", "dataset", KEY, "{out}/dataset"),
    "export neuronpedia": ("export", "neuronpedia", KEY, "{out}/neuronpedia", "--no-weights"),
    "explore --export": ("explore", "--export", "{out}/site"),
}
WHOLE = {
    "export circuit-tracer": "tracer/",
    "export dataset": "dataset/",
    "export neuronpedia": "neuronpedia/toy/",
    "explore --export": "site/",
}
"""The folder that stands in its place whole or not at all."""
FILES: dict[str, tuple[str, ...]] = {
    "export csv": ("export", "csv", "scores", "--out", "{out}/scores.csv"),
    "export delphi-results": ("export", "delphi-results", KEY, "{out}/delphi"),
    "plot": ("plot", "scores", KEY, "--out", "{out}/scores.svg"),
    "ratings template": ("ratings", "template", "--dictionary", KEY, "--n", "4", "--contexts", "2", "--out", "{out}/task"),
}
"""Commands that write files, each of them whole or not at all."""
THIN = ("thin", "--yes")
RULES = "retention: {checkpoints: {keep_last: 1}}\n"


@lru_cache(maxsize=1)
def whole_home() -> Path:
    """A small home with two checkpoints beside, copied for each attack."""
    root = Path(mkdtemp(prefix="fault-exports-")) / "home"
    home = small_home(root)
    (root / "settings.yaml").write_text(RULES)
    for step in (1, 2):
        content = {"key": f"toy/00/run-{step}", "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 8, "width": 64}
        home.registry.write(DictionaryRecord(**content, checkpoint={"series": "toy/00/run-{step}", "step": step}))  # type: ignore[arg-type]
        for number in range(6):
            partition = {"dictionary": content["key"], "feature_range": f"{number:02d}of16"}
            home.lake.write("activations", partition, ACTIVATIONS.schema, ACTIVATIONS.schema.empty_table(), "v")
    return root


def command(home: Path, watched: Path, arguments: tuple[str, ...], number: int = 0, last: int = 0) -> subprocess.CompletedProcess[str]:
    words = [part.format(out=watched) for part in arguments]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(watched), str(int(number)), str(last), *words],
        env=environment(home), capture_output=True, text=True, timeout=100 * PATIENCE,
    )  # fmt: skip


def seen(out: Path) -> dict[str, bytes]:
    """The files below a folder that somebody would take for a result, by their path."""
    inside = {path.relative_to(out): path for path in out.rglob("*") if path.is_file()}
    return {
        str(name): _to_12_digits(path.read_bytes()) for name, path in inside.items() if not any(part.startswith(".") for part in name.parts)
    }


def _alike(content: bytes, truth: bytes | None) -> bool:
    """Whether a file is whole; a page may hold a number whose last digits, and so the length, differ from run to run."""
    return content == truth or (truth is not None and b"</html>" in content[-20:] and abs(len(content) - len(truth)) <= 64)


def _to_12_digits(content: bytes) -> bytes:
    """The last digits of a mean in SQL depend on which thread adds first."""
    return re.sub(rb"\d\.\d{13,}(?![\de])", lambda found: f"{float(found.group()):.12f}".encode(), content)


def moments(n: int, quick: bool) -> Iterator[int]:
    """Up to 12 changes among the n, the first and the last included; in the quick form two."""
    most = 2 if quick else 12
    yield from sorted({1 + round(step * (n - 1) / (most - 1)) for step in range(most)} if n > 1 else {1})


def killed(folder: Path, quick: bool, arguments: tuple[str, ...], number: signal.Signals, whole: str) -> Result:
    """The command is ended at each moment; a half is never seen, and the same command ends well afterwards."""
    try:
        home = folder / "home"
        shutil.copytree(whole_home(), home)
        done = command(home, folder / "whole", arguments)
        if done.returncode:
            return Result(BLOCKS, done.stderr[-200:])
        truth, n = seen(folder / "whole"), int(done.stderr.split("changes ")[-1])
        shutil.rmtree(home)
        shutil.copytree(whole_home(), home)
        for last in moments(n, quick):
            out = folder / "out"
            ended = command(home, out, arguments, number, last)
            found = seen(out)
            inside, all_of_it = ([name for name in names if name.startswith(whole)] for names in (found, truth))
            half = [name for name in found if not _alike(found[name], truth.get(name))] or (
                whole and inside and sorted(inside) != sorted(all_of_it)
            )
            if half:
                return Result(WRONG, f"half written at change {last} of {n}: {str(half)[:120]}")
            if "Traceback" in ended.stderr and number != signal.SIGKILL:
                return Result(BLOCKS, ended.stderr.strip().splitlines()[-1])
            again, made = command(home, out, arguments), seen(out)
            right = set(made) == set(truth) and all(_alike(made[name], truth[name]) for name in truth)
            if again.returncode and ("error: " not in again.stderr or not right):  # what is whole is not replaced
                return Result(BLOCKS, f"after change {last} of {n}: {again.stderr[-200:]}")
            if not right:
                return Result(WRONG, f"another result after change {last} of {n}: {sorted(set(made) ^ set(truth))[:5]}")
            shutil.rmtree(out)
        return Result(MENDED, f"{n} changes")
    except subprocess.TimeoutExpired:
        return Result(HANG)


def killed_thinning(folder: Path, quick: bool, number: signal.Signals) -> Result:
    """What is left of the doomed partitions is read whole or not at all, and the same command removes the rest and nothing else."""
    root = folder / "home"
    shutil.copytree(whole_home(), root)
    n = int(command(root, root / "lake", THIN).stderr.split("changes ")[-1])
    truth = sorted(str(manifest.partition) for manifest in empty_home(root).lake.manifests("activations"))
    for last in moments(n, quick):
        shutil.rmtree(root)
        shutil.copytree(whole_home(), root)
        command(root, root / "lake", THIN, number, last)
        lake = empty_home(root).lake
        for manifest in lake.manifests("activations"):
            lake.read("activations", manifest.partition)
        again = command(root, root / "lake", THIN)
        left = sorted(str(manifest.partition) for manifest in empty_home(root).lake.manifests("activations"))
        if again.returncode or left != truth:
            return Result(WRONG, f"after change {last} of {n}: {left} {again.stderr[-200:]}")
        loose = [str(path) for path in (root / "lake").rglob("*run-1*") if path.is_file()]
        if loose:
            return Result(WRONG, f"after change {last} of {n} files stay: {json.dumps(loose)[:200]}")
    return Result(MENDED, f"{n} changes")


for number in (signal.SIGKILL, signal.SIGTERM):
    for name, words in {**FOLDERS, **FILES}.items():
        if "--quick" not in sys.argv or name == "export csv":
            attack(f"{number.name} to {name}", seconds=600, arguments=words, number=number, whole=WHOLE.get(name, ""))(killed)
    if "--quick" not in sys.argv:
        attack(f"{number.name} to thin", seconds=600, number=number)(killed_thinning)
