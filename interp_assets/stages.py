"""Data versions: what the content of a partition depends on, and so when it must be made again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from interp_assets.dictionaries import DictionaryRecord
from interp_assets.partitions import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.settings import PlatformSettings, StageSettings, fingerprint
from interp_assets.tables import (
    ACTIVATIONS,
    DICTIONARY_EMBEDDINGS,
    DICTIONARY_SAMPLES,
    EXPLANATIONS,
    FEATURE_NEIGHBOURS,
    FEATURE_STATISTICS,
    Table,
)
from resources.lake import Lake

SAMPLE_CODE_VERSION = "1"
HARVEST_CODE_VERSION = "1"
NEIGHBOURS_CODE_VERSION = "1"
EMBEDDINGS_CODE_VERSION = "1"
MATCHES_CODE_VERSION = "1"

ABSENT = "absent"
"""Version of an optional input that is not there."""

NO_EMBEDDINGS = "not-asked"
"""Version of a dictionary's embeddings while its settings ask for no similar windows."""

NO_MATCHES = "not-asked"
"""Version of a dictionary's matches while its settings name no other dictionary."""


class Versioned(Protocol):
    """What is known of a partition."""

    @property
    def data_version(self) -> str: ...


class Versions(Protocol):
    """Where the data versions of partitions are looked up: the lake, or the lake as it will be after a backfill."""

    def manifest(self, table: str, partition: Mapping[str, str]) -> Versioned | None: ...

    def require(self, table: str, partition: Mapping[str, str]) -> Versioned: ...


def sample_version(record: DictionaryRecord, tokenizer_revision: str) -> str:
    """Content address of a token sample: equal for two dictionaries with the same tokenizer, corpus, length and seed."""
    return fingerprint(SAMPLE_CODE_VERSION, tokenizer_revision, record.token_sample)


def activations_version(record: DictionaryRecord, stages: StageSettings, sample: str) -> str:
    """Data version of a dictionary's activations on a sample, the same for all its ranges."""
    cap = stages.harvest.max_activations
    return fingerprint(HARVEST_CODE_VERSION, record.fingerprint, sample, *([] if cap is None else [cap, stages.seed]))


def neighbours_version(settings: StageSettings, activations: str) -> str:
    """Data version of a dictionary's feature neighbours."""
    return fingerprint(NEIGHBOURS_CODE_VERSION, settings.neighbours, activations)


def embeddings_version(record: DictionaryRecord, settings: StageSettings, sample: str, encoder_revision: Callable[[], str]) -> str:
    """Content address of the window embeddings that a dictionary's examples need; NO_EMBEDDINGS when they need none.

    Equal for two dictionaries on one sample with windows of one length. The encoder is looked up only where it is needed.
    """
    if not record.has_activations or not settings.examples.asks_for("similar"):
        return NO_EMBEDDINGS
    return fingerprint(EMBEDDINGS_CODE_VERSION, sample, settings.examples.window_tokens, encoder_revision())


def matched_explanations(
    lake: Versions, record: DictionaryRecord, others: Sequence[DictionaryRecord], platform: PlatformSettings
) -> dict[str, str]:
    """Versions of all explanations that a dictionary's matches compare, by `<method> <dictionary>`; ABSENT for one that another dictionary
    does not have yet. Raises `LakeError` naming one that this dictionary does not have."""
    own, versions = platform.stage_settings(record.stages).explanations, {}
    for other in others:
        for method in own:
            if method in platform.stage_settings(other.stages).explanations:
                for one in (record, other):
                    source = Upstream(EXPLANATIONS, {"explanation_method": method}, all_ranges=lambda _: True, optional=one is not record)
                    versions[f"{method} {one.key}"] = source.version(lake, one, RangeKey(one.key, FEATURE_RANGE_KEYS[0]))
    return versions


def matches_version(
    record: DictionaryRecord,
    others: Sequence[DictionaryRecord],
    settings: StageSettings,
    explanations: Mapping[str, str],
    encoder_revision: Callable[[], str],
) -> str:
    """Data version of a dictionary's feature matches; NO_MATCHES where its settings ask for none.

    `explanations` are those of `matched_explanations`. The encoder is looked up only where some are compared.
    """
    if not others:
        return NO_MATCHES
    weights = [record.fingerprint, *(other.fingerprint for other in others)]
    encoder = encoder_revision() if explanations else ABSENT
    return fingerprint(MATCHES_CODE_VERSION, settings.matching.n_nearest, settings.seed, weights, dict(explanations), encoder)


def cell_partition(key: RangeKey) -> dict[str, str]:
    """Lake partition of a cell."""
    return {"dictionary": key.dictionary, "feature_range": key.feature_range}


