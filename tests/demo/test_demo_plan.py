"""The plan of the demo: all of its dictionaries are registered, and one tokenizer serves every plan."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from interp_assets.demo import run as demo
from interp_assets.installation.home import Home
from interp_assets.installation.one_dagster import claimed
from resources.model_provider import RealModels


class Planned(Exception):
    """The demo has come to making what it has planned."""


def test_planning_the_demo_reads_one_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    tokenizer = RealModels.tokenizer

    def counted(models: RealModels, source: str, revision: str | None) -> Any:
        read.append(source)
        return tokenizer(models, source, revision)

    def stop(*_: object) -> None:
        raise Planned

    monkeypatch.setattr(RealModels, "tokenizer", counted)
    monkeypatch.setattr("interp_assets.single_features.run.make_here", stop)
    home, lines = Home(tmp_path, str(tmp_path / "lake")), []
    with pytest.raises(Planned):
        demo.run_demo(home, None, lines.append)
    assert len(read) == 1
    records = home.registry.read_all()[0]
    assert len(records) == 6 and sum(line.startswith("registered ") for line in lines) == 6
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        assert set(instance.get_dynamic_partitions("dictionary")) == set(records)
    lines.clear()
    with pytest.raises(Planned):
        demo.run_demo(home, None, lines.append)
    assert not [line for line in lines if line.startswith("registered")]


def test_where_dagster_of_the_home_runs_the_demo_is_a_backfill_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[int | None] = []

    def stop(*_: object) -> None:
        raise Planned

    monkeypatch.setattr("interp_assets.backfill.launch.launch_backfill", stop)
    monkeypatch.setattr("interp_assets.backfill.command.selected_partitions", lambda *_: [[]])
    monkeypatch.setattr("interp_assets.backfill.command.left_to_make", lambda *_: ["examples"])
    monkeypatch.setattr("interp_assets.installation.server.running_server", lambda _, port: nullcontext(ports.append(port)))
    with pytest.raises(Planned):
        demo.run_demo(Home(tmp_path, str(tmp_path / "lake")), 3456, lambda _: None)
    home = Home(tmp_path, str(tmp_path / "lake"))
    with claimed(home.dagster, "http://127.0.0.1:3000"), pytest.raises(Planned):
        demo.run_demo(home, None, lambda _: None)
    assert ports == [3456, None]
