"""Every scorer as an asset: what each needs arrives, each case ends in a headline row, and what is not asked for is not made."""

from collections.abc import Callable

import numpy as np
import pytest
from installation import KEY, STAGES, Installation
from scipy.stats import spearmanr

from interp_assets.domain.explaining import max_act
from interp_assets.domain.scoring import SCORERS as EVERY_SCORER
from interp_assets.domain.scoring import detection, fuzzing, input_based, reads_steering, simulation
from resources.fakes import FakeModels

SCORERS = [scorer for scorer in EVERY_SCORER if not reads_steering(scorer)]
"""Those of steered texts are in test_output_scorers_in_the_graph, on a subject that can be steered."""
ALL = [scorer.NAME for scorer in SCORERS]
METHODS = ["max_act", "vocab_proj", "shuffled", "token_list", "shuffled_token_list"]
EXAMPLES = {**STAGES["examples"], "n_shown": 6}
SCORING = {
    "n_bootstrap": 50, "simulation": {"max_level": 9}, "example_embedding": {"n_exemplars": 3}, "intruder": {"per_stratum": 1},
    "discrimination": {"n_trials": 3}, "clarity": {"n_texts": 4}, "sensitivity": {"n_texts": 3},
}  # fmt: skip
STAGES_HERE = {"examples": EXAMPLES, "explanations": METHODS, "scores": dict.fromkeys(ALL, "all"), "scoring": SCORING}
SIXTEEN = tuple(range(0, 64, 4))
Ask = Callable[[str], list[tuple]]


@pytest.fixture
def explained(installation: Installation) -> Installation:
    """Sixteen features explained by three methods, every scorer asked for."""
    installation.register(installation.record(features=SIXTEEN, stages=STAGES_HERE))
    installation.run("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")
    installation.run("vocabulary_projections", "examples", *(f"explanations/{method}" for method in METHODS))
    return installation


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


def test_all_of_them_score(explained: Installation) -> None:
    explained.run(*(f"scores/{name}" for name in ALL))
    headlines = rows(
        explained,
        "SELECT scorer, count(*), count(DISTINCT explanation_method), count(value), bool_and(value IS NOT NULL OR outcome <> 'ok') "
        "FROM scores WHERE headline GROUP BY 1",
    )
    found = {scorer: numbers for scorer, *numbers in headlines}
    for scorer in SCORERS:
        n_methods = len(METHODS) if "explanation" in scorer.READS else 1
        n_rows, methods, n_values, named = found[scorer.NAME]
        assert (n_rows, methods, named) == (len(SIXTEEN) * n_methods, n_methods, True), scorer.NAME
        assert n_values > len(SIXTEEN) // 4, f"{scorer.NAME}: too few values to have tried it"
    items = "SELECT scorer, sum(len(example_ids)) FROM trials GROUP BY 1 ORDER BY 1"
    assert rows(explained, items) == rows(explained, "SELECT scorer, count(*) FROM verdicts GROUP BY 1 ORDER BY 1")
    # A judge that knows a feature by one word puts its own explanation above another feature's.
    better = dict(
        rows(
            explained,
            "SELECT scorer, difference FROM against_controls WHERE explanation_method = 'max_act' AND headline AND control = 'shuffled'",
        )
    )
    for name in ("detection", "fuzzing", "simulation", "surprisal", "discrimination", "description_likelihood"):
        assert (better[name] or 0) > 0.02, (name, better)
    lead = "SELECT difference FROM against_controls WHERE explanation_method = 'token_list' AND headline AND scorer = 'matcher'"
    ((over_another_list,),) = rows(explained, lead)
    assert over_another_list > 0.02
    plain = rows(explained, "SELECT DISTINCT outcome FROM scores WHERE scorer = 'matcher' AND explanation_method = 'max_act'")
    assert {outcome for (outcome,) in plain} <= {"not_matchable", "no_explanation", "no_examples"} and len(plain) > 0
    written = "SELECT bool_and(value > floor) FROM scores WHERE scorer = 'sensitivity' AND metric = 'sensitivity' AND value > 0"
    assert rows(explained, written) == [(True,)]


