"""Refuses to remove or move what an unfinished run of Dagster may be writing or reading."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import dagster as dg

from interp_assets.config.base import UserError
from interp_assets.installation.dagster_files import unusable_home
from interp_assets.installation.home import Home
from interp_assets.installation.instance import opened_instance
from interp_assets.installation.server import prepare_instance
from resources.run_launcher import IN_PROCESS_TAG, has_ended

Instance = Callable[[Home], AbstractContextManager[dg.DagsterInstance]]

UNFINISHED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@contextmanager
def home_instance(home: Home) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a home. Raises `UserError` where its files are damaged or may not be written."""
    if why := unusable_home(home.dagster):
        raise UserError(why)
    prepare_instance(home)
    with opened_instance(home) as instance:
        yield instance


def refuse_under_way(instance: dg.DagsterInstance, *keys: str) -> None:
    """Raise `UserError` while an unfinished run is over one of these dictionaries, or over a span of dictionaries."""
    for run in _unfinished(instance):
        spans = {value.partition("|")[0] for name, value in run.tags.items() if "partition" in name}
        found = sorted(spans & set(keys)) or (list(keys) if keys and len(spans) > 1 else [])
        if found:
            raise _refusal(run, f"may write {' and '.join(found[:2])}")


def refuse_asking(instance: dg.DagsterInstance) -> None:
    """Raise `UserError` while any run is unfinished: it may read and join the replies that are to be removed."""
    for run in _unfinished(instance):
        raise _refusal(run, "may read and keep replies of language models")


def _unfinished(instance: dg.DagsterInstance) -> Iterator[dg.DagsterRun]:
    """The unfinished runs, but for runs of a command that was killed: nobody else marks these as failed."""
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if not has_ended(run.tags.get(IN_PROCESS_TAG, "")):
            yield run


def _refusal(run: dg.DagsterRun, does: str) -> UserError:
    return UserError(f"run {run.run_id} of Dagster is not finished and {does}: wait for its end, or end it in the UI (interp ui)")
