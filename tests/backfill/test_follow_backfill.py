"""Following a backfill: what counts as success, outages of the webserver, and a daemon that is not there."""

from collections.abc import Callable
from typing import Any

import pytest
from dagster._core.definitions.utils import check_valid_title

from interp_assets.backfill import launch as backfill
from interp_assets.backfill.launch import follow_backfill, title_of
from interp_assets.installation.server import DagsterServer, ServerError, ServerSilent


class ScriptedDagster(DagsterServer):
    """Answers with the next of some states: a status, or an exception; the last one stays."""

    def __init__(self, states: list[Any], runs: list[dict[str, str]] | None = None, events: dict[str, list[dict]] | None = None) -> None:
        super().__init__("http://dagster")
        object.__setattr__(self, "script", {"states": states, "runs": runs or [], "events": events or {}, "healthy": True})

    def query(self, query: str, **variables: Any) -> dict[str, Any]:
        script: dict[str, Any] = self.__dict__["script"]
        if query == backfill.STATUS:
            state = script["states"].pop(0) if len(script["states"]) > 1 else script["states"][0]
            if isinstance(state, Exception):
                raise state
            return {"partitionBackfillOrError": {"status": state, "error": None} if state else {}}
        if query == backfill.RUNS:
            return {"runsOrError": {"results": script["runs"]}}
        if query == backfill.HEALTH:
            statuses = [{"daemonType": "BACKFILL", "healthy": script["healthy"]}, {"daemonType": "SENSOR", "healthy": False}]
            return {"instance": {"daemonHealth": {"allDaemonStatuses": statuses}}}
        return {"logsForRun": {"events": script["events"].get(variables["run"], []), "cursor": "1", "hasMore": False}}


def step_failure(message: str) -> dict[str, Any]:
    return {"__typename": "ExecutionStepFailureEvent", "message": message, "stepKey": "scores", "error": {"message": message}}


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Every sleep of a second lets ten go by."""
    clock = [0.0]
    monkeypatch.setattr(backfill.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + 10 * seconds))
    monkeypatch.setattr(backfill.time, "monotonic", lambda: clock[0])
    return lambda: clock[0]


def follow(dagster: ScriptedDagster) -> Any:
    return follow_backfill(dagster, "b", lambda line: None, poll_seconds=1.0)


def test_a_run_that_was_tried_again_is_no_failure() -> None:
    runs = [{"runId": "2", "status": "SUCCESS"}, {"runId": "1", "status": "FAILURE"}]
    events = {"1": [step_failure("the code server died")]}
    result = follow(ScriptedDagster(["REQUESTED", "COMPLETED_SUCCESS"], runs, events))
    assert result.succeeded and "code server died" in result.errors[0]


def test_a_failure_says_what_to_run() -> None:
    ended = {"__typename": "RunFailureEvent", "message": "its process 7 is gone", "stepKey": None}
    result = follow(ScriptedDagster(["COMPLETED_FAILED"], [{"runId": "1", "status": "FAILURE"}], {"1": [ended]}))
    assert not result.succeeded
    assert "run 1 ended: its process 7 is gone" in result.failure and "the same command again makes only what is missing" in result.failure


def test_a_short_outage_passes_and_a_long_one_says_that_nothing_is_lost() -> None:
    silent = ServerSilent("no answer")
    assert follow(ScriptedDagster(["REQUESTED", silent, silent, "COMPLETED_SUCCESS"])).succeeded
    with pytest.raises(ServerError, match="no answer\nBackfill b is not lost"):
        follow(ScriptedDagster(["REQUESTED", silent]))


def test_a_refusal_is_no_outage_and_a_backfill_may_be_gone() -> None:
    with pytest.raises(ServerError, match="refused"):
        follow(ScriptedDagster([ServerError("refused"), "COMPLETED_SUCCESS"]))
    with pytest.raises(ServerError, match="knows no backfill b"):
        follow(ScriptedDagster([None]))


def test_a_daemon_that_is_not_there_is_not_waited_for_without_end(in_no_time: Callable[[], float]) -> None:
    dagster = ScriptedDagster(["REQUESTED"])
    dagster.__dict__["script"]["healthy"] = False
    with pytest.raises(ServerError, match="no daemon has worked on the backfills of http://dagster for 180 seconds"):
        follow(dagster)
    assert in_no_time() < 400


@pytest.mark.parametrize(
    "words", [["interp backfill", "m/00/" + "x" * 200], ["interp backfill", *[f"m/{n:02}/sae" for n in range(40)]], ['50%*"']]
)
def test_a_title_is_short_enough_for_dagster_and_tells_commands_apart(words: list[str]) -> None:
    title = title_of(words)
    assert check_valid_title(title) == title == title_of(words) != title_of([*words, "--only"])
    assert title_of(["interp backfill", "m/00/sae"]) == "interp backfill m/00/sae"
