"""Watched folders: which names are checkpoints, when a checkpoint is whole, and the record that it gets."""

import os
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from interp_assets.config import checkpoints
from interp_assets.config.base import UserError
from interp_assets.config.checkpoints import WatchedFolder
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.graph.sensors import automation_sensors, register_checkpoints

RECORD = {"key": "fake/03/{run}-{step:06d}", "kind": "sae_lens", "hook": "blocks.3.hook_resid_post", "width": 64}
ONE_RUN = {**RECORD, "key": "fake/03/sae-{step}"}


@pytest.fixture(autouse=True)
def ages_as_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are as old as `drop` says. No program can set the time that the file system notes by itself."""
    monkeypatch.setattr(checkpoints, "_last_change", checkpoints._written)


def drop(folder: Path, name: str, age: float = 1000, file: str = "sae_weights.safetensors") -> None:
    """A checkpoint folder whose file changed `age` seconds ago."""
    path = folder / name / file if file else folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    os.utime(path, (time.time() - age,) * 2)


def registered(folder: Path, home: Path, **watch: Any) -> tuple[dict[str, Any], tuple[list[str], list[Path], dict[str, str]]]:
    registry = DictionaryRegistry(home / "dictionaries")
    settings = PlatformSettings.model_validate({"watch": {"folder": str(folder), **watch}})
    answer = register_checkpoints(registry, settings)
    return registry.read_all()[0], answer


def test_each_whole_checkpoint_is_registered_once_and_one_in_the_making_waits(tmp_path: Path) -> None:
    runs, watch = tmp_path / "runs [a]?", {"pattern": "{run}/{step}", "record": RECORD}
    for name in ("topk.v2/500", "topk.v2/1000", "other/500"):
        drop(runs, name)
    drop(runs, "topk.v2/1500", age=5)
    (runs / "topk.v2" / "2000").mkdir()
    for name in ("topk.v2/final_1", "topk.v2/1000.tmp", "deeper/topk/7"):
        drop(runs, name)
    records, (written, waiting, refused) = registered(runs, tmp_path, **watch)
    assert written == ["fake/03/other-000500", "fake/03/topk-v2-000500", "fake/03/topk-v2-001000"] and not refused
    assert [path.name for path in waiting] == ["1500", "2000"], "a file that still changes, and a folder without files"
    record = records["fake/03/topk-v2-001000"]
    assert record.source == str(runs / "topk.v2" / "1000")
    assert record.checkpoint is not None
    assert (record.checkpoint.series, record.checkpoint.step) == ("fake/03/topk.v2-{step}", 1000)
    drop(runs, "topk.v2/1500")
    assert registered(runs, tmp_path, **watch)[1][0] == ["fake/03/topk-v2-001500"]


@pytest.mark.parametrize("age", [5000, -5000], ids=["kept by a copy", "of a clock that is ahead"])
def test_a_copied_checkpoint_waits_whatever_time_its_files_have(tmp_path: Path, age: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy as by `rsync -a` has written one file, with the time of the original, and is about to write the next."""
    monkeypatch.undo()
    watch = {"pattern": "{step}", "record": ONE_RUN}
    drop(tmp_path / "copied", "500", age=age, file="cfg.json")
    _, (written, waiting, _) = registered(tmp_path / "copied", tmp_path, **watch)
    assert not written and [path.name for path in waiting] == ["500"]
    time.sleep(0.1)
    assert registered(tmp_path / "copied", tmp_path, **watch, settle_seconds=0.1)[1][0] == ["fake/03/sae-500"]


def test_a_link_to_nowhere_in_a_checkpoint_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    drop(tmp_path / "runs", "500")
    (tmp_path / "runs" / "500" / "optimizer.pt").symlink_to("/scratch/that/is/gone.pt")
    watch = {"pattern": "{step}", "record": ONE_RUN, "settle_seconds": 0.2}
    assert [path.name for path in registered(tmp_path / "runs", tmp_path, **watch)[1][1]] == ["500"], "the link is new"
    time.sleep(0.3)
    assert registered(tmp_path / "runs", tmp_path, **watch)[1] == (["fake/03/sae-500"], [], {})