@dataclass(frozen=True)
class Upstream:
    """An input: a table, and the partition columns that select its part besides the cell (such as the explanation method).

    A table that is partitioned by dictionary alone is read whole for each cell; `all_ranges` says for which dictionaries one by ranges is
    too. `needed` says whether the settings ask for it at all; an `optional` one may be absent.
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
        """Lake partitions of the input of a cell."""
        cells = [RangeKey(key.dictionary, name) for name in FEATURE_RANGE_KEYS] if self.all_ranges(record) else [key]
        return [{**self.extra, **{k: v for k, v in cell_partition(cell).items() if k in self.table.partition_columns}} for cell in cells]

    def missing(self, lake: Versions, record: DictionaryRecord, key: RangeKey) -> bool:
        """Whether any of it is not there."""
        return any(lake.manifest(self.table.name, partition) is None for partition in self.partitions(record, key))

    def version(self, lake: Versions, record: DictionaryRecord, key: RangeKey) -> str:
        """Data version of the input of a cell. Raises `LakeError` naming what is not there."""
        if self.optional and self.missing(lake, record, key):
            return ABSENT
        versions = [lake.require(self.table.name, partition).data_version for partition in self.partitions(record, key)]
        return versions[0] if len(versions) == 1 else fingerprint(versions)


@dataclass(frozen=True)
class Stage:
    """A per-range stage: its main table, those partitioned alike that it writes `beside`, and everything that its content depends on.

    `settings_of(stage_settings, platform_settings)` returns what of the settings shapes the content; None or False where they do not ask
    for the stage, which is then complete without rows.
    """

    table: Table
    code_version: str
    upstream: tuple[Upstream, ...]
    settings_of: Callable[[StageSettings, PlatformSettings], Any]
    extra: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[Table, ...] = ()

    @property
    def asset(self) -> str:
        """Name of the asset, such as scores/fuzzing."""
        return "/".join([self.table.name, *self.extra.values()])

    def asked_for(self, stages: StageSettings, platform: PlatformSettings) -> bool:
        """Whether the settings ask for any rows."""
        return self.settings_of(stages, platform) not in (None, False)

    def holds_rows(self, lake: Lake, record: DictionaryRecord) -> bool:
        """Whether the lake has any rows of it of a dictionary, of this or an earlier time, those that a killed run left among them."""
        return any(lake.holds_rows(table.name, {**self.extra, "dictionary": record.key}) for table in (self.table, *self.beside))

    def concerns(self, lake: Lake, record: DictionaryRecord, platform: PlatformSettings) -> bool:
        """Whether a dictionary is to have rows of it, or has some that are not asked for any more: otherwise there is nothing to run."""
        return self.asked_for(platform.stage_settings(record.stages), platform) or self.holds_rows(lake, record)

    def partition(self, key: RangeKey) -> dict[str, str]:
        """Lake partition of a cell in this stage's own tables."""
        return {**self.extra, **cell_partition(key)}

    def inputs(self, lake: Versions, record: DictionaryRecord, key: RangeKey, stages: StageSettings) -> dict[str, str]:
        """Data version of every input that a cell needs. Raises `LakeError` naming the input that is not there."""
        return {u.name: u.version(lake, record, key) for u in self.upstream if u.needed(stages)}

    def data_version(self, stages: StageSettings, platform: PlatformSettings, inputs: Mapping[str, str]) -> str:
        """Data version of a cell: over the code's version, the settings, the seed and the inputs' versions."""
        settings = self.settings_of(stages, platform)
        return fingerprint(self.table.name, dict(self.extra), self.code_version, settings, stages.seed, dict(inputs))


def stale_partitions(
    lake: Lake,
    record: DictionaryRecord,
    platform: PlatformSettings,
    stages: tuple[Stage, ...],
    tokenizer_revision: str,
    encoder_revision: Callable[[], str],
) -> Iterator[str]:
    """Names of the partitions of a dictionary that are missing or out of date, in the order of the graph; stops at the first stage
    whose inputs are not there. Nothing when all is current. A stage that no settings ask for and that holds no rows need not be there."""
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
    for name, table, version_ in (
        ("feature_neighbours", FEATURE_NEIGHBOURS, neighbours_version(settings, version)),
        ("window_embeddings", DICTIONARY_EMBEDDINGS, embeddings_version(record, settings, sample, encoder_revision)),
    ):
        if not lake.is_current(table.name, {"dictionary": record.key}, version_):
            yield f"{name} {record.key}"
            return
    for stage in stages:
        for key in keys if stage.concerns(lake, record, platform) else ():
            needed = [upstream for upstream in stage.upstream if upstream.needed(settings)]
            if any(u.missing(lake, record, key) and not u.optional for u in needed) or not lake.is_current(
                stage.table.name, stage.partition(key), stage.data_version(settings, platform, stage.inputs(lake, record, key, settings))
            ):
                yield f"{stage.asset} {key}"
