"""Writes a dictionary's activations into the lake, range by range and sorted by feature, with exact statistics of each feature. The
settings may cap the number of activations of a feature."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from interp_assets.config.keys import FEATURE_RANGE_KEYS, N_FEATURE_RANGES, RangeKey, lake_partition, range_bounds
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.examples.capping import kept_contexts, kept_share
from interp_assets.domain.features.feature_statistics import FeatureStatistics
from interp_assets.reading.token_sample import TokenSample
from interp_assets.tables import ACTIVATIONS, DICTIONARY_SAMPLES, FEATURE_STATISTICS
from interp_assets.tables.activations import TOP_TOKEN
from interp_assets.tables.columns import constant
from resources.progress import Progress
from resources.store.activation_spill import Activations, SortedGroup
from resources.store.lake import Lake
from resources.store.stored_values import fits_float16
from resources.subject.interface import SubjectTokenizer

ROW_GROUP_ROWS = 65_536
"""Rows of a row group of Parquet. The groups are small: by their statistics a reader finds the rows of one feature alone."""

BATCH_ROWS = 64 * ROW_GROUP_ROWS
WRITER_OPTIONS = {
    "use_dictionary": ["dictionary", "feature", "value"],
    "column_encoding": {"position": "DELTA_BINARY_PACKED"},
    "compression_level": 3,
}
FLOAT32_ACTIVATIONS = ACTIVATIONS.schema.set(
    ACTIVATIONS.schema.get_field_index("value"), ACTIVATIONS.schema.field("value").with_type(pa.float32())
)
"""The table's schema in a range with values that float16 does not hold."""

REPORT_SECONDS = 10.0
INTERRUPTIBLE_SECONDS = 1.0
"""Longest single wait for a thread, seconds. With Polars, a wait without a limit does not notice an interrupt."""


class BeyondFloat16(Exception):
    """A value that float16 does not hold. The range is written again as float32."""


def write_threads() -> int:
    """Number of ranges to write at a time where the activations can be read by several threads: the cores of this process, as Polars counts
    them (`POLARS_MAX_THREADS`)."""
    return min(pl.thread_pool_size(), N_FEATURE_RANGES)


class SortedActivations(Protocol):
    """Existing activations by feature: in the spill of a forward pass, or in the files of another tool."""

    def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
        """The groups of one range of a dictionary: see `ActivationSpill.sorted_groups`."""
        ...


