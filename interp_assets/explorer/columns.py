"""One number or text a feature of a whole dictionary, side by side: what tables, filters, histograms and scatters of a dictionary show.

They are read once for each state of the lake, and kept in memory and as an Arrow file in the home, from which another start of the
explorer takes them again. While the lake changes under a reader, the reader is shown the earlier state until the next one is ready.
"""

import contextlib
import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.config.base import fingerprint
from interp_assets.domain.explaining import BASELINES, METHODS
from interp_assets.explorer.arrow_files import keep_table, kept_table
from interp_assets.explorer.left_out import left_out
from interp_assets.explorer.readiness import held_or_awaited
from interp_assets.reading.explanations import label_in
from interp_assets.tables import EXPLANATIONS, FEATURE_EXAMPLES, FEATURE_MATCHES, FEATURE_STATISTICS, RATED_EXPLANATIONS, SCORES, Table

DEFINING = (FEATURE_STATISTICS, FEATURE_EXAMPLES, EXPLANATIONS)
"""Tables that say which features there are, and what they are said to be."""

READ = (*DEFINING, SCORES, RATED_EXPLANATIONS, FEATURE_MATCHES)
TELLING = ("explanation:", "label:")
FORMAT = "4"
LOOK_SECONDS = 2.0
"""Least time between two looks at the lake's state for one dictionary."""

READING_SHARE = 0.1
"""Most of the time that readings may take while a backfill changes the lake all the time: the next reading waits, so that readers have the
processor."""

KEPT_ARRAYS = 64
PATIENCE_SECONDS = 2.0
"""How long a reader waits for a dictionary that is being read for the first time, before a page says so."""

NUMBERS = ("density", "context_density", "firing_count", "max_activation", "top_token_share", "n_windows", "rating")
TEXTS = ("top_token", "outcome", "quadrant")
DENSE = 0.1
"""Share of tokens above which a feature is called dense, as in the view dead_and_dense_features."""


