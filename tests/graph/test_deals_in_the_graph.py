"""Several deals of shuffled explanations through the graph: what is written, what stays, and what readers make of it."""

import json
from pathlib import Path

import pytest
from installation import KEY, STAGES, Installation
from starlette.testclient import TestClient

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.exchange.export_delphi_results import export_delphi_results
from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer
from interp_assets.reading.explanations import read_explanations

FOUR = (0, 16, 32, 48)
STAGES_HERE = {**STAGES, "scores": {"fuzzing": []}}


def test_three_deals_are_judged_and_averaged(installation: Installation, tmp_path: Path) -> None:
    once = installation.record(features=FOUR, stages=STAGES_HERE)
    installation.register(once)
    installation.run("token_sample", "activation_shards")
    installation.run("examples", "explanations/max_act", "explanations/shuffled", "scores/detection")
    lake, asked_once = installation.home.lake, installation.models.asked
    delphi = export_delphi_results(lake, once, tmp_path / "once", method="shuffled")
    first = {row["feature"]: row for row in shuffled_scores(installation)}
    assert len(first) == 4 and {row["deals"] for row in first.values()} == {None}

    thrice = installation.record(features=FOUR, stages={**STAGES_HERE, "explaining": {"shuffled": {"deals": 3}}})
    installation.home.registry.write(thrice)
    installation.run("explanations/shuffled", "scores/detection")
    # The store answers the questions of the first deal: 4 features, 4 prompts each. Features with equal explanations share questions.
    assert 16 <= installation.models.asked - asked_once <= 32
    for key in FEATURE_RANGE_KEYS:
        for feature, dealt in read_explanations(lake, RangeKey(KEY, key), "shuffled").items():
            assert sorted(donor or 0 for donor in dealt.donors) == [other for other in FOUR if other != feature]
    for row in shuffled_scores(installation):
        values = [deal["value"] for deal in row["deals"]]
        assert values[0] == first[row["feature"]]["value"] and row["value"] == pytest.approx(sum(values) / 3)
        assert (row["ci_low"], row["n_positive"]) == (None, 3 * first[row["feature"]]["n_positive"])
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        lifts = "SELECT DISTINCT explanation_method, shuffled_method, n_deals FROM lift_over_shuffled"
        assert connection.execute(lifts).fetchall() == [("max_act", "shuffled", 3)]
        told = "SELECT count(*), count(DISTINCT trial || item) FROM verdicts WHERE explanation_method = 'shuffled'"
        assert connection.execute(told).fetchall() == [(4 * 20 * 3,) * 2]

    export_delphi_results(lake, once, tmp_path / "thrice", method="shuffled")
    written = [sorted((tmp_path / name / "scores").rglob("*.txt")) for name in ("once", "thrice")]
    assert delphi.scores["detection"] == len(written[0]) == 4
    assert [json.loads(path.read_text()) for path in written[0]] == [json.loads(path.read_text()) for path in written[1]]
    client = TestClient(make_app(Explorer(installation.home)), base_url="http://localhost")
    why = client.get(f"/d/{KEY}/16/why/detection/shuffled").text
    assert "deal 2, of feature" in why and "deal 3, of feature" in why and "The question is not kept" not in why
    assert "scores are means with the texts of" in client.get(f"/d/{KEY}/16").text


def shuffled_scores(installation: Installation) -> list[dict]:
    """The headline scores of shuffled explanations."""
    rows = []
    for key in FEATURE_RANGE_KEYS:
        rows += installation.home.lake.read("scores", {"scorer": "detection", "dictionary": KEY, "feature_range": key}).to_pylist()
    return [row for row in rows if row["headline"] and row["explanation_method"] == "shuffled"]
