"""What is judged: explanations on one line, and rivals that cost no more than the few that are looked at."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from interp_assets.assets.scores import scorer_inputs
from interp_assets.assets.scores.scorer_inputs import N_RIVALS, RANDOM_TRIED, Rivals
from interp_assets.domain.trials import Explanation


def rivals(monkeypatch: pytest.MonkeyPatch, texts: dict[int, str | None], nearest: dict[int, list[int]], seed: int = 0) -> Rivals:
    found = {f: Explanation(f, "m", text, "ok" if text is not None else "unparsable", "", "m/1") for f, text in texts.items()}
    monkeypatch.setattr(scorer_inputs, "read_all_explanations", lambda *_: found)
    monkeypatch.setattr(scorer_inputs, "read_neighbours", lambda *_: nearest)
    record = SimpleNamespace(features_of=lambda key: np.array(sorted(texts)))
    cell = SimpleNamespace(key=SimpleNamespace(dictionary="d"), record=record, settings=SimpleNamespace(seed=seed))
    return Rivals(None, cell, "m")  # type: ignore[arg-type]


def test_the_nearest_come_first_and_no_text_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {0: "cats", 1: "cats", 2: None, 3: "big\n\n dogs ", 4: "big dogs", 5: "birds", **{f: f"word {f}" for f in range(6, 40)}}
    found = rivals(monkeypatch, texts, {0: [1, 2, 3, 4, 0, 5]}).of(0)
    assert [(r.feature, r.text, r.variant) for r in found[:2]] == [(3, "big dogs", "neighbour"), (5, "birds", "neighbour")]
    assert [r.variant for r in found[2:]] == ["random"] * (N_RIVALS - 2)
    assert len({r.text for r in found}) == N_RIVALS and all(r.text != "cats" for r in found)
    assert found == rivals(monkeypatch, texts, {0: [1, 2, 3, 4, 0, 5]}).of(0)


def test_where_all_say_the_same_there_are_no_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rivals(monkeypatch, dict.fromkeys(range(200), "words"), {}).of(7) == ()


def test_rivals_of_a_large_dictionary_do_not_cost_the_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand explained features: as many looked at for each would be minutes for a thousand of them."""
    n = 100_000
    many = rivals(monkeypatch, {f: f"word {f}" for f in range(n)}, {f: [f + 1, f + 2, f + 3, f + 4] for f in range(0, 500)})
    looked_at = [sum(1 for _ in many._candidates(f)) for f in (0, 700)]
    assert looked_at == [4 + RANDOM_TRIED, RANDOM_TRIED]
    started = time.process_time()
    assert {len(many.of(f)) for f in range(1000)} == {N_RIVALS}
    assert time.process_time() - started < 2
