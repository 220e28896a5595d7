"""A corpus, and empty installations over it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from installation import Installation

from resources.fakes import WORDS


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Twenty documents of random known words, each about a few of them.

    Always in one folder: its name is part of the token sample's identity and so of every seed, and tests see the same draws in each run.
    """
    folder = Path(tempfile.gettempdir()) / "interp-assets-tests" / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(20):
        weights = rng.dirichlet(np.full(len(WORDS), 0.2))
        text, file = " ".join(rng.choice(WORDS, size=1000, p=weights)), folder / f"{number:02d}.txt"
        if not file.exists() or file.read_text() != text:
            written = file.with_suffix(f".{os.getpid()}")
            written.write_text(text)
            written.replace(file)
    return folder


@pytest.fixture
def installation(tmp_path: Path, corpus: Path) -> Installation:
    """An empty installation."""
    return Installation(tmp_path / "home", corpus)


@pytest.fixture
def new_installation(tmp_path: Path, corpus: Path) -> Callable[[str], Installation]:
    """Makes further empty installations by name."""
    return lambda name: Installation(tmp_path / name, corpus)
