"""The small graph with its state in Postgres, its runs and steps on Ray and its lake and logs on S3, all at once.

It uses `deploy/dagster.yaml` as it stands.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from servers import BUCKET, Postgres, free_port, postgres, process, ray_head, wait_for

from interp_assets.backfill.launch import follow_backfill, known_assets, launch_backfill, partitions_by_asset
from interp_assets.config.records import DictionaryRecord, TokenSampleSettings
from interp_assets.graph.assembly import ASSETS
from interp_assets.installation.home import Home
from interp_assets.installation.registration import add_record
from interp_assets.installation.server import DagsterServer
from interp_assets.tables import TABLES
from resources.fakes import WORDS
from resources.store.lake import Lake

pytestmark = [pytest.mark.deploy, pytest.mark.daemon, pytest.mark.slow]
PROJECT = Path(__file__).parents[2]
KEY = "fake/00/neurons"
ONLY = ("token_sample", "activation_shards", "examples", "explanations/max_act", "scores/detection", "warehouse")
STAGES = {
    "examples": {"window_tokens": 8, "n_shown": 6, "n_held_out": 10, "n_non_activating": 10, "min_activating": 12, "n_strata": 5},
    "explanations": ["max_act"],
    "scores": {"fuzzing": []},
    "scoring": {"n_bootstrap": 50},
}
ON_ONE_MACHINE = """
import sys
import dagster as dg
from interp_assets.graph.assembly import ASSETS, IN_PROCESS, definitions
from interp_assets.installation.home import Home
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.orchestration.partitions import DICTIONARIES
from resources.fakes import FakeModels

home, key, names = Home.from_environment(), sys.argv[1], sys.argv[2:]
instance = dg.DagsterInstance.ephemeral()
instance.add_dynamic_partitions(DICTIONARIES.name, [key])
resources = definitions(home, FakeModels(), IN_PROCESS).resources
for ranged in (False, True):
    chosen = [a for a in ASSETS if "/".join(a.key.path) in names and isinstance(a.partitions_def, dg.MultiPartitionsDefinition) == ranged]
    chosen = [a for a in chosen if a.partitions_def]
    first, last = (f"{key}|{FEATURE_RANGE_KEYS[0]}", f"{key}|{FEATURE_RANGE_KEYS[-1]}") if ranged else (key, key)
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    assert dg.materialize(ASSETS, selection=chosen, instance=instance, resources=resources, tags=tags).success
"""


def record(corpus: Path) -> DictionaryRecord:
    """Neurons of the stand-in subject, eight kept a token."""
    sample = TokenSampleSettings(corpus=(f"text:{corpus}/*.txt",), n_tokens=8192, context_tokens=64)
    return DictionaryRecord(key=KEY, hook="blocks.0.mlp.hook_post", kind="topk_neurons", k=8, width=64, token_sample=sample, stages=STAGES)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty documents, each the known words from another place on."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(20):
        (folder / f"{number:02d}.txt").write_text(" ".join(WORDS[(number * 7 + i * (1 + i // 97)) % len(WORDS)] for i in range(1000)))
    return folder


@pytest.fixture(scope="module")
def database(server_folder: Path) -> Iterator[Postgres]:
    """Postgres."""
    folder = server_folder / "pg"
    folder.mkdir()
    with postgres(folder) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(
    s3: dict[str, str], database: Postgres, server_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment of an installation on all three, in force for this process too."""
    home = tmp_path_factory.mktemp("home")
    (home / "dagster").mkdir()
    shutil.copy(PROJECT / "deploy" / "dagster.yaml", home / "dagster")
    variables = {
        "INTERP_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), "INTERP_LAKE": f"s3://{BUCKET}/lake",
        "INTERP_SCRATCH": str(tmp_path_factory.mktemp("scratch")), "INTERP_EXECUTOR": "ray", "DAGSTER_LOGS_BUCKET": BUCKET,
        **database.variables,
    }  # fmt: skip
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # Ray jobs start with `dagster api …`
    secret = {"DAGSTER_PG_PASSWORD": database.variables["DAGSTER_PG_PASSWORD"]}  # a host's own, like the store's credentials
    hosts = {**os.environ, **s3, **secret, "PATH": programs, "OMP_NUM_THREADS": "1"}
    with ray_head(server_folder, hosts) as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {**variables, "RAY_DASHBOARD_URL": url}.items():
            patch.setenv(name, value)
        yield {**hosts, **variables, "RAY_DASHBOARD_URL": url}


