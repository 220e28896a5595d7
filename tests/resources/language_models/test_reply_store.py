"""The reply store on disk: whole replies back, several writers, size, pruning, compaction, crashes in the middle of a write, and damage."""

import errno
import json
import random
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.language_models import reply_store
from resources.language_models.interface import ModelIdentity, Reply
from resources.language_models.reply_store import ReplyStore, ReplyStoreError
from resources.language_models.stored_rows import CHECK, SCHEMA, checked_row

ONE = ModelIdentity("scripted", "one", "1")
TWO = ModelIdentity("scripted", "two", "1")
WHOLE = Reply(
    "[1, 0]",
    "stop",
    12,
    4,
    5,
    0.25,
    answer_probabilities=((0.25, 0.75), (0.9, 0.1)),
    suffix_logprobs=(-0.5, -2.0),
    suffix_choices=((0.5, 0.5),),
)
WITHOUT_CHECKS = pa.schema([field for field in SCHEMA if field.name != CHECK])
PLAIN = Reply("é “quoted”\n", "length", 1, 0, 1, 0.0)
WRITER = """
import sys
from pathlib import Path
from resources.language_models.interface import ModelIdentity, Reply
from resources.language_models.reply_store import ReplyStore
store = ReplyStore(Path(sys.argv[1]))
for number in range(20):
    store.append(f"{sys.argv[2]}-{number}", ModelIdentity("scripted", "one", "1"), Reply(sys.argv[2], "stop", 1, 0, 1, 0.0))
    store.flush()
"""


def filled(folder: Path, **replies: tuple[ModelIdentity, Reply]) -> ReplyStore:
    store = ReplyStore(folder)
    for key, (identity, reply) in replies.items():
        store.append(key, identity, reply)
    store.flush()
    return store


def test_replies_come_back_whole(tmp_path: Path) -> None:
    filled(tmp_path, a=(ONE, WHOLE), b=(ONE, PLAIN))
    assert ReplyStore(tmp_path).get_many(["b", "a", "absent"]) == {"a": WHOLE, "b": PLAIN}


def test_fields_of_another_version_are_left_out_and_missing_ones_absent(tmp_path: Path) -> None:
    other = {name: value for name, value in asdict(PLAIN).items() if not name.startswith("suffix")} | {"prompt_logprobs": [-0.5]}
    row = {"key": "a", "backend": "scripted", "model": "one", "revision": "1", "time": 0.0, "reply": json.dumps(other)}
    pq.write_table(pa.Table.from_pylist([row], schema=WITHOUT_CHECKS), tmp_path / "part-0.parquet")
    assert ReplyStore(tmp_path).get_many(["a"]) == {"a": PLAIN}


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    store = ReplyStore(tmp_path / "never made")
    store.flush()
    assert store.get_many(["a"]) == {}
    assert (store.size().n_replies, store.size().n_bytes, store.prune()) == (0, 0, 0)
    assert not store.folder.exists()


def test_errors_are_not_kept(tmp_path: Path) -> None:
    filled(tmp_path, a=(ONE, Reply("", "error", 0, 0, 0, 0.0, error="busy")))
    assert ReplyStore(tmp_path).get_many(["a"]) == {}


def test_a_reply_that_was_written_twice_counts_once(tmp_path: Path) -> None:
    filled(tmp_path, a=(ONE, PLAIN))
    size = filled(tmp_path, a=(ONE, PLAIN), b=(TWO, PLAIN)).size()
    assert (size.n_replies, size.n_parts, size.replies_by_model) == (2, 2, {"one": 1, "two": 1})


def test_pruning_by_model_and_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(reply_store.time, "time", lambda: now - 10 * 86_400)
    filled(tmp_path, old_one=(ONE, PLAIN), old_two=(TWO, PLAIN))
    monkeypatch.setattr(reply_store.time, "time", lambda: now)
    store = filled(tmp_path, new_one=(ONE, PLAIN))
    assert store.prune(older_than_days=5, model="one") == 1
    assert store.get_many(["old_one", "old_two", "new_one"]).keys() == {"old_two", "new_one"}
    assert store.prune(older_than_days=5) == 1
    assert store.get_many(["old_two", "new_one"]).keys() == {"new_one"}
    assert store.prune() == 1
    assert store.size().n_replies == 0