def test_an_identical_rerun_loads_nothing_and_asks_nothing(explained: Installation) -> None:
    explained.run(*(f"scores/{name}" for name in ALL))
    loads, asked, before = explained.models.loads, explained.models.asked, explained.lake_bytes()
    explained.run(*(f"scores/{name}" for name in ALL))
    assert (explained.models.loads, explained.models.asked) == (loads, asked)
    assert explained.lake_bytes() == before


def test_previews_show_explanations_where_there_are_any(installation: Installation) -> None:
    installation.register(installation.record(features=SIXTEEN, stages={**STAGES_HERE, "explanations": ["constant"]}))
    installation.run("token_sample", "activation_shards")
    result = installation.run("examples", "explanations/constant", "scores/example_embedding", "scores/embedding")
    previews = {
        event.asset_key.path[-1]: str(event.step_materialization_data.materialization.metadata["preview"].value)
        for event in result.get_asset_materialization_events()
        if event.asset_key and event.asset_key.path[0] == "scores" and "preview" in event.step_materialization_data.materialization.metadata
    }
    assert previews["example_embedding"].startswith("| feature | auroc |\n|---|---|\n| ")
    assert previews["embedding"].startswith("| feature | method | explanation | auroc |\n|---|---|---|---|\n| ")


def test_two_scorers_that_ask_the_same_ask_once(explained: Installation) -> None:
    explained.run("scores/responsiveness")
    asked = explained.models.asked
    explained.run("scores/purity")
    assert explained.models.asked == asked
    sources = rows(explained, "SELECT DISTINCT source FROM ledger WHERE asset = 'scores/purity'")
    assert ("store",) in sources and ("model",) not in sources


def test_what_is_not_asked_for_is_complete_without_rows_and_without_a_model(installation: Installation) -> None:
    installation.register(installation.record(features=SIXTEEN))
    installation.run("token_sample", "activation_shards")
    installation.run("examples", "explanations/max_act", "explanations/shuffled", "scores/simulation", "explanations/vocab_proj")
    assert rows(installation, "SELECT count(*) FROM scores") == [(0,)]
    assert rows(installation, "SELECT DISTINCT explanation_method FROM explanations ORDER BY 1") == [("max_act",), ("shuffled",)]
    cell = {"dictionary": KEY, "feature_range": "00of16"}
    manifest = installation.home.lake.require("scores", {"scorer": "simulation", **cell})
    assert (manifest.rows, manifest.inputs) == (0, {})


