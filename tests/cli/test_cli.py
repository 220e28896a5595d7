"""`interp` as a user types it: help with examples, answers, and errors that say what to do."""

import json
from pathlib import Path

import pytest
import yaml
from documentation import names_behind, page
from typer.testing import CliRunner, Result

from interp_assets.cli.main import app
from interp_assets.config.records import RECORD_KINDS

COMMANDS = (
    "register", "dictionaries", "import delphi", "import neuronpedia", "import explanations", "import output-centric", "export delphi",
    "export delphi-results", "export neuronpedia", "export circuit-tracer", "export dataset", "export csv", "ratings template",
    "ratings import", "ratings columns", "backfill", "run", "show", "redo", "query", "plot", "replies", "doctor", "ui",
    "demo",
)  # fmt: skip


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
    assert f"Example: interp {command}" in " ".join(ok(run(*command.split(), "--help")).split())


def test_the_page_names_every_command() -> None:
    rows = names_behind(page("cli"), "cli")
    assert all(any(row.startswith(f"interp {command}") for row in rows) for command in COMMANDS)


def test_the_page_has_a_row_for_each_kind_of_dictionary() -> None:
    assert names_behind(page("dictionaries"), "kinds") == list(RECORD_KINDS)


def test_an_example_of_each_kind_can_be_registered_as_it_is(run, tmp_path: Path) -> None:
    assert yaml.safe_load(ok(run("dictionaries", "--example")))["kind"] == "sae_lens"
    for kind in RECORD_KINDS:
        (tmp_path / "one.yaml").write_text(ok(run("dictionaries", "--example", kind)))
        ok(run("register", "--no-check", str(tmp_path / "one.yaml")))
    assert len(ok(run("dictionaries")).splitlines()) == len(RECORD_KINDS)
    assert [line.split("\t")[1] for line in ok(run("dictionaries", "sparsify")).splitlines()] == ["sparsify"]
    assert "sae_lens, gemma_scope" in refused(run("dictionaries", "--example", "probe"))


def test_queries_answer_on_an_empty_store(run) -> None:
    assert "scores_by_method" in ok(run("query", "views")).split()
    assert json.loads(ok(run("query", "SELECT 1 AS one", "--format", "json"))) == [{"one": 1}]
    assert ok(run("query", "SELECT 1 AS one, [1, 2] AS two", "--format", "csv")).splitlines() == ["one,two", '1,"[1, 2]"']
    assert "dictionary" in ok(run("query", "scores"))


def test_a_wrong_view_or_sql_names_the_nearest_views(run) -> None:
    assert "did you mean 'scores'" in refused(run("query", "scoers"))
    assert "did you mean 'scores'" in refused(run("query", "SELECT * FROM scoers"))
    assert "read-only" in refused(run("query", "CREATE TABLE x AS SELECT 1"))


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


