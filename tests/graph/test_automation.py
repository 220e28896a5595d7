"""What happens by itself: partitions that are missing, at once or at night, each once, and nothing that is in hand."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from installation import KEY, Installation
from made_by_runs import make_by_a_run

from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import TokenSampleSettings
from interp_assets.config.settings import AutomationSettings, PlatformSettings
from interp_assets.graph.assembly import ASSETS, definitions
from interp_assets.graph.automation import AUTOMATION_TAG, automated
from interp_assets.graph.sensors import automation_sensors
from interp_assets.orchestration.partitions import DICTIONARIES, DICTIONARY_BY_RANGE
from resources.fakes import FakeTokenizer

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
BY_DICTIONARY = {"/".join(a.key.path) for a in ASSETS if a.partitions_def == DICTIONARIES} - {"feature_matches", "score_stability"}
SCORE_REPORTS = {name: {"None"} for name in ("scorer_validity", "human_correlation_report", "warehouse")}
REPORTS = {"human_ratings": {"None"}, **SCORE_REPORTS}
BY_RANGE = {"/".join(a.key.path) for a in ASSETS if a.partitions_def == DICTIONARY_BY_RANGE}


class Evaluated:
    """A site's conditions, evaluated hour by hour: what each asset is requested for."""

    def __init__(self, installation: Installation, settings: str) -> None:
        installation.home.root.mkdir(parents=True, exist_ok=True)
        installation.home.settings_file.write_text(settings)
        self.instance = installation.instance
        self.definitions = definitions(installation.home, installation.models)
        self.cursor = None

    def at(self, hours: float) -> dict[str, set[str]]:
        """Partitions requested, by asset, so many hours after the first midnight."""
        time = MIDNIGHT + timedelta(hours=hours)
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor, evaluation_time=time)
        self.cursor = result.cursor
        requested = {"/".join(a.key.path): {str(p) for p in result.get_requested_partitions(a.key)} for a in ASSETS}
        return {name: partitions for name, partitions in requested.items() if partitions}

    def add(self, key: str) -> None:
        self.instance.add_dynamic_partitions("dictionary", [key])

    def made(self, names: set[str], *partitions: str | None) -> None:
        """Say that assets were materialised."""
        for name in names:
            for partition in partitions:
                event = dg.AssetMaterialization(dg.AssetKey(name.split("/")), partition=partition)
                self.instance.report_runless_asset_event(event)


def each(names: set[str], partitions: set[str]) -> dict[str, set[str]]:
    """The same partitions of several assets."""
    return {name: partitions for name in names}


def cells(key: str) -> set[str]:
    return {f"{key}|{name}" for name in FEATURE_RANGE_KEYS}


@pytest.mark.slow
def test_a_new_dictionary_is_explained_stage_by_stage_and_an_old_one_is_left(installation: Installation) -> None:
    site = Evaluated(installation, "")
    site.add("m/0/old")
    assert site.at(1) == {}, "what was missing before is for `interp backfill` or the night"
    site.add("m/0/new")
    assert site.at(2) == each(BY_DICTIONARY, {"m/0/new"})
    assert site.at(3) == {}, "each once, so that a failure waits for a person"
    make_by_a_run(site.instance, BY_DICTIONARY, "m/0/new", asked_for_by_a_condition=True)
    assert site.at(4) == each(BY_RANGE, cells("m/0/new"))
    site.made(BY_RANGE, *cells("m/0/new"))
    assert site.at(5) == {"feature_matches": {"m/0/new"}, "score_stability": {"m/0/new"}, **REPORTS}


def test_the_warehouse_follows_what_is_new_whatever_another_dictionary_lacks(installation: Installation) -> None:
    site = Evaluated(installation, "")
    site.add("m/0/new")
    site.add("m/0/broken")
    assert site.at(1) == {}
    site.made({"scores/fuzzing"}, "m/0/new|00of16")
    assert site.at(2) == SCORE_REPORTS
    site.made({"warehouse"}, None)
    assert site.at(3) == {}
    site.made({"scores/fuzzing"}, "m/0/new|00of16")
    assert site.at(4) == SCORE_REPORTS


