"""Attacks on the reply store: damaged parts and journals, files that may not grow."""

import json
import random
import resource
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from benchmarks.faults.attacks import MENDED, REFUSED, RIGHT, WRONG, Result, attack
from resources.language_models.interface import ModelIdentity, Reply
from resources.language_models.reply_store import ReplyStore, ReplyStoreError

MODEL = ModelIdentity("scripted", "m", "1")
KEYS = [f"key-{number}" for number in range(200)]
REPLIES = {key: Reply(f"the answer to {key}", "stop", number, 0, 3, 0.25) for number, key in enumerate(KEYS)}


def filled(folder: Path) -> Path:
    """The one part of a store with all REPLIES."""
    store = ReplyStore(folder)
    for key, reply in REPLIES.items():
        store.append(key, MODEL, reply)
    store.flush()
    return next(folder.glob("part-*.parquet"))


def asked(folder: Path, must_have: int = 0) -> Result:
    """Whether a store answers rightly, says what it lost, and keeps what comes later."""
    store = ReplyStore(folder)
    found, size = store.get_many(KEYS), store.size()
    wrong = [key for key, reply in found.items() if reply != REPLIES[key]]
    store.append("later", MODEL, REPLIES[KEYS[0]])
    store.flush()
    if wrong or len(found) < must_have or ReplyStore(folder).get_many(["later"]) != {"later": REPLIES[KEYS[0]]}:
        return Result(WRONG, f"{len(wrong)} wrong, {len(found)} of at least {must_have} there")
    if len(found) < len(KEYS):
        return Result(MENDED if size.n_damaged else WRONG, f"{len(found)} there, {size.n_damaged} files set aside")
    return Result(MENDED if size.n_damaged else RIGHT)


@attack("single-bit flips in a part of the reply store", seconds=600)
def flip_replies(folder: Path, quick: bool) -> Result:
    part, draws = filled(folder / "whole"), random.Random(0)
    content = part.read_bytes()
    for number in range(60 if quick else 400):
        flipped = bytearray(content)
        flipped[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        place = folder / str(number)
        place.mkdir()
        (place / part.name).write_bytes(flipped)
        result = asked(place)
        if result.outcome == WRONG:
            return result
        shutil.rmtree(place)
    return Result(MENDED)


@attack("empty part of the reply store", content=b"")
@attack("half a part of the reply store", content=None)
@attack("text for a part of the reply store", content=b"PAR1 not Parquet PAR1")
@attack("zeros for a part of the reply store", content=bytes(10_000))
def spoiled_part(folder: Path, quick: bool, content: bytes | None) -> Result:
    part = filled(folder)
    shutil.copy(part, folder / "part-0.parquet")
    (folder / "part-0.parquet").write_bytes(part.read_bytes()[:-400] if content is None else content)
    return asked(folder, len(KEYS))


@attack("a link to nowhere, a folder and a pipe among the parts", seconds=20)
def odd_parts(folder: Path, quick: bool) -> Result:
    import os

    filled(folder)
    (folder / "part-1.parquet").symlink_to("nowhere")
    (folder / "part-2.parquet").mkdir()
    os.mkfifo(folder / "part-3.parquet")
    (folder / "journal-0.jsonl").mkdir()
    return asked(folder, len(KEYS))


@attack("a file where damaged parts belong", place="file")
@attack("a link to nowhere where damaged parts belong", place="link")
@attack("notes on damage that are none", place="notes")
def no_room_for_damage(folder: Path, quick: bool, place: str) -> Result:
    part, damaged = filled(folder), folder / "damaged"
    part.write_bytes(part.read_bytes()[:-300])
    if place == "file":
        damaged.write_text("mine")
    elif place == "link":
        damaged.symlink_to("nowhere")
    else:
        damaged.mkdir()
        (damaged / "damage.jsonl").write_text('{"file": 5, "lost": 1}\n{"file": "a\\u0000b", "lost": 1}\n{"file": [], "lost": "x"}\n')
    return asked(folder)


def journal_lines(folder: Path) -> list[bytes]:
    """The lines of a journal that holds REPLIES."""
    store = ReplyStore(folder / "writer")
    for key, reply in REPLIES.items():
        store.append(key, MODEL, reply)
    (journal,) = (folder / "writer").glob("journal-*")
    return journal.read_bytes().splitlines(keepends=True)


@attack("half a line and another glued to it in a journal")
def glued_journal(folder: Path, quick: bool) -> Result:
    lines, dead = journal_lines(folder), folder / "dead"
    dead.mkdir()
    (dead / "journal-0.jsonl").write_bytes(b"".join([*lines[:50], lines[50][:80], *lines[51:]]) + b'{"key": "torn')
    return asked(dead, len(KEYS) - 1)


@attack("a journal with lines blanked by spaces", filler=b" ")
@attack("a journal with lines of NUL, as after a lost power", filler=b"\0")
@attack("a journal with lines twice", filler=None)
def refilled_journal(folder: Path, quick: bool, filler: bytes | None) -> Result:
    lines, dead = journal_lines(folder), folder / "dead"
    dead.mkdir()
    half = [line * 2 if filler is None else filler * (len(line) - 7) + line[-7:] for line in lines[50:60]]
    (dead / "journal-0.jsonl").write_bytes(b"".join([*lines[:50], *half, *lines[60:]]))
    return asked(dead, len(KEYS) - (10 if filler else 0))


@attack("single-byte changes in a journal", seconds=300)
def changed_journal(folder: Path, quick: bool) -> Result:
    store, draws = ReplyStore(folder / "writer"), random.Random(1)
    for key, reply in REPLIES.items():
        store.append(key, MODEL, reply)
    (journal,) = (folder / "writer").glob("journal-*")
    content = journal.read_bytes()
    for number in range(30 if quick else 200):
        changed = bytearray(content)
        changed[draws.randrange(len(content))] = draws.randrange(256)
        place = folder / str(number)
        place.mkdir()
        (place / "journal-0.jsonl").write_bytes(changed)
        result = asked(place)
        if result.outcome == WRONG:
            return result
    return Result(MENDED)


@attack("a file that may not grow in the middle of a line, then room again")
def no_room(folder: Path, quick: bool) -> Result:
    store = ReplyStore(folder)
    store.append(KEYS[0], MODEL, REPLIES[KEYS[0]])
    (journal,) = folder.glob("journal-*")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 60, hard))
    try:
        store.append(KEYS[1], MODEL, REPLIES[KEYS[1]])
        outcome = Result(WRONG, "a full disk and no error")
    except ReplyStoreError as error:
        outcome = Result(REFUSED, str(error))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    for key in KEYS[2:]:
        store.append(key, MODEL, REPLIES[key])
    del store
    result = asked(folder, len(KEYS) - 1)
    return outcome if result.seen.startswith(f"{len(KEYS) - 1} there, 0") or result.outcome == RIGHT else result


@attack("a store of an earlier release, without checksums")
def without_checksums(folder: Path, quick: bool) -> Result:
    import pyarrow.parquet as pq

    from resources.language_models.stored_rows import CHECK, SCHEMA

    rows = [
        {"key": key, "backend": "b", "model": "m", "revision": "1", "time": 0.0, "reply": json.dumps(asdict(reply))}
        for key, reply in REPLIES.items()
    ]
    folder.mkdir(exist_ok=True)
    schema = pa.schema([field for field in SCHEMA if field.name != CHECK])
    pq.write_table(pa.Table.from_pylist(rows[:100], schema=schema), folder / "part-0.parquet")
    (folder / "journal-0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[100:]))
    return asked(folder, len(KEYS))
