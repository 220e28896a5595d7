"""`token_changes` through the graph: nothing unless asked for, every feature with an outcome, resumed by range, and what explainers get."""

from pathlib import Path

import numpy as np
import pytest
import torch
from installation import KEY, STAGES, Installation

from interp_assets.assets.explanations.explainer_inputs import read_explainer_inputs
from interp_assets.assets.token_changes.changes import TokenChanger
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import token_change
from interp_assets.graph.assembly import RANGE_STAGES
from interp_assets.orchestration.range_partition import RangePartition
from resources.fakes import SPECIAL

UPSTREAM = ("token_sample", "activation_shards")
CLAMPS = {"n_windows": 5, "window_tokens": 8, "n_tokens": 4, "batch_rows": 7}
ASKED = {**STAGES, "token_change": CLAMPS, "explanations": ["token_change"], "scores": {"detection": [], "fuzzing": []}}
FEATURES = (1, 9, 17, 30, 40, 63)

PLANTED = """
import torch

def reads(x):
    return x[:, :4].relu()

class Writes:
    def encode(self, x):
        return x[:, :4].relu() * torch.tensor([1, 1, 0, 1])

    def decoder_row(self, feature):
        return torch.zeros(32) if feature == 1 else torch.eye(32)[feature] * (float("inf") if feature == 3 else 1)
"""


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    """An installation of which six neurons are clamped and explained."""
    installation = Installation(tmp_path_factory.mktemp("changed"), corpus)
    installation.register(installation.record(stages=ASKED, features=FEATURES))
    installation.run(*UPSTREAM)
    installation.run("token_changes", "examples", "explanations/token_change")
    return installation


def test_every_feature_has_its_tokens_at_its_own_largest_activation(changed: Installation) -> None:
    counted = (
        "SELECT sign, side, count(*), count(DISTINCT feature), max(rank), min(n_positions) FROM token_changes GROUP BY ALL ORDER BY 1, 2"
    )
    sides = [(sign, side) for sign in ("negative", "positive") for side in ("lowered", "raised")]
    assert rows(changed, counted) == [(*names, 24, 6, 3, 40) for names in sides]
    off = """SELECT count(*) FROM token_changes JOIN feature_statistics USING (dictionary, feature)
             WHERE abs(strength) <> max_activation OR (sign = 'positive') <> (strength > 0)"""
    assert rows(changed, off) == [(0,)]
    assert rows(changed, "SELECT count(*) FROM token_changes WHERE token_id < 3") == [(0,)], "special tokens are left out"
    assert rows(changed, "SELECT outcome, n FROM outcomes WHERE stage = 'token_changes'") == [("ok", 6)]


def test_the_changes_are_those_of_a_hook_made_by_hand(changed: Installation) -> None:
    """A neuron clamped by hand on all positions but BOS of the windows that the stage drew."""
    subject = changed.models.subject("", None, None)
    record = changed.home.registry.get(KEY)
    changer = TokenChanger(changed.models, changed.home.lake)
    windows = changer._clamper_of(record, changed.home.settings.stage_settings(record.stages))._windows
    assert windows.shape == (5, 9) and (windows[:, 0] == 1).all()
    (strength,) = rows(changed, "SELECT DISTINCT strength FROM token_changes WHERE feature = 17 AND sign = 'positive'")[0]
    neurons = changed.models.dictionary(kind=record.kind, **record.loader_fields, device="cpu")

    def clamp(_module: object, inputs: tuple) -> tuple:
        x = inputs[0].clone()
        encoded = neurons.encode(x.flatten(0, 1))
        own = torch.zeros(x.shape[0] * x.shape[1])
        here = encoded.feature == 17
        own[encoded.token[here]] = encoded.value[here]
        x[:, 1:, 17] += (strength - own.view(x.shape[:2]))[:, 1:]
        return (x,)

    clean = subject.model(windows).logits
    handle = subject.model.model.layers[0].mlp.down_proj.register_forward_pre_hook(clamp)
    change = (subject.model(windows).logits - clean)[:, 1:].mean((0, 1))
    handle.remove()
    found = rows(
        changed, "SELECT side, rank, token_id, change FROM token_changes WHERE feature = 17 AND sign = 'positive' ORDER BY 1 DESC, 2"
    )
    assert [row[2] for row in found[:4]] == (change[len(SPECIAL) :].topk(4).indices + len(SPECIAL)).tolist()
    assert [row[2] for row in found[4:]] == ((-change[len(SPECIAL) :]).topk(4).indices + len(SPECIAL)).tolist()
    np.testing.assert_allclose([row[3] for row in found], change[[row[2] for row in found]], atol=1e-5)


