"""A range stage: its tables, its inputs, and the data version of each of its partitions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from interp_assets.config.base import fingerprint
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.tables import DICTIONARY_SAMPLES, FEATURE_STATISTICS, Table
from resources.store.lake import Lake

ABSENT = "absent"
"""Version of an optional input that is absent."""


class Versioned(Protocol):
    """The data version of a partition."""

    @property
    def data_version(self) -> str: ...


class Versions(Protocol):
    """Looks up the data versions of partitions: in the lake, or in the lake as it will be after a backfill."""

    def manifest(self, table: str, partition: Mapping[str, str]) -> Versioned | None: ...

    def require(self, table: str, partition: Mapping[str, str]) -> Versioned: ...


def changed_inputs(lake: Lake, record: DictionaryRecord) -> list[str]:
    """Lines on local files whose content has changed since a dictionary's sample or activations were made from them."""
    lines = []
    first = lake_partition(RangeKey(record.key, FEATURE_RANGE_KEYS[0]))
    made_from = (
        ("token_sample", DICTIONARY_SAMPLES, {"dictionary": record.key}, record.corpus_inputs),
        ("activation_shards", FEATURE_STATISTICS, first, record.source_inputs),
    )
    for asset, table, partition, contents in made_from:
        manifest = lake.manifest(table.name, partition)
        if manifest is None:
            continue
        for name, content in contents.items():
            then = manifest.inputs.get(name)
            if then is None:
                lines.append(f"input not recorded: {name} of {record.key}; {asset} was made by an earlier release and is made once more")
            elif then != content:
                lines.append(f"input changed: {name} of {record.key} holds {content}, {asset} was made from {then}")
    return lines


@dataclass(frozen=True)
class Upstream:
    """An input of a range stage: a table, and `extra`, its partition columns beside dictionary and range (such as the explanation method).

    A table that is partitioned by dictionary alone is read whole for each partition. A table by ranges is read whole for a dictionary for
    which `all_ranges` is true. `needed` says whether the settings ask for the input at all; an `optional` input may be absent.
    """

    table: Table
    extra: Mapping[str, str] = field(default_factory=dict)
    needed: Callable[[StageSettings], bool] = lambda stages: True
    all_ranges: Callable[[DictionaryRecord], bool] = lambda record: False
    optional: bool = False

    @property
    def name(self) -> str:
        """Name under which the input's version is kept in the manifest."""
        return "/".join([self.table.name, *self.extra.values()])

    def partitions(self, record: DictionaryRecord, key: RangeKey) -> list[dict[str, str]]:
        """Partitions of the input's table that a partition of the stage reads."""
        partitions = [RangeKey(key.dictionary, name) for name in FEATURE_RANGE_KEYS] if self.all_ranges(record) else [key]
        return [
            {**self.extra, **{k: v for k, v in lake_partition(partition).items() if k in self.table.partition_columns}}
            for partition in partitions
        ]

    def missing(self, lake: Versions, record: DictionaryRecord, key: RangeKey) -> bool:
        """Whether any partition of the input is absent."""
        return any(lake.manifest(self.table.name, partition) is None for partition in self.partitions(record, key))

    def lacks(self, lake: Versions, record: DictionaryRecord, key: RangeKey) -> tuple[bool, bool]:
        """Whether a partition of the stage lacks the input in its own range, or as a whole; and whether in other ranges."""
        if self.optional or not self.missing(lake, record, key):
            return False, False
        if not self.all_ranges(record) or "feature_range" not in self.table.partition_columns:
            return True, False
        own = {**self.extra, **lake_partition(key)}
        absent = [one for one in self.partitions(record, key) if lake.manifest(self.table.name, one) is None]
        return own in absent, any(one != own for one in absent)

    def version(self, lake: Versions, record: DictionaryRecord, key: RangeKey) -> str:
        """Data version of the input of a partition. Raises `LakeError` naming an absent input."""
        if self.optional and self.missing(lake, record, key):
            return ABSENT
        versions = [lake.require(self.table.name, partition).data_version for partition in self.partitions(record, key)]
        return versions[0] if len(versions) == 1 else fingerprint(versions)


@dataclass(frozen=True)
class RangeStage:
    """A stage by feature range: its main table, its `side_tables` (partitioned alike), and everything that their content depends on.

    `settings_of(stage_settings, platform_settings)` returns the settings that shape the content, or None or False where the settings do not
    ask for the stage. The stage is then complete without rows.
    """

    table: Table
    code_version: str
    upstream: tuple[Upstream, ...]
    settings_of: Callable[[StageSettings, PlatformSettings], Any]
    extra: Mapping[str, str] = field(default_factory=dict)
    side_tables: tuple[Table, ...] = ()

    @property
    def asset(self) -> str:
        """Name of the asset, such as scores/fuzzing."""
        return "/".join([self.table.name, *self.extra.values()])

    def asked_for(self, stages: StageSettings, platform: PlatformSettings) -> bool:
        """Whether the settings ask for any rows."""
        return self.settings_of(stages, platform) not in (None, False)

    def holds_rows(self, lake: Lake, record: DictionaryRecord) -> bool:
        """Whether the lake has any rows of this stage for a dictionary: current rows, old rows, or rows that a killed run left."""
        return any(lake.holds_rows(table.name, {**self.extra, "dictionary": record.key}) for table in (self.table, *self.side_tables))

    def has_work_for(self, lake: Lake, record: DictionaryRecord, platform: PlatformSettings) -> bool:
        """Whether there is anything to run: the settings ask for rows of a dictionary, or the lake has rows that no setting asks for."""
        return self.asked_for(platform.stage_settings(record.stages), platform) or self.holds_rows(lake, record)

    def partition(self, key: RangeKey) -> dict[str, str]:
        """Where a partition is in this stage's own tables in the lake."""
        return {**self.extra, **lake_partition(key)}

    def inputs(self, lake: Versions, record: DictionaryRecord, key: RangeKey, stages: StageSettings) -> dict[str, str]:
        """Data version of every input that a partition needs, and of the features that a condition chooses of it. Raises `LakeError`
        naming an absent input."""
        chosen = {} if record.condition is None else {"chosen features": fingerprint(DictionaryRecord.features_of(record, key).tolist())}
        return {u.name: u.version(lake, record, key) for u in self.upstream if u.needed(stages)} | chosen

    def lacks_other_ranges_alone(self, lake: Versions, record: DictionaryRecord, key: RangeKey, stages: StageSettings) -> bool:
        """Whether a partition lacks inputs, but in other ranges of its dictionary alone: runs over these ranges make the inputs."""
        lacking = [one.lacks(lake, record, key) for one in self.upstream if one.needed(stages)]
        return any(others for _, others in lacking) and not any(own for own, _ in lacking)

    def data_version(self, stages: StageSettings, platform: PlatformSettings, inputs: Mapping[str, str]) -> str:
        """Data version of a partition: over the code's version, the settings, the seed and the inputs' versions."""
        settings = self.settings_of(stages, platform)
        return fingerprint(self.table.name, dict(self.extra), self.code_version, settings, stages.seed, dict(inputs))
