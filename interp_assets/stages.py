"""Data versions: what the content of a partition depends on, and so when it must be made again."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from interp_assets.dictionaries import DictionaryRecord
from interp_assets.partitions import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.settings import PlatformSettings, StageSettings, fingerprint
from interp_assets.tables import ACTIVATIONS, DICTIONARY_SAMPLES, FEATURE_STATISTICS, Table
from resources.lake import Lake

SAMPLE_CODE_VERSION = "1"
HARVEST_CODE_VERSION = "1"


def sample_version(record: DictionaryRecord, tokenizer_revision: str) -> str:
    """Content address of a token sample: equal for two dictionaries with the same tokenizer, corpus, length and seed."""
    return fingerprint(SAMPLE_CODE_VERSION, tokenizer_revision, record.token_sample)


def activations_version(record: DictionaryRecord, stages: StageSettings, sample: str) -> str:
    """Data version of a dictionary's activations on a sample, the same for all its ranges."""
    cap = stages.harvest.max_activations
    return fingerprint(HARVEST_CODE_VERSION, record.fingerprint, sample, *([] if cap is None else [cap, stages.seed]))


def cell_partition(key: RangeKey) -> dict[str, str]:
    """Lake partition of a cell."""
    return {"dictionary": key.dictionary, "feature_range": key.feature_range}


@dataclass(frozen=True)
class Upstream:
    """An input: a table, and the partition columns that select its part besides the cell (such as the explanation method)."""

    table: Table
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name under which the input's version is kept in the manifest."""
        return "/".join([self.table.name, *self.extra.values()])


@dataclass(frozen=True)
class Stage:
    """A per-range stage: its main table, and everything that its content depends on.

    `settings_of(stage_settings, platform_settings)` returns what of the settings shapes the content.
    """

    table: Table
    code_version: str
    upstream: tuple[Upstream, ...]
    settings_of: Callable[[StageSettings, PlatformSettings], Any]
    extra: Mapping[str, str] = field(default_factory=dict)

    def partition(self, key: RangeKey) -> dict[str, str]:
        """Lake partition of a cell in this stage's own tables."""
        return {**self.extra, **cell_partition(key)}

    def inputs(self, lake: Lake, key: RangeKey) -> dict[str, str]:
        """Data version of every input of a cell. Raises `LakeError` naming the input that is not there."""
        return {u.name: lake.require(u.table.name, {**u.extra, **cell_partition(key)}).data_version for u in self.upstream}

    def data_version(self, stages: StageSettings, platform: PlatformSettings, inputs: Mapping[str, str]) -> str:
        """Data version of a cell: over the code's version, the settings, the seed and the inputs' versions."""
        settings = self.settings_of(stages, platform)
        return fingerprint(self.table.name, dict(self.extra), self.code_version, settings, stages.seed, dict(inputs))


def stale_partitions(
    lake: Lake, record: DictionaryRecord, platform: PlatformSettings, stages: tuple[Stage, ...], tokenizer_revision: str
) -> Iterator[str]:
    """Names of the partitions of a dictionary that are missing or out of date, in the order of the graph; stops at the first stage
    whose inputs are not there. Nothing when all is current."""
    sample = sample_version(record, tokenizer_revision)
    if not lake.is_current(DICTIONARY_SAMPLES.name, {"dictionary": record.key}, sample):
        yield f"token_sample {record.key}"
        return
    settings = platform.stage_settings(record.stages)
    version = activations_version(record, settings, sample)
    keys = [RangeKey(record.key, feature_range) for feature_range in FEATURE_RANGE_KEYS]
    if not all(lake.is_current(table.name, cell_partition(key), version) for key in keys for table in (ACTIVATIONS, FEATURE_STATISTICS)):
        yield f"activation_shards {record.key}"
        return
    for stage in stages:
        name = "/".join([stage.table.name, *stage.extra.values()])
        for key in keys:
            if any(lake.manifest(u.table.name, {**u.extra, **cell_partition(key)}) is None for u in stage.upstream) or not lake.is_current(
                stage.table.name, stage.partition(key), stage.data_version(settings, platform, stage.inputs(lake, key))
            ):
                yield f"{name} {key}"
