"""Where an installation lives, and what runs its steps."""

import importlib.util
from pathlib import Path

import pytest
import yaml

from interp_assets.config.base import UserError
from interp_assets.graph.assembly import IN_PROCESS, SHARED_VARIABLES, executor_named
from interp_assets.installation.home import Home
from interp_assets.installation.server import prepare_instance
from resources.store.lake import LakeError


def test_everything_is_in_the_home_unless_it_is_said_to_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTERP_LAKE", "INTERP_SCRATCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INTERP_HOME", str(tmp_path / "home"))
    home = Home.from_environment()
    assert (home.lake.url, home.spill) == (str(tmp_path / "home/lake"), tmp_path / "home/spill")
    monkeypatch.setenv("INTERP_LAKE", "memory://elsewhere/lake")
    monkeypatch.setenv("INTERP_SCRATCH", str(tmp_path / "disk"))
    home = Home.from_environment()
    assert (home.lake.url, home.spill) == ("memory:///elsewhere/lake", tmp_path / "disk/spill")
    assert home.replies.folder == tmp_path / "home/replies"


def test_a_lake_of_an_unknown_protocol_is_refused_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"nowhere://bucket/lake cannot be opened.*\[deploy\]"):
        _ = Home(tmp_path, "nowhere://bucket/lake").lake


def test_a_step_on_another_host_knows_what_its_run_knows() -> None:
    instance = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "dagster.yaml").read_text())
    assert tuple(instance["run_launcher"]["config"]["ray"]["env_vars"]) == SHARED_VARIABLES


def test_steps_run_in_process_unless_ray_is_asked_for() -> None:
    assert executor_named("in_process") is IN_PROCESS
    with pytest.raises(UserError, match="'slurm'; it is one of in_process, ray"):
        executor_named("slurm")
    if importlib.util.find_spec("dagster_ray"):
        assert executor_named("ray").name == "ray"
    else:
        with pytest.raises(UserError, match=r"needs dagster-ray: pip install .*\"dagster-ray<"):
            executor_named("ray")


def test_a_home_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("INTERP_HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match="home, which is a file"):
        Home.from_environment()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv("INTERP_HOME", str(tmp_path / "loop"))
    with pytest.raises(UserError, match="loop, which is a link that leads to itself"):
        Home.from_environment()


def test_an_instance_file_that_a_kill_left_empty_is_written_and_a_new_history_knows_the_dictionaries(tmp_path: Path) -> None:
    import dagster as dg

    home = Home(tmp_path, str(tmp_path / "lake"))
    home.registry.write(home.registry.parse("{key: m/00/n, hook: h, kind: topk_neurons, k: 4, width: 64}", "mine"))
    home.dagster.mkdir()
    (home.dagster / "dagster.yaml").write_text("")
    prepare_instance(home)
    assert "run_monitoring" in (home.dagster / "dagster.yaml").read_text()
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        assert instance.get_dynamic_partitions("dictionary") == ["m/00/n"]


def test_a_home_whose_path_is_too_long_for_dagsters_database_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_HOME", f"{tmp_path}/{'/'.join(['x' * 200] * 3)}")
    with pytest.raises(UserError, match=r"a path of \d+ bytes: SQLite, in which Dagster keeps its history, takes a home of at most 430"):
        Home.from_environment()
