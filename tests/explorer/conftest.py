"""A client of the explorer over a small home."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_home import KEY, small_home
from starlette.testclient import TestClient

from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer
from interp_assets.installation.home import Home
from resources.fakes import FakeModels


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The small home; for reading alone."""
    root: Path = tmp_path_factory.mktemp("explored")
    return small_home(root)


@pytest.fixture
def explorer(home: Home) -> Iterator[Explorer]:
    """An explorer of the small home."""
    made = Explorer(home, provider=FakeModels())
    made.dictionaries.columns(KEY, patience=60)
    yield made
    made.close()


@pytest.fixture
def client(explorer: Explorer) -> TestClient:
    """Asks the explorer's pages as a browser of this machine does; a fault in a page is raised."""
    return TestClient(make_app(explorer), base_url="http://127.0.0.1:3001")