def test_stopping_early_asks_less_and_says_what_was_not_asked(explained: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    explained.run("scores/detection")
    trials = rows(explained, "SELECT count(*) FROM trials")[0][0]
    fresh = Installation(explained.home.root.parent / "sequential", explained.corpus)
    sequential = {**SCORING, "sequential": {"ci_width": 0.9, "first_trials": 2, "step_trials": 1}}
    fresh.register(fresh.record(features=SIXTEEN, stages={**STAGES_HERE, "scoring": sequential}))
    fresh.run("token_sample", "activation_shards")
    fresh.run("vocabulary_projections", "examples", *(f"explanations/{method}" for method in METHODS), "scores/detection")
    outcomes = dict(rows(fresh, "SELECT outcome, count(*) FROM trials GROUP BY 1"))
    assert sum(outcomes.values()) == trials and 0 < outcomes["stopped_early"] < trials
    graded = rows(fresh, "SELECT count(*) FROM verdicts JOIN trials USING (dictionary, trial) WHERE trials.outcome = 'stopped_early'")
    assert graded == [(0,)]
    wide = rows(fresh, "SELECT count(*) FROM scores WHERE headline AND ci_high - ci_low > 0.9 AND value IS NOT NULL")
    full = rows(
        fresh, "SELECT count(*) FROM (SELECT feature, explanation_method FROM trials GROUP BY ALL HAVING bool_and(outcome = 'answered'))"
    )
    assert wide[0][0] <= full[0][0]


def test_waves_do_not_change_what_is_written(explained: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"scores/{name}" for name in ("detection", "embedding", "input_based", "simulation")]
    explained.run(*names)
    before = {path: content for path, content in explained.lake_bytes().items() if path.endswith(".parquet")}
    for manifest in list(explained.home.lake.manifests("scores")):
        explained.home.lake.discard(manifest.table, manifest.partition)
    monkeypatch.setattr("interp_assets.asking.asker.WAVE_QUESTIONS", 7)
    explained.run(*names)
    after = {path: content for path, content in explained.lake_bytes().items() if path.endswith(".parquet")}
    ledgers = {path for path in before if path.startswith("ledger")}  # a reply from the store says so there
    assert {p: c for p, c in after.items() if p not in ledgers} == {p: c for p, c in before.items() if p not in ledgers}


def test_a_model_that_dies_in_the_middle_leaves_the_old_cell_and_the_replies(
    explained: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeModels, "language_model", _dying_after(explained.models.asked + 20, FakeModels.language_model))
    assert not explained.run("scores/detection", raise_on_error=False).success
    kept = explained.home.replies.size().n_replies
    monkeypatch.undo()
    asked = explained.models.asked
    explained.run("scores/detection")
    needed = rows(explained, "SELECT count(DISTINCT reply) FROM trials")[0][0]
    explanations = rows(explained, "SELECT count(DISTINCT r) FROM (SELECT unnest(replies) AS r FROM explanations)")[0][0]
    assert explained.models.asked - asked == needed - (kept - explanations)
    assert rows(explained, "SELECT count(*) FROM scores WHERE headline AND scorer = 'detection'") == [(len(SIXTEEN) * len(METHODS),)]


def _dying_after(asked: int, load: Callable) -> Callable:
    """A loader of models that break off once the stand-ins have been asked so often."""

    def loaded(models: FakeModels, *arguments: object) -> object:
        model = load(models, *arguments)
        ask = model.ask

        def breaking(requests: object) -> object:
            for item in ask(requests):
                if models.asked > asked:
                    raise RuntimeError("the engine died")
                yield item

        model.ask = breaking
        return model

    return loaded


def test_views_over_the_scores(explained: Installation) -> None:
    explained.run(*(f"scores/{name}" for name in ("detection", "fuzzing", "surprisal", "embedding", "intruder")))
    board = rows(explained, "SELECT scorer, place, explanation_method, compared_mean, lift_over_shuffled FROM leaderboard ORDER BY 1, 2")
    assert {scorer for scorer, *_ in board} == {"detection", "fuzzing", "surprisal", "embedding"}
    for scorer in ("detection", "fuzzing", "surprisal"):
        own = [row for row in board if row[0] == scorer]
        assert [row[3] for row in own] == sorted((row[3] for row in own), reverse=True) and own[0][1] == 1
        assert [row[4] for row in own if row[2] == "shuffled"] == [0.0]
        assert [row[2] for row in own][-1] != "max_act"
    found = rows(explained, "SELECT scorer, other, n, spearman, pearson, published_spearman FROM scorer_agreement ORDER BY 1, 2")
    assert [(scorer, other) for scorer, other, *_ in found][:3] == [("detection", other) for other in ("embedding", "fuzzing", "intruder")]
    for scorer, other, n, spearman, pearson, published in found:
        same = "a.explanation_method = b.explanation_method OR 'none' IN (a.explanation_method, b.explanation_method)"
        real = "headline AND value IS NOT NULL AND explanation_method NOT IN ('shuffled', 'shuffled_token_list')"
        pairs = rows(
            explained,
            f"SELECT a.value, b.value FROM (FROM scores WHERE scorer = '{scorer}' AND {real}) a "
            f"JOIN (FROM scores WHERE scorer = '{other}' AND {real}) b ON a.feature = b.feature AND ({same})",
        )
        x, y = np.array(pairs).T
        assert n == len(pairs)
        assert spearman == pytest.approx(spearmanr(x, y).statistic) and pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
        assert published == (0.73 if (scorer, other) == ("detection", "fuzzing") else None)
    hardest = rows(explained, "SELECT above_floor, explanation_method FROM hardest_features")
    assert (
        len(hardest) > 8
        and [a for a, _ in hardest] == sorted(a for a, _ in hardest)
        and {m for _, m in hardest} <= {"max_act", "vocab_proj", "token_list"}
    )
    gaps = rows(explained, "SELECT gap, high_place, low_place FROM disagreements")
    assert gaps and all(gap == pytest.approx(high - low) and gap > 0 for gap, high, low in gaps)
    dense = rows(explained, "SELECT state, firing_count, token_density FROM dead_and_dense_features")
    assert all((state == "dead") == (count == 0) and (count == 0 or density > 0.1) for state, count, density in dense)
    assert rows(explained, "SELECT count(*) FROM single_token_features WHERE top_token_share < 0.9") == [(0,)]
    overview = rows(explained, "SELECT scores['detection'], detection, scores_without_explanation['intruder'] FROM feature_overview")
    assert len(overview) == len(SIXTEEN) * len(METHODS) and all(a == b for a, b, _ in overview) and any(c is not None for *_, c in overview)


def _failing_on(feature: int, work: Callable, of: Callable = lambda subject: subject.feature) -> Callable:
    """The same, but for one feature it divides by zero."""

    def call(subject, *arguments):
        return 1 // 0 if of(subject) == feature else work(subject, *arguments)

    return call


def test_a_feature_that_a_methods_code_cannot_cope_with_fails_alone(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    scorers = ("detection", "fuzzing", "simulation", "input_based")
    stages = {**STAGES_HERE, "explanations": ["max_act"]}
    installation.register(installation.record(features=SIXTEEN, stages=stages))
    installation.run("token_sample", "activation_shards")
    names = ["examples", "explanations/max_act", *(f"scores/{name}" for name in scorers)]
    headlines = "SELECT scorer, feature, outcome FROM scores WHERE headline ORDER BY ALL"
    with monkeypatch.context() as patch:
        patch.setattr(max_act, "plan", _failing_on(0, max_act.plan))
        patch.setattr(max_act, "grade", _failing_on(4, max_act.grade))
        patch.setattr(detection, "plan", _failing_on(8, detection.plan))
        patch.setattr(fuzzing, "grade", _failing_on(12, fuzzing.grade))
        patch.setattr(simulation, "summarise", _failing_on(16, simulation.summarise))
        patch.setattr(input_based, "texts", _failing_on(20, input_based.texts, lambda answered: answered.trial.feature))
        patch.setattr(input_based, "grade", _failing_on(20, input_based.grade))
        result = installation.run(*names)
    explained = "SELECT feature FROM explanations WHERE outcome = 'failed' ORDER BY 1"
    assert rows(installation, explained) == [(0,), (4,)]
    poisoned = rows(installation, headlines)
    assert [(s, f) for s, f, outcome in poisoned if outcome == "failed"] == [
        ("detection", 8), ("fuzzing", 12), ("input_based", 20), ("simulation", 16),
    ]  # fmt: skip
    failed = rows(installation, "SELECT scorer, count(*) FROM verdicts WHERE outcome = 'failed' GROUP BY 1 ORDER BY 1")
    assert [scorer for scorer, _ in failed] == ["fuzzing", "input_based", "simulation"]
    messages = [event.message for event in installation.instance.all_logs(result.run_id)]
    assert any("detection failed on feature 8, max_act" in m and "ZeroDivisionError" in m for m in messages)
    checks = result.get_asset_check_evaluations()
    assert all(c.passed for c in checks if c.check_name == "every_trial_has_an_outcome")
    installation.run(*names)
    mended = rows(installation, headlines)
    assert len(mended) == len(poisoned) == len(scorers) * len(SIXTEEN) and "failed" not in {outcome for *_, outcome in mended}
    assert rows(installation, explained) == []
    # Features that were whole keep what they had; 0 and 4 have an explanation now.
    others = [{row for row in found if row[1] not in (0, 4, 8, 12, 16, 20)} for found in (poisoned, mended)]
    assert others[0] == others[1]
