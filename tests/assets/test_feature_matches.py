"""Matches of two dictionaries' decoders in blocks, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from interp_assets.assets.feature_matches.matching import ComparedExplanations, ExplainedFeatures, _compared, match_pair, match_rows
from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord, ModelSource
from interp_assets.measuring import directions as directions_module
from interp_assets.measuring.directions import nearest_both_ways
from interp_assets.tables import FEATURE_MATCHES


class Decoder:
    """A dictionary that decodes by a given matrix."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows, self.d_in = rows, rows.shape[1]
        self.hook = self.output_hook = "blocks.0.hook_resid_post"

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def reconstruct(self, x: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
        return x

    def decoder_row(self, feature: int) -> torch.Tensor:
        return self.rows[feature]


def record(name: str, width: int, **changes: object) -> DictionaryRecord:
    fields = {"key": f"m/00/{name}", "hook": "blocks.0.hook_resid_post", "kind": "sae_lens", "source": name, "width": width}
    return DictionaryRecord(**{**fields, **changes})  # type: ignore[arg-type]


def models(**rows: torch.Tensor) -> SimpleNamespace:
    """A provider of the decoders named."""
    return SimpleNamespace(dictionary=lambda source, **_: Decoder(rows[source]))


def unit(*shape: int) -> torch.Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
    return rows / rows.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize(("row_block", "column_block"), [(7, 11), (3, 2), (50, 100)])
def test_the_nearest_of_either_side_in_blocks_are_those_of_all_pairs(
    row_block: int, column_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directions_module, "ROW_BLOCK", row_block)
    monkeypatch.setattr(directions_module, "COLUMN_BLOCK", column_block)
    ours, theirs = unit(40, 6).half(), unit(33, 6).half()
    cosines = ours.float() @ theirs.float().T
    for found, all_pairs in zip(nearest_both_ways(ours, theirs, 5), (cosines, cosines.T), strict=True):
        expected = all_pairs.topk(5, dim=1)
        for i in range(len(all_pairs)):
            assert found.of(i)[0].tolist() == expected.indices[i].tolist()
            assert found.of(i)[1] == pytest.approx(expected.values[i].numpy(), abs=1e-6)


def test_no_more_are_nearest_than_there_are() -> None:
    forth, back = nearest_both_ways(unit(3, 4).half(), unit(2, 4).half(), 8)
    assert np.diff(forth.bounds).tolist() == [2, 2, 2] and np.diff(back.bounds).tolist() == [3, 3]
    for ours, theirs in ((unit(3, 4), torch.empty(0, 4)), (torch.empty(0, 4), unit(2, 4))):
        forth, back = nearest_both_ways(ours.half(), theirs.half(), 8)
        assert (len(forth.bounds), len(back.bounds)) == (len(ours) + 1, len(theirs) + 1)
        assert len(forth.neighbour) == len(back.neighbour) == 0


def test_a_permuted_dictionary_is_recovered_feature_for_feature() -> None:
    rows = unit(60, 12)
    permutation = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    features = tuple(range(0, 60, 3))
    found = match_pair(models(a=rows, b=rows[permutation] * 5), record("a", 60, features=features), record("b", 60), 4)
    table = match_rows(record("a", 60, features=features), record("b", 60), found, []).to_pylist()
    pairs = {row["feature"]: row for row in table if row["assignment"] == "one_to_one"}
    assert list(pairs) == list(features)
    assert all(permutation[row["matched_feature"]] == feature and row["cosine"] > 0.999 for feature, row in pairs.items())
    nearest = {(row["feature"], row["rank"]): row["matched_feature"] for row in table if row["assignment"] == "nearest"}
    assert len(nearest) == 20 * 4 and all(nearest[feature, 0] == row["matched_feature"] for feature, row in pairs.items())
    assert all(row["outcome"] == "ok" and row["explanations"] == [] for row in table)


def test_every_feature_without_a_match_has_a_row_that_says_why() -> None:
    """Ours 0 and 1 point along x, 2 is zeros, 3 along -x; theirs is x alone, and a row of zeros that is near to none."""
    ours = torch.tensor([[2.0, 0.0], [1.0, 0.1], [0.0, 0.0], [-1.0, 0.0]])
    found = match_pair(models(a=ours, b=torch.tensor([[3.0, 0.0], [0.0, 0.0]])), record("a", 4), record("b", 2), 4)
    rows = match_rows(record("a", 4), record("b", 2), found, []).to_pylist()
    told = [(row["assignment"], row["feature"], row["matched_feature"], row["outcome"]) for row in rows]
    assert told == [
        ("nearest", 0, 0, "ok"), ("nearest", 1, 0, "ok"), ("nearest", 2, None, "zero_decoder"), ("nearest", 3, 0, "ok"),
        ("one_to_one", 0, 0, "ok"), ("one_to_one", 1, None, "unmatched"), ("one_to_one", 2, None, "zero_decoder"),
        ("one_to_one", 3, None, "unmatched"),
    ]  # fmt: skip
    assert [row["cosine"] for row in rows] == [1, pytest.approx(1 / 1.01**0.5, abs=1e-3), None, -1, 1, None, None, None]


def test_kinds_without_a_decoder_say_which_side_lacks_it() -> None:
    neurons = record("n", 3, kind="neurons", source=None, hook="blocks.0.mlp.hook_post")
    sae = record("a", 2)

    def load(kind: str, source: str | None, **_: object) -> object:
        from resources.dictionaries import load_dictionary

        return load_dictionary("neurons", hook="blocks.0.mlp.hook_post", width=3) if kind == "neurons" else Decoder(unit(2, 3))

    provider = SimpleNamespace(dictionary=load)
    assert match_pair(provider, neurons, sae, 4).outcome.tolist() == ["no_decoder"] * 6
    assert match_pair(provider, sae, neurons, 4).outcome.tolist() == ["other_has_no_decoder"] * 4


def test_other_models_and_other_dimensions_are_refused_by_name() -> None:
    other = record("b", 2, model=ModelSource(source="another/model"))
    with pytest.raises(UserError, match=r"m/00/a of the model embedded:.* with m/00/b of the model another/model.* `stages: \{matching"):
        match_pair(models(), record("a", 2), other, 4)
    with pytest.raises(UserError, match=r"rows of m/00/a \(blocks.0.hook_resid_post\) have 3 dimensions and rows of m/00/b .* 4"):
        match_pair(models(a=unit(2, 3), b=unit(2, 4)), record("a", 2), record("b", 2), 4)


def said(**texts: str) -> ExplainedFeatures:
    """Explanations of features f0, f1, … as x, y or another word."""
    return ExplainedFeatures(np.array([int(name[1:]) for name in texts]), list(texts.values()))


def embed(texts: list[str]) -> np.ndarray:
    """x and y are at right angles, xy halfway between."""
    vectors = {"x": [1, 0], "y": [0, 1], "xy": [0.5**0.5, 0.5**0.5]}
    return np.array([vectors[text] for text in texts], dtype=np.float32)


def compared(own: ExplainedFeatures, theirs: ExplainedFeatures | None, draws: tuple[float, ...]) -> ComparedExplanations:
    """Features 0, 1, 2 of ours are matched with 0, 1, 2 of theirs."""
    return _compared("max_act", np.arange(3), np.arange(3), own, theirs, embed, np.array(draws))


def test_explanations_and_controls_by_hand() -> None:
    """The control of 0 is 1 or 3 of theirs by its draw; feature 2 of theirs says nothing, so its match is not compared."""
    found = compared(said(f0="x", f1="x", f2="y"), said(f0="x", f1="xy", f3="y"), (0.2, 0.9, 0.0))
    assert found.outcome.tolist() == ["ok", "ok", "not_explained"] and found.has_control.tolist() == [True, True, False]
    assert found.cosine[:2] == pytest.approx([1, 0.5**0.5]) and found.control[:2] == pytest.approx([0.5**0.5, 0])


def test_explanations_that_are_not_there_are_named() -> None:
    own = said(f0="x", f1="x", f2="y")
    assert compared(own, None, (0, 0, 0)).outcome.tolist() == ["not_made"] * 3
    assert compared(own, said(), (0, 0, 0)).outcome.tolist() == ["not_explained"] * 3
    alone = compared(own, said(f0="x"), (0, 0, 0))
    assert alone.outcome[0] == "ok" and not alone.has_control.any()


def test_comparisons_stand_beside_their_match() -> None:
    """Two ok matches around one without: the lists must not slide."""
    ours = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    found = match_pair(models(a=ours, b=torch.eye(2)), record("a", 3), record("b", 2), 1)
    ok = found.outcome == "ok"
    assert ok.tolist() == [True, False, True] * 2
    numbers = np.arange(4, dtype=np.float32) / 8
    has = np.array([True, True, False, True])
    one = ComparedExplanations("max_act", np.array(["ok", "ok", "ok", "not_explained"]), numbers, -numbers, has)
    two = ComparedExplanations("shuffled", np.full(4, "not_made"), numbers, numbers, np.zeros(4, dtype=bool))
    rows = match_rows(record("a", 3), record("b", 2), found, [one, two])
    assert rows.schema.equals(FEATURE_MATCHES.schema)
    lists = rows.column("explanations").to_pylist()
    assert [len(entries) for entries in lists] == [2, 0, 2, 2, 0, 2]
    assert lists[2][0] == {"explanation_method": "max_act", "cosine": 0.125, "control_cosine": -0.125, "outcome": "ok"}
    assert lists[3][0] == {"explanation_method": "max_act", "cosine": 0.25, "control_cosine": None, "outcome": "ok"}
    assert lists[5][0]["cosine"] is None and lists[5][1]["outcome"] == "not_made" and lists[5][1]["cosine"] is None
