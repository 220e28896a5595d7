"""What a home takes is what lies on disk, and the rules of retention remove exactly what they say."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from interp_assets.cli.main import app
from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import DEFAULT_SCORES
from interp_assets.installation import retention
from interp_assets.installation.home import Home
from interp_assets.installation.retention import planned_thinning, thin
from interp_assets.installation.unfinished_runs import home_instance
from interp_assets.installation.usage import bytes_of, bytes_of_no_partition, other_sizes, spent_by_month, table_sizes
from interp_assets.tables import ACTIVATIONS, EXAMPLES, EXPLANATIONS, SCORES
from resources.language_models import reply_store
from resources.language_models.interface import ModelIdentity, Reply
from resources.run_launcher import IN_PROCESS_TAG

NO_METHODS = {"explanations": [], "scores": {name: [] for name in DEFAULT_SCORES}}


def home_with(tmp_path: Path, steps: tuple[int, ...], settings: str = "") -> Home:
    """A home with checkpoints of one run, each with two ranges of activations and of scores and all examples, and one dictionary that is no
    checkpoint, without examples."""
    home = Home(tmp_path / "home", str(tmp_path / "home" / "lake"))
    home.root.mkdir()
    home.settings_file.write_text(settings)
    for step in (*steps, None):
        key = "fake/03/sae" if step is None else f"fake/03/run-{step}"
        checkpoint = None if step is None else {"series": "fake/03/run-{step}", "step": step}
        content = {"key": key, "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 8, "width": 64, "checkpoint": checkpoint}
        content["stages"] = NO_METHODS
        home.registry.write(DictionaryRecord.model_validate(content))
        for name in FEATURE_RANGE_KEYS if step is not None else ():
            whole = {"dictionary": key, "feature_range": name}
            home.lake.write("examples", whole, EXAMPLES.schema, EXAMPLES.schema.empty_table(), "v")
        for number in ("00of16", "01of16"):
            by_range = {"dictionary": key, "feature_range": number}
            home.lake.write("activations", by_range, ACTIVATIONS.schema, ACTIVATIONS.schema.empty_table(), "v")
            home.lake.write("scores", {"scorer": "fuzzing", **by_range}, SCORES.schema, SCORES.schema.empty_table(), "v")
    return home


@contextmanager
def no_runs(home: Home) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def kept(home: Home, table: str) -> list[str]:
    return sorted({manifest.partition["dictionary"] for manifest in home.lake.manifests(table)})


def test_old_checkpoints_lose_the_tables_that_the_rule_names_and_nothing_else(tmp_path: Path) -> None:
    rules = "retention: {checkpoints: {keep_last: 2, keep_every: 400}}"
    home = home_with(tmp_path, (100, 400, 500, 900, 1000), rules)
    planned = planned_thinning(home)
    assert {manifest.partition["dictionary"] for manifest in planned.partitions} == {"fake/03/run-100", "fake/03/run-500"}
    assert kept(home, "activations") == kept(home, "scores"), "planning removes nothing"
    said: list[str] = []
    thin(home, planned, said.append, no_runs)
    assert kept(home, "activations") == ["fake/03/run-1000", "fake/03/run-400", "fake/03/run-900", "fake/03/sae"]
    assert len(kept(home, "scores")) == 6 and len(home.registry.keys()) == 6
    assert said[0].startswith("removed 4 partitions, ") and planned_thinning(home).is_empty
    assert not list(Path(home.lake.root).glob("activations/*run-100")), "no empty folders stay"
    assert home.lake.incomplete() == []


def test_a_checkpoint_that_is_not_finished_keeps_what_it_is_made_from(tmp_path: Path) -> None:
    home = home_with(tmp_path, (1, 2, 3, 4), "retention: {checkpoints: {keep_last: 1, drop: [activations, examples]}}")
    scored = {**NO_METHODS, "explanations": ["max_act"], "scores": {**NO_METHODS["scores"], "fuzzing": "all"}}
    for step in (2, 3):
        home.registry.write(home.registry.get(f"fake/03/run-{step}").model_copy(update={"stages": scored}))
    for name in FEATURE_RANGE_KEYS:
        here = {"dictionary": "fake/03/run-3", "feature_range": name}
        home.lake.write(
            "explanations", {"explanation_method": "max_act", **here}, EXPLANATIONS.schema, EXPLANATIONS.schema.empty_table(), "v"
        )
        if name != "15of16":
            home.lake.write("scores", {"scorer": "fuzzing", **here}, SCORES.schema, SCORES.schema.empty_table(), "v")
    planned = planned_thinning(home)
    assert planned.unfinished == ("fake/03/run-2", "fake/03/run-3") and len(planned.partitions) == 2 + 16
    assert (
        "kept, since not all is made yet that the settings ask for: fake/03/run-2, fake/03/run-3; interp backfill"
        in list(planned.lines())[-1]
    )
    home.lake.write("scores", {"scorer": "fuzzing", **here}, SCORES.schema, SCORES.schema.empty_table(), "v")
    assert planned_thinning(home).unfinished == ("fake/03/run-2",)
    thin(home, planned_thinning(home), lambda line: None, no_runs)
    assert kept(home, "activations") == ["fake/03/run-2", "fake/03/run-4", "fake/03/sae"]


def test_checkpoints_that_failed_take_no_place_of_the_newest(tmp_path: Path) -> None:
    home = home_with(tmp_path, (1, 2, 3, 4, 5), "retention: {checkpoints: {keep_last: 2}}")
    for step in (4, 5):
        for name in ("00of16", "01of16"):
            home.lake.remove("activations", {"dictionary": f"fake/03/run-{step}", "feature_range": name})
    thin(home, planned_thinning(home), lambda line: None, no_runs)
    assert kept(home, "activations") == ["fake/03/run-2", "fake/03/run-3", "fake/03/sae"]


def test_copies_for_sql_go_with_what_they_are_copies_of(tmp_path: Path) -> None:
    home = home_with(tmp_path, (1, 2), "retention: {checkpoints: {keep_last: 1, drop: [examples]}}")
    for step in (1, 2):
        for name in ("00of16", "01of16"):
            row = {field.name: one_of(field.type) for field in EXAMPLES.schema} | {
                "dictionary": f"fake/03/run-{step}",
                "feature_range": name,
            }
            rows = pa.Table.from_pylist([row], EXAMPLES.schema)
            home.lake.write("examples", {"dictionary": f"fake/03/run-{step}", "feature_range": name}, EXAMPLES.schema, rows, "v2")
    assert home.warehouse.copy()

    def copied() -> list[str]:
        return sorted(file.parent.name for file in home.warehouse.copies_folder.glob("examples/dictionary=*/*.parquet"))

    assert copied() == ["dictionary=fake%2F03%2Frun-1", "dictionary=fake%2F03%2Frun-2"]
    thin(home, planned_thinning(home), lambda line: None, no_runs)
    assert copied() == ["dictionary=fake%2F03%2Frun-2"]
    assert home.warehouse.query("SELECT DISTINCT dictionary FROM examples").rows["dictionary"].to_pylist() == ["fake/03/run-2"]


def one_of(type_: pa.DataType) -> object:
    """A value of an Arrow type, the plainest."""
    return [] if pa.types.is_list(type_) else pa.array([0]).cast(type_)[0].as_py() if pa.types.is_primitive(type_) else "shown"


def test_a_kill_between_manifest_and_part_leaves_nothing_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_with(tmp_path, (1, 2), "retention: {checkpoints: {keep_last: 1}}")
    planned = planned_thinning(home)
    real, removed = home.lake.discard, []

    def killed(table: str, partition: dict[str, str]) -> None:
        real(table, partition)
        removed.append(partition)
        raise KeyboardInterrupt

    monkeypatch.setattr(home.lake, "discard", killed)
    with pytest.raises(KeyboardInterrupt):
        thin(home, planned, lambda line: None, no_runs)
    monkeypatch.undo()
    with pytest.raises(Exception, match="the lake has no complete"):
        home.lake.read("activations", removed[0])
    thin(home, planned, lambda line: None, no_runs)
    assert home.lake.incomplete() == [] and kept(home, "activations") == ["fake/03/run-2", "fake/03/sae"]


def came(home: Home, key: str, when: float, model: str, prompt: int) -> None:
    """A reply that came at a time, in seconds since 1970."""
    store = home.replies
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reply_store.time, "time", lambda: when)
        store.append(key, ModelIdentity("openai", model, "r"), Reply("[1]", "stop", prompt, 10, 5, 0.1))
        store.flush()


def test_tokens_and_money_are_summed_by_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_with(tmp_path, ())
    assert spent_by_month(home).is_empty()
    monkeypatch.setattr("resources.language_models.ledger.prices", lambda: {"dear": {"prompt": 2.0, "cached": 1.0, "completion": 4.0}})
    march, april = 1_772_366_400.0, 1_775_044_800.0  # 2026-03-01 12:00 and 2026-04-01 12:00 UTC
    for key, when, model, prompt in (("a", march, "dear", 1000), ("b", april, "dear", 3000), ("c", april, "own", 7)):
        came(home, key, when, model, prompt)
    came(home, "b", april, "dear", 3000)  # written by two processes
    rows = spent_by_month(home).to_dicts()
    assert [(row["month"], row["model"], row["replies"], row["prompt_tokens"], row["completion_tokens"]) for row in rows] == [
        ("2026-03", "dear", 1, 1000, 5), ("2026-04", "dear", 1, 3000, 5), ("2026-04", "own", 1, 7, 5)
    ]  # fmt: skip
    assert rows[0]["price_usd"] == pytest.approx((990 * 2 + 10 * 1 + 5 * 4) / 1e6) and rows[2]["price_usd"] is None


def test_nothing_is_removed_while_a_run_may_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = "retention: {replies_days: 30, checkpoints: {keep_last: 1}}"
    home = home_with(tmp_path, (1, 2), rules)
    came(home, "old", time.time() - 31 * 86_400, "m", 1)
    planned, before = planned_thinning(home), kept(home, "activations")
    tables_alone = replace(planned, n_replies=0)
    with home_instance(home) as instance:
        written = run_over("fake/03/run-1|00of16")
        instance.add_run(written)
        for one in (planned, tables_alone):
            with pytest.raises(UserError, match=f"run {written.run_id} of Dagster is not finished and may write fake/03/run-1: wait"):
                thin(home, one, lambda line: None)
        instance.delete_run(written.run_id)
        other = run_over("fake/03/sae|00of16")
        instance.add_run(other)
        with pytest.raises(UserError, match=f"run {other.run_id} of Dagster is not finished and may read and keep replies"):
            thin(home, planned, lambda line: None)
        assert kept(home, "activations") == before and set(home.replies.get_many(["old"])) == {"old"}
        monkeypatch.setenv("INTERP_HOME", str(home.root))
        refused = CliRunner().invoke(app, ["replies", "--prune-older-than-days", "0"])
        assert refused.exit_code == 1 and f"run {other.run_id} of Dagster is not finished" in refused.output
        assert set(home.replies.get_many(["old"])) == {"old"}
        thin(home, tables_alone, lambda line: None)
        assert "fake/03/run-1" not in kept(home, "activations")
        instance.delete_run(other.run_id)
        instance.add_run(run_over("fake/03/sae|00of16", **{IN_PROCESS_TAG: "no-boot:999999:1"}))
        thin(home, planned_thinning(home), lambda line: None)  # the process of that run is gone
    assert home.replies.get_many(["old"]) == {}


def run_over(partition: str, **tags: str) -> dg.DagsterRun:
    return dg.DagsterRun(job_name="j", status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": partition, **tags})


def test_old_replies_go_by_rule(tmp_path: Path) -> None:
    home = home_with(tmp_path, (), "retention: {replies_days: 30}")
    came(home, "old", time.time() - 31 * 86_400, "m", 1)
    came(home, "new", time.time() - 29 * 86_400, "m", 1)
    planned = planned_thinning(home)
    assert planned.n_replies == 1 and list(planned.lines()) == ["1 replies"]
    thin(home, planned, lambda line: None, no_runs)
    assert set(home.replies.get_many(["old", "new"])) == {"new"} and planned_thinning(home).is_empty


def test_sizes_are_those_on_disk(tmp_path: Path) -> None:
    home = home_with(tmp_path, (1,))
    sizes = table_sizes(home)
    assert sizes.select("dictionary", "table", "partitions").sort("dictionary", "table").rows() == [
        ("fake/03/run-1", "activations", 2), ("fake/03/run-1", "examples", 16), ("fake/03/run-1", "scores", 2),
        ("fake/03/sae", "activations", 2), ("fake/03/sae", "scores", 2),
    ]  # fmt: skip
    assert sizes["bytes"].sum() == sum(file.stat().st_size for file in Path(home.lake.root).rglob("part-0.parquet"))
    assert bytes_of_no_partition(home) == 0
    lake = Path(home.lake.root)
    killed = lake / "activations" / "dictionary=fake%2F03%2Frun-1" / "feature_range=07of16"
    killed.mkdir()
    for place in (killed / "part-0.parquet", lake / "activations" / "notes.txt"):
        place.write_bytes(bytes(100_000))
    assert table_sizes(home).equals(sizes), "a partition that was not completed is none"
    assert bytes_of_no_partition(home) == bytes_of(killed) + bytes_of(lake / "activations" / "notes.txt") >= 200_000
    lost = lake / "activations" / "dictionary=fake%2F03%2Frun-1" / "feature_range=00of16" / "part-0.parquet"
    lost.unlink()
    again = Home(home.root, home.lake_url)
    assert table_sizes(again).filter(pl.col("table") == "activations", pl.col("dictionary") == "fake/03/run-1")["partitions"].item() == 1
    (home.root / "logs").mkdir()
    (home.root / "logs" / "a.log").write_bytes(bytes(100_000))
    others = other_sizes(home)
    assert others["logs"] == bytes_of(home.root / "logs") >= 100_000 and "lake" not in others
    assert table_sizes(Home(tmp_path / "empty", str(tmp_path / "empty" / "lake"))).is_empty()
    assert other_sizes(Home(tmp_path / "none", str(tmp_path / "none" / "lake"))) == {}


def test_the_lake_counts_once_wherever_it_lies(tmp_path: Path) -> None:
    home = home_with(tmp_path, (1,))
    within = Home(home.root, str(home.root / "data" / "lake"))
    (home.root / "data").mkdir()
    (home.root / "lake").rename(home.root / "data" / "lake")
    (home.root / "data" / "more.bin").write_bytes(bytes(100_000))
    assert other_sizes(within)["data"] == bytes_of(home.root / "data" / "more.bin")
    (home.root / "data" / "lake").rename(tmp_path / "elsewhere")
    (home.root / "lake").symlink_to(tmp_path / "elsewhere")
    for url in (str(tmp_path / "elsewhere"), str(home.root / "lake")):
        linked = Home(home.root, url)
        assert "lake" not in other_sizes(linked) and table_sizes(linked)["partitions"].sum() == 24


def test_the_commands_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_with(tmp_path, (1, 2), "retention: {checkpoints: {keep_last: 1}}")
    monkeypatch.setenv("INTERP_HOME", str(home.root))
    shown = CliRunner().invoke(app, ["usage"])
    assert shown.exit_code == 0 and f"the home {home.root}\nthe lake {home.lake.root}: " in shown.output and "fake/03/run-2" in shown.output
    elsewhere = CliRunner().invoke(app, ["usage"], env={"INTERP_HOME": str(tmp_path / "wrong")}).output
    assert f"the home {tmp_path / 'wrong'}, which is not there; INTERP_HOME names another" in elsewhere
    rows = pl.read_csv(CliRunner().invoke(app, ["usage", "--format", "csv"]).output.encode())
    assert rows["partitions"].sum() == 12 + 32
    told = CliRunner().invoke(app, ["thin"]).output
    assert "fake/03/run-1\tactivations\t2 partitions" in told and "Nothing is removed yet: `interp thin --yes` removes it" in told
    assert len(kept(home, "activations")) == 3
    assert "removed 2 partitions" in CliRunner().invoke(app, ["thin", "--yes"]).output
    assert "the rules of `retention:` remove nothing" in CliRunner().invoke(app, ["thin"]).output
    home.settings_file.write_text("{}")
    assert "settings.yaml has no rules under `retention:`" in CliRunner().invoke(app, ["thin"]).output
    refused = CliRunner().invoke(app, ["alerts", "--test"])
    assert refused.exit_code == 1 and "no channel for alerts" in refused.output


def test_newer_rules_may_not_name_tables_that_stay(tmp_path: Path) -> None:
    home = home_with(tmp_path, (), "retention: {checkpoints: {drop: [scores]}}")
    with pytest.raises(ValueError, match="scores"):
        _ = home.settings
    assert retention.thinned_checkpoints([], retention.CheckpointRetention()) == []
