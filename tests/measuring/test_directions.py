"""Nearest features of a dictionary against all pairs, and the activation store read back in pieces."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from interp_assets.assets.activation_shards.shards import WRITER_OPTIONS, activation_tables
from interp_assets.assets.feature_neighbours.nearest import nearest_in_store
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.measuring import directions as directions_module
from interp_assets.measuring.directions import decoder_directions, nearest_by_decoder
from interp_assets.reading.activations import activations_in_order, activations_of
from interp_assets.reading.neighbours import read_neighbours
from interp_assets.tables import ACTIVATIONS, FEATURE_NEIGHBOURS, SCHEMA_VERSION
from resources.dictionaries import load_dictionary
from resources.store.lake import Lake

N_TOKENS = 320
RECORD = DictionaryRecord(key="m/00/d", hook="blocks.0.mlp.hook_post", kind="neurons", width=90, features=tuple(range(0, 90, 2)))


class Decoder:
    """A dictionary that decodes by a given matrix."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows, self.d_in = rows, rows.shape[1]

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def reconstruct(self, x: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
        return x

    def decoder_row(self, feature: int) -> torch.Tensor:
        return self.rows[feature]


@pytest.fixture
def store(tmp_path: Path) -> tuple[Lake, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """A store of 45 selected features, some of them dead, in row groups of 50 activations; and what is in it."""
    lake, source = Lake(str(tmp_path / "lake"), SCHEMA_VERSION), np.random.default_rng(0)
    held = {}
    for feature_range in FEATURE_RANGE_KEYS:
        features = RECORD.features_of(RangeKey(RECORD.key, feature_range))
        for feature in features.tolist():
            fires = np.flatnonzero(source.random(N_TOKENS) < source.choice([0, 0.02, 0.3])).astype(np.uint32)
            held[feature] = fires, source.random(len(fires)).astype(np.float16)
        columns = [np.concatenate([held[f][i] for f in features.tolist()]) for i in (0, 1)]
        names = np.repeat(features, [len(held[f][0]) for f in features.tolist()])
        partition = {"dictionary": RECORD.key, "feature_range": feature_range}
        lake.write(
            ACTIVATIONS.name, partition, ACTIVATIONS.schema, activation_tables(RECORD.key, (names, *columns)), "v", {}, WRITER_OPTIONS, 50
        )
    return lake, held


def test_the_nearest_by_cosine_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions_module, "ROW_BLOCK", 7)
    monkeypatch.setattr(directions_module, "COLUMN_BLOCK", 11)
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.rand(50, 1)
    features = np.arange(0, 50, 1, dtype=np.uint32)
    directions = decoder_directions(Decoder(rows), features)
    assert directions is not None and directions.dtype == torch.float16
    found = nearest_by_decoder(directions, 4)
    cosines = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1).numpy()
    np.fill_diagonal(cosines, -2)
    for i in range(50):
        neighbour, similarity = found.of(i)
        assert i not in neighbour and len(set(neighbour.tolist())) == 4
        assert similarity == pytest.approx(np.sort(cosines[i])[::-1][:4], abs=2e-3)
        assert similarity == pytest.approx(cosines[i][neighbour], abs=2e-3)


def test_equal_cosines_go_to_the_smaller_index_and_a_row_of_zeros_is_near_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions_module, "COLUMN_BLOCK", 2)
    rows = torch.tensor([[1.0, 0], [2.0, 0], [3.0, 0], [0, 0], [5.0, 0]])
    directions = decoder_directions(Decoder(rows), np.arange(5))
    assert directions is not None
    found = nearest_by_decoder(directions, 3)
    assert [found.of(i)[0].tolist() for i in (0, 1, 4)] == [[1, 2, 4], [0, 2, 4], [0, 1, 2]]
    assert found.of(3)[1].tolist() == [0, 0, 0]


def test_one_feature_has_no_neighbours() -> None:
    found = nearest_by_decoder(torch.ones(1, 3, dtype=torch.float16), 4)
    assert [len(part) for part in found.of(0)] == [0, 0]


