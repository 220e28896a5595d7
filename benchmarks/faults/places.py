"""Attacks by the place that a home is in: a full disk, a read-only one, files of another user; and two writers of one partition."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.faults.attacks import BLOCKS, HANG, MENDED, PATIENCE, REFUSED, RIGHT, SKIPPED, WRONG, Result, attack
from benchmarks.faults.processes import QUICK, RECORD, environment, interp, registered
from benchmarks.faults.stores import TOTAL, partition, warehouse, written
from interp_assets.tables import SCORES
from resources.language_models.interface import ModelIdentity, Reply
from resources.language_models.reply_store import ReplyStore
from resources.store.lake import LakeError

NOBODY = 65534
IS_ROOT = os.geteuid() == 0
DISK = "4m"


class MountRefused(RuntimeError):
    """This process may not mount."""


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """A tmpfs in a folder for as long as the block. Raises `MountRefused` where this process may not mount."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True)
    if done.returncode:
        raise MountRefused(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def said(done: subprocess.CompletedProcess, *words: str) -> Result:
    """REFUSED where a command ended with one message that holds the words, BLOCKS where it ended in a traceback."""
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if "Traceback" in done.stderr:
        return Result(BLOCKS, last)
    if done.returncode and all(word in done.stderr for word in words):
        return Result(REFUSED, last)
    return Result(WRONG, f"status {done.returncode}: {done.stdout[-100:]}{last}")


@attack("a full disk under the lake, then room again")
def full_disk(folder: Path, quick: bool) -> Result:
    try:
        with mounted(folder, f"size={DISK}"):
            written(folder)
            filler = folder / "filler"
            with contextlib.suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(os.urandom(1 << 16))
                    file.flush()
            try:
                written(folder, 5_000, range(4, 6))
                return Result(WRONG, "a full disk and no error")
            except LakeError as error:
                message = str(error)
            if warehouse(folder).query(TOTAL).rows.to_pylist()[0]["n"] != 40:
                return Result(BLOCKS, "what was there cannot be read")
            filler.unlink()
            written(folder, 5_000, range(4, 6))
            n = warehouse(folder).query(TOTAL).rows.to_pylist()[0]["n"]
            left = list((folder / "lake").rglob(".*"))
            mended = n == 10_040 and not left and "no room" in message
            return Result(REFUSED, message) if mended else Result(WRONG, f"{n}: {message} {left}")
    except MountRefused as error:
        return Result(SKIPPED, f"no tmpfs here: {error}")


def command_on_a_full_disk(folder: Path, quick: bool, arguments: tuple[str, ...]) -> Result:
    try:
        with mounted(folder, f"size={DISK}"):
            registered(folder)
            written(folder)
            with contextlib.suppress(OSError), (folder / "filler").open("wb") as file:
                while True:
                    file.write(os.urandom(1 << 12))
                    file.flush()
            done = interp(folder, *arguments)
            if not done.returncode and "40" in done.stdout:
                return Result(RIGHT)
            return said(done)
    except MountRefused as error:
        return Result(SKIPPED, f"no tmpfs here: {error}")


for bytes_each in (1_024, 40_960, 500_000):

    @attack(f"a command whose files may have {bytes_each:,} bytes at most", seconds=120, bytes_each=bytes_each)
    def command_under_a_limit(folder: Path, quick: bool, bytes_each: int) -> Result:
        """Neither damage nor settings are blamed, and the home is whole once the limit is gone."""
        registered(folder)
        if (first := interp(folder, "doctor")).returncode:
            return Result(BLOCKS, first.stdout[-200:])
        code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); "
        code += "from interp_assets.cli import main; sys.argv = ['interp', *sys.argv[2:]]; main.main()"
        command = [sys.executable, "-c", code, str(bytes_each), "forget", RECORD["key"], "--yes"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(folder), check=False)
        if "damaged" in done.stderr or "dagster.yaml" in done.stderr:
            return Result(WRONG, done.stderr[-200:])
        result = said(done, f"at most {bytes_each:,} bytes", "ulimit -f")
        again = interp(folder, "doctor")
        return Result(BLOCKS, again.stdout[-200:]) if again.returncode else result