@pytest.mark.real_model
def test_a_dry_run_says_what_would_be_made_and_starts_nothing(run, neurons: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a dry run started Dagster")

    monkeypatch.setattr("interp_assets.installation.server.running_server", refuse)
    output = ok(run("backfill", neurons, "--dry-run"))
    assert "scores/detection" in output and "language models: at most" in output and "rates called demo are not yours" in output
    some = ok(run("backfill", neurons, "--only", "examples", "--features", "0-3", "--dry-run"))
    assert "m/00/n: 4 of 64 features, in 1 of 16 ranges: 00of16" in some and "blocked: examples of m/00/n, 1 range(s)" in some
    assert "selects none of these features; it selects 64 features" in refused(run("backfill", neurons, "--features", "64", "--dry-run"))
    assert "scores/fuzzing" in refused(run("backfill", neurons, "--only", "scores/fuzing", "--dry-run"))


def test_doctor_finds_a_broken_record_and_a_store_of_another_version(run, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "dictionaries"
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text("nonsense: 1")
    result = run("doctor")
    assert result.exit_code == 1 and "broken.yaml" in result.output and "torch" in result.output
    (tmp_path / "home" / "lake").mkdir()
    (tmp_path / "home" / "lake" / "lake.json").write_text('{"schema_version": 0}')
    assert "schema version 0" in run("doctor").output


def test_stupid_inputs_to_replies_forget_and_rename(run, neurons: str) -> None:
    for days, code in (("-1", 2), ("nan", 2), ("inf", 1)):
        assert run("replies", "--prune-older-than-days", days).exit_code == code
    assert "--prune-model gpt-4: the store has no reply of it; it has none" in refused(run("replies", "--prune-model", "gpt-4"))
    for key in ("", "../../x", "mine"):
        assert "is not of the form <model>/<layer>/<name>" in refused(run("forget", key, "--yes"))
    assert f"{neurons} has this key already" in refused(run("rename", neurons, neurons))
    assert run("usage", "--limit", "-1").exit_code == 2


def test_replies_tells_the_size_of_an_empty_store(run) -> None:
    assert ok(run("replies")).startswith("0 replies")


MODEL = ("--model", "embedded:smollm2-135m-instruct")


def cache_with_tokens(folder: Path) -> Path:
    """A delphi cache of two features on eight rows of English."""
    import numpy as np
    from safetensors.numpy import save_file

    from resources.subject.tokenizer import load_tokenizer

    ids = load_tokenizer(MODEL[1]).encode("the ferry leaves at noon, and the bridge was built by students of the town. " * 20)
    (folder / "latents" / "layers.9").mkdir(parents=True)
    content = {
        "locations": np.array([[row, 3, row % 2] for row in range(8)], dtype=np.uint16),
        "activations": np.ones(8, dtype=np.float16),
        "tokens": np.asarray(ids[: 8 * 16], dtype=np.int64).reshape(8, 16),
    }
    save_file(content, folder / "latents" / "layers.9" / "0_1.safetensors")
    return folder


@pytest.mark.real_model
def test_importing_a_cache_registers_it_and_registering_its_record_again_finds_it_unchanged(run, tmp_path: Path) -> None:
    folder = cache_with_tokens(tmp_path / "run")
    output = ok(run("import", "delphi", str(folder), "--key", "m/09/c", *MODEL))
    assert "8 rows of 16 tokens, 8 activations of 2 features" in output and "the first row begins 'the ferry leaves at noon" in output
    assert "registered m/09/c (2 of 2 features)" in output and "next: interp backfill m/09/c" in output
    assert "a first look, in this terminal: interp run m/09/c --features 0-1\n" in output
    assert ok(run("dictionaries")).startswith("m/09/c\tdelphi\tlayers.9")
    record = tmp_path / "home" / "dictionaries" / "m__09__c.yaml"
    assert "1 files in" in ok(run("register", str(record)))
    (folder / "latents" / "layers.9" / "0_1.safetensors").write_bytes(b"")
    assert "not a whole safetensors file" in refused(run("register", str(record)))


@pytest.mark.real_model
def test_stupid_inputs_to_import_delphi(run, tmp_path: Path) -> None:
    folder = str(cache_with_tokens(tmp_path / "run"))
    assert "there is no folder" in refused(run("import", "delphi", str(tmp_path / "nowhere"), "--key", "m/09/c", *MODEL))
    assert "layers.9" in refused(run("import", "delphi", folder, "--hookpoint", "layers.1", "--key", "m/09/c", *MODEL))
    assert "<model>/<layer>/<name>" in refused(run("import", "delphi", folder, "--key", "mine", *MODEL))
    assert "--model nonsense does not load" in refused(run("import", "delphi", folder, "--key", "m/09/c", "--model", "nonsense"))
    assert "write it as 0-99,205" in refused(run("import", "delphi", folder, "--key", "m/09/c", *MODEL, "--features", "all"))
    assert "selects 2" in refused(run("import", "delphi", folder, "--key", "m/09/c", *MODEL, "--features", "0-1,2"))
    assert "hold none of these features" in refused(run("import", "delphi", folder, "--key", "m/09/c", *MODEL, "--features", "2-9"))
    assert "--model" in run("import", "delphi", folder, "--key", "m/09/c").output
    sample = ("import", "delphi", folder, "--key", "m/09/c", *MODEL, "--corpus", "sotu", "--context-tokens", "2")
    assert "--n-tokens and --context-tokens together" in refused(run(*sample))
    assert "context_tokens: Input should be greater than or equal to 8" in refused(run(*sample, "--n-tokens", "64"))
    assert "none registered" in ok(run("dictionaries"))


@pytest.mark.real_model
def test_stupid_inputs_to_import_neuronpedia(run, tmp_path: Path) -> None:
    source = tmp_path / "v1" / "m" / "9-res"
    (source / "activations").mkdir(parents=True)
    command = ("import", "neuronpedia", str(tmp_path), "--key", "m/09/n", *MODEL)
    assert "there is no folder" in refused(run("import", "neuronpedia", str(tmp_path / "x"), "--key", "m/09/n", *MODEL))
    assert "has no batch-N.jsonl.gz" in refused(run(*command))
    batch = source / "activations" / "batch-0.jsonl"
    batch.write_text("<html>not found</html>\n")
    assert "1 of 1 activations are bad" in refused(run(*command)) and "batch-0.jsonl line 1: not a JSON object" in refused(run(*command))
    batch.write_text('{"index": "3", "tokens": [" the"], "values": [1.0], "maxValue": 1.0, "maxValueTokenIndex": 0}\n')
    assert "1 of 1 activations are bad" in refused(run(*command, "--width", "3"))
    assert run(*command, "--max-bad-share", "7").exit_code == 2
    output = ok(run(*command))
    assert "1 windows of 1 features" in output and "0 of 1 token texts are no single token" in output and "registered m/09/n" in output


@pytest.fixture
def neurons(run, tmp_path: Path) -> str:
    """The key of a registered dictionary of 64 neurons."""
    record = tmp_path / "mine.yaml"
    record.write_text(yaml.safe_dump({"key": "m/00/n", "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 4, "width": 64}))
    ok(run("register", str(record), "--no-check"))
    return "m/00/n"


def test_importing_explanations_says_what_was_left_out_and_shows_in_the_warehouse(run, neurons: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("feature,explanation,author\n7,cats,Ada\n3,dates,\n64,ships,\n")
    command = ("import", "explanations", str(file), "--dictionary", neurons, "--method", "human", "--max-bad-share", "0.5")
    output = ok(run(*command))
    assert (
        f"left out {file} line 4: feature '64'; allowed are 0 to 63" in output and "m/00/n has 2 explanations of the method human" in output
    )
    assert ok(run(*command)) == output
    query = "SELECT feature, explanation, author, source FROM imported_explanations ORDER BY feature"
    assert json.loads(ok(run("query", query, "--format", "json"))) == [
        {"feature": 3, "explanation": "dates", "author": None, "source": "labels.csv line 3"},
        {"feature": 7, "explanation": "cats", "author": "Ada", "source": "labels.csv line 2"},
    ]


def test_stupid_inputs_to_import_explanations(run, neurons: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("feature,explanation\n64,ships\n")
    command = ("import", "explanations", str(file), "--dictionary")
    assert "m/00/n" in refused(run(*command, "m/00/typo"))
    assert "--dictionary: dictionary key 'mine' is not of the form" in refused(run(*command, "mine"))
    assert "1 of 1 rows are bad" in refused(run(*command, neurons))
    assert "no explanation of a feature" in refused(run(*command, neurons, "--max-bad-share", "1"))
    assert "is not JSON" in refused(run(*command, neurons, "--format", "json"))
    assert "there is no file or folder" in refused(run("import", "explanations", str(tmp_path / "x"), "--dictionary", neurons))
    assert run(*command, neurons, "--method", "max_act").exit_code == 2 and run(*command, neurons, "--format", "xml").exit_code == 2


def test_stupid_inputs_to_export_delphi_results(run, neurons: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert "m/00/n" in refused(run("export", "delphi-results", "m/00/typo", out))
    assert "no complete explanations for explanation_method max_act" in refused(run("export", "delphi-results", neurons, out))
    assert "explanation_method nonsense" in refused(run("export", "delphi-results", neurons, out, "--explanations", "nonsense"))
    assert "is no folder name" in refused(run("export", "delphi-results", neurons, out, "--hookpoint", "../x"))
    assert not (tmp_path / "out").exists()


def test_stupid_inputs_to_export_delphi(run, tmp_path: Path) -> None:
    record = tmp_path / "mine.yaml"
    record.write_text(yaml.safe_dump({"key": "m/00/n", "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 4, "width": 64}))
    ok(run("register", str(record), "--no-check"))
    out = str(tmp_path / "out")
    assert "m/00/typo" in refused(run("export", "delphi", "m/00/typo", out)) and "m/00/n" in refused(
        run("export", "delphi", "m/00/typo", out)
    )
    assert "no complete dictionary_samples for dictionary m/00/n" in refused(run("export", "delphi", "m/00/n", out))
    assert "write it as 0-99,205" in refused(run("export", "delphi", "m/00/n", out, "--features", "1-"))
    assert run("export", "delphi", "m/00/n", out, "--n-splits", "0").exit_code == 2
    assert not (tmp_path / "out").exists()


def test_stupid_inputs_to_export_neuronpedia(run, neurons: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert "m/00/n" in refused(run("export", "neuronpedia", "m/00/typo", out))
    assert "KEY: dictionary key 'mine' is not of the form" in refused(run("export", "neuronpedia", "mine", out))
    assert "no complete feature_examples for dictionary m/00/n" in refused(run("export", "neuronpedia", neurons, out))
    assert "--model-id 'a/b' is no id of Neuronpedia" in refused(run("export", "neuronpedia", neurons, out, "--model-id", "a/b"))
    assert "write it as 0-99,205" in refused(run("export", "neuronpedia", neurons, out, "--features", "1-"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    assert "it holds thesis.tex" in refused(run("export", "neuronpedia", neurons, out))


def test_stupid_inputs_to_export_circuit_tracer(run, neurons: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert "m/00/n" in refused(run("export", "circuit-tracer", "m/00/typo", out))
    assert "are of one layer" in refused(run("export", "circuit-tracer", neurons, neurons, out))
    assert "no complete feature_examples for dictionary m/00/n" in refused(run("export", "circuit-tracer", neurons, out))
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    assert "it holds thesis.tex" in refused(run("export", "circuit-tracer", neurons, out))


def test_stupid_inputs_to_export_dataset_and_csv(run, neurons: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert "m/00/n" in refused(run("export", "dataset", "m/00/typo", out))
    assert "no complete feature_examples for dictionary m/00/n" in refused(run("export", "dataset", neurons, out))
    for licence in ("", "MIT", "mit\nfoo: bar"):
        assert "no id of the hub's list of licences" in refused(run("export", "dataset", neurons, out, "--license", licence))
    assert "did you mean 'scores'" in refused(run("export", "csv", "score", "--out", out))
    assert "scores has no rows" in refused(run("export", "csv", "scores", "--out", out))
    assert "named twice" in refused(run("export", "csv", "dictionaries", out, "--out", out))
    assert not (tmp_path / "out").exists()
    assert "wrote 1 rows to" in ok(run("export", "csv", "dictionaries", out)) and Path(out).read_text().count("topk_neurons") == 1
    assert ok(run("export", "csv", "dictionaries")).splitlines()[1].startswith("m/00/n,m,00,n,topk_neurons")


def test_stupid_inputs_to_plot(run, neurons: str, tmp_path: Path) -> None:
    out = str(tmp_path / "fig.pdf")
    assert "'.docx' is no form of a figure; write .pdf or .svg" in refused(run("plot", "scores", "--out", str(tmp_path / "fig.docx")))
    assert "m/00/n" in refused(run("plot", "scores", "m/00/typo", "--out", out))
    for which, view in {"scores": "scores_by_method", "layers": "scores_by_layer", "correlations": "human_correlations"}.items():
        said = refused(run("plot", which, neurons, "--out", out))
        assert "nothing to plot of m/00/n" in said and "the figure needs" in said and f"See `interp query {view}`" in said
    assert run("plot", "violins", "--out", out).exit_code == 2 and not list(tmp_path.glob("fig.*"))