@dataclass(frozen=True)
class FeatureColumns:
    """The columns of one dictionary in one state of the lake. Row i of each column is feature `features[i]`; NaN stands for no number.

    Names are NUMBERS, TEXTS, `score:<scorer>:<method>`, `floor:<scorer>:<method>`, `explanation:<method>` and
    `label:<method>`. `left_out` has the partitions that could not be read, each with the reason.
    """

    state: str
    read_at: float
    table: pa.Table
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def features(self) -> np.ndarray:
        """[n] int64, ascending."""
        return self.table["feature"].to_numpy()

    def numbers(self, name: str) -> np.ndarray:
        """[n] float64 or float32 of a column of numbers; NaN where there is none. All NaN for a column that is not there."""
        if name not in self.table.column_names:
            return np.full(len(self.features), np.nan)
        return self.table[name].to_numpy()

    def texts(self, name: str) -> pa.ChunkedArray:
        """[n] texts, null where there is none."""
        return self.table[name]

    @cached_property
    def scored(self) -> list[tuple[str, str]]:
        """(scorer, method) of every score, by name."""
        names = (name.split(":") for name in self.table.column_names)
        return sorted((parts[1], parts[2]) for parts in names if parts[0] == "score")

    @cached_property
    def methods(self) -> list[str]:
        """Methods with an explanation of any feature."""
        return [name.partition(":")[2] for name in self.table.column_names if name.startswith("explanation:")]

    def span_of(self, scorer: str) -> tuple[float, float]:
        """The ends of the line on which a scorer's values are drawn: 0 to 1, further where a score of the dictionary lies outside."""
        return self._spans.get(scorer, (0.0, 1.0))

    @cached_property
    def _spans(self) -> dict[str, tuple[float, float]]:
        spans: dict[str, tuple[float, float]] = {}
        for scorer, method in self.scored:
            values = self.numbers(f"score:{scorer}:{method}")
            low, high = spans.get(scorer, (0.0, 1.0))
            spans[scorer] = min(low, float(np.nanmin(values))), max(high, float(np.nanmax(values)))
        return spans

    def order(self, name: str, descending: bool) -> np.ndarray:
        """[n] int32: places by a column of numbers; features without the number last, equal numbers in the order of features."""
        return self.once(("order", name, descending), lambda: self._ordered(name, descending))

    def _ordered(self, name: str, descending: bool) -> np.ndarray:
        if name == "feature":
            places = np.arange(len(self.features), dtype=np.int32)
            return places[::-1] if descending else places
        values = self.numbers(name)
        return np.argsort(-values if descending else values, kind="stable").astype(np.int32)

    def counts(self, name: str, edges: np.ndarray) -> np.ndarray:
        """[bins] int64: features whose number lies in each bin."""
        return self.once(("counts", name, edges.tobytes()), lambda: np.histogram(self.numbers(name), edges)[0])

    def plane(self, name: str, edges: np.ndarray, other: str, other_edges: np.ndarray) -> np.ndarray:
        """[bins, other bins] int64: features by two numbers."""
        key = ("plane", name, other, edges.tobytes(), other_edges.tobytes())
        return self.once(key, lambda: np.histogram2d(self.numbers(name), self.numbers(other), (edges, other_edges))[0].astype(int))

    @property
    def matches(self) -> list[dict[str, Any]]:
        """How many features are matched one to one with each other dictionary, and how alike they are."""
        return _metadata(self.table, "matches", [])

    @property
    def told_state(self) -> str:
        """Names the content of the features and their explanations, whatever their scores are."""
        return fingerprint("told", [_metadata(self.table, "states", {}).get(table.name) for table in DEFINING])

    @cached_property
    def _made(self) -> OrderedDict[Hashable, np.ndarray]:
        return OrderedDict()

    def once(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """An array that is made once for this state, as long as it is among the last KEPT_ARRAYS."""
        with self._lock:
            found = self._made.get(key)
            if found is not None:
                self._made.move_to_end(key)
                return found
        made = make()
        with self._lock:
            self._made[key] = made
            while len(self._made) > KEPT_ARRAYS:
                self._made.popitem(last=False)
        return made

    @cached_property
    def _lock(self) -> threading.Lock:
        return threading.Lock()

    def title_of(self, feature: int) -> str | None:
        """The explanation that stands for a feature: the first by a method that is no baseline, in the order of METHODS."""
        return self._telling_text("explanation", feature)

    def label_of(self, feature: int) -> str | None:
        """The label of the explanation that stands for a feature."""
        return self._telling_text("label", feature)

    def _telling_text(self, kind: str, feature: int) -> str | None:
        place = self.place_of(feature)
        for method in self.telling if place is not None else ():
            if self.table[f"explanation:{method}"][place].is_valid:
                return self.table[f"{kind}:{method}"][place].as_py()
        return None

    @cached_property
    def telling(self) -> list[str]:
        """Methods whose explanations are meant to explain, in the order of METHODS."""
        return [method for method in METHODS if method in self.methods and method not in BASELINES]

    def place_of(self, feature: int) -> int | None:
        """Row of a feature; None where the dictionary has none of this number."""
        place = int(np.searchsorted(self.features, feature))
        return place if place < len(self.features) and self.features[place] == feature else None


class Dictionaries:
    """The columns of every dictionary of a warehouse, read when they are asked for, in a thread of their own."""

    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self._warehouse, self._folder = warehouse, folder
        self._held: dict[str, FeatureColumns] = {}
        self._looked: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._reading: dict[str, Future[FeatureColumns]] = {}
        self._lock, self._index_lock = threading.Lock(), threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="columns")

    def columns(self, key: str, patience: float = PATIENCE_SECONDS) -> FeatureColumns:
        """The newest columns that are ready. Raises `NotReadYet` where the dictionary is read for the first time and that takes long."""
        with self._lock:
            held, future = self._held.get(key), self._reading.get(key)
            if future is None and time.monotonic() - self._looked.get(key, -LOOK_SECONDS) >= LOOK_SECONDS:
                self._looked[key] = time.monotonic()
                future = self._reading[key] = self._worker.submit(self._read, key)
                future.add_done_callback(lambda _: self._reading.pop(key, None))
        return held_or_awaited(held, future, key, patience)

    def close(self) -> None:
        """End the reading thread."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def left_out(self, key: str | None) -> dict[str, str]:
        """The partitions that the columns of a dictionary leave out, each with the reason; without a key of all dictionaries."""
        held = list(self._held.values()) if key is None else [one for name, one in list(self._held.items()) if name == key]
        return {path: why for columns in held for path, why in columns.left_out.items()}

    def states(self, key: str) -> tuple[dict[str, str], dict[str, str]]:
        """Names the content of all partitions that the columns of a dictionary are read from, by table, and of scores by scorer; and the
        partitions that cannot be read, each with the reason."""
        begun = f"{FORMAT}\n{self._warehouse.lake.url}\n".encode()
        digests = {table.name: hashlib.sha256(begun) for table in READ}
        with self._index_lock:
            missing = left_out(self._warehouse, READ, key)
            for table in READ:
                for part in self._warehouse.look(table).readable:
                    if part.values.get("dictionary", key) == key:
                        name = _scores_of(part.values["scorer"]) if table is SCORES else table.name
                        said = f"{table.name} {part.folder} {part.version} {part.footer} {part.bytes}\n"
                        digests.setdefault(name, hashlib.sha256(begun)).update(said.encode())
        return {name: digest.hexdigest()[:32] for name, digest in digests.items()}, missing

    def _read(self, key: str) -> FeatureColumns:
        """The columns as they are now: held, kept in the home, or read from the lake."""
        held = self._held.get(key)
        if held is not None and time.time() - held.read_at < self._took.get(key, 0.0) / READING_SHARE:
            return held
        states, missing = self.states(key)
        state = fingerprint("columns", states, missing)
        if held is not None and held.state == state:
            return held
        stem = hashlib.sha256(key.encode()).hexdigest()[:16]
        place = self._folder / f"{stem}-{state}.arrow"
        read = kept_table(place)
        if read is None:
            started = time.monotonic()
            earlier = held.table if held is not None else next(map(kept_table, self._folder.glob(f"{stem}-*.arrow")), None)
            read = self._from_lake(key, states, earlier)
            with contextlib.suppress(OSError):  # a home that may not be written keeps nothing
                keep_table(place, read)
                read = kept_table(place) or read
            self._took[key] = time.monotonic() - started
        columns = FeatureColumns(state, time.time(), read, missing)
        self._held[key] = columns
        return columns

    def _from_lake(self, key: str, states: dict[str, str], earlier: pa.Table | None) -> pa.Table:
        """The columns of a dictionary. What the earlier columns were read from and has not changed is not read again."""
        before: dict[str, str] = _metadata(earlier, "states", {})
        same = {name for name, state in states.items() if before.get(name) == state}
        if earlier is not None and same >= {table.name for table in DEFINING}:
            columns = {name: earlier[name].combine_chunks() for name in earlier.column_names if ":" not in name or name.startswith(TELLING)}
        else:
            same, columns = set(), self._defining(key)
        features = columns["feature"].to_numpy(zero_copy_only=False)
        if RATED_EXPLANATIONS.name not in same:
            rated = self._rows(RATED_EXPLANATIONS, RATED, key)
            columns["rating"] = pa.array(_placed(features, rated["feature"], rated["rating"]))
        for scorer in sorted(name.partition("/")[2] for name in states if "/" in name):
            if earlier is not None and _scores_of(scorer) in same:
                columns |= {name: earlier[name].combine_chunks() for name in earlier.column_names if name.split(":")[1:2] == [scorer]}
            else:
                columns |= self._scores(key, scorer, features)
        columns["quadrant"] = _quadrants(columns)
        matched = self._rows(FEATURE_MATCHES, MATCHED, key).to_pylist()
        return pa.table(columns).replace_schema_metadata({"matches": json.dumps(matched), "states": json.dumps(states)})

    def _scores(self, key: str, scorer: str, features: np.ndarray) -> dict[str, pa.Array]:
        """The columns of one scorer's headline scores, of every method that it scored."""
        columns = {}
        for (method,) in self._query(SCORED.format(_quoted(scorer), here=_here(key))):
            rows = self._rows(SCORES, SCORE, key, scorer, method)
            for name, value in (("score", "value"), ("floor", "floor"), ("low", "ci_low")):
                columns[f"{name}:{scorer}:{method}"] = pa.array(_placed(features, rows["feature"], rows[value]))
        return columns

    def _defining(self, key: str) -> dict[str, pa.Array]:
        """The features of a dictionary, what is counted of them, and their explanations."""
        base = self._rows(FEATURE_STATISTICS, BASE, key)
        drawn = self._rows(FEATURE_EXAMPLES, DRAWN, key)
        explained = {
            method: self._rows(EXPLANATIONS, EXPLAINED, key, method)
            for (method,) in self._query(f"SELECT DISTINCT explanation_method::VARCHAR FROM explanations WHERE {_here(key)}")
        }
        features = np.unique(np.concatenate([rows["feature"].to_numpy() for rows in (base, drawn, *explained.values())]).astype(np.int64))
        columns: dict[str, pa.Array] = {"feature": pa.array(features)}
        for name in ("density", "context_density", "firing_count", "max_activation", "top_token_share"):
            columns[name] = pa.array(_placed(features, base["feature"], base[name]))
        columns["top_token"] = _placed_texts(features, base["feature"], base["top_token"])
        columns["n_windows"] = pa.array(_placed(features, drawn["feature"], drawn["n_windows"]))
        columns["outcome"] = _placed_texts(features, drawn["feature"], drawn["outcome"])
        for method, rows in sorted(explained.items()):
            columns[f"explanation:{method}"] = _placed_texts(features, rows["feature"], rows["explanation"])
            columns[f"label:{method}"] = _placed_texts(features, rows["feature"], _labels(rows))
        return columns

    def _rows(self, table: Table, sql: str, key: str, *values: str) -> pa.Table:
        with self._index_lock:
            return self._warehouse.query(sql.format(*map(_quoted, values), table=table.name, here=_here(key))).rows

    def _query(self, sql: str) -> list[tuple[str, ...]]:
        with self._index_lock:
            rows = self._warehouse.query(sql).rows
        return sorted(zip(*(column.to_pylist() for column in rows.columns), strict=True))


