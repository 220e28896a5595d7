"""`interp query` loads what an answer needs, and nothing else."""

import subprocess
import sys
from pathlib import Path

UNNEEDED = ("dagster", "torch", "transformers", "pandas", "httpx", "matplotlib", "scipy", "rich", "interp_assets.config.settings")
QUERY = """
import sys
from interp_assets.cli.main import app
for table in ("dictionaries", "scores"):
    try:
        app(["query", f"SELECT count(*) AS n FROM {{table}}", "--format", "csv"])
    except SystemExit as leave:
        assert leave.code == 0, leave.code
print("loaded", sorted(name for name in {unneeded} if name in sys.modules))
"""


def test_a_query_loads_no_dagster_no_pandas_and_no_torch(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("INTERP_HOME", str(tmp_path / "home"))
    done = subprocess.run([sys.executable, "-c", QUERY.format(unneeded=UNNEEDED)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["n", "0", "n", "0", "loaded []"]
