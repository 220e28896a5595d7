"""A corpus, and empty installations over it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from installation import Installation

from resources.fakes import WORDS


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty documents of random known words, each about a few of them."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for number in range(20):
        weights = rng.dirichlet(np.full(len(WORDS), 0.2))
        (folder / f"{number:02d}.txt").write_text(" ".join(rng.choice(WORDS, size=1000, p=weights)))
    return folder


@pytest.fixture
def installation(tmp_path: Path, corpus: Path) -> Installation:
    """An empty installation."""
    return Installation(tmp_path / "home", corpus)


@pytest.fixture
def new_installation(tmp_path: Path, corpus: Path) -> Callable[[str], Installation]:
    """Makes further empty installations by name."""
    return lambda name: Installation(tmp_path / name, corpus)
