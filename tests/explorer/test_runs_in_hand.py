"""The home page names the unfinished runs of a real Dagster instance, and is silent where there is none to read."""

import shutil
from pathlib import Path

import dagster as dg
import pytest
from starlette.testclient import TestClient

from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.runs_in_hand import runs_in_hand

RANGES = {"dagster/asset_partition_range_start": "toy/00/sae|00of16", "dagster/asset_partition_range_end": "toy/00/sae|15of16"}


def test_unfinished_runs_are_named_with_assets_and_partitions(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        keys = frozenset({dg.AssetKey(["scores", "fuzzing"]), dg.AssetKey("examples")})
        for run_id, status in (("a1", "SUCCESS"), ("b2", "STARTED"), ("c3", "STARTING"), ("d4", "FAILURE")):
            run = dg.DagsterRun(job_name="j", run_id=run_id, status=dg.DagsterRunStatus(status), asset_selection=keys, tags=RANGES)
            instance.run_storage.add_run(run)
    waiting, working = runs_in_hand(tmp_path)
    assert (waiting.run_id, working.run_id, waiting.status) == ("c3", "b2", "STARTING")
    assert working.assets == ("examples", "scores/fuzzing") and working.partitions == "toy/00/sae|00of16 to toy/00/sae|15of16"
    assert working.dictionary == "toy/00/sae"


@pytest.mark.parametrize("content", [None, b"", b"no database"])
def test_no_instance_or_another_file_gives_no_runs(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "history").mkdir()
        (tmp_path / "history" / "runs.db").write_bytes(content)
    assert runs_in_hand(tmp_path) == ()


def test_the_home_page_shows_them(client: TestClient, explorer: Explorer) -> None:
    assert "Being made now" not in client.get("/").text
    history = explorer.home.dagster / "history"
    explorer.home.dagster.mkdir(exist_ok=True)
    try:
        with dg.DagsterInstance.local_temp(str(explorer.home.dagster)) as instance:
            selection = frozenset({dg.AssetKey("examples")})
            instance.run_storage.add_run(
                dg.DagsterRun(job_name="j", run_id="e5", status=dg.DagsterRunStatus.STARTED, asset_selection=selection, tags=RANGES)
            )
        page = client.get("/").text
        assert "Being made now" in page and "toy/00/sae|00of16 to toy/00/sae|15of16" in page
    finally:
        shutil.rmtree(history)
