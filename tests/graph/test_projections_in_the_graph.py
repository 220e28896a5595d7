"""`vocabulary_projections` through the graph: rows of every feature, what makes them stale, and what is loaded."""

from pathlib import Path

import pytest
from installation import KEY, STAGES, Installation

from interp_assets.assets.vocabulary_projections.projections import projection_rows
from interp_assets.graph.assembly import RANGE_STAGES
from resources.fakes import SPECIAL, WORDS, FakeTokenizer

UPSTREAM = ("token_sample", "activation_shards")
PLANTED = """
import torch
from resources.fakes import FakeModels

class Planted:
    def __init__(self):
        self.rows = FakeModels().subject("", None, None).model.get_output_embeddings().weight

    def encode(self, x):
        return (x @ self.rows.T).relu()

    def decoder_row(self, feature):
        return self.rows[feature]

def function(x):
    return x[:, :8].relu()
"""


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def projected(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    """An installation of neurons whose projections are there."""
    installation = Installation(tmp_path_factory.mktemp("projected"), corpus)
    installation.register(installation.record())
    installation.run(*UPSTREAM)
    installation.run("vocabulary_projections")
    return installation


def test_every_neuron_has_fifty_tokens_on_each_side(projected: Installation) -> None:
    counted = "SELECT side, outcome, count(*), count(DISTINCT feature), max(rank) FROM vocabulary_projections GROUP BY ALL ORDER BY 1"
    assert rows(projected, counted) == [("promoted", "ok", 3200, 64, 49), ("suppressed", "ok", 3200, 64, 49)]
    assert rows(projected, "SELECT min(token_id), max(token_id) < 200 FROM vocabulary_projections") == [(len(SPECIAL), True)]
    model = projected.models.subject("", None, None).model
    logits = model.get_output_embeddings().weight @ model.model.norm(model.model.layers[0].mlp.down_proj.weight[:, 17])
    best = int(logits[len(SPECIAL) :].argmax()) + len(SPECIAL)
    ((token, value),) = rows(
        projected, "SELECT token, logit FROM vocabulary_projections WHERE feature = 17 AND side = 'promoted' AND rank = 0"
    )
    assert token == FakeTokenizer().tokens([best])[0] and value == pytest.approx(float(logits[best]), abs=1e-5)
    assert rows(projected, "SELECT outcome, n FROM outcomes WHERE stage = 'vocabulary_projections'") == [("ok", 64)]


def test_a_second_run_loads_nothing_and_the_first_loads_once(projected: Installation) -> None:
    before, loads = projected.lake_bytes(), projected.models.loads
    result = projected.run("vocabulary_projections")
    assert projected.models.loads == loads and projected.lake_bytes() == before
    assert all(e.passed for e in result.get_asset_check_evaluations())
    metadata = result.asset_materializations_for_node("vocabulary_projections")[0].metadata
    assert "kept from an earlier run" in metadata["projections"].value  # type: ignore[union-attr]


def test_a_changed_record_or_setting_makes_them_stale(projected: Installation) -> None:
    def stale(**changes: object) -> list[str]:
        return projected.stale(projected.record(**changes), RANGE_STAGES[:1])

    projected.run("feature_neighbours", "window_embeddings")
    assert stale() == []
    assert len(stale(stages={**STAGES, "projection": {"n_tokens": 3}})) == 16
    assert stale(stages={**STAGES, "projection": {"final_norm": False}})[0] == f"vocabulary_projections {KEY}|00of16"
    assert stale(stages={**STAGES, "scoring": {"n_bootstrap": 3}}) == []
    assert stale(k=9)[0] == f"activation_shards {KEY}"  # and so all that follows


def test_a_feature_without_a_row_fails_the_check(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    installation.register(installation.record(features=(1, 40)))
    installation.run(*UPSTREAM)
    module = "interp_assets.assets.vocabulary_projections.asset.projection_rows"
    monkeypatch.setattr(module, lambda key, block: projection_rows(key, block).slice(0, 0 if 40 in block.features else None))
    result = installation.run("vocabulary_projections", raise_on_error=False)
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed and check.blocking
    assert check.metadata["incomplete_ranges"].value == [f"{KEY}|15of16"]


def test_planted_words_come_first_and_kinds_without_an_output_say_so(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "planted.py"
    file.write_text(PLANTED)
    residual, width = "blocks.1.hook_resid_post", len(SPECIAL) + len(WORDS)
    king = len(SPECIAL) + WORDS.index("king")
    common = {"hook": residual, "k": None, "d_in": 32}
    planted = installation.record(
        "fake/01/planted", kind="callable", source=f"{file}:Planted", width=width, features=(king, king + 5), **common
    )
    function = installation.record("fake/02/function", kind="callable", source=f"{file}:function", width=8, **common)
    reads = installation.record("fake/03/reads", kind="random_topk", width=8, k=2, d_in=32, hook="blocks.1.mlp.hook_in")
    installation.register(planted, function, reads)
    installation.run(*UPSTREAM, key=planted.key, last_key=reads.key)
    preview = ""
    for record in (planted, function, reads):
        result = installation.run("vocabulary_projections", key=record.key)
        preview += str(result.asset_materializations_for_node("vocabulary_projections")[0].metadata["projections"].value)
        assert all(check.passed for check in result.get_asset_check_evaluations())
    first = "SELECT token FROM vocabulary_projections WHERE side = 'promoted' AND rank = 0 ORDER BY feature"
    assert rows(installation, first) == [(f" {WORDS[i - len(SPECIAL)]}",) for i in (king, king + 5)]
    outcomes = "SELECT dictionary, outcome, count(DISTINCT feature) FROM vocabulary_projections GROUP BY ALL ORDER BY 1"
    assert rows(installation, outcomes) == [(planted.key, "ok", 2), (function.key, "no_decoder", 8), (reads.key, "no_logits", 8)]
    assert f"| {king} |  king · " in preview and "| 3 | *no_decoder* |" in preview and "| 3 | *no_logits* |" in preview
