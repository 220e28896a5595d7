"""How fast the UI, the sensors and the command line stay with a thousand dictionaries: against a real webserver and daemon.

    python benchmarks/graph_scale.py [--quick] [--dictionaries 1000]

Registers that many records (times 16 ranges and every asset of the graph), materialises some, and times, as a person at the UI would
meet them: the queries behind the asset graph, an asset's partitions, a dictionary's page and a backfill of everything, which is launched
while no daemon runs and cancelled again; then the ticks of both sensors. The median of a few, and the first, when nothing is cached. The
last line is one JSON object, in milliseconds but for what says otherwise.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
from dagster._core.execution.backfill import BulkActionStatus

# Loading the definitions opens a home: not that of whoever measures.
os.environ["INTERP_HOME"] = tempfile.mkdtemp(prefix="interp-benchmark-")

from interp_assets.backfill.launch import known_assets, partitions_by_asset
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.graph.assembly import ASSETS
from interp_assets.installation.home import Home
from interp_assets.installation.process_group import started_group
from interp_assets.installation.server import free_port, prepare_instance
from interp_assets.orchestration.partitions import DICTIONARIES

TARGET_MS = 2000
N_REPEATS = 5
TICKS = 3
MADE = ("examples", "explanations/max_act", "scores/detection")
GRAPH = """{ assetNodes { id assetKey { path } groupName isPartitioned isMaterializable kinds description owners { __typename }
  dependencyKeys { path } dependedByKeys { path } hasMaterializePermission partitionDefinition { description }
  automationCondition { label expandedLabel } backfillPolicy { description } } }"""
LIVE = """query($keys: [AssetKeyInput!]!) { assetNodes(assetKeys: $keys, loadMaterializations: true) { id assetKey { path }
  assetMaterializations(limit: 1) { timestamp runId } assetChecksOrError { ... on AssetChecks { checks { name
  executionForLatestMaterialization { status } } } } partitionStats { numMaterialized numMaterializing numPartitions numFailed } }
  assetsLatestInfo(assetKeys: $keys) { assetKey { path } unstartedRunIds inProgressRunIds latestRun { id status } } }"""
PARTITIONS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { id
  partitionKeysByDimension { name type partitionKeys } assetPartitionStatuses { __typename
  ... on DefaultPartitionStatuses { materializedPartitions failedPartitions materializingPartitions unmaterializedPartitions }
  ... on MultiPartitionStatuses { primaryDimensionName ranges { primaryDimStartKey primaryDimEndKey secondaryDim {
  ... on DefaultPartitionStatuses { materializedPartitions failedPartitions materializingPartitions } } } } } } } }"""
ONE_PARTITION = """query($key: AssetKeyInput!, $partition: String!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { id
  assetMaterializations(partitions: [$partition], limit: 1) { timestamp runId metadataEntries { label description } } } } }"""
LAUNCH = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { id status timestamp numPartitions
  assetBackfillData { rootTargetedPartitions { partitionKeys ranges { start end } } assetBackfillStatuses {
  ... on AssetPartitionsStatusCounts { assetKey { path } numPartitionsTargeted numPartitionsInProgress numPartitionsMaterialized
  numPartitionsFailed } ... on UnpartitionedAssetStatus { assetKey { path } inProgress materialized failed } } } } } }"""
BACKFILLS = """{ partitionBackfillsOrError(limit: 25) { ... on PartitionBackfills { results { id status title numPartitions
  isAssetBackfill assetSelection { path } } } } }"""
SENSORS = """{ sensorsOrError(repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "interp_assets"}) {
  ... on Sensors { results { name sensorState { ticks(limit: 50) { status timestamp endTimestamp error { message } } } } } } }"""


@contextmanager
def process(environment: dict[str, str], log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dagster's for as long as the block runs, with all that it starts."""
    with log.open("ab") as file, started_group([sys.executable, *words], environment, file) as started:
        yield started