def test_neurons_have_no_decoder() -> None:
    assert decoder_directions(load_dictionary("topk_neurons", hook="blocks.0.mlp.hook_post", width=8, k=2), np.arange(8)) is None


def test_a_function_has_no_decoder(tmp_path: Path) -> None:
    (tmp_path / "probes.py").write_text("def positive(x):\n    return x.relu()\n")
    function = load_dictionary("callable", f"{tmp_path}/probes.py:positive", hook="blocks.0.hook_resid_post", width=8, d_in=8)
    assert decoder_directions(function, np.arange(8)) is None


def test_co_occurrence_in_the_store_is_that_of_its_sets(store: tuple) -> None:
    lake, held = store
    found = nearest_in_store(lake, RECORD, N_TOKENS, 5, 10**9)
    sets = [set(held[f][0].tolist()) for f in RECORD.selected_features.tolist()]
    assert found.firings.tolist() == [len(s) for s in sets] and found.n_positions == len(set().union(*sets))
    for i, own in enumerate(sets):
        pairs = [(-np.float32(len(own & other) / len(own | other)), j) for j, other in enumerate(sets) if j != i and own & other]
        assert found.nearest.of(i)[0].tolist() == [j for _, j in sorted(pairs)[:5]]


def test_a_bound_on_pairs_compares_fewer_positions(store: tuple) -> None:
    lake, _ = store
    found = nearest_in_store(lake, RECORD, N_TOKENS, 5, 5000)
    everywhere = nearest_in_store(lake, RECORD, N_TOKENS, 5, 10**9)
    assert 0 < found.n_positions < everywhere.n_positions and (found.firings <= everywhere.firings).all()


def test_the_store_gives_back_every_feature_in_order(store: tuple) -> None:
    lake, held = store
    seen = []
    for feature_range in FEATURE_RANGE_KEYS:
        key = RangeKey(RECORD.key, feature_range)
        for feature, (position, value) in activations_in_order(lake, key, RECORD.features_of(key)):
            seen.append(feature)
            assert (position.tolist(), value.tolist()) == (held[feature][0].tolist(), held[feature][1].tolist())
    assert seen == RECORD.selected_features.tolist()


def test_a_feature_may_lie_across_batches(store: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, held = store
    whole = lake.batches
    monkeypatch.setattr(lake, "batches", lambda table, partition, columns: whole(table, partition, columns, 17))
    for feature_range in FEATURE_RANGE_KEYS:
        key = RangeKey(RECORD.key, feature_range)
        found = dict(activations_in_order(lake, key, RECORD.features_of(key)))
        assert {f: p.tolist() for f, (p, _) in found.items()} == {f: held[f][0].tolist() for f in RECORD.features_of(key).tolist()}


def test_a_few_features_are_read_from_wherever_they_are(store: tuple) -> None:
    lake, held = store
    found = activations_of(lake, RECORD, [88, 0, 44, 46, 0])
    assert {f: p.tolist() for f, (p, _) in found.items()} == {f: held[f][0].tolist() for f in (0, 44, 46, 88)}
    assert activations_of(lake, RECORD, []) == {}


def test_neighbours_are_read_by_decoder_where_there_is_one(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), SCHEMA_VERSION)

    def row(feature: int, measure: str, rank: int, neighbour: int | None) -> dict:
        outcome = "ok" if neighbour is not None else "no_decoder"
        return {"dictionary": "d", "feature": feature, "measure": measure, "rank": rank, "neighbour": neighbour, "outcome": outcome}

    rows = [row(1, "decoder_cosine", 1, 5), row(1, "decoder_cosine", 0, 4), row(1, "co_occurrence", 0, 9)]
    rows += [row(2, "decoder_cosine", 0, None), row(2, "co_occurrence", 0, 7), row(3, "co_occurrence", 0, None)]
    table = pa.Table.from_pylist(rows, schema=FEATURE_NEIGHBOURS.schema)
    lake.write(FEATURE_NEIGHBOURS.name, {"dictionary": "d"}, FEATURE_NEIGHBOURS.schema, table, "v")
    assert read_neighbours(lake, "d", [1, 2, 3]) == {1: [4, 5], 2: [7], 3: []}