def contents(lake: Lake) -> dict[str, bytes]:
    """Every object of a lake, by its name in it."""
    return {path.removeprefix(lake.root): lake.fs.cat_file(path) for path in sorted(lake.fs.find(lake.root))}


def test_the_graph_on_postgres_ray_and_s3_leaves_the_bytes_that_one_machine_leaves(
    cluster: dict[str, str], corpus: Path, tmp_path: Path
) -> None:
    import boto3
    from dagster_postgres.run_storage import PostgresRunStorage
    from dagster_ray import RayRunLauncher
    from ray.job_submission import JobSubmissionClient

    home = Home.from_environment()
    home.settings_file.write_text("automation: {when: never}  # what ONLY leaves out is nobody else's to make\n")
    add_record(home, record(corpus))
    (tmp_path / "workspace.yaml").write_text(
        yaml.safe_dump({"load_from": [{"python_file": str(Path(__file__).with_name("stand_in_definitions.py"))}]})
    )
    port, said = free_port(), []
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(tmp_path / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
    with process(command, tmp_path / "dagster.log", cluster):
        server = DagsterServer(f"http://127.0.0.1:{port}")
        wait_for("Dagster", lambda: server.serves(home), 120)
        selectors = partitions_by_asset(known_assets(ASSETS, ONLY), [KEY])
        result = follow_backfill(server, launch_backfill(server, selectors, "all"), said.append)
        assert result.succeeded, "\n".join(said) + (tmp_path / "dagster.log").read_text()[-4000:]
        again: list[str] = []
        selectors = partitions_by_asset(known_assets(ASSETS, ["scores/detection"]), [KEY])
        assert follow_backfill(server, launch_backfill(server, selectors, "again"), again.append).succeeded, "\n".join(again)
    assert any("16 of 16 ranges are already complete" in line for line in again)

    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        assert isinstance(instance.run_storage, PostgresRunStorage) and isinstance(instance.run_launcher, RayRunLauncher)
        runs = instance.get_runs()
        steps = [s.step_key for run in runs for s in instance.get_run_step_stats(run.run_id) if s.status.value == "SUCCESS"]
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS} and len(runs) == 4
    assert sorted(steps) == sorted([*(name.replace("/", "__") for name in ONLY), "scores__detection"])
    assert not list(home.root.rglob("*.db")), "state outside Postgres"

    jobs = JobSubmissionClient(cluster["RAY_DASHBOARD_URL"]).list_jobs()
    assert {job.status for job in jobs} == {"SUCCEEDED"}
    names = [job.submission_id or "" for job in jobs]
    assert sorted(n for n in names if n.startswith("dagster-run-")) == sorted(f"dagster-run-{run.run_id}" for run in runs)
    assert len([n for n in names if n.startswith("dagster-step-")]) == len(steps) and len(names) == len(runs) + len(steps)

    logs = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="dagster-logs/")
    assert {run.run_id for run in runs} == {part for item in logs["Contents"] for part in item["Key"].split("/")} & {r.run_id for r in runs}

    assert not (home.root / "lake").exists() and not list(home.spill.iterdir())
    alone = tmp_path / "alone"
    Home(alone, str(alone / "lake")).registry.write(record(corpus))
    environment = {**cluster, "INTERP_HOME": str(alone), "INTERP_LAKE": "", "INTERP_SCRATCH": ""}
    subprocess.run([sys.executable, "-c", ON_ONE_MACHINE, KEY, *ONLY], env=environment, check=True, cwd=PROJECT)
    ours, theirs = contents(home.lake), contents(Lake(str(alone / "lake"), home.lake.schema_version))
    assert ours.keys() == theirs.keys() and len(ours) > 100
    assert [name for name in ours if ours[name] != theirs[name]] == []

    home.warehouse.build()
    with home.warehouse.open() as connection:
        scored = connection.execute("SELECT scorer, n_features FROM scores_by_method WHERE headline ORDER BY ALL").fetchall()
        headline = "SELECT count(*), count(value), list(DISTINCT outcome ORDER BY outcome) FROM scores WHERE headline AND stratum IS NULL"
        of_features, n_scored, outcomes = connection.execute(headline).fetchall()[0]
        # Which windows are drawn depends on the corpus's path; a few features have windows of one class alone.
        assert of_features == 64 and n_scored >= 56 and set(outcomes) <= {"ok", "one_class"}
        assert scored == [("detection", n_scored)]
        assert connection.execute("SELECT count(DISTINCT feature) FROM feature_statistics").fetchone() == (64,)
    assert {table.name for table in TABLES} >= {name.split("/")[1] for name in ours if name.count("/") > 1}
