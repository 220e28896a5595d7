"""`score_stability` through the graph: scores of some features taken again by stand-in models, and what they cost."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from installation import KEY, STAGES, Installation

from interp_assets.asking.estimates import read_estimates
from interp_assets.backfill.command import costed_plan, left_to_make, selected_partitions
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.stability import StabilitySettings
from resources.fakes import FakeModels, scripted_answer
from resources.language_models.interface import ChoiceList, LanguageModel, Reply, Request
from resources.language_models.scripted import ScriptedModel

N, DRAWS, WRITINGS, JUDGEMENTS = 12, 2, 3, 2
ASKS = {**STAGES, "scores": {"embedding": "all", "intruder": "all"}, "stability": {"n_features": N, "n_explanations": WRITINGS}}
REPLICATES = {"detection": DRAWS * WRITINGS * JUDGEMENTS, "embedding": DRAWS * WRITINGS, "fuzzing": 12, "intruder": DRAWS * JUDGEMENTS}
"""The encoder judges once; the intruder reads no explanation."""


class Wavering(FakeModels):
    """Stand-ins whose explainer names one of the marked words, by the seed of the question. `asked_again` are its warm questions."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_again: list[Request] = []
        self.silent = False

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        """The wavering explainer and the scripted judge."""

        def answer(request: Request) -> str | Reply:
            self.asked += 1
            if request.temperature == 0 or isinstance(request.reply_format, ChoiceList):
                return scripted_answer(request)
            self.asked_again.append(request)
            if self.silent:
                return Reply("", "error", 0, 0, 0, 0.0, error="the server is away")
            marked = re.findall(r"<<\s*([^<>]+?)\s*>>", request.messages[-1].content)
            return f"[EXPLANATION]: the word {marked[request.seed % len(marked)].split()[0]}"

        return ScriptedModel(answer)


def upstream(installation: Installation) -> None:
    """Everything that a dictionary's replicates need."""
    installation.run("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")
    installation.run("examples")


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (check,) = result.get_asset_check_evaluations()
    return check


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> tuple[Installation, dg.ExecuteInProcessResult]:
    installation = Installation(tmp_path_factory.mktemp("repeated"), corpus)
    installation.models = Wavering()
    installation.register(installation.record(stages=ASKS))
    upstream(installation)
    return installation, installation.run("score_stability")


def test_every_replicate_of_every_feature_has_a_row(repeated: tuple[Installation, dg.ExecuteInProcessResult]) -> None:
    found = rows(repeated[0], "SELECT scorer, count(*), count(DISTINCT feature) FROM repeated_scores GROUP BY 1 ORDER BY 1")
    assert found == [(scorer, N * n, N) for scorer, n in REPLICATES.items()]
    assert rows(repeated[0], "SELECT outcome, count(*) FROM repeated_scores WHERE (value IS NULL) <> (outcome <> 'ok') GROUP BY 1") == []
    told = rows(repeated[0], "SELECT DISTINCT stage FROM outcomes WHERE stage LIKE 'score_stability/%' ORDER BY 1")
    assert told == [(f"score_stability/{scorer}",) for scorer in REPLICATES]


def test_explanations_are_written_with_seeds_of_their_own_and_judged_on_windows_in_another_order(
    repeated: tuple[Installation, dg.ExecuteInProcessResult],
) -> None:
    models = repeated[0].models
    assert isinstance(models, Wavering)
    assert {request.temperature for request in models.asked_again} == {0.7}
    assert len({request.seed for request in models.asked_again}) == DRAWS * WRITINGS, "one seed for each explanation of a draw"
    texts = rows(repeated[0], "SELECT max(n) FROM (SELECT count(DISTINCT explanation) n FROM repeated_scores GROUP BY feature, draw)")
    assert texts[0][0] > 1, "some feature is explained in more than one way"
    questions = "SELECT count(*), count(DISTINCT reply) FROM ledger WHERE asset = 'score_stability/max_act'"
    ((asked, distinct),) = rows(repeated[0], questions)
    assert asked == distinct <= N * DRAWS * WRITINGS, "the reply store takes no explanation for another"
    judged = "SELECT count(*), count(DISTINCT reply) FROM ledger WHERE asset = 'score_stability/detection' AND source <> 'repeated'"
    ((asked, distinct),) = rows(repeated[0], judged)
    assert asked == distinct > 2 * N


