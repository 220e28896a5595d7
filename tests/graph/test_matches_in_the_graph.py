"""`feature_matches` through the graph: two dictionaries that are one another's permutation, and what has to be there before."""

from pathlib import Path

import numpy as np
import pytest
from installation import STAGES, Installation

from interp_assets.assets.feature_matches.matching import asked_matches
from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.tables import EXPLANATIONS, FEATURE_MATCHES
from resources.fakes import HashedWords
from resources.store.lake import LakeError

WIDTH = 10
OURS, THEIRS = "fake/00/ours", "fake/00/theirs"
SOURCE = """
import torch

class Axes:
    axes = {axes}

    def encode(self, x):
        return x[:, self.axes].relu()

    def decoder_row(self, feature):
        return 2 * torch.eye(32)[self.axes[feature]]

    def reconstruct(self, x, encoded):
        return x
"""
PERMUTATION = np.random.default_rng(0).permutation(WIDTH)


def add(installation: Installation, folder: Path, key: str, axes: list[int], **changes: object) -> None:
    """Register a dictionary whose feature i reads and writes coordinate axes[i] of the residual stream."""
    path = folder / f"{key.replace('/', '_')}.py"
    path.write_text(SOURCE.format(axes=axes))
    fields = {"hook": "blocks.0.hook_resid_post", "kind": "callable", "k": None, "d_in": 32, "width": len(axes), "source": f"{path}:Axes"}
    installation.register(installation.record(key, **{**fields, **changes}))


def upstream(installation: Installation, key: str) -> None:
    """Everything that matches need of one dictionary."""
    installation.run("token_sample", "activation_shards", "feature_neighbours", "window_embeddings", key=key)
    installation.run("examples", "explanations/max_act", "explanations/shuffled", key=key)


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


def entries_of_max_act(installation: Installation) -> list[tuple]:
    """Feature, matched feature, cosine, control and outcome of the one-to-one matches' max_act explanations."""
    entries = """SELECT feature, matched_feature, e.cosine, e.control_cosine, e.outcome FROM feature_matches, unnest(explanations) u(e)
                 WHERE assignment = 'one_to_one' AND e.explanation_method = 'max_act'"""
    return rows(installation, entries)


