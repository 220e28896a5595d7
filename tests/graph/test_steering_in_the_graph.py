"""`steering` through the graph: nothing unless asked for, every feature with an outcome, resumed by range, and the texts of every run."""

from pathlib import Path

import numpy as np
import pytest
from installation import KEY, STAGES, Installation

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.graph.assembly import RANGE_STAGES
from resources.fakes import FakeTokenizer

UPSTREAM = ("token_sample", "activation_shards")
STEERING = {
    "enabled": True, "kl_targets": [0.001, 0.003, -0.003], "context_tokens": 16, "n_explainer_prompts": 2, "n_scoring_prompts": 4,
    "n_strata": 3, "max_new_tokens": 3, "n_shift_tokens": 4, "batch_rows": 9,
}  # fmt: skip
ASKED = {**STAGES, "steering": STEERING}

PLANTED = """
import torch

def reads(x):
    return x[:, :4].relu()

class Writes:
    def encode(self, x):
        return x[:, :4].relu()

    def decoder_row(self, feature):
        return torch.zeros(32) if feature == 1 else torch.eye(32)[feature]
"""


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    """An installation of which six neurons are steered."""
    installation = Installation(tmp_path_factory.mktemp("steered"), corpus)
    installation.register(installation.record(stages=ASKED, features=(1, 9, 17, 30, 40, 63)))
    installation.run(*UPSTREAM)
    installation.run("steering")
    return installation


def test_every_feature_has_a_row_for_each_target_and_its_ablation(steered: Installation) -> None:
    found = rows(
        steered, "SELECT feature, intervention, target_kl, strength, realised_kl, n_steps, tried, n_prompts, outcome FROM steering"
    )
    assert len(found) == 6 * 4 and {row[0] for row in found} == {1, 9, 17, 30, 40, 63}
    for _, intervention, target, strength, realised, steps, tried, n_prompts, outcome in found:
        assert n_prompts == 6
        if intervention == "zero_ablation":
            assert (target, strength, steps, tried, outcome) == (None, None, None, None, "ok") and realised > 0
            continue
        assert outcome in ("ok", "not_reached", "not_monotone", "not_converged") and strength * target > 0 and 1 <= steps <= 10
        assert {"strength": strength, "kl": realised} in tried
        assert (outcome == "ok") == (abs(realised / abs(target) - 1) <= 0.1)
    assert sum(row[-1] == "ok" for row in found) > 20
    assert sum(n for _, n in rows(steered, "SELECT outcome, n FROM outcomes WHERE stage = 'steering'")) == 24


def test_every_run_has_its_texts_and_the_clean_ones_are_the_same(steered: Installation) -> None:
    per_run = "SELECT DISTINCT count(*), count(*) FILTER (role = 'explainer') FROM steered_texts GROUP BY feature, intervention, target_kl"
    assert rows(steered, per_run) == [(6, 2)]
    clean = "SELECT DISTINCT count(DISTINCT (clean_completion, prompt_text)) FROM steered_texts GROUP BY feature, prompt"
    assert rows(steered, clean) == [(1,)]
    sample = dict(rows(steered, "SELECT row, token_ids FROM token_samples"))
    columns = "row, start, prompt_token_ids, prompt_text, clean_completion, raised_tokens, lowered_tokens"
    changed = 0
    unlike = "SELECT count(DISTINCT completion) > 30 FROM steered_sets"  # of 6 x 12: each has random numbers of its own
    assert rows(steered, unlike) == [(True,)]
    for row, start, ids, text, completion, raised, lowered in rows(steered, f"SELECT {columns} FROM steered_texts"):
        assert ids[0] == 1 and ids[1:] == list(sample[row][start : start + len(ids) - 1])
        assert text == FakeTokenizer().text(ids[1:]) and len(completion.split()) <= 3
        assert len(raised) == len(lowered) == 4
        for side, shifts in ((1, raised), (-1, lowered)):
            moved = [side * (np.exp(one["steered_logprob"]) - np.exp(one["clean_logprob"])) for one in shifts]
            assert moved == sorted(moved, reverse=True)
            changed += moved[0] > 0
            assert [one["token"] for one in shifts] == FakeTokenizer().tokens([one["token_id"] for one in shifts])
    assert changed > 250, "of 288 lists nearly all begin with a token that really moved"
    fires = """SELECT count(*) FROM steered_texts t JOIN activations a USING (dictionary, feature)
               WHERE a.position = t.row * 64 + t.start + len(t.prompt_token_ids) - 2 AND a.value > 0"""
    assert rows(steered, fires) == rows(steered, "SELECT count(*) FROM steered_texts"), "every prompt ends where the feature fires"


def test_a_second_run_does_nothing_and_other_batches_give_the_same_table(steered: Installation, tmp_path: Path, corpus: Path) -> None:
    before, loads = steered.lake_bytes(), steered.models.loads
    result = steered.run("steering")
    assert steered.models.loads == loads and steered.lake_bytes() == before
    assert all(check.passed for check in result.get_asset_check_evaluations())
    check = next(c for c in result.get_asset_check_evaluations() if c.check_name == "kl_targets_met")
    assert check.metadata["targets"].value == 18
    other = Installation(tmp_path / "other", corpus)
    other.register(other.record(stages={**STAGES, "steering": {**STEERING, "batch_rows": 50}}, features=(1, 9, 17, 30, 40, 63)))
    other.run(*UPSTREAM)
    other.run("steering")
    texts = "SELECT feature, target_kl, prompt, row, start, role, clean_completion FROM steered_texts ORDER BY ALL"
    assert rows(other, texts) == rows(steered, texts)
    numbers = "SELECT feature, target_kl, strength, realised_kl FROM steering ORDER BY feature, target_kl"
    mine, theirs = (np.array(rows(i, numbers), dtype=float) for i in (steered, other))
    np.testing.assert_allclose(mine, theirs, rtol=1e-3)


