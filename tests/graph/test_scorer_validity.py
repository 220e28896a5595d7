"""Planted dictionaries through the graph: a judge that knows the rules passes, an inverted and a constant one do not, and it is said."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from installation import Installation

from interp_assets.assets.scorer_validity.comparison import validity_is_current
from interp_assets.config.base import UserError
from interp_assets.config.records import PLANTED_KIND, DictionaryRecord
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.planted.claims import Claim, any_of
from interp_assets.domain.planted.rules import PlantedRule
from resources.fakes import SPECIAL, WORDS, FakeModels
from resources.language_models.interface import Request
from resources.language_models.scripted import ScriptedModel

PLANTED_KEY = "fake/planted/words"
METHODS = ["planted_true", "planted_narrowed", "planted_broadened", "planted_false"]
SCORERS = ("detection", "fuzzing", "embedding", "input_based")
STAGES = {
    "examples": {"window_tokens": 8, "n_shown": 1, "n_held_out": 10, "n_non_activating": 10, "min_activating": 12, "n_strata": 5},
    "explanations": METHODS, "scores": {"embedding": "all", "input_based": ["planted_true", "planted_false"]},
    "scoring": {"n_bootstrap": 200},
}  # fmt: skip


def rule(number: int) -> PlantedRule:
    """Fires on two words; narrowed to one of them, broadened to eight."""
    words = WORDS[8 * number : 8 * number + 8]
    claims = (Claim(f"{kind} {' '.join(words[:n])}", any_of(*words[:n])) for kind, n in (("both", 2), ("only", 1), ("any of", 8)))
    return PlantedRule(f"words-{number}", *claims)


RULES = tuple(rule(number) for number in range(12))
CLAIMS = {claim.text: claim for one in RULES for claim in (one.truth, one.narrowed, one.broadened)}


def knows(description: str, text: str) -> bool:
    """Whether a claim speaks of the text, or of its marked words where there are any."""
    marked = re.findall(r"<<(.*?)>>", text)
    return any(re.search(CLAIMS[description].pattern, part) for part in marked or [text])


JUDGES: dict[str, Callable[[str, str], bool]] = {
    "oracle": knows, "inverted": lambda description, text: not knows(description, text), "constant": lambda description, text: True,
}  # fmt: skip


class JudgingModels(FakeModels):
    """Stand-ins whose judge answers by that of JUDGES which is its name; what it writes are the words of the description, or others."""

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> ScriptedModel:
        def answer(request: Request) -> str:
            self.asked += 1
            question = request.messages[-1].content
            description, *texts = re.split(r"\nText \d+: ", question.partition("Description: ")[2])
            if request.reply_format.kind == "json":
                silent = '"silent' in request.reply_format.schema
                names = re.findall(r'"((?:silent|activating)[^"]*)": ?\{', request.reply_format.schema)
                words = "red blue green" if silent else description.splitlines()[0]
                return "{" + ", ".join(f'"{name}": "{words} {number}"' for number, name in enumerate(names)) + "}"
            return str([int(JUDGES[model](description, text)) for text in texts])

        return ScriptedModel(answer, model)


def planted(installation: Installation, **changes: Any) -> DictionaryRecord:
    fields = {
        "key": PLANTED_KEY,
        "kind": PLANTED_KIND,
        "rules": RULES,
        "token_sample": installation.record().token_sample,
        "stages": STAGES,
    }
    return DictionaryRecord.model_validate({**fields, **changes})


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


def harvested(installation: Installation, record: DictionaryRecord) -> None:
    installation.register(record)
    installation.run("token_sample", "activation_shards", key=record.key)
    installation.run("examples", *(f"explanations/{method}" for method in METHODS), key=record.key)


def judged(folder: Path, corpus: Path, judge: str, *scorers: str) -> tuple[Installation, dg.ExecuteInProcessResult]:
    """The installation in `folder` after that judge has answered these scorers, and the run of scorer_validity."""
    folder.mkdir(exist_ok=True)
    (folder / "settings.yaml").write_text(f"scorer: {{model: {judge}}}")
    installation = Installation(folder, corpus)
    installation.models = JudgingModels()
    harvested(installation, planted(installation))
    installation.run(*(f"scores/{scorer}" for scorer in scorers), key=PLANTED_KEY)
    return installation, installation.run("scorer_validity")


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> tuple[Installation, dg.ExecuteInProcessResult]:
    """A judge that knows the rules."""
    return judged(tmp_path_factory.mktemp("validity"), corpus, "oracle", *SCORERS)


def test_rules_fire_where_they_say_and_nowhere_else_and_no_model_runs(oracle: tuple[Installation, Any]) -> None:
    installation, _ = oracle
    assert installation.models.loads == 1  # the sentence encoder; JudgingModels counts no judges, and no subject was needed
    tokens = "SELECT unnest(token_ids) AS id, generate_subscripts(token_ids, 1) - 1 + row * 64 AS position FROM token_samples"
    fired = rows(installation, f"SELECT feature, id, count(*) FROM activations JOIN ({tokens}) USING (position) GROUP BY ALL")
    read = rows(installation, f"SELECT id, count(*) FROM ({tokens}) WHERE id >= {len(SPECIAL)} GROUP BY ALL")
    words = {number: set(WORDS[8 * number : 8 * number + 2]) for number in range(len(RULES))}
    expected = {(feature, i, n) for i, n in read for feature in words if WORDS[i - len(SPECIAL)] in words[feature]}
    assert set(fired) == expected and len(expected) > 20
    assert rows(installation, "SELECT count(DISTINCT value), min(value)::DOUBLE, max(value)::DOUBLE FROM activations") == [(5, 1.0, 2.0)]
    assert rows(installation, "SELECT count(*) FROM examples WHERE start = 0") == [(0,)]


def test_explanations_are_what_the_rules_state_and_the_false_one_is_true_of_another(oracle: tuple[Installation, Any]) -> None:
    found = rows(oracle[0], "SELECT feature, explanation_method, explanation, donor_feature FROM explanations")
    stated = {(feature, method): text for feature, method, text, _ in found}
    assert len(found) == len(RULES) * len(METHODS)
    for number, one in enumerate(RULES):
        assert stated[number, "planted_true"] == one.truth.text and stated[number, "planted_broadened"] == one.broadened.text
    false = [(feature, text, donor) for feature, method, text, donor in found if method == "planted_false"]
    assert all(donor != feature and text == RULES[donor].truth.text for feature, text, donor in false)
    assert len({donor for *_, donor in false}) == len(RULES)


def test_a_judge_that_knows_the_rules_passes(oracle: tuple[Installation, Any]) -> None:
    installation, result = oracle
    outcomes = {
        (scorer, metric, perturbation): outcome
        for scorer, metric, perturbation, outcome in rows(
            installation, "SELECT scorer, metric, perturbation, outcome::VARCHAR FROM scorer_validity"
        )
    }
    assert {outcomes["detection", "balanced_accuracy", p] for p in ("false", "narrowed", "broadened")} == {"passes"}
    assert outcomes["detection", "f1", "broadened"] == "passes" and outcomes["detection", "recall", "broadened"] == "fails"
    assert outcomes["detection", "precision", "narrowed"] == "fails"
    assert outcomes["fuzzing", "balanced_accuracy", "false"] == outcomes["fuzzing", "balanced_accuracy", "narrowed"] == "passes"
    assert outcomes["fuzzing", "recall", "broadened"] == "fails"
    assert outcomes["input_based", "success", "false"] == "passes" and ("input_based", "success", "narrowed") not in outcomes
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert all(check.severity == dg.AssetCheckSeverity.WARN for check in checks.values())
    for name in ("some_score_falls_with_missing_labels", "some_score_falls_with_extra_labels"):
        assert checks[name].passed and "detection | **balanced accuracy** | 12" in str(checks[name].metadata["numbers"].value)
    told = checks["scorers_tell_true_from_false"].description or ""
    assert f"{PLANTED_KEY}: detection, answered by oracle" in told and "tells true explanations from false ones" in told


def test_the_numbers_are_those_of_the_scores(oracle: tuple[Installation, Any]) -> None:
    again = """
        SELECT t.scorer, t.metric, count(*), avg(t.value), avg(p.value), median(p.value), avg(t.value - p.value),
          avg((t.value > p.value)::INT)
        FROM scores t JOIN scores p USING (scorer, metric, feature)
        WHERE t.explanation_method = 'planted_true' AND p.explanation_method = 'planted_broadened' AND t.stratum IS NULL
          AND p.stratum IS NULL AND t.value IS NOT NULL AND p.value IS NOT NULL GROUP BY ALL ORDER BY ALL"""
    kept = """SELECT scorer, metric, n_features, mean_true, mean_perturbed, median_perturbed, difference, share_right FROM scorer_validity
              WHERE perturbation = 'broadened' AND n_features > 0 ORDER BY ALL"""
    expected, found = rows(oracle[0], again), rows(oracle[0], kept)
    assert len(found) == len(expected) >= 10
    for one, other in zip(found, expected, strict=True):
        assert one[:3] == other[:3] and one[3:] == pytest.approx(other[3:])
    view = "SELECT false_outcome, narrowed_outcome, broadened_outcome FROM scorer_sanity_checks WHERE headline AND scorer = 'detection'"
    assert rows(oracle[0], view) == [("passes", "passes", "passes")]


def test_the_report_shows_words_plot_and_table(oracle: tuple[Installation, Any]) -> None:
    (event,) = [e for e in oracle[1].get_asset_materialization_events() if e.asset_key == dg.AssetKey("scorer_validity")]
    metadata = {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}
    assert metadata["in_words"].startswith(f"* {PLANTED_KEY}: detection, answered by") and metadata["planted_dictionaries"] == [PLANTED_KEY]
    assert metadata["differences"].startswith("![Planted features: does the score fall?](data:image/svg+xml;base64,")
    assert metadata["differences_figure"].startswith("![Planted features: does the score fall?](data:image/png;base64,")
    assert "| false: mean, fall, outcome | narrowed: mean, fall, outcome | broadened: mean, fall, outcome |" in metadata["by_metric"]
    assert metadata["dagster/row_count"] == rows(oracle[0], "SELECT count(*) FROM scorer_validity")[0][0]


def test_nothing_is_made_twice_and_new_scores_make_it_stale(oracle: tuple[Installation, Any]) -> None:
    installation, _ = oracle
    before = installation.lake_bytes()
    installation.run("scorer_validity")
    assert installation.lake_bytes() == before
    record = planted(installation)
    assert validity_is_current(installation.home.lake, record, PlatformSettings())
    assert validity_is_current(installation.home.lake, installation.record(), PlatformSettings())  # no matter for others
    more = planted(installation, stages={**STAGES, "scoring": {"n_bootstrap": 100}})
    assert not validity_is_current(installation.home.lake, more, PlatformSettings())


@pytest.mark.parametrize("judge", ["inverted", "constant"])
def test_a_judge_that_cannot_tell_is_not_to_be_believed(oracle: tuple[Installation, Any], tmp_path: Path, judge: str) -> None:
    shutil.copytree(oracle[0].home.root, tmp_path / judge)  # all but the scores is kept
    installation, result = judged(tmp_path / judge, oracle[0].corpus, judge, "detection")
    found = "SELECT scorer, outcome::VARCHAR FROM scorer_validity WHERE headline AND perturbation = 'false' AND judge = '"
    assert rows(installation, f"{found}{judge}'") == [("detection", "fails")]
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["scorers_tell_true_from_false"].passed
    told = checks["scorers_tell_true_from_false"].description or ""
    short, _, lines = told.partition("\n\n* ")
    assert short.startswith(f"**{PLANTED_KEY}: ") and short.endswith("; do not believe detection.**")
    assert lines.startswith(f"{PLANTED_KEY}: detection, answered by {judge}")
    assert "does not tell true explanations from false ones (mean balanced accuracy 0." in told and "do not believe its scores." in told
    assert result.success  # a warning, which blocks nothing
    logged = [event.message for event in installation.instance.all_logs(result.run_id)]
    assert any("do not believe its scores" in message for message in logged)


def test_without_planted_scores_nothing_is_known_and_that_is_said(installation: Installation) -> None:
    installation.register(installation.record(), planted(installation))
    result = installation.run("scorer_validity")
    checks = result.get_asset_check_evaluations()
    assert len(checks) == 3 and not any(check.passed for check in checks)
    assert all("Nothing is known: no planted dictionary has been scored" in (check.description or "") for check in checks)
    assert rows(installation, "SELECT count(*) FROM scorer_validity") == [(0,)]


def test_claims_that_do_not_frame_a_rule_stop_the_run_with_both_patterns(installation: Installation) -> None:
    wrong = PlantedRule("wrong", RULES[0].truth, RULES[1].narrowed, RULES[0].broadened)
    installation.register(planted(installation, rules=(wrong,)))
    installation.run("token_sample", key=PLANTED_KEY)
    result = installation.run("activation_shards", key=PLANTED_KEY, raise_on_error=False)
    (error,) = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert error.cause.cls_name == UserError.__name__
    assert "rule wrong: its narrowed explanation ('only" in error.cause.message and "change patterns or sample" in error.cause.message


def test_what_is_not_planted_states_nothing_and_a_planted_dictionary_has_no_decoder(installation: Installation) -> None:
    installation.register(installation.record(features=(0, 8), stages=STAGES), planted(installation, features=(0, 3)))
    installation.run("token_sample", "activation_shards")
    installation.run("examples", "explanations/planted_true", "explanations/planted_false")
    outcomes = "SELECT DISTINCT explanation_method, outcome FROM explanations ORDER BY 1"
    assert rows(installation, outcomes) == [("planted_false", "no_donor"), ("planted_true", "not_planted")]
    installation.run("token_sample", "activation_shards", "feature_neighbours", key=PLANTED_KEY)
    installation.run("vocabulary_projections", key=PLANTED_KEY)
    planted_here = f"dictionary = '{PLANTED_KEY}'"
    assert rows(installation, f"SELECT DISTINCT feature, outcome FROM vocabulary_projections WHERE {planted_here} ORDER BY 1") == [
        (0, "no_decoder"), (3, "no_decoder"),
    ]  # fmt: skip
    measures = f"SELECT DISTINCT measure, outcome FROM feature_neighbours WHERE {planted_here} ORDER BY 1"
    assert rows(installation, measures) == [("co_occurrence", "alone"), ("decoder_cosine", "no_decoder")]
