"""Attacks on the lake: manifests, parts, the index, copies, and homes of any name. Of four partitions of ten rows the first is spoiled;
the others are there all the same."""

import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pyarrow as pa

from benchmarks.faults.attacks import BLOCKS, MENDED, REFUSED, RIGHT, WRONG, Result, attack, refusal
from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.installation.forgetting import forget, planned_removal
from interp_assets.installation.home import Home, refuse_misread_path
from interp_assets.installation.renaming import rename
from interp_assets.tables import SCHEMA_VERSION, SCORES
from resources.store.lake import MANIFEST, PART, Lake, LakeError


def warehouse(root: Path) -> Warehouse:
    """A new process's warehouse of a home."""
    return Warehouse(root / "warehouse.duckdb", Lake(str(root / "lake"), SCHEMA_VERSION), DictionaryRegistry(root / "dictionaries"))


def partition(number: int) -> dict[str, str]:
    return {"scorer": "detection", "dictionary": "m/09/a", "feature_range": f"{number:02d}of16"}


def written(root: Path, rows: int = 10, numbers: range = range(4)) -> Path:
    """The folder of the first of the partitions, after writing them."""
    house = warehouse(root)
    for number in numbers:
        row = {
            "dictionary": "m/09/a",
            "feature_range": f"{number:02d}of16",
            "explanation_method": "max_act",
            "scorer": "detection",
            "metric": "balanced_accuracy",
            "headline": True,
            "stratum": None,
            "value": 0.5,
            "ci_low": 0.5,
            "ci_high": 0.5,
            "floor": 0.5,
            "n_positive": 5,
            "n_negative": 5,
            "n_unanswered": 0,
            "outcome": "ok",
        }
        table = pa.Table.from_pylist([{**row, "feature": rows * number + one} for one in range(rows)], schema=SCORES.schema)
        house.lake.write(SCORES.name, partition(number), SCORES.schema, table, "v1")
    return Path(house.lake.path(SCORES.name, partition(0)))


TOTAL = "SELECT count(*) AS n, sum(feature) AS s FROM scores"


def answered(root: Path, rows: int = 10, whole_is_right: bool = False) -> Result:
    """Whether a query says what is missing of the first partition, the others are read, and writing it again mends it."""
    house = warehouse(root)
    answer = house.query(TOTAL)
    found = tuple(answer.rows.to_pylist()[0].values())
    others = (3 * rows, sum(range(rows, 4 * rows)))
    everything = (4 * rows, sum(range(4 * rows)))
    if found == everything and whole_is_right:
        outcome = RIGHT
    elif found == others and answer.notes:
        outcome = MENDED
    else:
        return Result(WRONG, f"{found} with {len(answer.notes)} notes")
    for number in range(1, 4):
        house.lake.read(SCORES.name, partition(number))
    try:
        if not whole_is_right:
            house.lake.read(SCORES.name, partition(0))
            return Result(WRONG, "a stage reads what a query leaves out")
    except LakeError:
        pass
    written(root, rows, range(1))
    again = warehouse(root).query(TOTAL)
    if tuple(again.rows.to_pylist()[0].values()) != everything or again.notes:
        return Result(BLOCKS, "it cannot be made again")
    return Result(outcome)