def registered_with_little_room(folder: Path, quick: bool, left: int) -> Result:
    """A registration, which makes Dagster's databases, says that there is no room, and works once there is room again."""
    try:
        with mounted(folder / "disk", "size=16m"):
            home = folder / "disk" / "home"
            home.mkdir()
            (folder / "mine.yaml").write_text(yaml.safe_dump({**RECORD, "key": "bench/00/neurons"}))
            filler = os.open(home / "filler", os.O_CREAT | os.O_WRONLY)
            with contextlib.suppress(OSError):
                while os.write(filler, bytes(4096)) == 4096:
                    pass
            os.ftruncate(filler, os.fstat(filler).st_size - left)
            os.close(filler)
            arguments = ("register", str(folder / "mine.yaml"), "--no-check")
            result = said(interp(home, *arguments), "make room")
            (home / "filler").unlink()
            done = [interp(home, *one) for one in (arguments, ("doctor",), ("dictionaries",))]
            if bad := [one for one in done if one.returncode]:
                return Result(BLOCKS, (bad[0].stderr or bad[0].stdout)[-200:])
            return result
    except MountRefused as error:
        return Result(SKIPPED, f"no tmpfs here: {error}")


for left in () if QUICK else (0, 4_096, 20_000, 60_000, 120_000):
    attack(f"a registration on a disk with {left:,} bytes left, then room again", seconds=240, left=left)(registered_with_little_room)


def command_on_a_read_only_disk(folder: Path, quick: bool, arguments: tuple[str, ...], words: tuple[str, ...] = ()) -> Result:
    try:
        with mounted(folder, f"size={DISK}"):
            registered(folder)
            written(folder)
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            done = interp(folder, *arguments)
            return Result(RIGHT) if not done.returncode and "40" in done.stdout else said(done, *words)
    except MountRefused as error:
        return Result(SKIPPED, f"no tmpfs here: {error}")


COUNT = ("query", "SELECT count(*) FROM scores", "--format", "csv")
attack("a query on a full disk", arguments=COUNT)(command_on_a_full_disk)
if not QUICK:
    attack("a backfill on a full disk", arguments=("backfill", "bench/00/neurons"))(command_on_a_full_disk)
    attack("a rename on a full disk", arguments=("rename", "bench/00/neurons", "bench/00/others"))(command_on_a_full_disk)
attack("a query on a read-only disk", arguments=COUNT)(command_on_a_read_only_disk)
attack("a backfill on a read-only disk", arguments=("backfill", "bench/00/neurons"), words=("read-only",))(command_on_a_read_only_disk)
attack("the UI on a read-only disk", arguments=("ui", "--port", "3989"), words=("read-only",))(command_on_a_read_only_disk)


@attack("pruning replies on a full disk, then room again")
def pruned_on_a_full_disk(folder: Path, quick: bool) -> Result:
    identity, n = ModelIdentity("a", "b", "c"), 50
    try:
        with mounted(folder, f"size={DISK}"):
            registered(folder)
            store = ReplyStore(folder / "replies")
            for number in range(n):
                store.append(f"{number}", identity, Reply("x" * 200, "stop", 1, 0, 1, 0.0))
            store.flush()
            filler = folder / "filler"
            with contextlib.suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(os.urandom(1 << 12))
                    file.flush()
            done = interp(folder, "replies", "--prune-older-than-days", "0")
            filler.unlink()
            left = len(ReplyStore(folder / "replies").get_many([str(number) for number in range(n)]))
            if done.returncode == 0:
                return Result(RIGHT) if left == 0 and f"forgot {n}" in done.stdout else Result(WRONG, f"{left} left: {done.stdout[-100:]}")
            return said(done) if left == n else Result(WRONG, f"{left} of {n} replies after {done.stderr[-100:]}")
    except MountRefused as error:
        return Result(SKIPPED, f"no tmpfs here: {error}")


@attack("a write to a read-only lake")
def read_only_lake(folder: Path, quick: bool) -> Result:
    try:
        with mounted(folder, f"size={DISK}"):
            written(folder)
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            try:
                written(folder, 20, range(1))
                return Result(WRONG, "a read-only lake and no error")
            except (LakeError, OSError) as refused:
                message = str(refused)
            there = warehouse(folder).query(TOTAL).rows.to_pylist()[0]["n"] == 40
            named = str(folder) in message and "ead-only" in message
            return Result(REFUSED, message) if named and there else Result(WRONG, message)
    except MountRefused as error:
        return Result(SKIPPED, f"no tmpfs here: {error}")


