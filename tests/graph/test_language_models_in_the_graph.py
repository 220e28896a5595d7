"""What a site says about its language models, through the graph: budgets, requirements, speed, progress, cost."""

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
import yaml
from installation import KEY, Installation

from interp_assets.config.base import UserError
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.scoring import detection, fuzzing
from interp_assets.domain.trials import Verdict
from interp_assets.orchestration import stage_progress
from resources.language_models import ask_all
from resources.language_models.interface import Capability
from resources.language_models.scripted import ScriptedModel

RANGED = ("examples", "explanations/max_act", "explanations/shuffled", "scores/detection", "scores/fuzzing")


@pytest.fixture
def harvested(installation: Installation) -> Installation:
    """An installation up to its activations."""
    installation.register(installation.record())
    installation.run("token_sample", "activation_shards")
    return installation


def write_settings(installation: Installation, **settings: object) -> None:
    installation.home.settings_file.write_text(yaml.safe_dump(settings))


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


def failure(result: dg.ExecuteInProcessResult) -> dg.DagsterEvent:
    """The first failed step."""
    return next(event for event in result.all_events if event.is_step_failure)


def test_a_spent_budget_stops_the_run_with_its_numbers_and_the_next_run_asks_only_the_rest(harvested: Installation) -> None:
    harvested.run(*RANGED)
    needed = harvested.models.asked
    fresh = Installation(harvested.home.root.parent / "fresh", harvested.corpus)
    fresh.register(fresh.record())
    fresh.run("token_sample", "activation_shards")
    write_settings(fresh, budget={"tokens": 20_000})
    event = failure(fresh.run(*RANGED, raise_on_error=False))
    data = event.step_failure_data
    # One budget for the whole run: the explanations of the first stage count in the stage that stops.
    assert event.step_key and event.step_key.startswith("scores__")
    assert "the budget of 20,000 tokens is spent" in str(data.error) and "run again to ask the rest" in str(data.error)
    assert data.user_failure_data and data.user_failure_data.metadata["tokens"].value >= 20_000
    first = fresh.models.asked
    assert 0 < first < needed
    assert fresh.home.replies.size().n_replies == first
    write_settings(fresh, budget={"tokens": 100_000_000})
    fresh.run(*RANGED)
    assert fresh.models.asked == needed
    # The ledger knows what the method cost, and not only what the last run paid.
    cost = "SELECT asset, explanation_method, count(*), sum(prompt_tokens), sum(completion_tokens) FROM ledger GROUP BY 1, 2 ORDER BY 1, 2"
    assert rows(fresh, cost) == rows(harvested, cost)
    sources = dict(rows(fresh, "SELECT source, count(*) FROM ledger GROUP BY 1"))
    assert sources["store"] > 0 and sources["model"] + sources["store"] == needed
    repeated = "SELECT sum(prompt_tokens), sum(seconds) FROM ledger WHERE source = 'repeated'"
    assert rows(fresh, repeated) in ([(0, 0.0)], [(None, None)])


def test_a_budget_in_dollars_without_a_price_is_refused(harvested: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    write_settings(harvested, budget={"usd": 1.0})
    monkeypatch.setattr("resources.language_models.ledger.prices", dict)
    error = failure(harvested.run("examples", "explanations/max_act", raise_on_error=False)).step_failure_data.error
    assert "needs a price for 'rule'" in str(error) and harvested.models.asked == 0


def test_what_the_model_must_offer_is_checked_before_the_first_question(harvested: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    offered: frozenset[Capability] = frozenset({"structured_reply"})
    monkeypatch.setattr(ScriptedModel, "capabilities", property(lambda model: offered))
    write_settings(harvested, explainer={"require": ["answer_probabilities", "structured_reply"]})
    error = failure(harvested.run("examples", "explanations/max_act", raise_on_error=False)).step_failure_data.error
    assert "does not offer answer_probabilities" in str(error) and harvested.models.asked == 0


def test_asking_faster_makes_nothing_stale_and_another_model_does(harvested: Installation) -> None:
    harvested.run(*RANGED)
    asked, loads = harvested.models.asked, harvested.models.loads
    write_settings(harvested, scorer={"options": {"concurrency": 256}, "require": ["answer_probabilities"]}, budget={"tokens": 1})
    harvested.run(*RANGED)
    assert (harvested.models.asked, harvested.models.loads) == (asked, loads)
    write_settings(harvested, scorer={"options": {"dtype": "bfloat16"}})
    harvested.run(*RANGED)
    # Both scorers are made again; the stand-in's identity does not change with the option, so that every answer is in the store.
    assert (harvested.models.asked, harvested.models.loads) == (asked, loads + 2)


def test_progress_is_on_the_asset_while_it_runs(harvested: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_all, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(stage_progress, "OBSERVE_SECONDS", 0.0)
    harvested.run("examples", "explanations/max_act")
    key = dg.AssetKey(["explanations", "max_act"])
    events = harvested.instance.fetch_observations(key, limit=100).records
    (made,) = harvested.instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=[f"{KEY}|00of16"]), limit=1).records
    while_running = [record.asset_observation for record in events if record.timestamp < made.timestamp]
    assert while_running and while_running[-1] is not None
    seen = {name: value.value for name, value in while_running[-1].metadata.items()}
    assert 0 < seen["done"] < seen["total"] and seen["rate"] > 0 and seen["eta_seconds"] >= 0


def test_a_budget_of_nothing_is_a_mistake(installation: Installation) -> None:
    installation.home.settings_file.parent.mkdir(parents=True, exist_ok=True)
    write_settings(installation, budget={"tokens": 0})
    with pytest.raises(UserError, match=r"budget\.tokens.*greater than 0 \(got 0\)"):
        PlatformSettings.read(installation.home.settings_file)


def test_changing_a_grader_asks_nothing_and_changing_a_prompt_asks_just_its_trials(
    harvested: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    harvested.run(*RANGED)
    asked = harvested.models.asked
    trials = dict(rows(harvested, "SELECT scorer, count(*) FROM trials GROUP BY 1"))
    right = rows(harvested, "SELECT count(*) FROM verdicts WHERE scorer = 'detection' AND truth = prediction")
    grade = detection.grade

    def contrary(*given: Any) -> tuple[Verdict, ...]:
        return tuple(replace(v, prediction=None if v.prediction is None else not v.prediction) for v in grade(*given))

    with monkeypatch.context() as patch:
        patch.setattr(detection, "VERSION", "detection/contrary")
        patch.setattr(detection, "grade", contrary)
        harvested.run(*RANGED)
    wrong = rows(harvested, "SELECT count(*) FROM verdicts WHERE scorer = 'detection' AND truth != prediction")
    assert harvested.models.asked == asked and wrong == right
    with monkeypatch.context() as patch:
        patch.setattr(fuzzing, "VERSION", "fuzzing/other-words")
        patch.setattr(fuzzing, "instructions", lambda *_: "Say 1 where the description fits the marked words and 0 elsewhere.")
        harvested.run(*RANGED)
    assert 0 < harvested.models.asked - asked <= trials["fuzzing"]
    versions = rows(harvested, "SELECT scorer, any_value(prompt_version), count(DISTINCT prompt_version) FROM trials GROUP BY 1 ORDER BY 1")
    assert versions == [("detection", detection.VERSION, 1), ("fuzzing", "fuzzing/other-words", 1)]
