"""Launches a backfill of dictionaries through Dagster and follows it to its end."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from interp_assets.config.asset_names import check_names, is_named
from interp_assets.config.base import fingerprint
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.installation.server import DagsterServer, ServerError, ServerSilent
from interp_assets.orchestration.partitions import DICTIONARIES

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


HEALTH = "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }"
OUTAGE_SECONDS = 30.0
"""Longest time that the webserver may not answer before a backfill is no longer followed. Unit: seconds."""
MOST_TITLE = 100
NOT_IN_TITLES = str.maketrans(dict.fromkeys('%*"', "_"))
DAEMON_SECONDS = 180.0
"""Longest time without a daemon that works on backfills before waiting is given up. Unit: seconds."""


@dataclass(frozen=True)
class BackfillResult:
    """The end of a backfill: its id, whether everything was made, and the errors of failed steps."""

    backfill_id: str
    succeeded: bool
    errors: tuple[str, ...]

    @property
    def failure(self) -> str:
        """The errors and the next step."""
        errors = "\n".join(self.errors) or f"backfill {self.backfill_id} did not complete"
        return f"{errors}\nwhat is finished is kept, and so is every reply: the same command again makes only what is missing"


def known_assets(assets: Sequence[dg.AssetsDefinition], only: Sequence[str] = ()) -> dict[str, dg.AssetsDefinition]:
    """Assets by name: all assets, or the assets that `only` names, such as all scorers by "scores". Raises `UserError`, listing the
    names, for an unknown name."""
    known = {"/".join(asset.key.path): asset for asset in assets}
    check_names(only, known)
    return {name: asset for name, asset in known.items() if not only or is_named(name, only)}


def partitions_by_asset(
    assets: Mapping[str, dg.AssetsDefinition],
    dictionaries: Sequence[str],
    ranges_of: Callable[[str, str], Sequence[str]] = lambda asset, dictionary: FEATURE_RANGE_KEYS,
) -> list[dict[str, Any]]:
    """GraphQL selectors: for every asset, by its name, the dictionaries or the ranges of dictionaries.

    `ranges_of(asset, dictionary)` are the feature ranges, in order, of an asset that is made by range; by default all ranges.
    """
    selectors = []
    for name, asset in assets.items():
        selector: dict[str, Any] = {"assetKey": {"path": list(asset.key.path)}}
        if asset.partitions_def is not None:
            if isinstance(asset.partitions_def, dg.MultiPartitionsDefinition):
                partitions = [(RangeKey(d, first), RangeKey(d, last)) for d in dictionaries for first, last in _runs(ranges_of(name, d))]
            else:
                assert asset.partitions_def == DICTIONARIES, asset.partitions_def
                partitions = [(key, key) for key in dictionaries]
            if not partitions:
                continue
            selector["partitions"] = {"ranges": [{"start": str(first), "end": str(last)} for first, last in partitions]}
        selectors.append(selector)
    return selectors


def _runs(ranges: Sequence[str]) -> list[tuple[str, str]]:
    """First and last range of every run of consecutive ranges."""
    numbers = [FEATURE_RANGE_KEYS.index(name) for name in ranges]
    starts = [i for i, number in enumerate(numbers) if i == 0 or number != numbers[i - 1] + 1]
    return [(ranges[start], ranges[end - 1]) for start, end in zip(starts, [*starts[1:], len(ranges)], strict=False)]


def launch_backfill(server: DagsterServer, selectors: list[dict[str, Any]], title: str) -> str:
    """Id of the launched backfill; where an interrupted command left a backfill of this title running, the id of that backfill.

    Raises `ServerError` with Dagster's own words when Dagster refuses the backfill.
    """
    for active in server.query(ACTIVE)["partitionBackfillsOrError"].get("results", []):
        if active["title"] == title:
            return active["id"]
    answer = server.query(LAUNCH, p={"partitionsByAssets": selectors, "title": title})["launchPartitionBackfill"]
    if "backfillId" not in answer:
        raise ServerError(f"Dagster refused the backfill: {answer.get('message', answer['__typename'])}")
    return answer["backfillId"]


def follow_backfill(server: DagsterServer, backfill_id: str, say: Callable[[str], None], poll_seconds: float = 2.0) -> BackfillResult:
    """Follow the backfill to its end, and return its result. Every log line of its runs is passed to `say` as it comes.

    A run that succeeds when it is tried again is no failure, whatever its first try logged. Raises `ServerError` where Dagster stays
    silent, and where no daemon works on backfills.
    """
    following = _Following(server, backfill_id, say)
    heard = worked = time.monotonic()
    while True:
        try:
            if (result := following.look()) is not None:
                return result
            heard = time.monotonic()
            if not following.waits_for_a_daemon():
                worked = heard
        except ServerSilent as silent:
            if time.monotonic() - heard > OUTAGE_SECONDS:
                raise ServerError(f"{silent}\nBackfill {backfill_id} is not lost: the same command again follows it to its end") from None
        if time.monotonic() - worked > DAEMON_SECONDS:
            raise ServerError(
                f"no daemon has worked on the backfills of {server.url} for {DAEMON_SECONDS:.0f} seconds: it was started without one, or "
                "its daemon has died. End it and start it again with `interp ui`, or run the same command again without it"
            )
        time.sleep(poll_seconds)


def title_of(words: Sequence[str]) -> str:
    """The words as a title that Dagster accepts: one title for the same words. A long title is cut, and ends in a mark of all words.

    Dagster refuses titles of more than MOST_TITLE characters and titles with %, * or a double quote.
    """
    title = " ".join(words)
    plain = title.translate(NOT_IN_TITLES)
    if plain == title and len(title) <= MOST_TITLE:
        return title
    mark = f"… {fingerprint(title)[:8]}"
    return plain[: MOST_TITLE - len(mark)] + mark


def run_backfills(
    server: DagsterServer, parts: Sequence[list[dict[str, Any]]], words: Sequence[str], say: Callable[[str], None]
) -> BackfillResult:
    """The result of the last backfill of `parts`, selectors of backfills that are launched one after another until one fails.

    The `words` of the command are the title.

    Raises `ServerError` as `launch_backfill` and `follow_backfill` do, and `ValueError` without a part.
    """
    result = None
    for number, selectors in enumerate(parts, 1):
        part = [] if len(parts) == 1 else [f"part {number} of {len(parts)}"]
        backfill_id = launch_backfill(server, selectors, title_of([*words, *part]))
        say(f"backfill {backfill_id}: {server.url}/runs/b/{backfill_id}")
        result = follow_backfill(server, backfill_id, say)
        if not result.succeeded:
            break
    if result is None:
        raise ValueError("no part was given")
    return result


class _Following:
    """The state of a backfill that is followed."""

    def __init__(self, server: DagsterServer, backfill_id: str, say: Callable[[str], None]) -> None:
        self._server, self._id, self._say = server, backfill_id, say
        self._cursors: dict[str, str | None] = {}
        self._ended: set[str] = set()
        self._errors: list[str] = []
        self._looks = 0
        self._unhealthy = False

    def look(self) -> BackfillResult | None:
        """Pass on new log lines; the result once the backfill has ended."""
        answer = self._server.query(STATUS, id=self._id)["partitionBackfillOrError"]
        if "status" not in answer:
            raise ServerError(f"Dagster knows no backfill {self._id} any more; run the same command again")
        for run in reversed(self._server.query(RUNS, id=self._id)["runsOrError"]["results"]):
            if run["runId"] not in self._ended:
                cursor = self._cursors.get(run["runId"])
                self._cursors[run["runId"]] = _new_events(self._server, run["runId"], cursor, self._say, self._errors)
            if run["status"] in RUN_FINISHED:
                self._ended.add(run["runId"])
        if answer["status"] not in FINISHED:
            return None
        if answer.get("error"):
            self._errors.append(answer["error"]["message"])
        succeeded = answer["status"] == "COMPLETED_SUCCESS" or (answer["status"] == "COMPLETED" and not self._errors)
        return BackfillResult(self._id, succeeded, tuple(self._errors))

    def waits_for_a_daemon(self) -> bool:
        """Whether no daemon works on backfills. Checked at every tenth look."""
        if self._looks % 10 == 0:
            found = self._server.query(HEALTH)["instance"]["daemonHealth"]["allDaemonStatuses"]
            self._unhealthy = any(one["daemonType"] == "BACKFILL" and one["healthy"] is False for one in found)
        self._looks += 1
        return self._unhealthy


def _new_events(server: DagsterServer, run: str, cursor: str | None, say: Callable[[str], None], errors: list[str]) -> str | None:
    """Pass the log lines and step events since `cursor` to `say`, and return the new cursor."""
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
            elif event["__typename"] == "RunFailureEvent" and not errors:
                errors.append(f"run {run} ended: {event['message'].strip()}")
                say(errors[-1])
        cursor = page.get("cursor", cursor)
        if not page.get("hasMore"):
            return cursor
