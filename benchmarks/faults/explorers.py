"""Attacks on the explorer by damage below it, while it runs and before it starts: the lake, what it has prepared, the home.

Every page is asked of a whole home first. After the damage a page says the same, or says what it leaves out; the others go on.
"""

import contextlib
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.attacks import BLOCKS, MENDED, REFUSED, RIGHT, WRONG, Result, attack
from benchmarks.faults.explored_home import AT, FEATURE, KEY, OTHER_RANGE, PAGES, RANGE, copied, empty_home, explored, shown, told, truth
from resources.store.lake import MANIFEST, PART

# The lake below it.

TABLES = {
    "feature_statistics": "", "feature_examples": "", "examples": "", "explanations": "explanation_method=max_act/",
    "scores": "scorer=fuzzing/", "trials": "scorer=fuzzing/", "verdicts": "scorer=fuzzing/",
}  # fmt: skip


def partition_folder(root: Path, table: str) -> Path:
    """Folder of the partition of a table that holds FEATURE."""
    found = [path.parent for path in (root / "lake" / table).rglob(f"feature_range={RANGE}/{PART}")]
    return next(path for path in found if TABLES[table].strip("/") in path.as_posix())


def _flip(path: Path, draws: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    path.write_bytes(content)


SPOILED: dict[str, Callable[[Path], object]] = {
    "a bit of a part is flipped": lambda folder: _flip(folder / PART, random.Random(str(folder)[-40:])),
    "a part is cut": lambda folder: (folder / PART).write_bytes((folder / PART).read_bytes()[:-300]),
    "a part is gone": lambda folder: (folder / PART).unlink(),
    "a part is zeros": lambda folder: (folder / PART).write_bytes(bytes((folder / PART).stat().st_size)),
    "a part is a folder": lambda folder: [(folder / PART).unlink(), (folder / PART).mkdir()],
    "a part is another range's": lambda folder: shutil.copy(folder.with_name(f"feature_range={OTHER_RANGE}") / PART, folder / PART),
    "a manifest is empty": lambda folder: (folder / MANIFEST).write_text(""),
    "a manifest says another row count": lambda folder: (folder / MANIFEST).write_text(
        re.sub(r'"rows": \d+', '"rows": 99', (folder / MANIFEST).read_text())
    ),
    "a manifest is of a newer schema": lambda folder: (folder / MANIFEST).write_text(
        re.sub(r'"schema_version": \d+', '"schema_version": 99', (folder / MANIFEST).read_text())
    ),
}


def spoiled_lake(folder: Path, quick: bool, spoil: Callable[[Path], object], running: bool) -> Result:
    """Each table in turn is spoiled in the range of one feature."""
    mended = False
    for table in list(TABLES)[:: 8 if quick else 1]:
        root = copied(folder / table)
        with contextlib.ExitStack() as held:
            client = held.enter_context(explored(root))
            if running and (before := told(client, tell=False)).outcome != RIGHT:
                return before
            spoil(partition_folder(root, table))
            result = told(client)
        if result.outcome not in (MENDED, RIGHT):
            return Result(result.outcome, f"{table}: {result.seen}")
        mended = mended or result.outcome == MENDED
        shutil.rmtree(folder / table, ignore_errors=True)
    return Result(MENDED if mended else RIGHT)


for name, spoil in SPOILED.items():
    attack(f"before the explorer starts, {name}", seconds=200, spoil=spoil, running=False)(spoiled_lake)
    attack(f"while the explorer runs, {name}", seconds=200, spoil=spoil, running=True)(spoiled_lake)


# What it has prepared: columns, word index, answers of views.


def _prepared(root: Path) -> list[Path]:
    return sorted(path for path in (root / "warehouse" / "columns").iterdir() if path.is_file() and not path.name.startswith("."))


def spoiled_preparation(folder: Path, quick: bool, spoil: Callable[[Path, random.Random], object]) -> Result:
    """Each prepared file is spoiled before another start; every page says the truth all the same."""
    draws = random.Random(4)
    root = copied(folder)
    with explored(root) as client:
        told(client)
    for _ in range(2 if quick else 25):
        for path in _prepared(root):
            spoil(path, draws)
        with explored(root) as client:
            result = told(client, tell=False)
        if result.outcome != RIGHT:
            return result
    return Result(RIGHT)


def _spoil_running(folder: Path, quick: bool) -> Result:
    root = copied(folder)
    with explored(root) as client:
        told(client)
        for path in _prepared(root):
            os.truncate(path, 0)
        return told(client, tell=False)


attack("columns, word index and answers with flipped bits", seconds=200, spoil=_flip)(spoiled_preparation)
attack("columns, word index and answers that are cut", seconds=200, spoil=lambda path, draws: os.truncate(path, path.stat().st_size // 2))(
    spoiled_preparation
)
attack("columns, word index and answers that are text", seconds=200, spoil=lambda path, draws: path.write_text("x" * 5000))(
    spoiled_preparation
)
attack(
    "columns, word index and answers that are folders", seconds=200,
    spoil=lambda path, draws: [path.unlink(), path.mkdir()],
)(spoiled_preparation)  # fmt: skip
attack("columns, word index and answers are emptied while the explorer runs", seconds=200)(_spoil_running)


# The home.


@attack("a home that vanishes under the explorer", how="gone")
@attack("a home that moves away under the explorer", how="moved")
@attack("a home that becomes a file under the explorer", how="file")
def vanished(folder: Path, quick: bool, how: str) -> Result:
    """No page shows an empty home as if nothing had ever been there; the home's return is seen."""
    root = copied(folder)
    with explored(root) as client:
        told(client)
        root.rename(folder / "away")
        if how == "file":
            root.write_text("")
        for address in ("/", AT, f"{AT}/{FEATURE}", "/leaderboards/scores_by_method"):
            status, text = shown(client, address)
            if status == 500:
                return Result(BLOCKS, f"{address}: a fault")
            if (status, text) != truth()[address] and "home" not in text.replace("home.html", ""):
                return Result(WRONG, f"{address}: status {status} and not a word about the home")
        if how == "gone":
            return Result(REFUSED)
        if how == "file":
            root.unlink()
        (folder / "away").rename(root)  # raises where a page has begun the home anew
        result = told(client, tell=False)
        return Result(REFUSED) if result.outcome == RIGHT else result


@attack("a record with hostile text in every field", text="<script>alert(1)</script>\u202e\x00")
@attack("a record with half a character in its description", text="\ud800")
def odd_record(folder: Path, quick: bool, text: str) -> Result:
    root = copied(folder)
    home = empty_home(root)
    path = home.registry.path_of(KEY)
    escaped = "".join(f"\\u{ord(one):04x}" if one != "\x00" else "\\0" for one in text)
    path.write_text(path.read_text() + f'\ndescription: "{escaped}"\n')
    with explored(root) as client:
        for address in PAGES:
            status, page = shown(client, address)
            if status == 500:
                return Result(BLOCKS, f"{address}: a fault")
            if "<script>alert" in page:
                return Result(WRONG, f"{address}: a program")
    return Result(RIGHT)