def test_joining_keeps_every_reply(tmp_path: Path) -> None:
    for number in range(3 * reply_store.JOIN_PARTS):
        store = filled(tmp_path, **{f"k{number}": (ONE, WHOLE)})
    assert (store.size().n_replies, store.size().n_parts) == (24, 3)
    assert store.get_many([f"k{n}" for n in range(24)]) == {f"k{n}": WHOLE for n in range(24)}


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_joining_rewrites_a_reply_as_often_as_the_logarithm_of_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    """However many bytes the compressor makes of a part."""
    written: list[int] = []
    plain = reply_store.pq.write_table
    monkeypatch.setattr(reply_store.pq, "write_table", lambda *parts, **options: plain(*parts, **options | {"compression": compression}))
    write = ReplyStore._write
    monkeypatch.setattr(reply_store, "PART_REPLIES", 8)
    monkeypatch.setattr(ReplyStore, "_write", lambda store, table: (written.append(table.num_rows), write(store, table)))
    store = ReplyStore(tmp_path)
    for number in range(2048):
        store.append(f"{number:064d}", ONE, WHOLE)
    store.flush()
    # 256 parts of 8 replies become 32 of 64, and these 4 of 512, the last of which waits for the next flush: at most three writes of each
    # reply, where joining all at every step would make 16.
    assert [written.count(rows) for rows in (8, 64, 512)] == [256, 32, 3] and sum(written) == 3 * 2048 - 512
    assert store.size().n_replies == 2048


@pytest.mark.parametrize(("rows", "row_class"), [(0, 0), (1, 0), (7, 0), (8, 1), (63, 1), (64, 2), (512, 3), (8**7 - 1, 6), (8**7, 7)])
def test_a_class_spans_a_factor_of_eight_in_rows(rows: int, row_class: int) -> None:
    assert reply_store._row_class(rows) == row_class


def test_large_parts_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_store, "JOIN_BELOW_BYTES", 1)
    for number in range(2 * reply_store.JOIN_PARTS):
        store = filled(tmp_path, **{f"k{number}": (ONE, PLAIN)})
    assert store.size().n_parts == 16


def test_a_reply_is_in_its_journal_before_append_returns(tmp_path: Path) -> None:
    store = ReplyStore(tmp_path)
    store.append("a", ONE, WHOLE)
    (journal,) = tmp_path.glob("journal-*.jsonl")
    assert b'"key": "a"' in journal.read_bytes()
    assert store.get_many(["a"]) == {"a": WHOLE}  # its own pending replies count
    assert ReplyStore(tmp_path).get_many(["a"]) == {}  # a living writer's journal is its own
    assert journal.exists()
    store.flush()
    assert not journal.exists()
    assert ReplyStore(tmp_path).get_many(["a"]) == {"a": WHOLE}


def test_the_journal_of_a_dead_writer_is_adopted_without_its_torn_line(tmp_path: Path) -> None:
    die = WRITER.replace("    store.flush()\n", "").replace("range(20)", "range(3)") + "import os\nos.kill(os.getpid(), 9)\n"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", die, str(tmp_path), "a"], cwd=root).returncode == -9
    (journal,) = tmp_path.glob("journal-*.jsonl")
    with journal.open("ab") as file:
        file.write(b'{"key": "torn", "backe')
    assert ReplyStore(tmp_path).get_many(["a-0", "a-1", "a-2", "torn"]).keys() == {"a-0", "a-1", "a-2"}
    assert not journal.exists()
    assert ReplyStore(tmp_path).size().n_replies == 3