def test_a_run_of_a_year_ago_is_found_when_its_folder_comes_later(tmp_path: Path) -> None:
    watch = {"pattern": "ae_{step}.pt", "record": {**ONE_RUN, "source": "{path}", "description": "step {step} of {path}"}, "every": 100}
    assert registered(tmp_path / "later", tmp_path, **watch)[1] == ([], [], {})
    for step in (0, 50, 100, 200):
        drop(tmp_path / "later", f"ae_{step}.pt", file="")
    records, (written, *_) = registered(tmp_path / "later", tmp_path, **watch)
    assert written == [f"fake/03/sae-{step}" for step in (0, 100, 200)], "multiples of `every`"
    assert records["fake/03/sae-100"].description == f"step 100 of {tmp_path / 'later' / 'ae_100.pt'}"


@pytest.mark.parametrize(
    ("watch", "named"),
    [
        ({"pattern": "latest", "record": ONE_RUN}, "'latest' needs {step} once, such as ae_{step}.pt"),
        ({"pattern": "{step}/{step}", "record": ONE_RUN}, "needs {step} once"),
        ({"pattern": "../{step}", "record": ONE_RUN}, "leaves the folder"),
        ({"record": {**ONE_RUN, "key": "fake/03/sae"}}, "it needs {step}, since each checkpoint is one dictionary"),
        ({"record": RECORD}, "{run} stands in the pattern and in record.key, or in neither"),
        ({"pattern": "{run}/{step}", "record": ONE_RUN}, "{run} stands in the pattern and in record.key, or in neither"),
        ({"record": {**ONE_RUN, "wdth": 3}}, "wdth"),
        ({"record": {**ONE_RUN, "kind": "sae-lens"}}, "known kinds are"),
        ({"record": {**ONE_RUN, "checkpoint": {"series": "a", "step": 1}}}, "record.checkpoint is filled in for each checkpoint"),
        ({"record": ONE_RUN, "every": 0}, "every"),
        ({"record": ONE_RUN, "settle_seconds": -1}, "settle_seconds"),
    ],
)  # fmt: skip
def test_a_watched_folder_that_cannot_work_is_refused_when_settings_are_read(tmp_path: Path, watch: dict, named: str) -> None:
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"watch": {"folder": "/data", **watch}}))
    with pytest.raises(UserError) as error:
        PlatformSettings.read(tmp_path / "settings.yaml")
    assert named in str(error.value)


def test_two_folders_may_not_write_the_same_keys() -> None:
    one = {"folder": "/a", "record": ONE_RUN}
    with pytest.raises(ValueError, match=r"more than one folder gives the keys fake/03/sae-\{step\}"):
        PlatformSettings.model_validate({"watch": [one, {**one, "folder": "/b"}]})


def test_there_is_a_sensor_for_checkpoints_where_a_folder_is_watched() -> None:
    watched = PlatformSettings.model_validate({"watch": {"folder": "/a", "record": ONE_RUN}})
    assert [s.name for s in automation_sensors(watched)] == ["new_dictionaries", "new_ratings", "new_checkpoints", "missing_partitions"]
    assert "new_checkpoints" not in [s.name for s in automation_sensors(PlatformSettings())]


def test_a_folder_without_a_checkpoint_says_what_is_there(tmp_path: Path) -> None:
    """A folder that is spelt wrong, and a pattern that fits nothing, look like a training run that has not begun."""
    runs = tmp_path / "runs"
    watched = WatchedFolder(folder=str(runs), pattern="{run}/{step}", record=RECORD)
    assert watched.why_empty() == f"{runs} is not there"
    runs.mkdir()
    assert watched.why_empty() == f"no name in {runs} fits '{{run}}/{{step}}'; there is nothing"
    for name in ("a/final", "a/step_1", "a/step_2", "a/step_3"):
        drop(runs, name)
    assert watched.why_empty() == f"no name in {runs} fits '{{run}}/{{step}}'; there are 'a/final', 'a/step_1', 'a/step_2' and 1 more"
    drop(runs, "a/150")
    assert watched.why_empty() == ""
    assert "with a step that is a multiple of 100; there are 'a/150'" in watched.model_copy(update={"every": 100}).why_empty()
    sensor = next(one for one in automation_sensors(PlatformSettings(watch=(watched,))) if one.name == "new_checkpoints")
    with dg.DagsterInstance.ephemeral() as instance:
        for place, told in ((runs, "no new checkpoint"), (tmp_path / "run", f"no new checkpoint; {tmp_path / 'run'} is not there")):
            settings = PlatformSettings(watch=(watched.model_copy(update={"folder": str(place), "settle_seconds": 5000}),))
            resources = {"registry": DictionaryRegistry(tmp_path / "dictionaries"), "settings": settings}
            result = sensor(dg.build_sensor_context(instance=instance, resources=resources))
            assert isinstance(result, dg.SensorResult) and str(result.skip_reason and result.skip_reason.skip_message).startswith(told)


