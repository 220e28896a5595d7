"""Launching a backfill of dictionaries through Dagster and following it to its end."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from interp_assets.partitions import DICTIONARIES, FEATURE_RANGE_KEYS, RangeKey
from interp_assets.server import DagsterServer, ServerError

LAUNCH = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } ... on UnauthorizedError { message }
  ... on PartitionKeysNotFoundError { message } } }"""
ACTIVE = """{ partitionBackfillsOrError(status: REQUESTED, limit: 100) { ... on PartitionBackfills { results { id title } } } }"""
STATUS = "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status error { message } } } }"
RUNS = """query($id: String!) { runsOrError(filter: {tags: [{key: "dagster/backfill", value: $id}]}) { ... on Runs { results {
  runId status } } } }"""
EVENTS = """query($run: ID!, $cursor: String) { logsForRun(runId: $run, afterCursor: $cursor, limit: 500) { ... on EventConnection {
  cursor hasMore events { __typename ... on MessageEvent { message level stepKey }
  ... on ExecutionStepFailureEvent { error { message cause { message } } } } } } }"""
RUN_FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}
FINISHED = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}


@dataclass(frozen=True)
class BackfillResult:
    """How a backfill ended: its id, whether everything was made, and the errors of what was not."""

    backfill_id: str
    succeeded: bool
    errors: tuple[str, ...]


def partitions_by_asset(
    assets: Sequence[dg.AssetsDefinition],
    dictionaries: Sequence[str],
    only: Sequence[str] = (),
    ranges: Sequence[str] = FEATURE_RANGE_KEYS,
) -> list[dict[str, Any]]:
    """GraphQL selectors: for every asset (or those named in `only`, such as scores/fuzzing) the dictionaries, or their ranges."""
    known = {"/".join(asset.key.path): asset for asset in assets}
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise ServerError(f"no asset is called {', '.join(unknown)}; assets are {', '.join(known)}")
    selectors = []
    for name, asset in known.items():
        if only and name not in only:
            continue
        selector: dict[str, Any] = {"assetKey": {"path": list(asset.key.path)}}
        if asset.partitions_def is None:
            if only and name not in only:
                continue
        elif isinstance(asset.partitions_def, dg.MultiPartitionsDefinition):
            cells = [(RangeKey(d, ranges[0]), RangeKey(d, ranges[-1])) for d in dictionaries]
            selector["partitions"] = {"ranges": [{"start": str(first), "end": str(last)} for first, last in cells]}
        else:
            assert asset.partitions_def == DICTIONARIES, asset.partitions_def
            selector["partitions"] = {"ranges": [{"start": key, "end": key} for key in dictionaries]}
        selectors.append(selector)
    return selectors


def launch_backfill(server: DagsterServer, selectors: list[dict[str, Any]], title: str) -> str:
    """Id of the backfill just launched, or of one under this title that an interrupted command left running.

    Raises `ServerError` with Dagster's own words when it is refused.
    """
    for active in server.query(ACTIVE)["partitionBackfillsOrError"].get("results", []):
        if active["title"] == title:
            return active["id"]
    answer = server.query(LAUNCH, p={"partitionsByAssets": selectors, "title": title})["launchPartitionBackfill"]
    if "backfillId" not in answer:
        raise ServerError(f"Dagster refused the backfill: {answer.get('message', answer['__typename'])}")
    return answer["backfillId"]


def follow_backfill(server: DagsterServer, backfill_id: str, say: Callable[[str], None], poll_seconds: float = 2.0) -> BackfillResult:
    """The backfill's end, after passing every log line of its runs to `say` as it comes."""
    cursors: dict[str, str | None] = {}
    ended: set[str] = set()
    errors: list[str] = []
    while True:
        answer = server.query(STATUS, id=backfill_id)["partitionBackfillOrError"]
        for run in reversed(server.query(RUNS, id=backfill_id)["runsOrError"]["results"]):
            if run["runId"] not in ended:
                cursors[run["runId"]] = _new_events(server, run["runId"], cursors.get(run["runId"]), say, errors)
            if run["status"] in RUN_FINISHED:
                ended.add(run["runId"])
        if answer["status"] in FINISHED:
            if answer.get("error"):
                errors.append(answer["error"]["message"])
            return BackfillResult(backfill_id, answer["status"] in ("COMPLETED", "COMPLETED_SUCCESS") and not errors, tuple(errors))
        time.sleep(poll_seconds)


def _new_events(server: DagsterServer, run: str, cursor: str | None, say: Callable[[str], None], errors: list[str]) -> str | None:
    """Cursor after passing on the log lines and step events that came since `cursor`."""
    while True:
        page = server.query(EVENTS, run=run, cursor=cursor)["logsForRun"]
        for event in page.get("events", []):
            step = event.get("stepKey") or ""
            if event["__typename"] == "LogMessageEvent" and event.get("level") != "DEBUG":
                say(f"  {step}: {event['message']}")
            elif event["__typename"] == "ExecutionStepStartEvent":
                say(f"{step} started")
            elif event["__typename"] == "ExecutionStepFailureEvent":
                cause = (event.get("error") or {}).get("cause") or event.get("error") or {}
                errors.append(f"{step} failed: {cause.get('message', event['message']).strip()}")
                say(errors[-1])
        cursor = page.get("cursor", cursor)
        if not page.get("hasMore"):
            return cursor
