"""Thins a home by the rules of `retention:` in settings.yaml: large tables of old checkpoints, and old replies."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.retention import CheckpointRetention
from interp_assets.domain.scoring import SCORERS
from interp_assets.installation.forgetting import forget_copy
from interp_assets.installation.home import Home
from interp_assets.installation.unfinished_runs import Instance, home_instance, refuse_asking, refuse_under_way
from interp_assets.tables import EXAMPLES, EXPLANATIONS, SCORES
from resources.store.manifests import Manifest

NAMED = 12
"""Most unfinished checkpoints in a line."""


@dataclass(frozen=True)
class Thinning:
    """What the rules remove: partitions of the lake, and the number of old replies."""

    partitions: tuple[Manifest, ...]
    n_replies: int
    has_rules: bool = True
    """Whether the settings have rules at all."""
    unfinished: tuple[str, ...] = ()
    """Checkpoints that keep their tables since explanations or scores are still to be made from them."""

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
        if self.unfinished:
            named = ", ".join(self.unfinished[:NAMED]) + (
                f" and {len(self.unfinished) - NAMED:,} more" if len(self.unfinished) > NAMED else ""
            )
            yield f"kept, since not all is made yet that the settings ask for: {named}; interp backfill makes it"
        if self.is_empty:
            without = "settings.yaml has no rules under `retention:`, so nothing is removed; docs/automation.md has an example"
            yield "the rules of `retention:` remove nothing" if self.has_rules else without


def planned_thinning(home: Home) -> Thinning:
    """What the rules of the site remove at this moment."""
    rules = home.settings.retention
    doomed: list[Manifest] = []
    unfinished: tuple[str, ...] = ()
    if rules.checkpoints is not None:
        records = home.registry.read_all()[0]
        of_checkpoints = [
            one
            for table in rules.checkpoints.drop
            for one in home.lake.manifests(table)
            if (record := records.get(one.partition.get("dictionary", ""))) is not None and record.checkpoint is not None
        ]
        holding = {one.partition["dictionary"] for one in of_checkpoints}
        old_ones = {record.key: record for record in thinned_checkpoints([records[key] for key in sorted(holding)], rules.checkpoints)}
        held = [one for one in of_checkpoints if one.partition["dictionary"] in old_ones]
        keys = sorted({manifest.partition["dictionary"] for manifest in held})
        unfinished = tuple(key for key in keys if not _is_finished(home, old_ones[key], rules.checkpoints.drop))
        doomed = [manifest for manifest in held if manifest.partition["dictionary"] not in unfinished]
    old = 0 if rules.replies_days is None else home.replies.count_older_than(time.time() - rules.replies_days * 86_400)
    return Thinning(tuple(doomed), old, rules.checkpoints is not None or rules.replies_days is not None, unfinished)


def _is_finished(home: Home, record: DictionaryRecord, dropped: Collection[str]) -> bool:
    """Whether a dictionary has the examples, explanations and scores that its settings ask for, in all ranges; of tables in `dropped`
    nothing is expected."""
    stages = home.settings.stage_settings(record.stages)
    asked: list[tuple[str, dict[str, str]]] = [(EXAMPLES.name, {})]
    asked += [(EXPLANATIONS.name, {"explanation_method": method}) for method in stages.explanations]
    asked += [(SCORES.name, {"scorer": scorer.NAME}) for scorer in SCORERS if stages.scored(scorer)]
    return all(
        home.lake.manifest(table, {**extra, **lake_partition(RangeKey(record.key, name))}) is not None
        for table, extra in asked
        if table not in dropped
        for name in FEATURE_RANGE_KEYS
    )


def thinned_checkpoints(records: list[DictionaryRecord], rules: CheckpointRetention) -> list[DictionaryRecord]:
    """The checkpoints that lose tables, of checkpoints that hold such tables, by series and step. Dictionaries that are no checkpoints
    never do."""
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
    for table, dictionary in sorted({(manifest.table, manifest.partition["dictionary"]) for manifest in planned.partitions}):
        forget_copy(home, dictionary, table)
    if planned.partitions:
        say(f"removed {len(planned.partitions):,} partitions, {planned.n_bytes / 1e6:,.1f} MB; interp backfill makes them again")
    days = home.settings.retention.replies_days
    if planned.n_replies and days is not None:
        say(f"removed {home.replies.prune(older_than_days=days):,} replies; they are asked again where they are needed")