def as_another_user(folder: Path, quick: bool, arguments: tuple[str, ...], mode: int, words: tuple[str, ...]) -> Result:
    """A command of `nobody` on a home that belongs to root, whose folders have a mode; Python and the code stay readable."""
    if not IS_ROOT or not shutil.which("setpriv"):
        return Result(SKIPPED, "only root may become another user, by setpriv")
    home = folder / "home"
    registered(home)
    written(home)
    folder.chmod(0o755)
    for path in [home, *home.rglob("*")]:
        path.chmod(mode if path.is_dir() else mode & 0o666)
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", sys.executable]
    reads = subprocess.run([*command, "-c", "import interp_assets"], env=environment(home), capture_output=True)
    if reads.returncode:
        return Result(SKIPPED, "another user may not read this Python or this code")
    words_of_command = [*command, "-m", "interp_assets.cli.main", *arguments]
    try:
        done = subprocess.run(words_of_command, env=environment(home, HOME=None), capture_output=True, text=True, timeout=100 * PATIENCE)
    except subprocess.TimeoutExpired:
        return Result(HANG)
    if not done.returncode and "40" in done.stdout:
        return Result(RIGHT)
    return said(done, *words)


for name, arguments, words in (
    ("a query", COUNT, ("cannot be",)),
    ("a backfill", ("backfill", "bench/00/neurons"), ("another user",)),
    ("the list of dictionaries", ("dictionaries",), ()),
    ("the reply store", ("replies",), ()),
):
    if name in ("a query", "a backfill"):
        attack(f"{name} of another user, who may read", arguments=arguments, mode=0o755, words=words)(as_another_user)
    attack(f"{name} of another user, who may not read", arguments=arguments, mode=0o700, words=())(as_another_user)

WRITER = """
import sys
from pathlib import Path
from benchmarks.faults.stores import written
for n in range(int(sys.argv[3])):
    written(Path(sys.argv[1]), int(sys.argv[2]), range(1))
print("written", flush=True)
"""


@attack("two writers of one partition, and a reader", seconds=300)
def two_writers_of_a_partition(folder: Path, quick: bool) -> Result:
    written(folder)
    counts = {10: "30" if quick else "200", 700: "30" if quick else "200"}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(rows), times], env=environment(folder), stdout=subprocess.PIPE)
        for rows, times in counts.items()
    ]
    house, reads = warehouse(folder), 0
    while any(writer.poll() is None for writer in writers):
        try:
            rows = house.lake.read(SCORES.name, partition(0)).column("feature").to_pylist()
        except LakeError as error:
            for writer in writers:
                writer.kill()
            return Result(BLOCKS, f"after {reads} reads: {error}")
        if len(rows) not in counts or rows != list(range(len(rows))):
            return Result(WRONG, f"{len(rows)} rows")
        reads += 1
    if any(writer.returncode for writer in writers):
        return Result(BLOCKS, f"a writer ended with {[writer.returncode for writer in writers]}")
    answer = warehouse(folder).query(TOTAL)
    n = answer.rows.to_pylist()[0]["n"]
    left = [path.name for path in (folder / "lake").rglob(".*")]
    whole = n in (40, 730) and not answer.notes and not left
    return Result(RIGHT, f"{reads} reads") if whole else Result(WRONG, f"{n}, {answer.notes}, {left}")


@attack("a writer of a partition that is killed in the middle", seconds=300)
def killed_writer(folder: Path, quick: bool) -> Result:
    written(folder)
    for _ in range(2 if quick else 10):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), "700", "100000"], env=environment(folder))
        before = _stamp(folder)
        while _stamp(folder) == before and writer.poll() is None:
            pass
        writer.kill()
        writer.wait()
        answer = warehouse(folder).query(TOTAL)
        n = answer.rows.to_pylist()[0]["n"]
        if n not in (40, 730) and not answer.notes:
            return Result(WRONG, f"{n} rows and no note")
    written(folder, 10, range(1))
    left = [path.name for path in (folder / "lake").rglob(".*")]
    answer = warehouse(folder).query(TOTAL)
    whole = answer.rows.to_pylist()[0]["n"] == 40 and not answer.notes and not left
    return Result(MENDED) if whole else Result(WRONG, f"{answer.rows.to_pylist()}, {answer.notes}, {left}")


def _stamp(folder: Path) -> tuple[int, int]:
    """Inode and time of the first partition's part; zeros where it is being replaced."""
    try:
        status = next((folder / "lake").rglob("feature_range=00of16/part-0.parquet")).stat()
    except (OSError, StopIteration):
        return (0, 0)
    return (status.st_ino, status.st_mtime_ns)