@dataclass(frozen=True)
class ShardWriter:
    """Writes the ranges of one dictionary, harvested on `sample`.

    Values are float16; in a range with values that float16 does not hold, all values are float32. Statistics are over all values, as
    stored. With a `cap`, a feature with more activations than the cap keeps all its activations in a seeded share of the contexts, and none
    in the rest (`kept_contexts_share` in its statistics). The statistics of a range are written last: a range with statistics is complete.
    """

    lake: Lake
    record: DictionaryRecord
    sample: TokenSample
    tokenizer: SubjectTokenizer
    version: str
    cap: int | None = None
    seed: int = 0

    def write(
        self, activations: SortedActivations, n_threads: int = 1, on_progress: Callable[[Progress], None] = lambda progress: None
    ) -> None:
        """Write every range of the dictionary, also a range without activations.

        `n_threads` ranges are written at a time; above 1, several threads read `activations` together. The files do not depend on
        `n_threads`. After an error in a range, or an interrupt, no further range is begun, and the ranges under way stop at their next
        group.
        """
        special = list(self.tokenizer.special_token_ids)
        n_tokens = int((self.sample.is_text() & ~np.isin(self.sample.tokens, special)).sum())
        stopped = threading.Event()
        started = reported = time.monotonic()
        work = partial(self._write_range, activations, n_tokens, stopped)
        for done, _ in enumerate(_as_done(work, FEATURE_RANGE_KEYS, n_threads, stopped), start=1):
            now = time.monotonic()
            if now - reported > REPORT_SECONDS:
                reported, rate = now, done / (now - started)
                on_progress(Progress(done, N_FEATURE_RANGES, 0, rate, (N_FEATURE_RANGES - done) / rate))

    def _write_range(self, activations: SortedActivations, n_tokens: int, stopped: threading.Event, feature_range: str) -> None:
        if stopped.is_set():
            raise CancelledError(f"{feature_range} is not begun, since the work was stopped")
        key = RangeKey(self.record.key, feature_range)
        partition, inputs = lake_partition(key), {DICTIONARY_SAMPLES.name: self.sample.sample, **self.record.source_inputs}
        self.lake.discard(FEATURE_STATISTICS.name, partition)
        try:
            statistics = self._write_activations(key, activations, n_tokens, stopped, ACTIVATIONS.schema)
        except BeyondFloat16:
            statistics = self._write_activations(key, activations, n_tokens, stopped, FLOAT32_ACTIVATIONS)
        rows = pa.concat_tables(statistics).unify_dictionaries()
        self.lake.write(
            FEATURE_STATISTICS.name, partition, FEATURE_STATISTICS.schema, rows, self.version, inputs,
            row_group_rows=FEATURE_STATISTICS.row_group_rows,
        )  # fmt: skip

    def _write_activations(
        self, key: RangeKey, activations: SortedActivations, n_tokens: int, stopped: threading.Event, schema: pa.Schema
    ) -> list[pa.Table]:
        """Write the activations of a range, with values of the schema's type, and return the statistics of its features.

        Raises `BeyondFloat16` where the schema has float16 and a value is beyond it.
        """
        statistics: list[pa.Table] = [FEATURE_STATISTICS.schema.empty_table()]
        batches = self._batches(key, activations, n_tokens, statistics, stopped, schema)
        inputs = {DICTIONARY_SAMPLES.name: self.sample.sample}
        self.lake.write(ACTIVATIONS.name, lake_partition(key), schema, batches, self.version, inputs, WRITER_OPTIONS, ROW_GROUP_ROWS)
        return statistics

    def _batches(
        self,
        key: RangeKey,
        activations: SortedActivations,
        n_tokens: int,
        statistics: list[pa.Table],
        stopped: threading.Event,
        schema: pa.Schema,
    ) -> Iterator[pa.Table]:
        """The rows of a range, group by group. The statistics of each group are appended to `statistics` before the rows of the group are
        yielded."""
        selected = self.record.features_of(key)
        yield schema.empty_table()
        for group in activations.sorted_groups(key.dictionary, key.index):
            if stopped.is_set():
                raise CancelledError(f"{key} is not finished, since the work was stopped")
            features = selected[(selected >= group.first_feature) & (selected < group.end_feature)]
            # A group of several features is sorted once and kept in memory; a feature alone in its group is streamed twice.
            chunks = group.chunks if len(features) < 2 else list(group.chunks()).__iter__
            counted = FeatureStatistics(features)
            for feature, position, value in chunks():
                counted.update(position // self._context_tokens, feature, value, self._flat[position])
            shares = self._kept_shares(features, counted, chunks())
            statistics.append(self._statistics(key, counted, n_tokens, shares))
            for chunk in chunks():
                yield from activation_tables(key.dictionary, self._kept(chunk, shares), schema)

    @property
    def _context_tokens(self) -> int:
        return int(self.sample.tokens.shape[1])

    @property
    def _flat(self) -> np.ndarray:
        return self.sample.tokens.reshape(-1)

    def _kept_shares(self, features: np.ndarray, counted: FeatureStatistics, chunks: Iterator[Activations]) -> dict[int, float]:
        """For each feature over the cap, the share of the contexts in which its activations are kept."""
        if self.cap is None:
            return {}
        over = features[counted.firing_counts > self.cap]
        per_context = {int(feature): np.zeros(len(self.sample.tokens), dtype=np.int64) for feature in over}
        for feature, position, _ in chunks if len(over) else ():
            for number, counts in per_context.items():
                first, end = np.searchsorted(feature, [number, number + 1])
                counts += np.bincount(position[first:end] // self._context_tokens, minlength=len(counts))
        return {number: kept_share(self.seed, number, counts, self.cap) for number, counts in per_context.items()}

    def _kept(self, chunk: Activations, shares: dict[int, float]) -> Activations:
        """The activations of a chunk without those that the cap leaves out."""
        if not shares:
            return chunk
        feature, position, value = chunk
        keep = np.ones(len(feature), dtype=bool)
        for number, share in shares.items():
            first, end = np.searchsorted(feature, [number, number + 1])
            contexts = kept_contexts(self.seed, number, share, len(self.sample.tokens))
            keep[first:end] = contexts[position[first:end] // self._context_tokens]
        return feature[keep], position[keep], value[keep]

    def _statistics(self, key: RangeKey, counted: FeatureStatistics, n_tokens: int, shares: dict[int, float]) -> pa.Table:
        frame = counted.compute(n_tokens, len(self.sample.tokens))
        ids = frame["top_tokens"].explode(empty_as_null=False).to_numpy()
        distinct, place = np.unique(ids, return_inverse=True)
        texts = pa.array(self.tokenizer.texts(distinct.tolist()), pa.string()).take(pa.array(place))
        masses = frame["top_token_masses"].explode(empty_as_null=False).to_numpy().astype(np.float64)
        tops = pa.StructArray.from_arrays([pa.array(ids.astype(np.int32)), texts, pa.array(masses)], fields=list(TOP_TOKEN))
        ends = np.concatenate([[0], np.cumsum(frame["top_tokens"].list.len().to_numpy())]).astype(np.int32)
        columns = {
            **{name: [key_part] * len(frame) for name, key_part in (("dictionary", key.dictionary), ("feature_range", key.feature_range))},
            **{name: frame[name].to_arrow() for name in ("feature", "firing_count", "token_density", "context_count", "context_density")},
            "sample": [self.sample.sample] * len(frame),
            "n_tokens": [n_tokens] * len(frame),
            "mean_activation": frame["mean"].to_arrow(),
            "max_activation": frame["max"].to_arrow(),
            "histogram": frame["histogram"].to_arrow(),
            "top_tokens": pa.ListArray.from_arrays(ends, tops),
            "top_token_share": frame["top_token_share"].to_arrow(),
            "kept_contexts_share": [shares.get(feature, 1.0) for feature in frame["feature"].to_list()],
        }
        return pa.table({name: columns[name] for name in FEATURE_STATISTICS.schema.names}).cast(FEATURE_STATISTICS.schema)


def _as_done(work: Callable[[str], None], ranges: Sequence[str], n_threads: int, stopped: threading.Event) -> Iterator[None]:
    """Run `work` on each range, `n_threads` at a time, and yield after each range.

    `stopped` is set when this generator ends, by whatever cause, and then no thread goes on. This holds also for a thread that the pool
    does not know: an interrupt can come while the pool is starting a thread.
    """
    if n_threads == 1:
        yield from map(work, ranges)
        return
    name = f"writing-{uuid.uuid4().hex}"
    with ThreadPoolExecutor(n_threads, name) as pool:
        try:
            under_way = {pool.submit(work, feature_range) for feature_range in ranges}
            while under_way:
                done, under_way = wait(under_way, INTERRUPTIBLE_SECONDS, FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for thread in threading.enumerate():
                if thread.name.startswith(name):
                    thread.join()


def shards_are_current(lake: Lake, dictionary: str, version: str) -> bool:
    """Whether every range of a dictionary is complete under `version`."""
    partitions = [lake_partition(RangeKey(dictionary, feature_range)) for feature_range in FEATURE_RANGE_KEYS]
    return all(lake.is_current(table.name, partition, version) for partition in partitions for table in (ACTIVATIONS, FEATURE_STATISTICS))


def feature_edges(record: DictionaryRecord) -> np.ndarray:
    """int64 [N_FEATURE_RANGES + 1]: range i holds the features from edge i up to edge i+1."""
    selected = record.selected_features.astype(np.int64)
    padded = np.append(selected, record.width)
    firsts = [range_bounds(i, len(selected))[0] for i in range(N_FEATURE_RANGES)]
    return np.append(padded[firsts], record.width)


def activation_tables(dictionary: str, activations: Activations, schema: pa.Schema = ACTIVATIONS.schema) -> Iterator[pa.Table]:
    """Rows of the table `activations`, at most BATCH_ROWS at once. Raises `BeyondFloat16` for a value that the schema does not hold."""
    feature, position, value = activations
    if schema is not FLOAT32_ACTIVATIONS:
        if not fits_float16(value):
            raise BeyondFloat16(f"{dictionary} has an activation of {float(value.max()):g}")
        value = value.astype(np.float16, copy=False)
    else:
        value = value.astype(np.float32)
    for first in range(0, len(feature), BATCH_ROWS):
        part = slice(first, first + BATCH_ROWS)
        names = constant(dictionary, len(feature[part]))
        yield pa.table({"dictionary": names, "feature": feature[part], "position": position[part], "value": value[part]}, schema=schema)
