"""Projections onto the vocabulary: blocks, outcomes, rows of the table, and one model and dictionary at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch

from interp_assets.assets.vocabulary_projections import projections
from interp_assets.assets.vocabulary_projections.projections import VocabularyProjector, VocabularyTexts, projected_blocks, projection_rows
from interp_assets.config.keys import RangeKey
from interp_assets.config.records import DictionaryRecord, ImportedFiles, ModelSource
from interp_assets.config.settings import ProjectionSettings
from interp_assets.measuring.directions import decoder_rows
from interp_assets.tables import VOCABULARY_PROJECTIONS
from resources.dictionaries import load_dictionary
from resources.fakes import SPECIAL, WORDS, FakeModels, FakeTokenizer
from resources.subject.model import SubjectModel

RESIDUAL, NEURONS = "blocks.1.hook_resid_post", "blocks.1.mlp.hook_post"
KEY = RangeKey("fake/01/planted", "03of16")
TEXTS = VocabularyTexts(FakeTokenizer())  # type: ignore[arg-type]
FIVE = ProjectionSettings(n_tokens=5)


@pytest.fixture(scope="module")
def subject() -> SubjectModel:
    return FakeModels().subject("fake", None, None)


class Planted:
    """A dictionary whose feature i writes row i of a matrix to `output_hook`."""

    def __init__(self, rows: torch.Tensor, output_hook: str = RESIDUAL) -> None:
        self.rows, self.output_hook = rows, output_hook

    def decoder_row(self, feature: int) -> torch.Tensor:
        return self.rows[feature]


def words(*names: str) -> list[int]:
    return [len(SPECIAL) + WORDS.index(name) for name in names]


def test_a_feature_that_writes_a_words_unembedding_promotes_that_word_first(subject: SubjectModel) -> None:
    king, bread = words("king", "bread")
    unembedding = subject.model.get_output_embeddings().weight
    rows = torch.stack([unembedding[king] * 3, -unembedding[bread], unembedding[bread] - unembedding[king]])
    (block,) = projected_blocks(subject, Planted(rows), np.arange(3, dtype=np.uint32), TEXTS, FIVE)  # type: ignore[arg-type]
    assert block.token_ids[0, 0, 0] == king and block.token_ids[1, 1, 0] == bread
    assert block.token_ids[2, :, 0].tolist() == [bread, king]
    assert (np.diff(block.logits[:, 0]) <= 0).all() and (np.diff(block.logits[:, 1]) >= 0).all()
    table = projection_rows(KEY, block)
    assert table.schema.equals(VOCABULARY_PROJECTIONS.schema) and table.num_rows == 3 * 2 * 5
    first = [row for row in table.to_pylist() if row["rank"] == 0]
    assert [(row["feature"], row["side"]) for row in first] == [(f, side) for f in range(3) for side in ("promoted", "suppressed")]
    assert [first[i]["token"] for i in (0, 3, 4, 5)] == [" king", " bread", " bread", " king"]
    by_hand = unembedding @ subject.model.model.norm(rows[0])
    assert first[0]["logit"] == pytest.approx(float(by_hand[king]), abs=1e-5) and first[0]["token_id"] == king
    assert set(block.token_ids.ravel().tolist()).isdisjoint(range(len(SPECIAL)))


def test_the_norm_can_be_left_out(subject: SubjectModel) -> None:
    row = torch.randn(1, 32, generator=torch.Generator().manual_seed(0)) * 7
    bare = ProjectionSettings(n_tokens=1, final_norm=False)
    (block,) = projected_blocks(subject, Planted(row), np.array([0]), TEXTS, bare)  # type: ignore[arg-type]
    expected = (subject.model.get_output_embeddings().weight @ row[0])[len(SPECIAL) :]
    assert block.logits[0, :, 0].tolist() == pytest.approx([float(expected.max()), float(expected.min())], abs=1e-5)


def test_blocks_of_any_size_give_the_same_rows(subject: SubjectModel, monkeypatch: pytest.MonkeyPatch) -> None:
    neurons = load_dictionary("topk_neurons", hook=NEURONS, width=64, k=4)
    features = np.arange(1, 64, 3, dtype=np.uint32)
    (whole,) = projected_blocks(subject, neurons, features, TEXTS, FIVE)
    monkeypatch.setattr(projections, "BLOCK_BYTES", 4 * subject.model.config.vocab_size * 4)
    parts = list(projected_blocks(subject, neurons, features, TEXTS, FIVE))
    assert [len(part.features) for part in parts] == [4, 4, 4, 3, 3, 3]
    assert np.array_equal(np.concatenate([part.token_ids for part in parts]), whole.token_ids)
    np.testing.assert_allclose(np.concatenate([part.logits for part in parts]), whole.logits, atol=1e-5)
    monkeypatch.setattr(projections, "BLOCK_BYTES", 1)
    assert len(list(projected_blocks(subject, neurons, features[:3], TEXTS, FIVE))) == 3


def test_neurons_write_by_the_down_projection(subject: SubjectModel) -> None:
    neurons = load_dictionary("neurons", hook=NEURONS, width=64)
    (block,) = projected_blocks(subject, neurons, np.array([9], dtype=np.uint32), TEXTS, FIVE)
    column = subject.model.model.layers[1].mlp.down_proj.weight[:, 9]
    logits = subject.model.get_output_embeddings().weight @ subject.model.model.norm(column)
    assert block.token_ids[0, 0].tolist() == (logits[len(SPECIAL) :].topk(5).indices + len(SPECIAL)).tolist()


def test_a_row_of_zeros_has_its_own_outcome_and_keeps_its_place(subject: SubjectModel) -> None:
    rows = torch.randn(4, 32)
    rows[[0, 2]] = 0
    features = np.arange(4, dtype=np.uint32)
    (block,) = projected_blocks(subject, Planted(rows), features, TEXTS, ProjectionSettings(n_tokens=2))  # type: ignore[arg-type]
    (alone,) = projected_blocks(subject, Planted(rows[3:]), np.array([0]), TEXTS, ProjectionSettings(n_tokens=2))  # type: ignore[arg-type]
    table = projection_rows(KEY, block).to_pylist()
    assert [row["feature"] for row in table] == [0, 1, 1, 1, 1, 2, 3, 3, 3, 3]
    assert [row["outcome"] for row in table if row["feature"] in (0, 2)] == ["zero_decoder"] * 2
    assert all(table[5][name] is None for name in ("side", "rank", "token_id", "token", "logit"))
    assert [row["token_id"] for row in table[6:]] == alone.token_ids.ravel().tolist()
    (none,) = projected_blocks(subject, Planted(rows * 0), features, TEXTS, FIVE)  # type: ignore[arg-type]
    assert projection_rows(KEY, none).column("outcome").to_pylist() == ["zero_decoder"] * 4


@pytest.mark.parametrize(("hook", "width"), [("blocks.1.mlp.hook_in", 32), ("blocks.1.ln1.hook_normalized", 32), (RESIDUAL, 31)])
def test_a_decoder_that_does_not_reach_the_stream_has_no_logits(subject: SubjectModel, hook: str, width: int) -> None:
    planted = Planted(torch.randn(3, width), hook)
    (block,) = projected_blocks(subject, planted, np.array([0, 2]), TEXTS, FIVE)  # type: ignore[arg-type]
    assert block.features.tolist() == [0, 2] and block.outcomes.tolist() == ["no_logits"] * 2
    rows = projection_rows(KEY, block)
    assert rows.column("token_id").null_count == rows.num_rows == 2 and rows.schema.equals(VOCABULARY_PROJECTIONS.schema)


def test_a_family_without_a_table_has_logits_where_the_way_to_them_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeModels().subject("fake", None, None)
    subject.model.config.model_type = "olmo"
    planted = Planted(torch.randn(2, 32))
    (block,) = projected_blocks(subject, planted, np.array([0, 1]), TEXTS, FIVE)  # type: ignore[arg-type]
    assert block.outcomes.tolist() == ["ok"] * 2
    monkeypatch.setattr(subject, "unembedding", lambda final_norm: None)
    (block,) = projected_blocks(subject, planted, np.array([0, 1]), TEXTS, FIVE)  # type: ignore[arg-type]
    assert block.outcomes.tolist() == ["no_logits"] * 2


def test_a_function_has_no_decoder(subject: SubjectModel, tmp_path: Path) -> None:
    file = tmp_path / "probes.py"
    file.write_text("def positive(x):\n    return x[:, :6].relu()\n")
    function = load_dictionary("callable", f"{file}:positive", hook=RESIDUAL, width=6, d_in=32)
    (block,) = projected_blocks(subject, function, np.array([1, 4]), TEXTS, FIVE)
    assert decoder_rows(function, np.array([1])) is None
    assert projection_rows(KEY, block).select(["feature", "outcome"]).to_pylist() == [
        {"feature": 1, "outcome": "no_decoder"}, {"feature": 4, "outcome": "no_decoder"},
    ]  # fmt: skip


def test_a_model_loads_once_for_its_dictionaries_and_never_for_an_imported_one() -> None:
    models = FakeModels()
    projector = VocabularyProjector(models)
    features = np.arange(3, dtype=np.uint32)
    imported = DictionaryRecord(
        key="m/00/imported", hook=RESIDUAL, kind="delphi", source="cache", width=8, imported=ImportedFiles(content="1")
    )
    (block,) = projector.blocks(imported, features, FIVE)
    assert block.outcomes.tolist() == ["no_decoder"] * 3 and models.loads == 0
    assert not list(projector.blocks(imported, features[:0], FIVE))
    record = DictionaryRecord(key="m/00/a", hook=NEURONS, kind="neurons", width=64)
    for key in ("m/00/a", "m/00/a", "m/00/b"):
        (found,) = projector.blocks(record.model_copy(update={"key": key}), features, FIVE)
        assert found.outcomes.tolist() == ["ok"] * 3
    assert models.loads == 1
    list(projector.blocks(record.model_copy(update={"model": ModelSource(source="other")}), features, FIVE))
    assert models.loads == 2
    projector.close()