BASE = """SELECT feature, token_density AS density, context_density, firing_count, max_activation, top_token_share,
  top_tokens[1].token AS top_token FROM {table} WHERE {here}"""
DRAWN = "SELECT feature, n_windows, outcome::VARCHAR AS outcome FROM {table} WHERE {here}"
EXPLAINED = "SELECT feature, explanation, label FROM {table} WHERE {here} AND explanation_method = {0} AND explanation IS NOT NULL"
RATED = "SELECT feature, avg(rating) AS rating FROM {table} WHERE {here} AND rating IS NOT NULL GROUP BY feature"
MATCHED = """SELECT other_dictionary::VARCHAR AS other, count(*) AS n_features, count(cosine) AS n_matched, median(cosine) AS median,
  avg((cosine > 0.7)::DOUBLE) AS share_above FROM {table} WHERE {here} AND assignment = 'one_to_one' GROUP BY 1 ORDER BY 1"""
SCORED = "SELECT DISTINCT explanation_method::VARCHAR FROM scores WHERE headline AND value IS NOT NULL AND {here} AND scorer = {0}"
SCORE = (
    "SELECT feature, value, floor, ci_low FROM {table} WHERE headline AND value IS NOT NULL AND {here} AND scorer = {0} "
    "AND explanation_method = {1}"
)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _scores_of(scorer: str) -> str:
    return f"{SCORES.name}/{scorer}"