def _rewritten(change: Callable[[str], str]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        (folder / MANIFEST).write_text(change((folder / MANIFEST).read_text()))

    return rewrite


def _folder_for_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("")
    (folder / MANIFEST).unlink()


def _other_part(folder: Path) -> None:
    shutil.copy(folder.with_name("feature_range=01of16") / PART, folder / PART)


SPOILING: dict[str, Callable[[Path], object]] = {
    "empty manifest": _rewritten(lambda text: ""),
    "half a manifest": _rewritten(lambda text: text[: len(text) // 2]),
    "manifest of 999,999 rows": _rewritten(lambda text: text.replace('"rows": 10', '"rows": 999999')),
    "manifest of 999,999 rows without a checksum": _rewritten(
        lambda text: json.dumps({k: 999_999 if k == "rows" else v for k, v in json.loads(text).items() if k != "manifest_crc32"})
    ),
    "manifest of another data version": _rewritten(lambda text: text.replace('"v1"', '"v2"')),
    "manifest that is a list": _rewritten(lambda text: "[]"),
    "manifest nested too deep": _rewritten(lambda text: "[" * 200_000),
    "manifest of another partition": _rewritten(lambda text: text.replace("00of16", "01of16")),
    "manifest of another schema version": _rewritten(
        lambda text: text.replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 1')
    ),
    "no manifest": _folder_for_manifest,
    "withdrawn manifest": lambda folder: (folder / MANIFEST).rename(folder / "manifest.withdrawn.json"),
    "no part": lambda folder: (folder / PART).unlink(),
    "empty part": lambda folder: (folder / PART).write_bytes(b""),
    "half a part": lambda folder: (folder / PART).write_bytes((folder / PART).read_bytes()[:-500]),
    "the part of another partition": _other_part,
    "a part that is a folder": lambda folder: [(folder / PART).unlink(), (folder / PART).mkdir()],
}


def spoiled_partition(folder: Path, quick: bool, spoil: Callable[[Path], object], copied: bool, known: bool) -> Result:
    first = written(folder)
    if copied:
        warehouse(folder).copy()
    if known:
        warehouse(folder).query(TOTAL)
    spoil(first)
    if first.joinpath(PART).is_dir():
        result = answered_of_folder(folder, first)
        return result
    return answered(folder)


def answered_of_folder(root: Path, first: Path) -> Result:
    """The same where the part is a folder, which has to go by hand."""
    answer = warehouse(root).query(TOTAL)
    return Result(MENDED if answer.rows.to_pylist()[0]["n"] == 30 and answer.notes else WRONG)


for name, spoil in SPOILING.items():
    for when, copied, known in (("", False, False), (", seen before", False, True), (", copied before", True, True)):
        attack(f"{name}{when}", spoil=spoil, copied=copied, known=known)(spoiled_partition)


@attack("single-bit flips in a part, seen before", seconds=600, known=True)
@attack("single-bit flips in a part", seconds=600, known=False)
def flip_part(folder: Path, quick: bool, known: bool) -> Result:
    first = written(folder, 500)
    content, draws = (first / PART).read_bytes(), random.Random(2)
    for _ in range(15 if quick else 60):
        if known:
            (first / PART).write_bytes(content)
            warehouse(folder).query(TOTAL)
        else:
            shutil.rmtree(folder / "warehouse", ignore_errors=True)
        flipped = bytearray(content)
        flipped[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        (first / PART).write_bytes(flipped)
        answer = warehouse(folder).query(TOTAL)
        if answer.rows.to_pylist()[0]["n"] != 1500 or not answer.notes:
            return Result(WRONG, str(answer.rows.to_pylist()))
    return Result(MENDED)


@attack("no lake.json", content=None)
@attack("empty lake.json", content="")
@attack("half a lake.json", content='{"schema_v')
@attack("lake.json of text", content='{"schema_version": "eight"}')
def marker(folder: Path, quick: bool, content: str | None) -> Result:
    written(folder)
    path = folder / "lake" / "lake.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    n = warehouse(folder).query(TOTAL).rows.to_pylist()[0]["n"]
    return Result(MENDED if n == 40 and json.loads(path.read_text()) == {"schema_version": SCHEMA_VERSION} else WRONG)


@attack("a damaged index", which="index/scores.json")
@attack("a damaged list of copies", which="copies/scores/copies.json")
@attack("a damaged copy", which="copy")
def damaged_cache(folder: Path, quick: bool, which: str) -> Result:
    written(folder)
    warehouse(folder).copy()
    warehouse(folder).query(TOTAL)
    places = list((folder / "warehouse" / "copies").rglob("*.parquet")) if which == "copy" else [folder / "warehouse" / which]
    draws = random.Random(3)
    for place in places:
        content = bytearray(place.read_bytes())
        for _ in range(10 if quick else 40):
            flipped = bytearray(content)
            flipped[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
            place.write_bytes(flipped)
            found = warehouse(folder).query(TOTAL).rows.to_pylist()[0]
            if tuple(found.values()) != (40, sum(range(40))):
                return Result(WRONG, str(found))
    return Result(RIGHT)


@attack("a lake on a disk that is not mounted", left="an empty folder")
@attack("a lake that is a link to nowhere", left="a link")
@attack("a lake that is gone", left="nothing")
def no_lake(folder: Path, quick: bool, left: str) -> Result:
    written(folder)
    house, lake = warehouse(folder), folder / "lake"
    house.query(TOTAL)
    house.index.keep(SCORES.name)
    lake.rename(folder / "away")
    if left == "a link":
        lake.symlink_to("nowhere")
    elif left == "an empty folder":
        lake.mkdir()
    for _ in range(2):
        answer = warehouse(folder).query(TOTAL)
        if not any("held 4 partitions" in note for note in answer.notes):
            return Result(WRONG, f"{answer.rows.to_pylist()} and {answer.notes}")
    if left == "a link":
        lake.unlink()
    elif left == "an empty folder":
        lake.rmdir()
    (folder / "away").rename(lake)
    answer = warehouse(folder).query(TOTAL)
    return Result(MENDED) if answer.rows.to_pylist()[0]["n"] == 40 and not answer.notes else Result(BLOCKS, str(answer.notes))


@attack("a run while the lake's disk is not mounted", address="lake")
@attack("a run at a mistyped INTERP_LAKE", address="lakke")
def begun_in_place_of_another(folder: Path, quick: bool, address: str) -> Result:
    """No run begins a new lake where the home's own lake is away; a lake that comes back is read."""
    Home(folder, str(folder / "lake")).lake.write(SCORES.name, partition(0), SCORES.schema, SCORES.schema.empty_table(), "v1")
    (folder / "lake").rename(folder / "away")
    lake = Home(folder, str(folder / address)).lake
    work = lambda: lake.write(SCORES.name, partition(1), SCORES.schema, SCORES.schema.empty_table(), "v1")  # noqa: E731
    result = refusal(work, LakeError) or Result(WRONG, "a new lake is begun, and nothing said")
    (folder / "away").rename(folder / "lake")
    there = Home(folder, str(folder / "lake")).lake
    return result if there.loss is None and there.manifest(SCORES.name, partition(0)) else Result(BLOCKS, str(there.loss))


@attack("a question whose answer has four billion rows", seconds=30)
def endless_answer(folder: Path, quick: bool) -> Result:
    written(folder)
    answer = warehouse(folder).query("SELECT a.feature FROM scores a, range(100000) b, range(1000) c", most=40)
    return Result(RIGHT) if answer.rows.num_rows == 40 and not answer.counted.is_all else Result(WRONG, str(answer.counted))


NAMES = (
    "it's",
    "[x]",
    "a::b",
    "q?",
    "s*r",
    "back\\slash",
    "h#h",
    "p%20p",
    "sp ace",
    "new\nline",
    "ünï☃",
    "$VAR",
    "~",
    "a=b",
    "{a,b}",
    'dq"',
    "dictionary=q",
    "%",
    "<x>",
    "-dash",
    "tab\t",
    "semi;colon",
    "scores",
    "..x",
    "a" * 200,
)


def odd_home(folder: Path, quick: bool, name: str) -> Result:
    try:
        refuse_misread_path(str(folder / name))
    except UserError as error:
        return Result(REFUSED, str(error))
    for other in ("x", "star", "qa", name):
        written(folder / other, 7 if other != name else 10)
    return Result(RIGHT) if _all_there(folder / name) else Result(WRONG)


def _all_there(root: Path) -> bool:
    house = warehouse(root)
    house.copy()
    house.build()
    with house.open() as connection:
        views = connection.execute(TOTAL).fetchall()
    return tuple(house.query(TOTAL).rows.to_pylist()[0].values()) == views[0] == (40, sum(range(40)))


for name in NAMES:
    attack(f"a home named {name[:20]!r}", name=name)(odd_home)


@attack("questions while a dictionary is renamed", new_key="m/09/b")
@attack("questions while a dictionary is forgotten", new_key=None)
def asked_beside_a_move(folder: Path, quick: bool, new_key: str | None) -> Result:
    """Every answer holds all rows of one key, or after a removal none: never a part, and never both keys."""
    home = Home(folder, str(folder / "lake"))
    home.registry.write(DictionaryRecord(key="m/09/a", hook="blocks.9.mlp.hook_post", kind="topk_neurons", k=8, width=160))
    written(folder, numbers=range(16))
    everything = (160, sum(range(160)))
    allowed = [{"m/09/a": everything}, {new_key: everything} if new_key else {}]
    seen: list[dict[str, tuple[int, int]]] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set() or not seen:
            rows = (
                Home(folder, str(folder / "lake")).warehouse.query("SELECT dictionary, count(*), sum(feature) FROM scores GROUP BY 1").rows
            )
            seen.append({key: (n, total) for key, n, total in (tuple(row.values()) for row in rows.to_pylist())})

    @contextmanager
    def instance(_: Home) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.ephemeral() as made:
            yield made

    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read) for _ in range(2)]
        try:
            if new_key is None:
                forget(home, planned_removal(home, "m/09/a"), instance)
            else:
                rename(home, "m/09/a", new_key, lambda line: None, instance)
        finally:
            ended.set()
        for one in reading:
            one.result()
    wrong = [one for one in seen if one not in allowed]
    return Result(RIGHT, f"{len(seen)} answers") if not wrong else Result(WRONG, f"{len(wrong)} of {len(seen)} answers, such as {wrong[0]}")
