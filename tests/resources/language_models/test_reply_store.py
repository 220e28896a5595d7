"""The reply store on disk: whole replies back, several writers, size, pruning, compaction, and crashes in the middle of a write."""

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.language_models import reply_store
from resources.language_models.interface import ModelIdentity, Reply
from resources.language_models.reply_store import ReplyStore

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
    pq.write_table(pa.Table.from_pylist([row], schema=reply_store.SCHEMA), tmp_path / "part-0.parquet")
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
