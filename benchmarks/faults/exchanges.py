"""Attacks by files of other tools: explanations, ratings, windows and results that are damaged, huge, or meant to be somewhere else.

A good row stands before and after each bad one. Sound rows are kept or the file is refused with a message; nothing else is written.
"""

import contextlib
import gzip
import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.faults.attacks import BLOCKS, REFUSED, RIGHT, WRONG, Result, attack
from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord
from interp_assets.exchange.import_explanations import import_explanations
from interp_assets.reading.explanations import read_imported
from interp_assets.tables import SCHEMA_VERSION
from resources.formats import neuronpedia
from resources.formats.interface import ExchangeError
from resources.formats.rating_files import read_rating_rows
from resources.store.lake import Lake

KEY = "m/00/n"
RECORD = DictionaryRecord(key=KEY, hook="blocks.0.mlp.hook_post", kind="topk_neurons", k=4, width=64)
GOOD = {3: "words for cats", 9: "dates"}
MEMORY = 2 << 30
HALF = "\ud800"


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    """A block in which no more than MEMORY beyond what is there can be taken."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def imported(folder: Path, path: Path, format_: str = "auto") -> Result:
    """Imports the file, and looks at what is in the lake then."""
    lake = Lake(str(folder / "lake"), SCHEMA_VERSION)
    try:
        with bounded_memory():
            import_explanations(lake, RECORD, path, "human", format_=format_, max_bad_share=1.0)
    except (ExchangeError, UserError) as error:
        return Result(REFUSED, str(error)) if not read_imported(lake, KEY, "human") else Result(WRONG, "refused, and written")
    stored = read_imported(lake, KEY, "human")
    if any(stored.get(feature) != text for feature, text in GOOD.items()):
        return Result(WRONG, f"sound rows are lost: {str(stored)[:150]}")
    odd = [one for one in stored if one not in GOOD and one != 5]
    return Result(WRONG, f"features {odd}") if odd else Result(RIGHT)


VALUES: dict[str, Any] = {
    "a feature of 40 digits": {"feature": 10**40},
    "a feature of 5,000 digits as text": {"feature": "9" * 5000},
    "a negative feature": {"feature": -1},
    "a feature beyond the width": {"feature": 64},
    "feature true": {"feature": True},
    "feature null": {"feature": None},
    "feature 3.5": {"feature": 3.5},
    "feature NaN": {"feature": float("nan")},
    "feature infinity": {"feature": float("inf")},
    "a feature that is a list": {"feature": [3]},
    "a feature in Arabic digits": {"feature": "٣"},
    "a feature that stands twice": {"feature": 3, "explanation": "another"},
    "no feature": {"feature": ""},
    "no text": {"explanation": ""},
    "a text of half a character": {"feature": 5, "explanation": f"a{HALF}"},
    "a text that is a number": {"explanation": 7},
    "a text that is null": {"explanation": None},
    "a text with NUL": {"feature": 5, "explanation": "a\0b"},
    "a text of 100 MB": {"explanation": "x" * 100_000_000},
    "an author of half a character": {"feature": 5, "author": HALF},
    "a path as a text": {"feature": 5, "explanation": "../../etc/passwd"},
}


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    lines = ["feature,explanation,author"]
    for row in rows:
        fields = (str(row.get(name, "")).replace('"', '""') for name in ("feature", "explanation", "author"))
        lines.append(",".join(f'"{one}"' for one in fields))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def as_neuronpedia(rows: list[dict[str, Any]]) -> bytes:
    same = {"modelId": "m", "layer": "0", "typeName": "t", "explanationModelName": "n"}
    return as_jsonl([{"index": row.get("feature"), "description": row.get("explanation"), **same} for row in rows])


def odd_value(folder: Path, quick: bool, form: str, change: dict[str, Any]) -> Result:
    sound = [{"feature": feature, "explanation": text} for feature, text in GOOD.items()]
    rows = [sound[0], {"feature": 5, "explanation": "a third", **change}, sound[1]]
    write: Callable[[list[dict[str, Any]]], bytes] = {"jsonl": as_jsonl, "csv": as_csv, "neuronpedia": as_neuronpedia}[form]
    (folder / f"labels.{'csv' if form == 'csv' else 'jsonl'}").write_bytes(write(rows))
    return imported(folder, folder / f"labels.{'csv' if form == 'csv' else 'jsonl'}", form)


for form in ("jsonl", "csv", "neuronpedia"):
    for name, change in VALUES.items():
        attack(f"explanations ({form}) with {name}", form=form, change=change)(odd_value)


SOUND = as_jsonl([{"feature": feature, "explanation": text} for feature, text in GOOD.items()])
ZEROS = gzip.compress(bytes(16 << 20), 1)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


FILES: dict[str, tuple[str, bytes | Callable[[Path], object]]] = {
    "nothing": ("a.jsonl", b""),
    "half a gzip": ("a.jsonl.gz", gzip.compress(SOUND)[:-12]),
    "gzip with a flipped bit": ("a.jsonl.gz", bytes(b ^ (4 if n == 24 else 0) for n, b in enumerate(gzip.compress(SOUND)))),
    "text under the name of gzip": ("a.jsonl.gz", SOUND),
    "gzip under the name of text": ("a.jsonl", gzip.compress(SOUND)),
    "3 GB of zeros in 3 MB of gzip": ("a.jsonl.gz", ZEROS * 200),
    "3 GB of zeros in 3 MB of gzip, as one object": ("a.json.gz", ZEROS * 200),
    "3 GB of zeros in 3 MB of gzip, as CSV": ("a.csv.gz", ZEROS * 200),
    "200,000 brackets": ("a.jsonl", b"[" * 200_000 + b"\n" + SOUND),
    "200,000 brackets as one object": ("a.json", b"[" * 200_000),
    "UTF-16": ("a.jsonl", SOUND.decode().encode("utf-16")),
    "Latin-1": ("a.jsonl", SOUND + '{"feature": 5, "explanation": "é"}'.encode("latin-1")),
    "a BOM and CRLF": ("a.jsonl", b"\xef\xbb\xbf" + SOUND.replace(b"\n", b"\r\n")),
    "10^6 columns": (
        "a.csv",
        b"feature,explanation" + b",x" * 1_000_000 + b"\n3,words for cats" + b"," * 1_000_000 + b"\n9,dates" + b"," * 1_000_000,
    ),
    "a quote without end": ("a.csv", b'feature,explanation\n3,words for cats\n5,"' + b"x\n" * 500_000 + b"9,dates\n"),
    "a column that stands twice": ("a.csv", b"feature,explanation,feature\n3,words for cats,3\n9,dates,9\n"),
    "an object with a key that stands twice": ("a.json", b'{"3": "words for cats", "3": "another", "9": "dates"}'),
    "an object with keys that go up": ("a.json", b'{"3": "words for cats", "../../9": "x", "9": "dates"}'),
    "a pipe": ("a.jsonl", _pipe),
    "a folder": ("a.jsonl", lambda path: path.mkdir()),
    "a link to nowhere": ("a.jsonl", lambda path: path.symlink_to("nowhere")),
    "a link to itself": ("a.jsonl", lambda path: path.symlink_to(path)),
    "a device without end": ("a.jsonl", lambda path: path.symlink_to("/dev/zero")),
}


def odd_file(folder: Path, quick: bool, name: str, content: bytes | Callable[[Path], object]) -> Result:
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    else:
        content(folder / name)
    return imported(folder, folder / name)


def odd_ratings(folder: Path, quick: bool, name: str, content: bytes | Callable[[Path], object]) -> Result:
    """The same file as ratings: rows with or without a problem, or a message."""
    if isinstance(content, bytes):
        (folder / name).write_bytes(content.replace(b"feature,explanation", b"feature,explanation,rating,rater,dictionary", 1))
    else:
        content(folder / name)
    try:
        with bounded_memory():
            rows = sum(1 for _ in read_rating_rows(folder / name, "ada", {"": KEY}))
    except ExchangeError as error:
        return Result(REFUSED, str(error))
    return Result(RIGHT, f"{rows} rows") if rows < 10_000 else Result(WRONG, f"{rows} rows")


for name, (file, content) in FILES.items():
    attack(f"explanations in a file of {name}", seconds=60, name=file, content=content)(odd_file)
    attack(f"ratings in a file of {name}", seconds=60, name=file, content=content)(odd_ratings)


WINDOW = {"index": 3, "tokens": ["a", "b"], "values": [0.0, 2.0], "maxValue": 2.0, "maxValueTokenIndex": 1}
WINDOWS: dict[str, Any] = {
    "an index of 5,000 digits": {"index": "9" * 5000},
    "an index in Arabic digits": {"index": "٣"},
    "a value of 10^400": {"values": [0, 10**400], "maxValue": 10**400},
    "a value of 1e308": {"values": [0.0, 1e308], "maxValue": 1e308},
    "a value of NaN": {"values": [0.0, float("nan")]},
    "a maxValue of 10^400": {"maxValue": 10**400},
    "a binMax of 10^400": {"binMax": 10**400},
    "a place of 10^400": {"maxValueTokenIndex": 10**400},
    "a place that is true": {"maxValueTokenIndex": True},
    "a token of half a character": {"tokens": ["a", HALF]},
    "tokens that are numbers": {"tokens": [1, 2]},
    "a million tokens": {"tokens": ["a"] * 1_000_000, "values": [2.0] * 1_000_000},
}


def odd_window(folder: Path, quick: bool, change: dict[str, Any]) -> Result:
    file = folder / "batch-0.jsonl"
    file.write_bytes(as_jsonl([WINDOW, {**WINDOW, **change}, WINDOW]))
    try:
        rows = list(neuronpedia.read_batch(file, 64))
    except ExchangeError as error:
        return Result(REFUSED, str(error))
    sound = [row for row in rows if isinstance(row, neuronpedia.Activation)]
    if len(rows) != 3 or len(sound) < 2:
        return Result(BLOCKS, f"{len(sound)} of {len(rows)} rows")
    for row in sound:
        if not 0 <= row.feature < 64 or any(value != value for value in row.values):
            return Result(WRONG, str(row)[:200])
        "".join(row.tokens).encode()
    return Result(REFUSED if len(sound) == 2 else RIGHT)


for name, change in WINDOWS.items():
    attack(f"a Neuronpedia window with {name}", change=change)(odd_window)
