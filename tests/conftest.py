"""Tests never see the installation of the person who runs them."""

import os
import shutil
import signal
import tempfile

os.environ["INTERP_HOME"] = tempfile.mkdtemp(prefix="interp-tests-")
os.environ.pop("INTERP_LAKE", None)

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Interpreters of environments with other tools, which are asked instead of reading what they answered before."""
    parser.addoption("--delphi-python", help="interpreter of an environment with eai-delphi; see tests/parity/test_delphi_metrics.py")


def pytest_configure() -> None:
    """The workers of pytest-xdist ignore SIGTERM, and what they start would inherit that: with a handler, which a new program does not
    inherit, servers and daemons end when they are told to."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


def pytest_unconfigure() -> None:
    """The home goes with the tests."""
    shutil.rmtree(os.environ["INTERP_HOME"], ignore_errors=True)
