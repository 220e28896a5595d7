"""The reply store on disk: whole replies back, several writers, size, pruning, compaction, and crashes in the middle of a write."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from resources.language_models import reply_store
from resources.language_models.interface import ModelIdentity, Reply
from resources.language_models.reply_store import ReplyStore

ONE = ModelIdentity("scripted", "one", "1")
TWO = ModelIdentity("scripted", "two", "1")
WHOLE = Reply("[1, 0]", "stop", 12, 4, 5, 0.25, answer_probabilities=((0.25, 0.75), (0.9, 0.1)), prompt_logprobs=(-0.5, -2.0))
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


def test_compaction_keeps_every_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_store, "COMPACT_ABOVE_PARTS", 3)
    for number in range(5):
        store = filled(tmp_path, **{f"k{number}": (ONE, WHOLE)})
    store.compact()
    assert (store.size().n_replies, store.size().n_parts) == (5, 1)
    assert store.get_many([f"k{n}" for n in range(5)]) == {f"k{n}": WHOLE for n in range(5)}


def test_a_reader_survives_another_process_joining_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_store, "COMPACT_ABOVE_PARTS", 1)
    filled(tmp_path, a=(ONE, WHOLE))
    store = filled(tmp_path, b=(ONE, PLAIN))
    listings = iter([store._parts()])
    ReplyStore(tmp_path).compact()
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