@pytest.fixture(scope="module")
def matched(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    """Ours is matched with theirs, which names nobody."""
    folder = tmp_path_factory.mktemp("matched")
    installation = Installation(folder / "home", corpus)
    asks = {**STAGES, "matching": {"with": [OURS, THEIRS], "n_nearest": 3}}
    add(installation, folder, OURS, list(range(WIDTH)), stages=asks)
    add(installation, folder, THEIRS, PERMUTATION.tolist())
    for key in (OURS, THEIRS):
        upstream(installation, key)
    for key in (OURS, THEIRS):
        installation.run("feature_matches", key=key)
    return installation


def test_a_permuted_dictionary_is_found_again_and_explained_alike(matched: Installation) -> None:
    pairs = rows(matched, "SELECT feature, matched_feature, cosine FROM feature_matches WHERE assignment = 'one_to_one' ORDER BY 1")
    assert [(f, int(PERMUTATION[other])) for f, other, _ in pairs] == [(f, f) for f in range(WIDTH)]
    assert all(cosine == pytest.approx(1, abs=1e-3) for *_, cosine in pairs)
    per_feature = "SELECT DISTINCT count(*) FROM feature_matches WHERE assignment = 'nearest' GROUP BY feature"
    assert rows(matched, per_feature) == [(3,)]
    said = "SELECT dictionary, feature, explanation FROM explanations WHERE explanation_method = 'max_act'"
    texts = {(key, feature): text for key, feature, text in rows(matched, said)}
    explained = 0
    for feature, other, cosine, control, outcome in entries_of_max_act(matched):
        both = [texts[OURS, feature], texts[THEIRS, other]]
        assert (outcome == "ok") == all(both)
        if outcome == "ok":
            explained += 1
            assert cosine == pytest.approx(float(np.prod(HashedWords().embed(both), axis=0).sum()), abs=1e-5)
            controls = HashedWords().embed([t for (key, f), t in texts.items() if key == THEIRS and f != other and t])
            assert np.abs(controls @ HashedWords().embed(both[:1])[0] - control).min() < 1e-5
    assert explained > WIDTH / 2


def test_the_view_sets_explanations_beside_their_control(matched: Installation) -> None:
    numbers = "n_features, n_matched, median_cosine, share_above_07, median_explanation_cosine, median_control_cosine"
    view = rows(matched, f"SELECT assignment, explanation_method, {numbers} FROM matches_by_dictionary_pair")
    found = {row[:2]: row[2:] for row in view}
    assert set(found) == {(a, m) for a in ("nearest", "one_to_one") for m in ("max_act", "shuffled")}
    n, n_matched, median, share, explained, control = found["one_to_one", "max_act"]
    assert (n, n_matched, share) == (WIDTH, WIDTH, 1.0) and median == pytest.approx(1, abs=1e-3)
    compared = [(cosine, control) for *_, cosine, control, outcome in entries_of_max_act(matched) if outcome == "ok"]
    assert (explained, control) == pytest.approx(tuple(np.median(compared, axis=0)))
    outcomes = rows(matched, "SELECT stage, outcome, n FROM outcomes WHERE stage LIKE 'feature_matches%'")
    assert outcomes == [("feature_matches/nearest", "ok", WIDTH), ("feature_matches/one_to_one", "ok", WIDTH)]


def test_a_dictionary_that_names_none_has_an_empty_table(matched: Installation) -> None:
    manifest = matched.home.lake.require(FEATURE_MATCHES.name, {"dictionary": THEIRS})
    assert (manifest.rows, manifest.data_version) == (0, "not-asked")


def test_a_second_run_keeps_everything_and_the_checks_pass(matched: Installation) -> None:
    before, loads = matched.lake_bytes(), matched.models.loads
    result = matched.run("feature_matches", key=OURS)
    assert matched.lake_bytes() == before and matched.models.loads == loads
    assert len(result.get_asset_check_evaluations()) == 3
    assert all(check.passed for check in result.get_asset_check_evaluations())


def test_other_dictionaries_explanations_may_come_later_and_make_the_matches_anew(installation: Installation, tmp_path: Path) -> None:
    add(installation, tmp_path, OURS, list(range(4)), stages={**STAGES, "matching": {"with": [THEIRS]}})
    add(installation, tmp_path, THEIRS, [2, 3, 0, 1])
    with pytest.raises(LakeError, match=f"no complete explanations for explanation_method max_act, dictionary {OURS}"):
        installation.run("feature_matches", key=OURS)
    upstream(installation, OURS)
    result = installation.run("feature_matches", key=OURS)
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["both_dictionaries_are_explained"].passed and checks["every_feature_has_both_assignments"].passed
    entries = "SELECT DISTINCT e.outcome, e.cosine FROM feature_matches, unnest(explanations) u(e)"
    assert rows(installation, entries) == [("not_made", None)]
    partition = {"dictionary": OURS}
    before = installation.home.lake.require(FEATURE_MATCHES.name, partition).data_version
    for method in ("max_act", "shuffled"):
        for name in FEATURE_RANGE_KEYS:  # theirs exist, and say nothing
            cell = {"explanation_method": method, "dictionary": THEIRS, "feature_range": name}
            installation.home.lake.write(EXPLANATIONS.name, cell, EXPLANATIONS.schema, EXPLANATIONS.schema.empty_table(), "v")
    home, revision = installation.home, lambda: HashedWords.revision
    asked = asked_matches(home.lake, home.registry, home.settings, home.registry.get(OURS), revision)
    assert asked.data_version != before and not home.lake.is_current(FEATURE_MATCHES.name, partition, asked.data_version)
    installation.run("feature_matches", key=OURS)
    assert rows(installation, entries) == [("not_explained", None)]
    assert home.lake.is_current(FEATURE_MATCHES.name, partition, asked.data_version)


def test_a_dictionary_of_another_model_or_nobody_is_refused_by_name(installation: Installation, tmp_path: Path) -> None:
    add(installation, tmp_path, OURS, list(range(4)), stages={**STAGES, "matching": {"with": [THEIRS]}})
    with pytest.raises(UserError, match=f"{THEIRS}' is not registered"):
        installation.run("feature_matches", key=OURS)
    add(installation, tmp_path, THEIRS, [2, 3, 0, 1], model={"source": "another/model"})
    with pytest.raises(UserError, match=rf"{OURS} of the model embedded:.* {THEIRS} of the model another/model"):
        installation.run("feature_matches", key=OURS)