def test_the_windows_of_the_draws_come_from_the_halves_of_the_corpus(repeated: tuple[Installation, dg.ExecuteInProcessResult]) -> None:
    """What is judged of a draw is a window of the examples that the same rules draw from its contexts."""
    from interp_assets.assets.score_stability.redrawn import features_to_take_again, features_with_examples, redrawn

    home, record = repeated[0].home, repeated[0].home.registry.get(KEY)
    stages = home.settings.stage_settings(record.stages)
    explained = features_with_examples(home.lake, record)
    features = features_to_take_again(explained, stages)
    assert len(explained) > N == len(set(features) & set(explained.tolist()))
    drawn = redrawn(home.lake, repeated[0].models, record, stages, features)
    n_contexts = 8192 // 64
    texts: list[set[tuple[int, ...]]] = [set(), set()]
    for (_, draw), found in drawn.examples.items():
        assert found.outcome in ("ok", "too_few_windows")
        places = {example.row for example in found.examples}
        assert places <= set(range(draw * n_contexts // 2, (draw + 1) * n_contexts // 2))
        texts[draw] |= {example.token_ids for example in found.shown}
        strings = {example.token_ids for example in found.shown}
        assert not strings & {example.token_ids for example in found.held_out}
    assert all(texts)


def test_components_are_of_the_rows_and_the_view_and_the_check_say_them_in_words(
    repeated: tuple[Installation, dg.ExecuteInProcessResult],
) -> None:
    columns = (
        "scorer, n_features, icc, draw_share, explanation_share, judge_share, between_dictionaries, between_methods, outcome, in_words"
    )
    found = {row[0]: row for row in rows(repeated[0], f"SELECT {columns} FROM score_stability")}
    assert list(found) == list(REPLICATES)
    for scorer, n_features, icc, *shares, dictionaries, methods, outcome, words in found.values():
        assert n_features >= 8, (scorer, n_features)
        if icc is not None:
            assert icc + sum(shares) == pytest.approx(1)
        assert methods <= dictionaries and outcome in ("carries", "methods_only", "carries_not")
        assert f"{n_features} features taken again" in words
    assert found["embedding"][5] == 0, "the encoder is asked once"
    values = rows(
        repeated[0],
        """SELECT list(value ORDER BY feature, draw, writing, judgement) FROM repeated_scores WHERE scorer = 'detection' AND feature IN
           (SELECT feature FROM repeated_scores WHERE scorer = 'detection' GROUP BY 1 HAVING count(value) = 12)""",
    )
    scores = np.array(values[0][0]).reshape(-1, DRAWS, WRITINGS, JUDGEMENTS)
    mean, judged = rows(repeated[0], "SELECT mean, variance_judge FROM score_variances WHERE scorer = 'detection'")[0]
    assert mean == pytest.approx(scores.mean()) and judged == pytest.approx(scores.var(axis=3, ddof=1).mean())
    check = check_of(repeated[1])
    assert all(str(row[-1]) in (check.description or "") for row in found.values())
    assert check.passed == all(row[-2] == "carries" for row in found.values())
    assert "mean balanced accuracy" in found["detection"][-1] and "the explanation's" not in found["intruder"][-1]


def test_a_second_run_asks_nothing_and_a_changed_sample_asks_the_new_features_alone(
    repeated: tuple[Installation, dg.ExecuteInProcessResult],
) -> None:
    installation = repeated[0]
    before, bytes_before = installation.models.asked, installation.lake_bytes()
    again = installation.run("score_stability")
    assert installation.models.asked == before and installation.lake_bytes() == bytes_before
    assert check_of(again).passed == check_of(repeated[1]).passed
    asked = "SELECT count(DISTINCT feature) FROM ledger WHERE asset = 'score_stability/max_act'"
    first = rows(installation, asked)[0][0]
    installation.register(installation.record(stages={**ASKS, "scores": {"fuzzing": []}, "stability": {"n_features": 8}}))
    installation.run("score_stability")
    assert installation.models.asked == before, "eight of the twelve features, and fewer explanations: every reply is there"
    assert rows(installation, "SELECT DISTINCT scorer FROM repeated_scores ORDER BY 1") == [("detection",)]
    assert rows(installation, asked)[0][0] == 8 < first and rows(
        installation, "SELECT count(*) FROM ledger WHERE asset LIKE '%/fuzzing'"
    ) == [(0,)]
    installation.register(installation.record(stages=ASKS))
    installation.run("score_stability")
    assert installation.models.asked == before


def test_a_plan_says_what_replicates_cost_and_left_is_nothing(
    repeated: tuple[Installation, dg.ExecuteInProcessResult], tmp_path: Path, corpus: Path
) -> None:
    installation = Installation(tmp_path / "home", corpus)
    installation.register(installation.record(stages=ASKS))
    upstream(installation)
    frame, _ = costed_plan(installation.home, [KEY], ("score_stability",), None, installation.models)
    planned = {row["asset"]: row for row in frame.to_dicts()}
    assert list(planned) == [f"score_stability/{name}" for name in ("max_act", "detection", "fuzzing", "intruder")]
    assert {row["features"] for row in planned.values()} == {N} and {row["partitions"] for row in planned.values()} == {1}
    assert planned["score_stability/max_act"]["questions"] == N * DRAWS * WRITINGS
    assert planned["score_stability/detection"]["questions"] == N * 12 * 4, "twenty windows, five a question"
    asked = rows(repeated[0], "SELECT asset, count(*), sum(prompt_tokens) FROM ledger GROUP BY 1")
    for asset, n, tokens in asked:
        assert n <= planned[asset]["questions"] and tokens <= planned[asset]["prompt_tokens"], asset
    selected_partitions(installation.home, [KEY], ("score_stability",), None, lambda line: None, installation.models)
    assert {one.asset for one in read_estimates(installation.home.estimates, KEY)} == set(planned)
    assert not any("score_stability" in line for line in left_to_make(repeated[0].home, [KEY], repeated[0].models))
    assert any("score_stability" in line for line in left_to_make(installation.home, [KEY], installation.models))


def test_what_no_setting_asks_for_costs_nothing_and_leaves_no_rows(installation: Installation) -> None:
    installation.register(installation.record())
    upstream(installation)
    asked = installation.models.asked
    result = installation.run("score_stability")
    assert installation.models.asked == asked and check_of(result).passed
    assert (
        rows(installation, "SELECT count(*) FROM repeated_scores") == rows(installation, "SELECT count(*) FROM score_stability") == [(0,)]
    )


def test_a_feature_that_cannot_be_drawn_again_and_a_server_that_is_away_are_named(installation: Installation) -> None:
    installation.models = models = Wavering()
    models.silent = True
    scarce = {**STAGES["examples"], "min_activating": 120}
    stages = {
        **ASKS,
        "examples": scarce,
        "scores": {"fuzzing": []},
        "stability": {"n_features": 30, "n_draws": 4, "n_explanations": 1, "n_judgements": 1},
    }
    installation.register(installation.record(stages=stages))
    upstream(installation)
    installation.run("score_stability")
    outcomes = dict(rows(installation, "SELECT outcome::VARCHAR, count(*) FROM repeated_scores GROUP BY 1"))
    assert set(outcomes) == {"too_few_windows", "no_explanation"}, (
        "a quarter of the corpus holds fewer than a quarter of the windows of some features"
    )
    assert rows(installation, "SELECT outcome::VARCHAR, mean FROM score_variances") == [("too_few_features", None)]
    models.silent, before = False, models.asked
    installation.run("score_stability")
    assert models.asked > before, "what ended in an error is asked again"
    outcomes = dict(rows(installation, "SELECT outcome::VARCHAR, count(*) FROM repeated_scores GROUP BY 1"))
    assert set(outcomes) == {"too_few_windows", "ok", "one_class"}


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({"stability": {"n_features": 5, "method": "candidates"}}, "written again by max_act, max_act_cot, contrastive, pattern"),
        ({"stability": {"n_features": 5, "method": "contrastive"}}, "not among explanations"),
        (
            {"stability": {"n_features": 5}, "scores": {"detection": [], "fuzzing": []}},
            "ask for one, such as scores: {detection: [max_act]}",
        ),
        ({"stability": {"n_draws": 1}}, "greater than or equal to 2"),
    ],
)
def test_settings_that_ask_for_what_cannot_be_are_refused_with_what_can(stages: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=re.escape(said)):
        PlatformSettings(stages=stages).stage_settings({})


def test_every_range_key_is_a_partition_of_the_ledger_alone_where_something_was_asked(
    repeated: tuple[Installation, dg.ExecuteInProcessResult],
) -> None:
    found: Sequence[tuple] = rows(repeated[0], "SELECT DISTINCT feature_range::VARCHAR FROM ledger WHERE asset LIKE 'score_stability/%'")
    assert {name for (name,) in found} <= set(FEATURE_RANGE_KEYS) and 1 < len(found) <= N
    assert StabilitySettings().n_features == 0
