"""One pass for several dictionaries on a simulated GPU: what is spilled, and that nothing runs on the model once a failure has left it."""

import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from simulated_gpu import simulated_gpu
from torch.nn.attention import SDPBackend, sdpa_kernel

from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import HarvestSettings
from interp_assets.measuring import harvest as harvesting
from interp_assets.measuring.harvest import LoadedDictionary, first_batch, spill_activations
from interp_assets.reading.token_sample import TokenSample
from resources.dictionaries import load_dictionary
from resources.fakes import FakeModels
from resources.subject.model import SparseBatch

ROWS = np.random.default_rng(0).integers(3, 60, size=(23, 16)).astype(np.int32)
KINDS = {
    "a/0/neurons": {"kind": "topk_neurons", "hook": "blocks.1.mlp.hook_post", "width": 64, "k": 4},
    "a/0/random": {"kind": "random_topk", "hook": "blocks.0.hook_resid_post", "width": 64, "d_in": 32, "k": 4},
}


class Kept:
    """A spill that keeps what it is given, from context 5 on, or fails at a batch."""

    rows_done = 5

    def __init__(self, fails_at: int | None = None) -> None:
        self.batches: list[SparseBatch] = []
        self._fails_at = fails_at

    def append(self, name: str, batch: SparseBatch) -> None:
        if len(self.batches) == self._fails_at:
            raise OSError("no room left")
        assert name == batch.name
        self.batches.append(batch)

    def flush(self) -> None:
        """Nothing to write."""


def harvest(subject: Any, spill: Any, begun: bool = False) -> None:
    """The pass over ROWS; with `begun` it takes the values of its first batch from the self-checks."""
    records = {key: DictionaryRecord(key=key, **fields) for key, fields in KINDS.items()}
    loaded = {key: LoadedDictionary(record, load_dictionary(**KINDS[key]), 0.0, None) for key, record in records.items()}
    sample, settings = TokenSample("sample", ROWS), HarvestSettings(batch_rows=4, self_check_rows=3)
    values = first_batch(subject, sample, [one.dictionary for one in loaded.values()], settings) if begun else None
    spill_activations(subject, sample, loaded, spill, settings, lambda line: None, lambda progress: None, values)


def on_the_gpu() -> Any:
    subject = FakeModels().subject("", None, None)
    subject.model.to("cuda")
    return subject


def contents(spill: Kept) -> list[tuple]:
    return [(b.name, b.rows_done, *(a.tolist() for a in (b.row, b.position, b.feature, b.value))) for b in spill.batches]


def test_a_gpu_that_runs_ahead_spills_what_a_cpu_does_in_its_order() -> None:
    on_cpu, on_gpu = Kept(), Kept()
    with sdpa_kernel(SDPBackend.MATH):
        harvest(FakeModels().subject("", None, None), on_cpu)
    with simulated_gpu():
        harvest(on_the_gpu(), on_gpu)
    assert contents(on_gpu) == contents(on_cpu)
    assert [batch.rows_done for batch in on_cpu.batches[::2]] == [9, 13, 17, 21, 23]


@pytest.mark.parametrize(("rows_done", "begun_passes"), [(0, 6), (5, 6)])
def test_the_pass_goes_on_from_the_self_checks_values(rows_done: int, begun_passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """23 contexts are six batches of four, whose first the self-checks have read; from context 5 on, five batches are left."""
    subject, passes = FakeModels().subject("", None, None), []
    forward: Callable[..., Any] = subject.hook_values
    monkeypatch.setattr(subject, "hook_values", lambda rows, hooks: passes.append(len(rows)) or forward(rows, hooks))
    alone, begun = Kept(), Kept()
    alone.rows_done = begun.rows_done = rows_done
    harvest(subject, alone)
    n_alone = len(passes)
    harvest(subject, begun, begun=True)
    assert contents(begun) == contents(alone) and len(passes) - n_alone == begun_passes


def test_no_first_batch_is_kept_where_it_is_large_or_short_or_refused() -> None:
    subject, sample = FakeModels().subject("", None, None), TokenSample("sample", ROWS)
    neurons = load_dictionary(**KINDS["a/0/neurons"])
    assert first_batch(subject, sample, [neurons], HarvestSettings(batch_rows=2, self_check_rows=3)) == {}
    assert first_batch(subject, sample, [load_dictionary(**KINDS["a/0/neurons"] | {"hook": "blocks.9.hook_out"})], HarvestSettings()) == {}
    assert len(first_batch(subject, sample, [neurons], HarvestSettings())["blocks.1.mlp.hook_post"]) == 23
    with patch.object(harvesting, "KEPT_BYTES", 4 * 64 * ROWS.size - 1):
        assert first_batch(subject, sample, [neurons], HarvestSettings()) == {}


@pytest.mark.parametrize("fails_at", [0, 1, 4])
def test_a_spill_that_fails_leaves_nothing_running_on_the_model(fails_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated_gpu():
        subject, begun = on_the_gpu(), []
        forward: Callable[..., Any] = subject.hook_values

        def slow(*arguments: Any) -> Any:
            begun.append(threading.current_thread().name)
            threading.Event().wait(0.1)
            return forward(*arguments)

        monkeypatch.setattr(subject, "hook_values", slow)
        with pytest.raises(OSError, match="no room left"):
            harvest(subject, Kept(fails_at))
        n_begun = len(begun)
        assert not [thread for thread in threading.enumerate() if thread.name in begun]
        threading.Event().wait(0.3)
        assert len(begun) == n_begun and all(name.startswith("looked-ahead") for name in begun)
