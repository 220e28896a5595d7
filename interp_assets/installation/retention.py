"""Thins a home by the rules of `retention:` in settings.yaml: large tables of old checkpoints, and old replies."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from interp_assets.config.records import DictionaryRecord
from interp_assets.config.retention import CheckpointRetention
from interp_assets.installation.home import Home
from interp_assets.installation.unfinished_runs import Instance, home_instance, refuse_asking, refuse_under_way
from resources.store.manifests import Manifest


@dataclass(frozen=True)
class Thinning:
    """What the rules remove: partitions of the lake, and the number of old replies."""

    partitions: tuple[Manifest, ...]
    n_replies: int
    has_rules: bool = True
    """Whether the settings have rules at all."""

    @property
    def n_bytes(self) -> int:
        """Bytes of the partitions. Unit: bytes."""
        return sum(manifest.bytes for manifest in self.partitions)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not self.partitions and not self.n_replies

    def lines(self) -> Iterator[str]:
        """One line a dictionary and table, and a line on replies; a line that says so where there is nothing."""
        sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        for manifest in self.partitions:
            counted = sums[manifest.partition["dictionary"], manifest.table]
            counted[0] += 1
            counted[1] += manifest.bytes
        for (dictionary, table), (count, size) in sorted(sums.items()):
            yield f"{dictionary}\t{table}\t{count:,} partitions\t{size / 1e6:,.1f} MB"
        if self.n_replies:
            yield f"{self.n_replies:,} replies"
        if self.is_empty:
            without = "settings.yaml has no rules under `retention:`, so nothing is removed; docs/automation.md has an example"
            yield "the rules of `retention:` remove nothing" if self.has_rules else without


def planned_thinning(home: Home) -> Thinning:
    """What the rules of the site remove at this moment."""
    rules = home.settings.retention
    doomed: list[Manifest] = []
    if rules.checkpoints is not None:
        keys = {record.key for record in thinned_checkpoints(list(home.registry.read_all()[0].values()), rules.checkpoints)}
        for table in rules.checkpoints.drop:
            doomed += [manifest for manifest in home.lake.manifests(table) if manifest.partition.get("dictionary") in keys]
    old = 0 if rules.replies_days is None else home.replies.count_older_than(time.time() - rules.replies_days * 86_400)
    return Thinning(tuple(doomed), old, has_rules=rules.checkpoints is not None or rules.replies_days is not None)


def thinned_checkpoints(records: list[DictionaryRecord], rules: CheckpointRetention) -> list[DictionaryRecord]:
    """The checkpoints that lose tables, by series and step. Dictionaries that are no checkpoints never do."""
    series: dict[str, list[tuple[int, DictionaryRecord]]] = defaultdict(list)
    for record in records:
        if record.checkpoint is not None:
            series[record.checkpoint.series].append((record.checkpoint.step, record))
    found = []
    for name in sorted(series):
        steps = sorted(series[name], key=lambda entry: entry[0])[: -rules.keep_last]
        found += [record for step, record in steps if rules.keep_every is None or step % rules.keep_every]
    return found


def thin(home: Home, planned: Thinning, say: Callable[[str], None], instance_of: Instance = home_instance) -> None:
    """Remove what was planned. Killed in between, what is left is removed by the next call.

    Raises `UserError`, and removes nothing, while a run of Dagster may write one of the dictionaries; where replies are planned, while any
    run is unfinished.
    """
    with instance_of(home) as instance:
        refuse_under_way(instance, *sorted({manifest.partition["dictionary"] for manifest in planned.partitions}))
        if planned.n_replies:
            refuse_asking(instance)
    for manifest in planned.partitions:
        home.lake.remove(manifest.table, manifest.partition)
    if planned.partitions:
        say(f"removed {len(planned.partitions):,} partitions, {planned.n_bytes / 1e6:,.1f} MB; interp backfill makes them again")
    days = home.settings.retention.replies_days
    if planned.n_replies and days is not None:
        say(f"removed {home.replies.prune(older_than_days=days):,} replies; they are asked again where they are needed")
