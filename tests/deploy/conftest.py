"""The servers, started once for all tests that need them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of an S3 server with one bucket, in force for this process too."""
    with s3_server(tmp_path_factory.mktemp("s3")) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A short folder that any user may enter: Ray's and Postgres's sockets have paths of at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="interp-", dir="/tmp", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        yield Path(name)
