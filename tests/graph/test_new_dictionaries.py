"""New records fill themselves: what the conditions ask for tick by tick, and the real daemon and webserver from a dropped file on."""

import re
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest
import yaml
from installation import KEY, Installation
from made_by_runs import make_by_a_run
from running import RunningDagster, eventually

from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.definitions import defs
from interp_assets.graph.assembly import ASSETS
from interp_assets.installation.doctor import findings

OTHER = "fake/01/neurons"
BY_DICTIONARY = {"token_sample", "activation_shards", "feature_neighbours", "window_embeddings"}
BY_RANGE = {"/".join(a.key.path) for a in ASSETS if isinstance(a.partitions_def, dg.MultiPartitionsDefinition)}
RUNNING_BY_RANGE = {name for name in BY_RANGE if "/" not in name}
RUNNING_BY_RANGE |= {"explanations/max_act", "explanations/shuffled", "scores/detection", "scores/fuzzing"}
LLM_ASSETS = {"explanations/max_act", "scores/detection", "scores/fuzzing"}  # those that the records' settings ask for
TICKS = """{ sensorsOrError(repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "interp_assets"}) {
  ... on Sensors { results { name sensorState { ticks(limit: 20) { status skipReason error { message } logEvents { events { message } } }
  } } } } }"""


class Ticks:
    """An instance on which the conditions are evaluated without a daemon; `next()` is what a tick asks for, by asset."""

    def __init__(self) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self._cursor = dg.evaluate_automation_conditions(defs, self.instance).cursor

    def next(self) -> dict[str, int]:
        """Number of partitions by asset; unpartitioned assets count 1."""
        result = dg.evaluate_automation_conditions(defs, self.instance, cursor=self._cursor)
        self._cursor = result.cursor
        asked = {asset: result.get_num_requested(asset.key) for asset in ASSETS}
        return {"/".join(asset.key.path): n for asset, n in asked.items() if n}

    def add(self, *keys: str) -> None:
        """New dictionaries."""
        self.instance.add_dynamic_partitions("dictionary", list(keys))

    def make(self, *names: str, key: str) -> None:
        """Materialisations of one partition."""
        for name in names:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(name.split("/"), partition=key))


def test_the_stages_of_a_new_dictionary_are_asked_for_in_order_and_those_by_range_all_at_once() -> None:
    ticks = Ticks()
    ticks.add("a/0/x", "a/0/y")
    assert ticks.next() == dict.fromkeys(BY_DICTIONARY, 2)
    assert ticks.next() == {}
    for key in ("a/0/x", "a/0/y"):
        make_by_a_run(ticks.instance, {"token_sample", "activation_shards"}, key, asked_for_by_a_condition=True)
    assert ticks.next() == {}  # projections could begin, and would be a backfill of their own
    for key in ("a/0/x", "a/0/y"):
        make_by_a_run(ticks.instance, {"window_embeddings"}, key, asked_for_by_a_condition=True)
    assert ticks.next() == {}
    for key in ("a/0/x", "a/0/y"):
        make_by_a_run(ticks.instance, {"feature_neighbours"}, key, asked_for_by_a_condition=True)
    assert ticks.next() == dict.fromkeys(BY_RANGE, 2 * len(FEATURE_RANGE_KEYS))
    ticks.make("vocabulary_projections", key="a/0/x|00of16")
    assert ticks.next() == {}
    ticks.make("scores/fuzzing", key="a/0/x|00of16")
    assert ticks.next() == {"scorer_validity": 1, "human_correlation_report": 1, "warehouse": 1}
    assert ticks.next() == {}


def test_what_was_missing_before_is_left_to_the_command() -> None:
    ticks = Ticks()
    ticks.instance = dg.DagsterInstance.ephemeral()
    ticks.add("a/0/x")
    ticks._cursor = dg.evaluate_automation_conditions(defs, ticks.instance).cursor
    assert ticks.next() == {}
    make_by_a_run(ticks.instance, BY_DICTIONARY, "a/0/x", asked_for_by_a_condition=False)
    assert ticks.next() == {}
    ticks.add("a/0/y")
    assert ticks.next() == dict.fromkeys(BY_DICTIONARY, 1)