class Timed:
    """Milliseconds of what was timed, by name: the first and the median of those after it."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.median: dict[str, float] = {}

    def time(self, name: str, work: Callable[[], Any], repeats: int = N_REPEATS) -> Any:
        """What `work` returned the last time."""
        taken = []
        for _ in range(1 + repeats):
            started = time.perf_counter()
            result = work()
            taken.append(1000 * (time.perf_counter() - started))
        self.add(name, taken)
        return result

    def add(self, name: str, taken: list[float]) -> None:
        """Milliseconds taken elsewhere, in order."""
        self.first[name], self.median[name] = taken[0], statistics.median(taken[1:] or taken)


def register(home: Home, n: int) -> list[str]:
    """Keys of `n` dictionaries, after writing their records and adding their partitions."""
    keys = [f"model-{number % 10}/{number // 10:03d}/sae" for number in range(n)]
    for key in keys:
        fields: dict[str, Any] = {"hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 8, "width": 64}
        home.registry.write(DictionaryRecord(key=key, stages={"examples": {"n_shown": 4}}, **fields))
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        instance.add_dynamic_partitions(DICTIONARIES.name or "", keys)
    return keys


def materialise(home: Home, keys: list[str]) -> float:
    """Milliseconds that the instance takes to keep one materialisation, after keeping those of some assets of `keys`."""
    taken = []
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        for name in MADE:
            for key in keys:
                for feature_range in FEATURE_RANGE_KEYS:
                    started = time.perf_counter()
                    instance.report_runless_asset_event(dg.AssetMaterialization(name.split("/"), partition=f"{key}|{feature_range}"))
                    taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def time_pages(timed: Timed, query: Callable[..., dict[str, Any]], home: Home, keys: list[str]) -> None:
    """Time the queries behind the UI's pages, on a webserver beside which no daemon runs."""
    paths = [{"path": list(asset.key.path)} for asset in ASSETS]
    ranged, whole = {"path": ["scores", "detection"]}, {"path": ["activation_shards"]}
    timed.time("asset graph", lambda: query(GRAPH))
    timed.time("asset graph, live state", lambda: query(LIVE, keys=paths))
    timed.time("partitions of an asset by range", lambda: query(PARTITIONS, key=ranged))
    timed.time("partitions of an asset by dictionary", lambda: query(PARTITIONS, key=whole))
    timed.time("one partition of an asset", lambda: query(ONE_PARTITION, key=ranged, partition=f"{keys[0]}|00of16"))
    one = partitions_by_asset(known_assets(ASSETS), keys[:1])
    everything = [{"assetKey": path, "partitions": None} for path in paths]
    for entry, asset in zip(everything, ASSETS, strict=True):
        if asset.partitions_def is not None:
            ranges = [f"|{FEATURE_RANGE_KEYS[0]}", f"|{FEATURE_RANGE_KEYS[-1]}"]
            first, last = ranges if isinstance(asset.partitions_def, dg.MultiPartitionsDefinition) else ("", "")
            entry["partitions"] = {"ranges": [{"start": key + first, "end": key + last} for key in keys]}
        else:
            entry.pop("partitions")
    for name, selectors in (("one dictionary", one), ("all dictionaries", everything)):
        launch = lambda chosen=selectors: query(LAUNCH, p={"partitionsByAssets": chosen, "title": "scale"})  # noqa: E731
        answer = timed.time(f"launch a backfill of {name}", launch, repeats=0)["launchPartitionBackfill"]
        assert "backfillId" in answer, answer
        timed.time(f"backfill page, {name}", lambda backfill=answer["backfillId"]: query(BACKFILL, id=backfill))
    timed.time("list of backfills", lambda: query(BACKFILLS))
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        for backfill in instance.get_backfills():
            instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))


def time_ticks(timed: Timed, query: Callable[..., dict[str, Any]], patience: float) -> None:
    """Time the first ticks of both sensors. Raises AssertionError where they failed or did not come."""
    deadline = time.monotonic() + patience
    while True:
        sensors = query(SENSORS)["sensorsOrError"]["results"]
        ticks = {s["name"]: [t for t in s["sensorState"]["ticks"][::-1] if t["endTimestamp"]] for s in sensors}
        failed = [tick["error"] for found in ticks.values() for tick in found if tick["status"] == "FAILURE"]
        assert not failed, failed[0]
        if all(len(found) >= TICKS for found in ticks.values()):
            break
        assert time.monotonic() < deadline, f"no {TICKS} ticks within {patience:g} s: { ({k: len(v) for k, v in ticks.items()}) }"
        time.sleep(2)
    for name, found in ticks.items():
        timed.add(f"tick of {name}", [1000 * (tick["endTimestamp"] - tick["timestamp"]) for tick in found])


def main() -> None:
    """Measure and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dictionaries", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="100 dictionaries")
    given = parser.parse_args()
    n = 100 if given.quick else given.dictionaries
    timed = Timed()
    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name), str(Path(name) / "lake"))
        environment = prepare_instance(home)
        keys = register(home, n)
        per_event = materialise(home, keys[: max(1, n // 50)])
        load = [sys.executable, "-c", "import interp_assets.definitions"]
        timed.time("load the definitions", lambda: subprocess.run(load, env=environment, check=True), repeats=2)
        timed.time("read all records", lambda: DictionaryRegistry(home.registry.folder).read_all())
        timed.time("read all records again", home.registry.read_all)
        timed.time("rebuild the warehouse", home.warehouse.build, repeats=2)
        port = free_port()
        client = httpx.Client(timeout=300)

        def query(text: str, **variables: Any) -> dict[str, Any]:
            content = client.post(f"http://127.0.0.1:{port}/graphql", json={"query": text, "variables": variables}).json()
            assert not content.get("errors"), content["errors"][0]["message"]
            return content["data"]

        log, workspace = home.root / "server.log", str(home.workspace_file)
        with process(environment, log, "-m", "dagster_webserver", "-w", workspace, "-h", "127.0.0.1", "-p", str(port)):
            deadline = time.monotonic() + 120
            while True:
                try:
                    query("{ version }")
                    break
                except httpx.HTTPError:
                    assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
                    time.sleep(0.5)
            time_pages(timed, query, home, keys)
            with process(environment, log, "-m", "dagster._daemon", "run", "-w", workspace):
                time_ticks(timed, query, patience=300)
    print(
        f"{n:,} dictionaries x {len(FEATURE_RANGE_KEYS)} ranges x {len(ASSETS)} assets\n\n{'milliseconds':>44}  {'first':>8}  {'median':>8}"
    )
    for name, median in timed.median.items():
        print(f"{name:>44}  {timed.first[name]:8.0f}  {median:8.0f}{'  over 2 s' if median > TARGET_MS else ''}")
    print(f"{'one event of a run kept by the instance':>44}  {'':>8}  {per_event:8.1f}\n")
    figures = {"dictionaries": n, "assets": len(ASSETS), "event_ms": round(per_event, 1), "load_average": os.getloadavg()[0]}
    shown = {name: {"first": round(timed.first[name]), "median": round(median)} for name, median in timed.median.items()}
    print(json.dumps({**figures, **shown}))


if __name__ == "__main__":
    main()
