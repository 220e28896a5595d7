"""What the UI shows before anything runs: assets, groups, descriptions, schemas, the tables of the pages."""

import re
import subprocess
import sys

import dagster as dg
from documentation import names_behind, page, rows_behind

from interp_assets.assets.warehouse.views import view_files
from interp_assets.definitions import defs
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.scoring import SCORERS
from interp_assets.graph.assembly import ASSETS
from interp_assets.graph.jobs import TASKS
from interp_assets.tables import TABLES

NAMES = {"/".join(asset.key.path): asset for asset in ASSETS}


def test_definitions_load_and_validate() -> None:
    dg.Definitions.validate_loadable(defs)


def test_every_method_has_its_asset() -> None:
    expected = {"token_sample", "activation_shards", "feature_neighbours", "window_embeddings", "vocabulary_projections", "examples"}
    expected |= {
        "token_changes",
        "steering",
        "feature_matches",
        "score_stability",
        "scorer_validity",
        "human_ratings",
        "human_correlation_report",
        "warehouse",
    }
    expected |= {f"explanations/{method}" for method in METHODS} | {f"scores/{s.NAME}" for s in SCORERS}
    assert set(NAMES) == expected


def test_every_asset_has_what_an_operator_looks_for() -> None:
    for name, asset in NAMES.items():
        assert asset.group_names_by_key[asset.key] != "default", name
        spec = asset.specs_by_key[asset.key]
        assert spec.description and spec.owners and spec.kinds and spec.code_version, name
        assert list(asset.check_specs), f"{name} has no check"
        if asset.partitions_def is not None:
            assert "dagster/column_schema" in spec.metadata and asset.backfill_policy == dg.BackfillPolicy.single_run(), name


def test_every_asset_is_in_the_job_of_a_task_and_every_job_says_what_it_is_for() -> None:
    """An asset that is in none, or whose group no task names, has to be given to one in interp_assets/jobs.py."""
    jobs = {job.name: job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
    assert list(jobs) == sorted(task.name for task in TASKS) and all(job.description for job in jobs.values())
    members = {name: {key for key in job.asset_layer.selected_asset_keys} for name, job in jobs.items()}
    assert {name: [task.name for task in TASKS if asset.key in members[task.name]] for name, asset in NAMES.items()} == {
        name: [next(task.name for task in TASKS if task.includes(asset))] for name, asset in NAMES.items()
    }
    assert all(jobs[task.name].partitions_def == task.partitions for task in TASKS)


def test_kinds_say_who_answers_a_scorer() -> None:
    for scorer in SCORERS:
        asset = NAMES[f"scores/{scorer.NAME}"]
        answers = {"encoder": {"pytorch"}, "machine": set()}.get(scorer.MODEL, {"llm"})
        assert asset.specs_by_key[asset.key].kinds == {"python", "parquet", *answers}, scorer.NAME


def test_what_runs_the_subject_model_asks_for_a_card_where_steps_are_ray_jobs() -> None:
    with_a_card = {name for name, asset in NAMES.items() if "dagster-ray/config" in asset.op.tags}
    written = {f"scores/{s.NAME}" for s in SCORERS if s.MODEL == "generator"}
    assert with_a_card == {
        "activation_shards", "feature_neighbours", "window_embeddings", "vocabulary_projections", "token_changes", "steering",
        "feature_matches", *written,
    }  # fmt: skip
    assert all(NAMES[name].op.tags["dagster-ray/config"] == '{"num_gpus": 1}' for name in with_a_card)


def test_the_page_lists_the_assets_tables_and_views_that_there_are() -> None:
    text = page("tables")
    assert names_behind(text, "assets") == list(NAMES)
    assert names_behind(text, "tables") == [table.name for table in TABLES]
    assert names_behind(text, "views") == list(view_files())


def test_the_page_says_of_each_table_the_asset_that_writes_it() -> None:
    by_asset = {row[0].strip("`"): row[2].split(", ") for row in rows_behind(page("tables"), "assets")}
    for table in TABLES:
        writers = {re.sub("<.*>", "", writer) for writer in table.written_by.split(", ") if not writer.startswith("interp ")}
        found = {re.sub("/.*", "/", name) for name, written in by_asset.items() if table.name in written}
        assert found == writers, table.name


def test_loading_the_definitions_loads_no_model_library() -> None:
    heavy = "('torch', 'transformers', 'vllm', 'sae_lens', 'openai')"
    code = f"import sys, interp_assets.definitions; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]", result.stdout