def _metadata(table: pa.Table | None, name: str, otherwise: Any) -> Any:
    """What a table of columns says of itself."""
    found = None if table is None else (table.schema.metadata or {}).get(name.encode())
    return otherwise if found is None else json.loads(found)


def _here(key: str) -> str:
    return f"dictionary = {_quoted(key)}"


def _placed(features: np.ndarray, found: pa.ChunkedArray, values: pa.ChunkedArray) -> np.ndarray:
    """[n] float32: each value at the place of its feature, NaN elsewhere."""
    placed = np.full(len(features), np.nan, dtype=np.float32)
    placed[np.searchsorted(features, found.to_numpy())] = values.cast(pa.float64()).to_numpy()
    return placed


def _placed_texts(features: np.ndarray, found: pa.ChunkedArray, texts: pa.ChunkedArray) -> pa.Array:
    """[n] texts at the places of their features, null elsewhere."""
    order = np.full(len(features), -1, dtype=np.int64)
    order[np.searchsorted(features, found.to_numpy())] = np.arange(len(found))
    values = texts.cast(pa.large_string()).combine_chunks()
    return values.take(pa.array(order, mask=order < 0))


def _labels(rows: pa.Table) -> pa.ChunkedArray:
    """The labels of explanations; of rows written before there were labels, by the rule that makes them."""
    if not rows["label"].null_count:
        return rows["label"]
    return pa.chunked_array([pa.array([label_in(row) for row in rows.to_pylist()], pa.string())])


def _quadrants(columns: dict[str, pa.Array]) -> pa.Array:
    """The quadrant of each feature as in the view feature_quadrants: is it explained by fuzzing, and by intervention?"""
    n = len(columns["feature"])
    explains = {}
    for scorer in ("fuzzing", "intervention"):
        known, above = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        for name in columns:
            kind, _, rest = name.partition(":")
            if kind == "score" and rest.startswith(f"{scorer}:") and rest.split(":")[1] not in BASELINES:
                known |= ~np.isnan(columns[name].to_numpy(zero_copy_only=False))
                with np.errstate(invalid="ignore"):
                    above |= columns[f"low:{rest}"].to_numpy(zero_copy_only=False) > columns[f"floor:{rest}"].to_numpy(zero_copy_only=False)
        explains[scorer] = known, above
    (fuzzed, by_inputs), (steered, by_outputs) = explains["fuzzing"], explains["intervention"]
    names = np.array(["neither", "input_only", "output_only", "both"])
    return pa.array(names[by_inputs + 2 * by_outputs].tolist(), pa.large_string(), mask=~(fuzzed & steered))
