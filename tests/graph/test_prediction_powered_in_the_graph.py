"""A judge that is asked about some windows, in the real graph: fewer questions, named outcomes, and the same questions after a kill."""

import shutil
from typing import Any

import dagster as dg
import pytest
from installation import KEY, STAGES, Installation

from interp_assets.backfill.command import costed_plan
from interp_assets.graph.assembly import ASSETS
from interp_assets.measuring import sampling
from interp_assets.single_features.questions import asked_questions
from resources.fakes import FakeModels, ScriptedModel, scripted_answer
from resources.language_models.interface import LanguageModel, Reply, Request

N_WINDOWS = 20
POWERED = {"share": 0.5, "control_variates": ["activation", "embedding", "matcher"]}
STAGES_HERE = {
    "examples": {**STAGES["examples"], "n_shown": 6}, "explanations": ["max_act", "token_list"],
    "scores": {"detection": "all", "fuzzing": ["max_act"]}, "scoring": {"n_bootstrap": 50, "prediction_powered": POWERED},
}  # fmt: skip


class Dying(FakeModels):
    """Stand-ins whose judge is killed at its nth question."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        def answer(request: Request) -> str | Reply:
            self.asked += 1
            if self.asked == self.n:
                raise KeyboardInterrupt
            return scripted_answer(request)

        return ScriptedModel(answer)


def run_first_range(installation: Installation, *names: str) -> None:
    """The assets of the first of the sixteen ranges, which has four features."""
    key = f"{KEY}|00of16"
    span = {"dagster/asset_partition_range_start": key, "dagster/asset_partition_range_end": key}
    chosen = [asset for asset in ASSETS if "/".join(asset.key.path) in names]
    dg.materialize(ASSETS, selection=chosen, instance=installation.instance, resources=installation.resources, tags=span)


@pytest.fixture
def explained(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Four features explained by two methods: eight scorer inputs, asked about in groups of 1, 2, 4 and 1."""
    monkeypatch.setattr(sampling, "FIRST_GROUP", 1)
    installation.register(installation.record(stages=STAGES_HERE))
    installation.run("token_sample", "activation_shards")
    run_first_range(installation, "examples", "explanations/max_act", "explanations/token_list")
    return installation


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


def test_a_share_is_asked_and_every_row_says_so(explained: Installation) -> None:
    # Before: four features of 20 windows in four questions; two methods by detection, one by fuzzing.
    _, lines = costed_plan(explained.home, [KEY], ("scores/detection", "scores/fuzzing"), None, explained.models)
    assert "prediction_powered asks 24 of the 48 questions of scores/detection, scores/fuzzing (see docs/trust.md)" in lines
    run_first_range(explained, "scores/detection", "scores/fuzzing")
    ((n_cases,),) = rows(explained, "SELECT count(*) FROM scores WHERE headline AND value IS NOT NULL")
    ((questions, n_not_asked),) = rows(
        explained, "SELECT count(*) FILTER (outcome = 'answered'), count(*) FILTER (outcome = 'not_asked') FROM trials"
    )
    assert n_cases >= 9 and questions == n_cases * N_WINDOWS / 5 / 2 and n_not_asked >= n_cases - 2
    # Every window is asked about, or named as not asked.
    shown = "SELECT scorer, feature, explanation_method, unnest(example_ids) AS item FROM trials"
    counts = f"SELECT count(*) AS n, count(DISTINCT item) AS n_distinct FROM ({shown}) GROUP BY scorer, feature, explanation_method"
    assert rows(explained, f"SELECT DISTINCT * FROM ({counts})") == [(N_WINDOWS, N_WINDOWS)]
    assert rows(explained, "SELECT count(*) FROM verdicts JOIN trials USING (dictionary, trial) WHERE trials.outcome = 'not_asked'") == [
        (0,)
    ]
    weights = "SELECT sum(weight) FROM verdicts WHERE weight IS NOT NULL GROUP BY scorer, feature, explanation_method, truth"
    assert rows(explained, f"SELECT DISTINCT * FROM ({weights})") == [(N_WINDOWS // 2,)]
    # Score rows say that they are estimates, and views take them as scores.
    estimates = rows(
        explained, "SELECT value, ci_low, ci_high, asked_share, sampling_error FROM scores WHERE headline AND value IS NOT NULL"
    )
    sampled = [row for row in estimates if row[3] is not None]
    assert len(sampled) == n_not_asked
    assert all(low <= value <= high and 0.2 <= share <= 0.8 and error >= 0 for value, low, high, share, error in sampled)
    # Every question can be told again, with the reply that it had.
    asked = [one for one in asked_questions(explained.home, KEY, 0, ["scores/detection"]) if one.explanation_method == "max_act"]
    assert len(asked) >= 1 and all(one.request is not None and one.reply is not None for one in asked)
    means = rows(explained, "SELECT mean FROM scores_by_method WHERE headline AND scorer = 'detection'")
    assert len(means) == 2 and all(0 < mean <= 1 for (mean,) in means)
    assert rows(explained, "SELECT count(*) FROM leaderboard WHERE scorer = 'detection'") == [(2,)]


def test_each_deal_of_a_shuffled_baseline_is_asked_about_windows_of_its_own(installation: Installation) -> None:
    stages = {
        **STAGES_HERE,
        "explanations": ["max_act", "shuffled"],
        "explaining": {"shuffled": {"deals": 2}},
        "scores": {"detection": "all"},
    }
    installation.register(installation.record(stages=stages))
    installation.run("token_sample", "activation_shards")
    installation.run("examples", "explanations/max_act", "explanations/shuffled")  # every range: texts are dealt over all
    run_first_range(installation, "scores/detection")
    shuffled = "explanation_method = 'shuffled' AND value IS NOT NULL AND headline"
    found = rows(installation, f"SELECT len(deals), asked_share, sampling_error FROM scores WHERE {shuffled}")
    assert found and all(n == 2 and 0.2 <= share <= 0.8 and error >= 0 for n, share, error in found)
    named = "SELECT count(*), count(DISTINCT trial) FROM trials WHERE outcome = 'not_asked' AND explanation_method = 'shuffled'"
    ((n_rows, n_names),) = rows(installation, named)
    assert n_rows == n_names == 2 * len(found)
    asked = [one for one in asked_questions(installation.home, KEY, 0, ["scores/detection"]) if one.explanation_method == "shuffled"]
    assert len(asked) >= 2 and all(one.request is not None for one in asked)


def test_a_killed_run_that_goes_on_asks_the_same_questions(explained: Installation) -> None:
    copy = explained.home.root.parent / "killed"
    shutil.copytree(explained.home.root, copy)
    killed = Installation(copy, explained.corpus)
    killed.register(killed.record(stages=STAGES_HERE))
    before = explained.models.asked
    run_first_range(explained, "scores/detection")
    asked = explained.models.asked - before
    killed.models = Dying(asked // 2)
    with pytest.raises(BaseException):  # noqa: B017
        run_first_range(killed, "scores/detection")
    assert killed.models.asked == asked // 2
    killed.models = FakeModels()
    run_first_range(killed, "scores/detection")
    assert killed.models.asked == asked - (asked // 2 - 1)
    for table in ("trials", "scores", "verdicts"):
        everything = f"SELECT * FROM {table} ORDER BY ALL"
        assert rows(killed, everything) == rows(explained, everything), table