def test_the_newer_of_two_checkpoints_of_one_step_counts(tmp_path: Path) -> None:
    drop(tmp_path, "a/7", age=5000)
    drop(tmp_path, "b/007", age=900)
    for place, age in (("a/7", 5000), ("b/007", 900)):
        os.utime(tmp_path / place, (time.time() - age,) * 2)
    watched = WatchedFolder(folder=str(tmp_path), pattern="*/{step}", record=ONE_RUN)
    assert [(one.path.parent.name, one.step) for one in watched.checkpoints()] == [("b", 7)]


def test_a_link_to_another_run_and_a_hidden_folder_are_no_runs(tmp_path: Path) -> None:
    runs, watch = tmp_path / "runs", {"pattern": "{run}/{step}", "record": RECORD}
    drop(runs, "a/500")
    drop(runs, ".a.new/1000")
    (runs / "latest-run").symlink_to(runs / "a")
    (runs / "a" / "1500").symlink_to(runs / "a" / "1500")
    drop(tmp_path / "other-disk", "c/500")
    (runs / "c").symlink_to(tmp_path / "other-disk" / "c")
    written, waiting, refused = registered(runs, tmp_path, **watch)[1]
    assert (written, refused) == (["fake/03/a-000500", "fake/03/c-000500"], {})
    assert [Path(one).name for one in waiting] in ([], ["1500"]), "a link to itself is no checkpoint, or never settles"


def test_one_odd_run_stops_no_other_run(tmp_path: Path) -> None:
    runs, watch = tmp_path / "runs", {"pattern": "{run}/{step}", "record": RECORD}
    for name in ("a b", "a-b", "n" * 250, "sound"):
        drop(runs, f"{name}/500")
    written, waiting, refused = registered(runs, tmp_path, **watch)[1]
    assert written == ["fake/03/a-b-000500", "fake/03/sound-000500"] and not waiting
    assert set(refused) == {str(runs / "a-b" / "500"), str(runs / ("n" * 250) / "500")}
    told = "its key fake/03/a-b-000500 is the key of step 500 of fake/03/a b-{step} already: give the run another name"
    assert told in refused[str(runs / "a-b" / "500")]
    assert set(registered(runs, tmp_path, **watch)[1][2]) == set(refused), "and so at every later look"


def test_a_renamed_checkpoint_is_known_and_a_forgotten_one_does_not_come_back(tmp_path: Path) -> None:
    watch = {"pattern": "{step}", "record": ONE_RUN}
    for step in (1, 2, 3):
        drop(tmp_path / "run", str(step))
    records = registered(tmp_path / "run", tmp_path, **watch)[0]
    registry = DictionaryRegistry(tmp_path / "dictionaries")
    registry.write(records["fake/03/sae-1"].model_copy(update={"key": "fake/03/first", "former_keys": ("fake/03/sae-1",)}))
    registry.path_of("fake/03/sae-1").unlink()
    registry.forget_checkpoint("fake/03/sae-2")
    registry.path_of("fake/03/sae-2").unlink()
    registry.path_of("fake/03/sae-3").write_text("key: fake/03/sae-3\nwdth: 3  # being edited\n")
    records, answer = registered(tmp_path / "run", tmp_path, **watch)
    assert answer == ([], [], {}) and list(records) == ["fake/03/first"]
    assert "being edited" in registry.path_of("fake/03/sae-3").read_text()