def test_a_range_that_fails_is_made_by_the_next_run_and_the_others_are_kept(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.register(installation.record(stages=ASKED, features=(1, 9, 17)))
    installation.run(*UPSTREAM)
    from interp_assets.assets.steering.features import FeatureSteerer

    whole = FeatureSteerer.blocks

    def failing(self: FeatureSteerer, record: object, key: object, stages: object) -> object:
        if str(key).endswith(FEATURE_RANGE_KEYS[-1]):
            raise RuntimeError("out of memory")
        return whole(self, record, key, stages)  # type: ignore[arg-type]

    monkeypatch.setattr(FeatureSteerer, "blocks", failing)
    assert not installation.run("steering", raise_on_error=False).success
    kept = {path: content for path, content in installation.lake_bytes().items() if path.startswith("steer")}
    assert kept and not any(FEATURE_RANGE_KEYS[-1] in path for path in kept)
    monkeypatch.undo()
    installation.run("steering")
    after = installation.lake_bytes()
    assert all(after[path] == content for path, content in kept.items())
    assert rows(installation, "SELECT count(DISTINCT feature) FROM steering") == [(3,)]


def test_nothing_is_loaded_or_written_unless_it_is_asked_for(installation: Installation) -> None:
    installation.register(installation.record(stages={**STAGES, "steering": {**STEERING, "enabled": False}}))
    installation.run(*UPSTREAM)
    loads = installation.models.loads
    result = installation.run("steering")
    assert installation.models.loads == loads
    assert rows(installation, "SELECT (SELECT count(*) FROM steering) + (SELECT count(*) FROM steered_texts)") == [(0,)]
    metadata = result.asset_materializations_for_node("steering")[0].metadata
    assert "steering: {enabled: true}" in str(metadata["steered"].value)
    assert all(check.passed for check in result.get_asset_check_evaluations())
    installation.run("feature_neighbours", "window_embeddings")
    (stage,) = (stage for stage in RANGE_STAGES if stage.table.name == "steering")
    home = installation.home

    def version(**steering: object) -> str:
        record = installation.record(stages={**STAGES, "steering": {**STEERING, **steering}})
        stages, key = home.settings.stage_settings(record.stages), RangeKey(record.key, FEATURE_RANGE_KEYS[0])
        return stage.data_version(stages, home.settings, stage.inputs(home.lake, record, key, stages))

    assert version(enabled=False) == version(enabled=False, temperature=0.5) != version(enabled=True)
    record = installation.record(stages={**STAGES, "steering": {**STEERING, "enabled": True}})
    assert len(installation.stale(record, (stage,))) == 16


def test_features_that_cannot_be_steered_say_why(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "planted.py"
    file.write_text(PLANTED)
    common = {"kind": "callable", "hook": "blocks.0.hook_resid_post", "k": None, "d_in": 32, "width": 4, "stages": ASKED}
    reads = installation.record("fake/01/reads", source=f"{file}:reads", **common)
    writes = installation.record("fake/02/writes", source=f"{file}:Writes", **common)
    many = {**STEERING, "n_scoring_prompts": 5000}
    few = installation.record("fake/03/few", stages={**STAGES, "steering": many})
    installation.register(reads, writes, few)
    installation.run(*UPSTREAM, key=reads.key, last_key=few.key)
    for record in (reads, writes, few):
        checks = installation.run("steering", key=record.key).get_asset_check_evaluations()
        assert next(c for c in checks if c.check_name == "every_feature_has_an_outcome").passed
    named = """SELECT dictionary, outcome, count(*), max(n_prompts), count(strength) FROM steering
               WHERE intervention IS NULL GROUP BY ALL ORDER BY 1, 2"""
    dead = rows(installation, "SELECT count(*) FROM feature_statistics WHERE dictionary = 'fake/03/few' AND firing_count = 0")[0][0]
    assert rows(installation, named) == [
        ("fake/01/reads", "no_decoder", 4, 0, 0), ("fake/02/writes", "zero_decoder", 1, 0, 0),
        *([("fake/03/few", "dead", dead, 0, 0)] if dead else []), ("fake/03/few", "too_few_contexts", 64 - dead, 0, 0),
    ]  # fmt: skip
    assert rows(installation, "SELECT DISTINCT feature FROM steered_texts ORDER BY 1") == [(0,), (2,), (3,)]
    sets = """SELECT dictionary, count(DISTINCT feature), count(*), count(completion) FROM steered_sets GROUP BY dictionary,
              CASE WHEN outcome IN ('no_decoder', 'zero_decoder') THEN outcome END ORDER BY 1, 2"""
    assert rows(installation, sets) == [
        ("fake/01/reads", 4, 4, 0), ("fake/02/writes", 1, 1, 0), ("fake/02/writes", 3, 36, 36), ("fake/03/few", 64, 768, 768),
    ]  # fmt: skip
    assert rows(installation, "SELECT outcome FROM steered_sets WHERE completion IS NULL GROUP BY 1 ORDER BY 1") == [
        ("no_decoder",), ("zero_decoder",),
    ]  # fmt: skip
    assert KEY not in {row[0] for row in rows(installation, "SELECT DISTINCT dictionary FROM steering")}
