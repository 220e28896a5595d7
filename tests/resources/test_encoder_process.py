"""The encoder's process gives the encoder's own vectors, and wherever it cannot, the encoder itself answers or says why."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from resources import encoder_process
from resources.encoder_process import EncoderAhead, start_encoder_process
from resources.fakes import FakeModels
from resources.kept_models import KeptModels
from resources.sentence_encoder import load_sentence_encoder

EMBEDDED = "embedded:all-minilm-l6-v2"
TEXTS = ["a dog runs", "", "你好 🎉", "word " * 400, "half a character \ud83c"[:-1]]


@pytest.fixture(autouse=True)
def _two_cores_and_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_process.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(encoder_process, "CARDS", ())


def started() -> encoder_process.EncoderProcess:
    process = start_encoder_process()
    assert process is not None
    return process


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.real_model
def test_vectors_are_the_encoders_own_to_the_last_bit_and_damaged_weights_have_its_own_message(tmp_path: Path) -> None:
    own = load_sentence_encoder(EMBEDDED)
    assert own.folder.path is not None
    damaged = tmp_path / "damaged"
    shutil.copytree(own.folder.path, damaged)
    with (damaged / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    process = started()
    try:
        process.load(EMBEDDED, None)
        vectors = EncoderAhead(load_sentence_encoder(EMBEDDED), process).embed(TEXTS)
        assert vectors.dtype == np.float32 and vectors.tobytes() == own.embed(TEXTS).tobytes()
        process.load(str(damaged), None)
        with pytest.raises(Exception) as ahead:
            EncoderAhead(load_sentence_encoder(str(damaged)), process).embed(TEXTS)
        with pytest.raises(Exception) as alone:
            load_sentence_encoder(str(damaged)).embed(TEXTS)
        assert (ahead.type, str(ahead.value)) == (alone.type, str(alone.value))
        assert not process.loads(str(damaged), None)
    finally:
        process.close()


def test_the_encoder_itself_answers_where_the_process_has_ended() -> None:
    """Killed by the system, say for want of memory, at any moment."""
    process, own = started(), FakeModels().sentence_encoder("e", None)
    process.load("e", None)
    os.kill(process._process.pid, signal.SIGKILL)
    assert np.array_equal(EncoderAhead(own, process).embed(["a b"]), own.embed(["a b"]))
    assert process.embed(["a"]) is None and not process.loads("e", None)


def test_kept_models_ask_the_process_that_loads_their_encoder_and_end_it() -> None:
    process = started()
    process.load("e", "1")
    kept = KeptModels(FakeModels(), process)
    assert isinstance(kept.sentence_encoder("e", "1")._encoder, EncoderAhead)  # type: ignore[attr-defined]
    other = kept.sentence_encoder("another", None)
    assert not isinstance(other._encoder, EncoderAhead)  # type: ignore[attr-defined]
    kept.close()
    assert has_ended(process._process.pid) and not process.loads("e", "1")


def test_the_process_ends_with_a_killed_caller_and_hears_no_interrupt() -> None:
    program = (
        "import time; from resources import encoder_process as e; e.CARDS = (); e.os.sched_getaffinity = lambda _: {0, 1}; "
        "p = e.start_encoder_process(); p.load('embedded:all-minilm-l6-v2', None); print(p._process.pid, flush=True); time.sleep(60)"
    )
    caller = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert caller.stdout is not None
    pid = int(caller.stdout.readline())
    assert os.getpgid(pid) != os.getpgid(caller.pid)  # Ctrl-C in a terminal goes to the caller's group
    caller.kill()
    caller.wait()
    caller.stdout.close()
    deadline = time.monotonic() + 20
    while not has_ended(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert has_ended(pid)


def test_no_process_beside_a_card_or_on_one_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(encoder_process, "CARDS", (str(tmp_path),))
    assert start_encoder_process() is None
    monkeypatch.setattr(encoder_process, "CARDS", ())
    monkeypatch.setattr(encoder_process.os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert start_encoder_process() is None
