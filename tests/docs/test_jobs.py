"""The pages name jobs and assets that are there, and the UI says what every job and sensor does."""

import re

import pytest
from documentation import PAGES, ROOT, page

from interp_assets.config.settings import PlatformSettings
from interp_assets.graph.alert_sensors import alert_sensors
from interp_assets.graph.assembly import ASSETS
from interp_assets.graph.jobs import TASKS, task_jobs
from interp_assets.graph.sensors import automation_sensors

JOBS = {job.name for job in task_jobs(ASSETS)}


def test_the_page_has_a_row_for_each_job() -> None:
    table = page("automation").split("## Jobs\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == [task.name for task in TASKS]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_job_and_asset_that_a_page_launches_is_there(path) -> None:
    text = path.read_text()
    assert {name for name in re.findall(r"--job[ =](\w+)", text) if name != "NAME"} <= JOBS
    assets = {"/".join(asset.key.path) for asset in ASSETS}
    launched = {name for names in re.findall(r"dg launch --assets ([\w/,]+)", text) for name in names.split(",")}
    assert launched <= assets


def test_messages_launch_assets_and_jobs_that_are_there() -> None:
    code = "".join(path.read_text() for folder in ("interp_assets", "resources") for path in (ROOT / folder).rglob("*.py"))
    launched = {name for names in re.findall(r"dg launch --assets ([\w/,]+)", code) for name in names.rstrip(",").split(",")}
    assert launched and launched <= {"/".join(asset.key.path) for asset in ASSETS}
    assert set(re.findall(r"dg launch --job (\w+)", code)) <= {"NAME"} | JOBS


@pytest.mark.parametrize("when", ["on_missing", "nightly", "never"])
def test_jobs_and_sensors_say_what_they_do(when: str) -> None:
    record = {"key": "m/0/{step}", "kind": "sae_lens", "hook": "blocks.0.hook_resid_post", "width": 8}
    watch = {"folder": "/checkpoints", "record": record}
    site = PlatformSettings.model_validate({"automation": {"when": when}, "watch": watch, "alerts": {"webhook": "http://127.0.0.1"}})
    for one in [*task_jobs(ASSETS), *automation_sensors(site), *alert_sensors(site.alerts, [], 1)]:
        assert one.description and one.description.endswith("."), one.name