NIGHTLY = "automation: {when: nightly, cron: '30 2 * * *', timezone: Europe/Berlin}"


@pytest.mark.slow
def test_quiet_days_and_at_night_everything_that_is_missing(installation: Installation) -> None:
    """Half past two in Berlin is half past one UTC in March."""
    site = Evaluated(installation, NIGHTLY)
    site.add("m/0/old")
    assert site.at(0) == {} and site.at(1.4) == {}
    assert site.at(1.6) == each(BY_DICTIONARY, {"m/0/old"}), "older partitions too"
    assert site.at(1.7) == {}
    make_by_a_run(site.instance, BY_DICTIONARY, "m/0/old", asked_for_by_a_condition=True)
    assert site.at(2) == each(BY_RANGE, cells("m/0/old")), "the next stage waits for the last, not for another night"
    site.add("m/0/late")
    assert site.at(3) == {} and site.at(20) == {}, "what comes by day waits for the night"
    site.made(BY_RANGE - {"scores/fuzzing"}, *cells("m/0/old"))
    assert site.at(25) == {"feature_matches": {"m/0/old"}, **REPORTS}
    assert site.at(25.6) == {
        **each(BY_DICTIONARY, {"m/0/late"}),
        "scores/fuzzing": cells("m/0/old"),
        "feature_matches": {"m/0/old"},
    }


