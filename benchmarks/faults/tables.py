"""Attacks on the partitions of every table that the code lists: a new table is taken in by itself.

Each table gets partitions with made-up rows. One partition is spoiled in every way; SQL says what is missing, a stage refuses it, the
others are read, and writing the partition again mends it.
"""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.faults.attacks import BLOCKS, MENDED, RIGHT, WRONG, Result, attack
from benchmarks.faults.stores import partition as scores_of
from benchmarks.faults.stores import warehouse
from interp_assets.tables import SCORES, TABLES, Table
from resources.store.lake import MANIFEST, PART, LakeError

ROWS = 10
NAMES = {"dictionary": ("m/09/a", "m/09/b"), "feature_range": ("00of16", "01of16")}


def value(kind: pa.DataType, number: int) -> Any:
    """A made-up value of an Arrow type."""
    if pa.types.is_dictionary(kind):
        return value(kind.value_type, number)
    if pa.types.is_list(kind):
        return [value(kind.value_type, number), value(kind.value_type, number + 1)]
    if pa.types.is_struct(kind):
        return {field.name: value(field.type, number) for field in kind}
    if pa.types.is_boolean(kind):
        return bool(number % 2)
    if pa.types.is_string(kind):
        return f"text {number}"
    return float(number) if pa.types.is_floating(kind) else number


def partitions(table: Table) -> list[dict[str, str]]:
    """Two partitions of a table; one where its rows are not partitioned."""
    count = 2 if table.partition_columns else 1
    return [{name: NAMES.get(name, ("one", "two"))[number] for name in table.partition_columns} for number in range(count)]


def write(root: Path, table: Table, number: int) -> Path:
    """The folder of a partition, after writing ROWS rows into it."""
    partition, lake = partitions(table)[number], warehouse(root).lake
    rows = [
        {field.name: partition.get(field.name, value(field.type, ROWS * number + one)) for field in table.schema} for one in range(ROWS)
    ]
    columns = [pa.array([row[field.name] for row in rows], _plain(field.type)).cast(field.type) for field in table.schema]
    lake.write(table.name, partition, table.schema, pa.Table.from_arrays(columns, schema=table.schema), "v1")
    return Path(lake.path(table.name, partition))


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type that Python values become first: float16 and dictionaries are cast to."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_float16(kind):
        return pa.float32()
    return pa.list_(_plain(kind.value_type)) if pa.types.is_list(kind) else kind