def test_a_reader_survives_another_process_joining_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, a=(ONE, WHOLE))
    monkeypatch.setattr(reply_store, "JOIN_PARTS", 2)
    store = filled(tmp_path, b=(ONE, PLAIN))
    listings = iter([[tmp_path / "part-0-joined-a-moment-ago.parquet"]])
    monkeypatch.setattr(store, "_parts", lambda: next(listings, None) or ReplyStore._parts(store))
    assert store.get_many(["a", "b"]) == {"a": WHOLE, "b": PLAIN}


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], cwd=root) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert ReplyStore(tmp_path).size().n_replies == 60
    assert not list(tmp_path.glob(".*"))


def test_a_part_that_was_being_written_in_a_crash_is_not_read(tmp_path: Path) -> None:
    store = filled(tmp_path, a=(ONE, PLAIN))
    (tmp_path / ".part-00000000000000000001-deadbeef.parquet.tmp").write_bytes(b"PAR1 half")
    assert store.get_many(["a"]) == {"a": PLAIN}
    assert store.size().n_replies == 1


def numbered(folder: Path, numbers: range) -> ReplyStore:
    return filled(folder, **{f"k{n}": (ONE, Reply(f"answer {n} " * 20, "stop", n, 0, 1, 0.0)) for n in numbers})


def test_a_flipped_bit_never_gives_a_wrong_reply_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    numbered(tmp_path / "whole", range(100))
    (part,) = (tmp_path / "whole").glob("part-*.parquet")
    content, keys = part.read_bytes(), [f"k{n}" for n in range(100)]
    right = ReplyStore(tmp_path / "whole").get_many(keys)
    draws = random.Random(0)
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        flipped = bytearray(content)
        flipped[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        (folder / part.name).write_bytes(flipped)
        store = ReplyStore(folder)
        found = store.get_many(keys)
        assert found.items() <= right.items()
        size = store.size()
        assert size.n_replies == len(found) == 100 - size.n_lost or (size.n_lost == 0 and size.n_damaged == 1)
        assert size.n_damaged == (len(found) < 100 or not (folder / part.name).exists())


def test_a_damaged_row_does_not_survive_a_join_and_its_neighbours_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [checked_row({"key": f"k{n}", "backend": "b", "model": "m", "revision": "1", "time": 0.0, "reply": json.dumps(asdict(PLAIN))})
            for n in range(3)]  # fmt: skip
    rows[1]["reply"] = json.dumps(asdict(WHOLE))  # a whole page, whose row is not the row that was kept
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), tmp_path / "part-0.parquet")
    monkeypatch.setattr(reply_store, "JOIN_PARTS", 2)
    store = filled(tmp_path, other=(ONE, PLAIN))
    assert store.get_many(["k0", "k1", "k2", "other"]).keys() == {"k0", "k2", "other"}
    size = store.size()
    assert (size.n_replies, size.n_damaged, size.n_lost) == (3, 1, 1)
    assert [path.name for path in (tmp_path / "damaged").glob("*.parquet")] == ["part-0.parquet"]


def test_a_store_without_checksums_is_read_whole_and_has_them_once_it_is_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"key": "old", "backend": "b", "model": "m", "revision": "1", "time": 0.0, "reply": json.dumps(asdict(WHOLE))}
    pq.write_table(pa.Table.from_pylist([row], schema=WITHOUT_CHECKS), tmp_path / "part-0.parquet")
    (tmp_path / "journal-0.jsonl").write_text(json.dumps({**row, "key": "older"}) + "\n")
    assert ReplyStore(tmp_path).get_many(["old", "older"]) == {"old": WHOLE, "older": WHOLE}
    monkeypatch.setattr(reply_store, "JOIN_PARTS", 2)
    filled(tmp_path, new=(ONE, PLAIN))
    (part,) = tmp_path.glob("part-*.parquet")
    assert CHECK in pq.read_schema(part).names
    assert ReplyStore(tmp_path).get_many(["old", "older", "new"]).keys() == {"old", "older", "new"}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 no Parquet at all PAR1", b"\x00" * 4096])