@pytest.mark.parametrize("settings", ["", "automation: {when: nightly, cron: '0 2 * * *'}"])
def test_what_a_run_has_in_hand_is_not_requested_again(
    new_installation: Callable[[str], Installation], monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    installation = new_installation("busy")
    site = Evaluated(installation, settings)
    assert site.at(1) == {}
    installation.register(installation.record())
    during: list[dict[str, set[str]]] = []

    def tokenizer(source: str, revision: str | None) -> FakeTokenizer:
        during.append(site.at(2.1))
        return FakeTokenizer()

    monkeypatch.setattr(installation.models, "tokenizer", tokenizer)
    installation.run("token_sample")
    assert KEY in site.instance.get_dynamic_partitions("dictionary") and during == [{}]
    assert site.at(2.2) == each(BY_DICTIONARY - {"token_sample"}, {KEY})


def test_never_means_by_hand_alone(installation: Installation) -> None:
    settings = AutomationSettings(when="never")
    assert [sensor.name for sensor in automation_sensors(PlatformSettings(automation=settings))] == ["new_dictionaries", "new_ratings"]
    assert all(asset.specs_by_key[asset.key].automation_condition is None for asset in automated(ASSETS, settings))
    site = Evaluated(installation, "automation: {when: never}")
    assert site.at(1) == {}
    site.add("m/0/new")
    assert site.at(2) == {}


def test_the_sensor_runs_by_default_and_every_asset_has_a_condition() -> None:
    *_, sensor = automation_sensors(PlatformSettings())
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert all(asset.specs_by_key[asset.key].automation_condition is not None for asset in automated(ASSETS, AutomationSettings()))


@pytest.mark.slow
def test_dictionaries_that_come_with_a_broken_one_go_on_and_it_follows_when_mended(installation: Installation) -> None:
    site = Evaluated(installation, "")
    site.at(0)
    broken, last, textless = "fake/07/neurons", "fake/08/neurons", "fake/09/neurons"
    without_text = TokenSampleSettings(corpus=(f"text:{installation.corpus}/none-*.txt",), n_tokens=8192, context_tokens=64)
    installation.register(
        installation.record(),
        installation.record(broken, hook="blocks.70.mlp.hook_post"),
        installation.record(last, hook="blocks.1.mlp.hook_post"),
        installation.record(textless, token_sample=without_text),
    )
    keys = {KEY, broken, last, textless}
    assert site.at(1) == each(BY_DICTIONARY, keys)

    def run(*names: str, **options: Any) -> dg.ExecuteInProcessResult:
        return installation.run(*names, tags={AUTOMATION_TAG: "true"}, raise_on_error=False, **options)

    first = run("token_sample", key=KEY, last_key=textless)
    assert not first.success and textless in failure_of(first) and "none-*.txt" in failure_of(first)
    second = run("activation_shards", "feature_neighbours", "window_embeddings", key=KEY, last_key=last)
    assert not second.success
    assert re.match(
        "1 of 3 dictionaries failed, the others are made. fake/07/neurons failed: .*blocks.70.mlp.hook_post", failure_of(second)
    )
    assert not site.instance.get_materialized_partitions(dg.AssetKey("feature_neighbours"))
    records = site.instance.fetch_materializations(dg.AssetKey("activation_shards"), limit=10).records
    shards = {record.partition_key: record.asset_materialization for record in records}
    assert set(shards) == {KEY, last}
    for key, event in shards.items():
        cell = {"dictionary": key, "feature_range": FEATURE_RANGE_KEYS[0]}
        assert event and event.tags == {"dagster/data_version": installation.home.lake.require("activations", cell).data_version}
        assert event.metadata["activations"].value > 0 and event.metadata["self_check_l0"].value == 8

    # What waited for the failed run goes on for the others, and each is asked for once more, not at every tick.
    asked = site.at(2)
    assert asked.pop("activation_shards") == {broken}, "the sample that it reads is new since it was asked for"
    assert asked == {"feature_neighbours": {KEY, last}}
    assert site.at(3) == {}
    assert not run("activation_shards", key=broken).success
    assert site.at(4) == {}

    installation.register(installation.record(broken))
    assert run("activation_shards", key=broken).success
    assert site.at(5) == {"feature_neighbours": {broken}}
    for key in (KEY, last, broken):
        assert run("feature_neighbours", key=key).success
    assert site.at(6) == each(BY_RANGE, {cell for key in (KEY, last, broken) for cell in cells(key)})


@pytest.mark.parametrize("failing", [(), ("fake/07/neurons",)], ids=["alone", "beside a broken one"])
def test_what_a_blocking_check_stopped_waits_for_a_person(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, failing: tuple[str, ...]
) -> None:
    site = Evaluated(installation, "")
    site.at(0)
    installation.register(installation.record(), *(installation.record(key, hook="blocks.70.mlp.hook_post") for key in failing))
    last = failing[-1] if failing else KEY
    site.at(1)
    found = [
        dg.AssetCheckResult(check_name="statistics_agree_with_shards", passed=False, metadata={"disagreeing": [KEY]}),
        dg.AssetCheckResult(check_name="some_features_fire", passed=True),
    ]
    monkeypatch.setattr("interp_assets.assets.activation_shards.asset._report", lambda *_: found)
    by_itself = {"tags": {AUTOMATION_TAG: "true"}, "raise_on_error": False}
    result = installation.run("token_sample", "activation_shards", "feature_neighbours", key=KEY, last_key=last, **by_itself)
    assert not result.success
    if failing:
        assert "1 of 2 dictionaries failed, the others do not count as made, since statistics_agree_with_shards did not pass" in failure_of(
            result
        )
    assert site.instance.get_materialized_partitions(dg.AssetKey("activation_shards")) == (set() if failing else {KEY})
    assert not site.instance.get_materialized_partitions(dg.AssetKey("feature_neighbours"))
    assert "feature_neighbours" not in site.at(2) and "feature_neighbours" not in site.at(3)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What the first failed step of a run says."""
    failed = result.get_step_failure_events()[0]
    data = failed.step_failure_data
    return data.user_failure_data.description if data.user_failure_data else str(data.error)
