"""A corpus, and empty installations over it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from installation import Installation
from small_lab import HARVEST, Lab

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


@pytest.fixture(scope="session")
def harvested(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A home with activations."""
    lab = Lab(Installation(tmp_path_factory.mktemp("harvested") / "home", corpus))
    lab.installation.run(*HARVEST)
    return lab.home.root


@pytest.fixture
def new_lab(tmp_path: Path, corpus: Path, harvested: Path) -> Callable[[], Lab]:
    """Makes a home with activations."""
    return lambda: Lab(Installation(tmp_path / "home", corpus), harvested)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, corpus: Path, harvested: Path) -> Lab:
    """A home with activations, and features 5 and 40 made."""
    lab = Lab(Installation(tmp_path_factory.mktemp("lab") / "home", corpus), harvested)
    assert lab.run([5, 40]).succeeded
    return lab
