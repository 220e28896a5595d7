"""The pages say what the code says: settings, columns, outcomes, options of back ends, error messages."""

import ast
import importlib
import inspect
import re
import sys
import tomllib
from dataclasses import dataclass
from types import ModuleType

import pytest
import yaml
from documentation import ROOT, page, rows_behind

from interp_assets.config.settings import SPEED_OPTIONS
from interp_assets.tables import TABLES
from resources.language_models.openai_server.model import OpenAIModel
from resources.language_models.replay import ReplayModel
from resources.language_models.transformers_local.model import TransformersModel
from resources.language_models.vllm_engine.model import VLLMModel

BACK_ENDS = {"transformers": TransformersModel, "vllm": VLLMModel, "openai": OpenAIModel, "replay": ReplayModel}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module("generate")
    finally:
        sys.path.remove(str(ROOT / "docs"))


def test_the_printed_pages_are_current(generate: ModuleType) -> None:
    stale = [path.name for path, content in generate.pages().items() if path.read_text() != content]
    assert not stale, f"{', '.join(stale)} differ from the code: run python docs/generate.py"


@dataclass(frozen=True)
class Documented:
    """How cakes are baked."""

    minutes: int = 40
    """Time in the oven. Unit: minutes."""
    name: str = "plum"
    """What guests are told,
    in one word."""


@dataclass(frozen=True)
class WithoutUnit:
    """How cakes are cut."""

    pieces: int = 8
    """How many pieces are cut."""


def test_a_setting_is_printed_with_type_default_unit_and_meaning(generate: ModuleType) -> None:
    assert generate.keys_table(Documented).splitlines()[2:] == [
        "| `minutes` | whole number | `40` | minutes | Time in the oven. |",
        "| `name` | text | `plum` | — | What guests are told, in one word. |",
    ]


def test_a_number_without_a_unit_is_refused_by_name(generate: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"WithoutUnit\.pieces"):
        generate.keys_table(WithoutUnit)


def test_every_table_lists_its_outcomes_with_cause_and_cure() -> None:
    text = page("tables")
    with_outcomes = {table.name: table.outcomes for table in TABLES if "outcome" in table.schema.names}
    assert all(with_outcomes.values())
    assert set(re.findall(r"<!-- outcomes: (\w+) -->", text)) == set(with_outcomes)
    for name, outcomes in with_outcomes.items():
        rows = rows_behind(text, f"outcomes: {name}")
        assert sorted(row[0].strip("`") for row in rows) == sorted(outcomes), name
        assert all(len(row) == 3 and all(row) for row in rows), name


def test_outcomes_that_a_column_spells_out_are_the_tables_outcomes() -> None:
    for table in TABLES:
        for field in table.schema:
            said = (field.metadata or {}).get(b"unit", b"").decode()
            if field.name == "outcome" and "|" in said:
                spelled = [re.split(r"[ :(]", one.strip(), maxsplit=1)[0] for one in said.split("|")]
                assert sorted(spelled) == sorted(table.outcomes), table.name


def test_every_option_of_a_back_end_is_documented() -> None:
    rows = rows_behind(page("language-models"), "options")
    documented = [(row[1].strip("`"), row[0].split("`")[1]) for row in rows]
    taken = [
        (back_end, name)
        for back_end, model in BACK_ENDS.items()
        for name in inspect.signature(model).parameters
        if name not in ("model", "revision")
    ]
    assert sorted(documented) == sorted(taken)
    assert {row[0].split("`")[1] for row in rows if row[0].endswith("*")} == SPEED_OPTIONS & {name for _, name in taken}


def messages() -> str:
    """All texts in the code, with a mark where a value is filled in."""
    texts = []
    for folder in ("interp_assets", "resources"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return "\n\0".join(texts)


def test_the_messages_of_the_troubleshooting_page_are_the_codes_own() -> None:
    """The first column quotes messages between backticks, with … for what differs."""
    code = messages()
    quoted = [
        span
        for line in page("troubleshooting").splitlines()
        if line.startswith("| ")
        for span in re.findall(r"`([^`]+)`", line.split(" | ")[0])
    ]
    parts = [part.strip() for span in quoted if "…" in span for part in span.split("…")]
    assert len(parts) > 60
    assert [part for part in parts if len(part) > 3 and part not in code] == []


def test_licence_and_version_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert "LICENSE" in project["license-files"] and "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_workflow_runs_what_a_bare_machine_runs() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert {"run": ".ci/run"} in jobs["test"]["steps"] and (ROOT / ".ci" / "run").exists()
    used = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"[\w/-]+@v\d+", action) for action in used), used


def test_every_benchmark_has_a_quick_form_and_ends_with_json() -> None:
    scripts = {path.name: path.read_text() for path in (ROOT / "benchmarks").glob("*.py")}
    run = {name: text for name, text in scripts.items() if "__main__" in text}
    assert run
    assert [name for name, text in run.items() if '"--quick"' not in text or "json.dumps" not in text] == []


@pytest.mark.parametrize(
    ("benchmark", "grid", "head"),
    [
        ("coverage", "GRID", "| cell | intervals that hold the truth |"),
        ("coverage", "WRONG_PASSES", "| planted features, judges that read nothing | dictionaries in which a scorer passes |"),
        ("floors", "GRID", "| what reads nothing | printed floor | its score |"),
    ],
)
def test_tables_of_simulations_have_every_cell_of_their_benchmark(benchmark: str, grid: str, head: str) -> None:
    tree = ast.parse((ROOT / "benchmarks" / f"{benchmark}.py").read_text())
    (cells,) = (one.value for one in tree.body if isinstance(one, ast.AnnAssign) and ast.unparse(one.target) == grid)
    assert isinstance(cells, ast.Dict)
    table = page("trust").partition(head)[2].partition("\n\n")[0]
    found = re.findall(r"^\| ([^|]*) \| [^|\n]*\d", table, re.M)
    assert found == [key.value for key in cells.keys if isinstance(key, ast.Constant)]
