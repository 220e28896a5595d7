"""What the graph explained and scored on stand-in models, out as a delphi run, and its explanations back in."""

import json
from pathlib import Path

import pytest
from installation import KEY, Installation
from sklearn.metrics import balanced_accuracy_score, f1_score

from interp_assets.exchange.export_delphi_results import export_delphi_results
from interp_assets.exchange.import_explanations import import_explanations
from interp_assets.reading.explanations import read_imported
from resources.formats.interface import ExchangeError

HOOK = "blocks.0.mlp.hook_post"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    """Thirty-two of the stand-in's neurons, explained and scored; those that fire too seldom are not."""
    installation = Installation(tmp_path_factory.mktemp("scored"), corpus)
    stages = {**installation.record().stages, "examples": {**installation.record().stages["examples"], "min_activating": 400}}
    installation.register(installation.record(features={"count": 32}, stages=stages))
    installation.run_all()
    return installation


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("method", ["max_act", "shuffled"])
def test_scores_of_the_graph_come_out_of_its_export(scored: Installation, tmp_path: Path, method: str) -> None:
    exported = export_delphi_results(scored.home.lake, scored.home.registry.get(KEY), tmp_path, method=method)
    explained = rows(scored, f"SELECT feature, explanation FROM explanations WHERE explanation_method = '{method}' AND outcome = 'ok'")
    assert 0 < exported.explanations == len(explained) < 32 and exported.unexplained.total() == 32 - len(explained)
    for feature, text in explained:
        assert json.loads((tmp_path / "explanations" / f"{HOOK}_latent{feature}.txt").read_text()) == text
    table = rows(
        scored,
        f"""SELECT scorer, feature, max(value) FILTER (metric = 'balanced_accuracy'), max(value) FILTER (metric = 'f1') FROM scores
            WHERE explanation_method = '{method}' AND outcome = 'ok' GROUP BY ALL""",
    )
    assert len(table) == 2 * len(explained) == exported.scores.total()
    for scorer, feature, balanced_accuracy, f1 in table:
        file = tmp_path / "scores" / {"detection": "detection", "fuzzing": "fuzz"}[scorer] / f"{HOOK}_latent{feature}.txt"
        windows = [window for window in json.loads(file.read_text()) if window["prediction"] is not None]
        truth, prediction = ([window[name] for window in windows] for name in ("activating", "prediction"))
        assert balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, prediction), abs=1e-9)
        assert f1 == pytest.approx(f1_score(truth, prediction, zero_division=0), abs=1e-9)


def test_an_export_broken_off_continues_and_ends_the_same(scored: Installation, tmp_path: Path) -> None:
    lake, record = scored.home.lake, scored.home.registry.get(KEY)
    whole = export_delphi_results(lake, record, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    lost = sorted(tmp_path.rglob("*_latent*.txt"))[::2]
    for path in lost:
        path.unlink()
    again = export_delphi_results(lake, record, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert again.n_kept == len(before) - 1 - len(lost) and again.explanations == whole.explanations
    with pytest.raises(ExchangeError, match="from another export"):
        export_delphi_results(lake, record, tmp_path, method="shuffled")


def test_exported_explanations_can_be_imported(scored: Installation, tmp_path: Path) -> None:
    lake, record = scored.home.lake, scored.home.registry.get(KEY)
    export_delphi_results(lake, record, tmp_path, hookpoint="layers.0")
    import_explanations(lake, record, tmp_path, "imported")
    explained = rows(scored, "SELECT feature, explanation FROM explanations WHERE explanation_method = 'max_act' AND outcome = 'ok'")
    assert read_imported(lake, KEY, "imported") == dict(explained)
