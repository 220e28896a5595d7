"""`interp` as a user types it: help with examples, answers, and errors that say what to do."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from interp_assets.cli import app
from resources.dictionaries import KINDS

COMMANDS = ("register", "dictionaries", "backfill", "query", "replies", "doctor", "demo")
README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `interp` in an empty home."""
    monkeypatch.setenv("INTERP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("INTERP_LAKE", raising=False)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def ok(result: Result) -> str:
    """Output of a command that must succeed."""
    assert result.exit_code == 0, result.output
    return result.output


def refused(result: Result) -> str:
    """Output of a command that must fail with an error of one's own, not a traceback."""
    assert result.exit_code == 1 and "error:" in result.output and "Traceback" not in result.output, result.output
    return result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run, command: str) -> None:
    assert f"Example: interp {command}" in " ".join(ok(run(command, "--help")).split())


def test_the_readme_names_every_command() -> None:
    text = README.read_text()
    assert all(f"| `interp {command}" in text for command in COMMANDS)


def test_the_readme_has_a_row_for_each_kind_of_dictionary() -> None:
    rows = README.read_text().split("<!-- kinds -->")[1].split("\n\n")[0].splitlines()[3:]
    assert [row.split("`")[1] for row in rows] == list(KINDS)


def test_an_example_of_each_kind_can_be_registered_as_it_is(run, tmp_path: Path) -> None:
    assert yaml.safe_load(ok(run("dictionaries", "--example")))["kind"] == "sae_lens"
    for kind in KINDS:
        (tmp_path / "one.yaml").write_text(ok(run("dictionaries", "--example", kind)))
        ok(run("register", "--no-check", str(tmp_path / "one.yaml")))
    assert len(ok(run("dictionaries")).splitlines()) == len(KINDS)
    assert [line.split("\t")[1] for line in ok(run("dictionaries", "sparsify")).splitlines()] == ["sparsify"]
    assert "sae_lens, gemma_scope" in refused(run("dictionaries", "--example", "probe"))


def test_queries_answer_on_an_empty_store(run) -> None:
    assert "scores_by_method" in ok(run("query", "views")).split()
    assert json.loads(ok(run("query", "SELECT 1 AS one", "--format", "json"))) == [{"one": 1}]
    assert ok(run("query", "SELECT 1 AS one, [1, 2] AS two", "--format", "csv")).splitlines() == ["one,two", '1,"[1, 2]"']
    assert "dictionary" in ok(run("query", "scores"))


def test_a_wrong_view_or_sql_lists_the_views(run) -> None:
    assert "scores_by_method" in refused(run("query", "scoers"))
    assert "scores_by_method" in refused(run("query", "SELECT * FROM scoers"))
    assert "read-only" in refused(run("query", "CREATE TABLE x AS SELECT 1")).lower()


def test_registering_lists_and_is_idempotent(run, tmp_path: Path) -> None:
    record = tmp_path / "mine.yaml"
    record.write_text(yaml.safe_dump({"key": "m/00/n", "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 4, "width": 64}))
    for _ in range(2):
        assert "registered m/00/n (64 of 64 features)" in ok(run("register", str(record), "--no-check"))
    assert ok(run("dictionaries")).splitlines()[0].startswith("m/00/n\ttopk_neurons")


def test_a_broken_record_names_the_key_and_registers_nothing(run, tmp_path: Path) -> None:
    record = tmp_path / "broken.yaml"
    record.write_text("key: m/00/n\nhook: h\nkind: sparse_probe\nwidth: many")
    output = refused(run("register", str(record)))
    assert "kind" in output and "topk_neurons" in output and "width" in output
    assert "none registered" in ok(run("dictionaries"))


@pytest.mark.real_model
def test_registering_tries_the_model_first(run, tmp_path: Path) -> None:
    record = tmp_path / "wrong.yaml"
    record.write_text(yaml.safe_dump({"key": "m/00/n", "hook": "blocks.99.mlp.hook_post", "kind": "topk_neurons", "k": 4, "width": 1536}))
    output = refused(run("register", str(record)))
    assert "blocks.99.mlp.hook_post" in output and "blocks.9.mlp.hook_post" in output
    assert "none registered" in ok(run("dictionaries"))


def test_a_backfill_of_nothing_registered_says_how_to_register(run) -> None:
    assert "interp register" in refused(run("backfill", "m/00/n"))


def test_a_wrong_asset_lists_the_assets(run, tmp_path: Path) -> None:
    record = tmp_path / "mine.yaml"
    record.write_text(yaml.safe_dump({"key": "m/00/n", "hook": "h", "kind": "topk_neurons", "k": 4, "width": 64}))
    ok(run("register", str(record), "--no-check"))
    assert "scores/fuzzing" in refused(run("backfill", "m/00/n", "--only", "scores/fuzing"))


def test_doctor_finds_a_broken_record_and_a_store_of_another_version(run, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "dictionaries"
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text("nonsense: 1")
    result = run("doctor")
    assert result.exit_code == 1 and "broken.yaml" in result.output and "torch" in result.output
    (tmp_path / "home" / "lake" / "lake.json").write_text('{"schema_version": 0}')
    assert "schema version 0" in run("doctor").output


def test_replies_tells_the_size_of_an_empty_store(run) -> None:
    assert ok(run("replies")).startswith("0 replies")