def _manifest(change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda folder: (folder / MANIFEST).write_text(change((folder / MANIFEST).read_text()))


def _without_sum(text: str) -> str:
    return json.dumps({k: 999_999 if k == "rows" else v for k, v in json.loads(text).items() if k != "manifest_crc32"})


SPOILING: dict[str, Callable[[Path], object]] = {
    "empty manifest": _manifest(lambda text: ""),
    "half a manifest": _manifest(lambda text: text[: len(text) // 2]),
    "manifest that is a list": _manifest(lambda text: "[]"),
    "manifest of 999,999 rows": _manifest(lambda text: text.replace(f'"rows": {ROWS}', '"rows": 999999')),
    "manifest of 999,999 rows without a checksum": _manifest(_without_sum),
    "manifest of one row less": _manifest(lambda text: text.replace(f'"rows": {ROWS}', f'"rows": {ROWS - 1}')),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "withdrawn manifest": lambda folder: (folder / MANIFEST).rename(folder / "manifest.withdrawn.json"),
    "no part": lambda folder: (folder / PART).unlink(),
    "empty part": lambda folder: (folder / PART).write_bytes(b""),
    "half a part": lambda folder: (folder / PART).write_bytes((folder / PART).read_bytes()[:-300]),
    "zeros for a part": lambda folder: (folder / PART).write_bytes(bytes((folder / PART).stat().st_size)),
}


def told(root: Path, table: Table, spoiled: str) -> Result | None:
    """None where the spoiled partition is left out with a note and refused, and the others are whole."""
    house, others = warehouse(root), len(partitions(table)) - 1
    answer = house.query(f"SELECT count(*) AS n FROM {table.name}")
    rows = len(house.query(f"SELECT * FROM {table.name}").rows)
    if answer.rows.to_pylist()[0]["n"] != ROWS * others or rows != ROWS * others or not answer.notes:
        return Result(WRONG, f"{table.name}, {spoiled}: {answer.rows.to_pylist()[0]['n']} counted, {rows} read, {len(answer.notes)} notes")
    try:
        house.lake.read(table.name, partitions(table)[0])
        return Result(WRONG, f"{table.name}, {spoiled}: a stage reads it")
    except LakeError:
        pass
    for partition in partitions(table)[1:]:
        if house.lake.read(table.name, partition).num_rows != ROWS:
            return Result(BLOCKS, f"{table.name}, {spoiled}: another partition is lost")
    return None


def spoiled_table(folder: Path, quick: bool, table: Table) -> Result:
    whole = folder / "whole"
    places = [write(whole, table, number) for number in range(len(partitions(table)))]
    inside, draws = places[0].relative_to(whole), random.Random(table.name)
    if warehouse(whole).query(f"SELECT count(*) AS n FROM {table.name}").rows.to_pylist()[0]["n"] != ROWS * len(places):
        return Result(BLOCKS, "the whole table is not read")
    content = (places[0] / PART).read_bytes()

    def flip(place: Path) -> None:
        flipped = bytearray(content)
        flipped[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        (place / PART).write_bytes(flipped)

    ways = list(SPOILING.items())
    if quick:  # two of the ways, others for other tables
        first = TABLES.index(table) * 2
        ways = [ways[(first + step) % len(ways)] for step in range(2)]
    for name, spoil in [*ways, *(("a flipped bit", flip) for _ in range(1 if quick else 25))]:
        root = folder / "spoiled"
        shutil.copytree(whole, root)
        spoil(root / inside)
        if (result := told(root, table, name)) is not None:
            return result
        write(root, table, 0)
        again = warehouse(root).query(f"SELECT count(*) AS n FROM {table.name}")
        if again.rows.to_pylist()[0]["n"] != ROWS * len(places) or again.notes:
            return Result(BLOCKS, f"{table.name}, {name}: it cannot be made again")
        shutil.rmtree(root)
    return Result(MENDED)


for table in TABLES:
    attack(f"every damage to {table.name}", seconds=120, table=table)(spoiled_table)


REPLACED_SECONDS = 12.0


def replacing(root: Path, seconds: float) -> None:
    """Replace four partitions again and again: all values of a version are its number, and so is its count of rows."""
    lake, version, ends = warehouse(root).lake, 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        for number in range(4):
            n_rows = (1 + version % 3) * 20_000
            row = {"dictionary": "m/09/a", "feature_range": f"{number:02d}of16", "explanation_method": "max_act", "scorer": "detection"}
            row |= {"metric": "balanced_accuracy", "headline": True, "value": float(version), "n_positive": 5, "n_negative": 5}
            row |= {"n_unanswered": 0, "outcome": "ok"}
            columns = {name: [row.get(name)] * n_rows for name in SCORES.schema.names} | {"feature": range(n_rows)}
            lake.write(SCORES.name, scores_of(number), SCORES.schema, pa.table(columns, schema=SCORES.schema), f"v{version}")
        version += 1


@attack("partitions that are replaced while they are read", seconds=240)
def replaced_while_read(folder: Path, quick: bool) -> Result:
    """Each answer has a partition as one version of it has it, or says that it is not there; none is an error."""
    replacing(folder, 0.001)
    seconds = REPLACED_SECONDS / (4 if quick else 1)
    code = f"import sys, pathlib; from benchmarks.faults.tables import replacing; replacing(pathlib.Path(sys.argv[1]), {seconds})"
    writer = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    kept, n_answers = warehouse(folder), 0
    while writer.poll() is None or not n_answers:
        n_answers += 1
        answer = (kept if n_answers % 2 else warehouse(folder)).query(
            "SELECT feature_range, count(*) AS n, min(value) AS low, max(value) AS high FROM scores GROUP BY 1"
        )
        found = answer.rows.to_pylist()
        if len(found) != 4 and not answer.notes:
            return Result(WRONG, f"{len(found)} of 4 partitions, and nothing said")
        if mixed := [one for one in found if one["low"] != one["high"] or one["n"] != (1 + int(one["low"]) % 3) * 20_000]:
            return Result(WRONG, str(mixed[0]))
    return Result(RIGHT, f"{n_answers} answers")
