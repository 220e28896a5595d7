"""`interp --help`: what it shows, and what it loads."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interp_assets.cli.main import app

HEAVY = ("dagster", "torch", "polars", "numpy", "pandas", "pyarrow", "duckdb", "transformers", "httpx", "rich", "yaml")
HELP = """
import sys
from interp_assets.cli.main import app
try:
    app(sys.argv[1:])
except SystemExit as leave:
    assert leave.code == 0, leave.code
print("loaded", sorted(name for name in {heavy} if name in sys.modules))
"""


@pytest.mark.parametrize(
    "words", ["--help", "--version", "query --help", "import --help", "import delphi --help", "ratings template --help"]
)
def test_help_loads_nothing_heavy(words: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HELP.format(heavy=HEAVY), *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("loaded []\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("group", ["", "import", "export", "ratings"])
@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_the_list_of_commands_has_a_whole_sentence_for_each(group: str, columns: str) -> None:
    shown = CliRunner().invoke(app, [*group.split(), "--help"], env={"COLUMNS": columns}).output
    assert "..." not in shown.replace("COMMAND [ARGS]...", "") and "…" not in shown
    rows: list[list[str]] = []
    for line in shown.split("Commands:\n")[1].splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            rows.append(line.split(maxsplit=1))
        else:
            rows[-1][-1] += " " + line.strip()
    assert len(rows) > 1
    for name, sentence in rows:
        assert sentence[0].isupper() and sentence.rstrip().endswith(".") and len(sentence.split()) > 3, (name, sentence)


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert CliRunner().invoke(app, ["--version"]).output == f"interp-assets {version('interp-assets')}\n"