def test_explanations_are_made_of_them(changed: Installation) -> None:
    record = changed.home.registry.get(KEY)
    settings = changed.home.settings.stage_settings(record.stages)
    found = {}
    for name in FEATURE_RANGE_KEYS:
        partition = RangePartition(RangeKey(KEY, name), record, settings, "", {})
        found |= {material.feature: material for _, material in read_explainer_inputs(changed.home.lake, partition, token_change)}
    assert tuple(found) == FEATURES
    table = rows(
        changed, "SELECT feature, strength, side, token, change FROM token_changes ORDER BY feature, strength DESC, side DESC, rank"
    )
    listed = [
        (feature, changes.strength, side, token, change)
        for feature, material in found.items()
        for changes in material.clamped
        for side, tokens in (("raised", changes.raised), ("lowered", changes.lowered))
        for token, change in tokens
    ]
    assert listed == table and len(table) == 96
    assert all(material.steered == () == material.promoted for material in found.values()), "what is not read is left empty"
    assert rows(changed, "SELECT outcome, count(*) FROM explanations WHERE explanation_method = 'token_change' GROUP BY 1") == [("ok", 6)]


def test_a_second_run_does_nothing_and_other_batches_give_the_same_table(changed: Installation, tmp_path: Path, corpus: Path) -> None:
    before, loads = changed.lake_bytes(), changed.models.loads
    result = changed.run("token_changes")
    assert changed.models.loads == loads and changed.lake_bytes() == before
    assert all(check.passed for check in result.get_asset_check_evaluations())
    other = Installation(tmp_path / "other", corpus)
    other.register(other.record(stages={**ASKED, "token_change": {**CLAMPS, "batch_rows": 50}}, features=FEATURES))
    other.run(*UPSTREAM)
    loads = other.models.loads
    result = other.run("token_changes")
    assert other.models.loads == loads + 1
    columns = "feature, sign, side, rank, token_id, strength"
    assert rows(other, f"SELECT {columns} FROM token_changes ORDER BY ALL") == rows(
        changed, f"SELECT {columns} FROM token_changes ORDER BY ALL"
    )
    numbers = "SELECT change FROM token_changes ORDER BY feature, sign, side, rank"
    np.testing.assert_allclose(*(np.array(rows(i, numbers), dtype=float) for i in (changed, other)), atol=1e-5)
    preview = str(result.asset_materializations_for_node("token_changes")[0].metadata["changes"].value)
    (word,) = rows(other, "SELECT token FROM token_changes WHERE feature = 9 AND sign = 'positive' AND side = 'raised' AND rank = 0")[0]
    assert f"{word} · " in next(line for line in preview.splitlines() if line.startswith("| 9 |"))


