"""Token changes block by block: outcomes, rows of the table, and one model for all ranges."""

import numpy as np
import pytest
import torch

from interp_assets.assets.token_changes.changes import ChangedBlock, change_rows, changed_block
from interp_assets.assets.vocabulary_projections.projections import VocabularyTexts
from interp_assets.config.keys import RangeKey
from interp_assets.tables import TOKEN_CHANGES
from resources.fakes import SPECIAL, WORDS, FakeTokenizer

KEY = RangeKey("fake/01/planted", "03of16")
TEXTS = VocabularyTexts(FakeTokenizer())  # type: ignore[arg-type]
VOCABULARY = len(SPECIAL) + len(WORDS)


class Linear:
    """A clamper whose change of logit t is value × weight[feature, t]."""

    n_positions = 30

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight
        self.asked: list[tuple[int, float]] = []

    def mean_changes(self, features: np.ndarray, values: np.ndarray) -> torch.Tensor:
        self.asked += zip(features.tolist(), values.tolist(), strict=True)
        return torch.from_numpy(values.astype(np.float32))[:, None] * self.weight[features.astype(np.int64)]


@pytest.fixture
def weight() -> torch.Tensor:
    """Feature 4 raises the words in the order of their ids, and what is left out most of all."""
    weight = torch.randn(6, VOCABULARY, generator=torch.Generator().manual_seed(0))
    weight[4] = torch.arange(VOCABULARY) / VOCABULARY
    weight[4, : len(SPECIAL)] = 9
    return weight


def test_both_signs_and_sides_are_there_and_the_others_say_why(weight: torch.Tensor) -> None:
    weight[5, 7] = torch.inf
    clamper, features = Linear(weight), np.arange(1, 6, dtype=np.uint32)
    written = np.array([True, False, True, True, True])
    block = changed_block(clamper, features, np.array([2.0, 1.0, 0.0, 4.0, 1.0]), written, TEXTS, 3)  # type: ignore[arg-type]
    assert clamper.asked == [(1, 2.0), (1, -2.0), (4, 4.0), (4, -4.0), (5, 1.0), (5, -1.0)]
    assert block.outcomes.tolist() == ["ok", "zero_decoder", "dead", "ok", "overflow"] and block.strengths.tolist() == [2.0, 4.0]
    top, low = [VOCABULARY - 1, VOCABULARY - 2, VOCABULARY - 3], [len(SPECIAL), len(SPECIAL) + 1, len(SPECIAL) + 2]
    assert block.token_ids[1].tolist() == [[top, low], [low, top]], "a negative strength turns the sides round"
    table = change_rows(KEY, block)
    assert table.schema.equals(TOKEN_CHANGES.schema) and table.num_rows == 12 + 1 + 1 + 12 + 1
    rows = table.to_pylist()
    assert [row["feature"] for row in rows] == [1] * 12 + [2, 3] + [4] * 12 + [5]
    assert all(rows[12][name] is None for name in ("sign", "side", "rank", "token_id", "token", "change", "strength", "n_positions"))
    fourth = [row for row in rows if row["feature"] == 4]
    assert [(row["sign"], row["side"], row["rank"]) for row in fourth] == [
        (sign, side, rank) for sign in ("positive", "negative") for side in ("raised", "lowered") for rank in range(3)
    ]
    assert [row["strength"] for row in fourth] == [4.0] * 6 + [-4.0] * 6 and {row["n_positions"] for row in fourth} == {30}
    for row in fourth:
        assert row["change"] == pytest.approx(row["strength"] * row["token_id"] / VOCABULARY, abs=1e-6)
        assert row["token"] == FakeTokenizer().tokens([row["token_id"]])[0]


def test_nothing_is_run_for_features_that_are_not_clamped(weight: torch.Tensor) -> None:
    clamper = Linear(weight)
    block = changed_block(clamper, np.arange(2), np.zeros(2), np.array([True, False]), TEXTS, 3)  # type: ignore[arg-type]
    assert not clamper.asked and change_rows(KEY, block).column("outcome").to_pylist() == ["dead", "zero_decoder"]
    named = change_rows(KEY, ChangedBlock.without_tokens(np.arange(2), "no_decoder"))
    assert named.column("outcome").to_pylist() == ["no_decoder"] * 2 and named.schema.equals(TOKEN_CHANGES.schema)