@pytest.mark.daemon
@pytest.mark.slow
def test_two_dropped_records_are_filled_by_the_daemon_and_a_broken_one_is_named(installation: Installation, tmp_path: Path) -> None:
    with RunningDagster(installation.home) as dagster:
        ticks = lambda: {s["name"]: s["sensorState"]["ticks"] for s in dagster.server.query(TICKS)["sensorsOrError"]["results"]}  # noqa: E731
        eventually(lambda: any(t["status"] == "SKIPPED" for t in ticks()["missing_partitions"]), "tick of the automation")
        folder = installation.home.registry.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "broken.yaml").write_text("key: fake/02/neurons\nhook: [\n")
        few = {"features": tuple(range(0, 64, 4))}
        for key, hook in ((KEY, "blocks.0.mlp.hook_post"), (OTHER, "blocks.1.mlp.hook_post")):
            installation.home.registry.write(installation.record(key, hook=hook, **few))
        eventually(lambda: dagster.is_made("warehouse", 0), f"warehouse; runs: {[run['status'] for run in dagster.runs()]}", pause=1)
        expected = {**dict.fromkeys(RUNNING_BY_RANGE, 2 * len(FEATURE_RANGE_KEYS)), **dict.fromkeys(BY_DICTIONARY, 2)}
        assert {name: n for name, n in expected.items() if not dagster.is_made(name, n)} == {}, [
            (backfill["status"], backfill["numPartitions"], len(backfill["assetSelection"])) for backfill in dagster.backfills()
        ]

        # Per dictionary first, then every stage by range in one backfill with its progress, a run for each dictionary.
        made = [
            ({"/".join(a["path"]) for a in b["assetSelection"]}, b["numPartitions"], b["status"], b["error"], b["id"])
            for b in dagster.backfills()
        ]
        by_range = [backfill for backfill in made if backfill[0] & RUNNING_BY_RANGE]
        assert [backfill[:-1] for backfill in by_range] == [(RUNNING_BY_RANGE, 2 * len(FEATURE_RANGE_KEYS), "COMPLETED_SUCCESS", None)]
        runs = [run for run in dagster.runs() if run["tags"].get("dagster/backfill") == by_range[0][-1]]
        assert [run["status"] for run in runs] == ["SUCCESS", "SUCCESS"]
        assert {run["tags"]["dagster/asset_partition_range_start"].split("|")[0] for run in runs} == {KEY, OTHER}
        assert {run["status"] for run in dagster.runs()} == {"SUCCESS"}

        # Both share a forward pass where they came at one tick; every other model loads once for a stage and run.
        loads = Counter(dagster.loads())
        assert set(loads.values()) == {1}, loads
        assert Counter(asset for _, asset, _ in loads if asset in LLM_ASSETS) == dict.fromkeys(LLM_ASSETS, 2)

        logged = [e["message"] for t in ticks()["new_dictionaries"] for e in t["logEvents"]["events"]]
        told = r"record broken\.yaml is not registered: .*broken\.yaml holds no record: it is not YAML"
        assert any(re.search(told, line) for line in logged), logged
    broken = [finding for finding in findings(installation.home) if finding.mark == "FAIL"]
    assert [finding.subject for finding in broken] == ["broken record"] and "broken.yaml holds no record: it is not YAML" in broken[0].text


@pytest.mark.daemon
@pytest.mark.slow
def test_a_dictionary_that_fails_in_a_shared_run_is_named_and_stops_no_other(installation: Installation, tmp_path: Path) -> None:
    """Both are checkpoints in a watched folder, so each comes to be registered by itself."""
    failing, checkpoints = "fake/70/neurons", tmp_path / "checkpoints"
    record = installation.record(KEY, features=(0, 4)).model_dump(mode="json", exclude_defaults=True)
    record |= {"key": "fake/{step:02d}/neurons", "hook": "blocks.{step}.mlp.hook_post", "source": None}
    watch = {"folder": str(checkpoints), "pattern": "{step}", "record": record, "settle_seconds": 0}
    installation.home.root.mkdir(parents=True, exist_ok=True)
    installation.home.settings_file.write_text(yaml.safe_dump({"watch": watch}))
    with RunningDagster(installation.home) as dagster:
        ticks = lambda: {s["name"]: s["sensorState"]["ticks"] for s in dagster.server.query(TICKS)["sensorsOrError"]["results"]}  # noqa: E731
        eventually(lambda: any(t["status"] == "SKIPPED" for t in ticks()["missing_partitions"]), "tick of the automation")
        aside = tmp_path / "aside"
        for step in ("0", "70"):
            (aside / step).mkdir(parents=True)
            (aside / step / "weights").write_bytes(b"")
        aside.rename(checkpoints)  # so that both are seen at one tick
        eventually(lambda: dagster.is_made("scores/fuzzing", 16), f"scores; runs: {[run['status'] for run in dagster.runs()]}", pause=1)
        failed = [run["runId"] for run in dagster.runs() if run["status"] == "FAILURE"]
        said = [failure_of(dagster.instance, run) for run in failed]
        assert said and all(failing in one and "blocks.70.mlp.hook_post" in one for one in said), said
        assert len(failed) <= 2, "its shared run, and once more since its sample is new"
        assert dagster.is_made("token_sample", 2) and dagster.is_made("activation_shards", 1)


def failure_of(instance: dg.DagsterInstance, run_id: str) -> str:
    """What the failed step of a run says."""
    (record,) = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    event = record.event_log_entry.dagster_event
    assert event is not None
    data = event.step_failure_data
    return (data.user_failure_data and data.user_failure_data.description) or str(data.error)