def test_a_range_that_fails_is_made_by_the_next_run_and_the_others_are_kept(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.register(installation.record(stages=ASKED, features=(1, 9, 17)))
    installation.run(*UPSTREAM)
    whole = TokenChanger.blocks

    def failing(self: TokenChanger, record: object, key: object, stages: object) -> object:
        if str(key).endswith(FEATURE_RANGE_KEYS[-1]):
            raise RuntimeError("out of memory")
        return whole(self, record, key, stages)  # type: ignore[arg-type]

    monkeypatch.setattr(TokenChanger, "blocks", failing)
    assert not installation.run("token_changes", raise_on_error=False).success
    kept = {path: content for path, content in installation.lake_bytes().items() if path.startswith("token_changes")}
    assert kept and not any(FEATURE_RANGE_KEYS[-1] in path for path in kept)
    monkeypatch.undo()
    installation.run("token_changes")
    after = installation.lake_bytes()
    assert all(after[path] == content for path, content in kept.items())
    assert rows(installation, "SELECT count(DISTINCT feature) FROM token_changes") == [(3,)]


def test_nothing_is_loaded_or_written_unless_an_explanation_asks_for_it(installation: Installation) -> None:
    installation.register(installation.record(stages={**ASKED, "explanations": ["max_act", "vocab_proj", "ensemble_raw"]}))
    installation.run(*UPSTREAM)
    loads = installation.models.loads
    result = installation.run("token_changes")
    assert installation.models.loads == loads and rows(installation, "SELECT count(*) FROM token_changes") == [(0,)]
    assert "no explanation asks" in str(result.asset_materializations_for_node("token_changes")[0].metadata["changes"].value)
    assert all(check.passed for check in result.get_asset_check_evaluations())
    installation.run("feature_neighbours", "window_embeddings")
    (stage,) = (stage for stage in RANGE_STAGES if stage.table.name == "token_changes")
    home = installation.home

    def changed(changes: dict[str, object]) -> DictionaryRecord:
        return installation.record(stages={**ASKED, "explanations": ["max_act", "vocab_proj", "ensemble_raw"], **changes})

    def version(**changes: object) -> str:
        record = changed(changes)
        stages, key = home.settings.stage_settings(record.stages), RangeKey(record.key, FEATURE_RANGE_KEYS[0])
        return stage.data_version(stages, home.settings, stage.inputs(home.lake, record, key, stages))

    def stale(**changes: object) -> int:
        return len(installation.stale(changed(changes), (stage,)))

    assert version() == version(token_change={"n_windows": 3}) == version(steering={"enabled": True}) != version(seed=1)
    assert stale(explanations=["token_change"]) == stale(explaining={"ensemble_raw": {"with_token_changes": True}}) == 16


def test_features_that_cannot_be_clamped_say_why(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "planted.py"
    file.write_text(PLANTED)
    common = {"kind": "callable", "hook": "blocks.0.hook_resid_post", "k": None, "d_in": 32, "width": 4}
    reads = installation.record("fake/01/reads", source=f"{file}:reads", stages=ASKED, **common)
    writes = installation.record("fake/02/writes", source=f"{file}:Writes", stages=ASKED, **common)
    absolute = {**ASKED, "token_change": {**CLAMPS, "absolute": 10}}
    ten = installation.record("fake/03/ten", source=f"{file}:Writes", stages=absolute, **common)
    installation.register(reads, writes, ten)
    installation.run(*UPSTREAM, key=reads.key, last_key=ten.key)
    passed = {}
    for record in (reads, writes, ten):
        checks = installation.run("token_changes", "examples", "explanations/token_change", key=record.key).get_asset_check_evaluations()
        found = {check.check_name: check.passed for check in checks if check.asset_key.path == ["token_changes"]}
        assert found["every_feature_has_an_outcome"]
        passed[record.key] = found["logits_stay_finite"]
    assert passed == {"fake/01/reads": True, "fake/02/writes": False, "fake/03/ten": False}
    ends = "SELECT dictionary, feature, outcome FROM token_changes GROUP BY ALL ORDER BY 1, 2"
    assert rows(installation, ends) == [
        *(("fake/01/reads", feature, "no_decoder") for feature in range(4)),
        *(("fake/02/writes", feature, outcome) for feature, outcome in enumerate(("ok", "zero_decoder", "dead", "overflow"))),
        *(("fake/03/ten", feature, outcome) for feature, outcome in enumerate(("ok", "zero_decoder", "ok", "overflow"))),
    ]
    assert rows(installation, "SELECT DISTINCT strength FROM token_changes WHERE dictionary = 'fake/03/ten' AND strength > 0") == [(10.0,)]
    explained = "SELECT outcome, count(*) FROM explanations WHERE explanation_method = 'token_change' GROUP BY 1 ORDER BY 1"
    assert rows(installation, explained) == [("no_changes", 9), ("ok", 3)]
