"""The package as others install it: what is in the wheel, and what works from it outside the checkout."""

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
LOAD = """
import sys, interp_assets, resources
from pathlib import Path
assert all(Path(package.__file__).is_relative_to(sys.argv[1]) for package in (interp_assets, resources)), interp_assets.__file__
"""


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel, and nothing besides."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install"] if find_spec("pip") else ["uv", "pip", "install", "--python", sys.executable]
    install = [*pip, "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path):
    """Runs Python, or the installed `interp`, in an empty folder outside the checkout, without a home in the environment."""
    (tmp_path / "here").mkdir()
    own = {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("INTERP_", "DAGSTER_"))} | own

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def test_the_wheel_has_every_file_of_the_two_packages_and_nothing_else(wheel: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "interp_assets", "resources"], cwd=PROJECT, capture_output=True, text=True, check=True)
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names >= {name for name in tracked.stdout.splitlines() if (PROJECT / name).exists()}
    assert {name.split("/")[0] for name in names} == {"interp_assets", "resources"}


def test_commands_answer_from_the_wheel(run, installed: Path, tmp_path: Path) -> None:
    run("-c", LOAD, str(installed))
    interp = str(installed / "bin" / "interp")
    assert "ratings" in run(interp, "--help").stdout and "Example: interp query" in run(interp, "query", "--help").stdout
    assert "kind: sparsify" in run(interp, "dictionaries", "--example", "sparsify").stdout
    assert not list((tmp_path / "here").iterdir())
    assert "scores_by_method" in run(interp, "query", "views").stdout.split()
    assert list((tmp_path / "here").iterdir()) == [], "asking writes nothing"


def test_what_dagster_loads_is_importable_from_the_wheel(run, installed: Path, tmp_path: Path) -> None:
    run("-c", f"{LOAD}\nfrom interp_assets.definitions import defs\nassert defs.assets", str(installed))
    assert not list((tmp_path / "here").iterdir())