def test_a_part_that_is_no_parquet_is_set_aside_and_nothing_else_stops(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "part-0.parquet").write_bytes(content)
    (tmp_path / "part-link.parquet").symlink_to(tmp_path / "nowhere")
    (tmp_path / "part-folder.parquet").mkdir()
    store = filled(tmp_path, a=(ONE, PLAIN))
    assert store.get_many(["a"]) == {"a": PLAIN}
    assert (store.size().n_replies, store.size().n_damaged, store.prune()) == (1, 1, 1)


def test_lines_of_a_journal_that_hold_no_reply_are_set_aside_and_a_whole_one_glued_to_half_is_found(tmp_path: Path) -> None:
    store = ReplyStore(tmp_path)
    for key in "abcd":
        store.append(key, ONE, PLAIN)
    (journal,) = tmp_path.glob("journal-*.jsonl")
    a, b, c, d = journal.read_bytes().splitlines(keepends=True)
    dead = tmp_path / "dead"
    dead.mkdir()
    wrong = c.replace(b"stop", b"step").replace(b"length", b"lenght")
    (dead / "journal-0.jsonl").write_bytes(a + b[:70] + d + wrong + b"[1]\n\xff\xfe\n" + b'{"key": 1}\n')
    found = ReplyStore(dead)
    assert found.get_many("abcd").keys() == {"a", "d"}
    assert (found.size().n_damaged, found.size().n_lost) == (1, 5)
    assert not (dead / "journal-0.jsonl").exists()


def test_a_full_disk_cuts_the_half_line_back_and_what_comes_later_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ReplyStore(tmp_path)
    store.append("a", ONE, PLAIN)

    class Filling:
        """The journal on a disk with room for 40 more bytes."""

        def __init__(self, file: Any) -> None:
            self.file, self.room = file, 40

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: bytes) -> int:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            written, self.room = self.file.write(data[: self.room]), 0
            return written

    journal = store._journal
    store._journal = Filling(journal)  # type: ignore[assignment]
    with pytest.raises(ReplyStoreError, match=r"no room left for replies under .*only what is missing is asked"):
        store.append("b", ONE, PLAIN)
    store._journal = journal
    store.append("c", ONE, PLAIN)
    del store, journal  # the process dies without a flush
    assert ReplyStore(tmp_path).get_many(["a", "b", "c"]).keys() == {"a", "c"}


def test_a_full_disk_while_a_part_is_written_leaves_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ReplyStore(tmp_path)
    store.append("a", ONE, PLAIN)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(reply_store.os, "fsync", full)
        with pytest.raises(ReplyStoreError, match="no room left"):
            store.flush()
    assert not list(tmp_path.glob(".part-*")) and len(list(tmp_path.glob("journal-*"))) == 1
    store.flush()
    assert ReplyStore(tmp_path).get_many(["a"]) == {"a": PLAIN}


@pytest.mark.parametrize("place", ["a file", "a link to nowhere"])
def test_what_stands_where_damaged_files_belong_does_not_block_the_store(tmp_path: Path, place: str) -> None:
    numbered(tmp_path, range(10)).flush()
    (part,) = tmp_path.glob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:-300])
    if place == "a file":
        (tmp_path / "damaged").write_text("mine")
    else:
        (tmp_path / "damaged").symlink_to("nowhere")
    ReplyStore(tmp_path).get_many(["0"])
    assert (tmp_path / "damaged" / part.name).is_file() and ReplyStore(tmp_path).size().n_damaged == 1
    assert len(list(tmp_path.glob("damaged-*"))) + sum(path.is_symlink() for path in tmp_path.iterdir()) >= 1


def test_notes_on_damage_that_are_none_are_passed_over(tmp_path: Path) -> None:
    store = numbered(tmp_path, range(3))
    store.flush()
    (tmp_path / "damaged").mkdir()
    notes = (
        '{"file": 5, "lost": 1}\n[1]\n{"file": "a\\\\u0000b", "lost": 1}\n{"file": [], "lost": 1}\n{"file": "x", "lost": "y"}\n'
        + "[" * 100_000
    )
    (tmp_path / "damaged" / "damage.jsonl").write_text(notes)
    assert store.size().n_damaged == 0 and store.size().n_replies == 3
