"""Tests never see the installation of the person who runs them."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

os.environ["INTERP_HOME"] = tempfile.mkdtemp(prefix="interp-tests-")
os.environ.pop("INTERP_LAKE", None)

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")
"""No property fails because a busy machine was slow at an example, or at drawing it."""

SLOWEST_FILES_FIRST = (
    "test_scorers_in_the_graph.py", "test_graph_on_fakes.py", "test_exchange_in_the_graph.py", "test_ratings_in_the_graph.py",
    "test_scorer_validity.py", "test_backfill_plan.py", "test_soak.py", "test_new_dictionaries.py", "test_recovery.py", "test_daemon.py",
    "test_output_scorers_in_the_graph.py", "test_negatives_in_the_graph.py", "test_matches_in_the_graph.py", "test_graph_on_a_gpu.py",
    "test_token_changes_in_the_graph.py", "test_steering_in_the_graph.py", "test_scorers_on_the_real_model.py", "test_steerer.py",
)  # fmt: skip
"""A worker that takes one of these last would run alone while all others are done. `make test` keeps the order of collection."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Interpreters of environments with other tools, which are asked instead of reading what they answered before."""
    parser.addoption("--delphi-python", help="interpreter of an environment with eai-delphi; see tests/parity/test_delphi_metrics.py")
    parser.addoption(
        "--circuit-tracer", help="checkout of circuit-tracer; see tests/resources/formats/test_exchange_circuit_tracer_writing.py"
    )


def pytest_configure() -> None:
    """The workers of pytest-xdist ignore SIGTERM, and nohup lets them ignore SIGHUP. What they start would inherit that: with a handler,
    which a new program does not inherit, servers and daemons end when they are told to."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first, the tests of each file in their order."""
    place = {name: number for number, name in enumerate(SLOWEST_FILES_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session", autouse=True)
def without_waiting_for_the_disk() -> Iterator[None]:
    """No test takes the power away, so none waits until the disk has what is written: a run of the whole graph asks for that 1,500 times.

    That it is asked for at all is tested with `synced`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are flushed to the disk, as it happens."""
    names: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: names.append(os.readlink(f"/proc/self/fd/{file}")))
    return names


def pytest_unconfigure() -> None:
    """The home goes with the tests."""
    shutil.rmtree(os.environ["INTERP_HOME"], ignore_errors=True)
