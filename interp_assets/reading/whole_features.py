"""Reads all that the lake says of features, one feature at a time: statistics, windows, logits, neighbours, explanations and scores."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures, selected_among
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.public_places import public_place
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.scoring import SCORERS
from interp_assets.orchestration.chosen_features import with_chosen_features
from interp_assets.orchestration.narrowing import features_made, made_of
from interp_assets.reading.explanations import label_in
from interp_assets.reading.neighbours import DECODER_COSINE
from interp_assets.tables import (
    EXAMPLES,
    EXPLANATIONS,
    FEATURE_EXAMPLES,
    FEATURE_NEIGHBOURS,
    FEATURE_STATISTICS,
    IMPORTED_EXPLANATIONS,
    SCORES,
    TRIALS,
    VOCABULARY_PROJECTIONS,
)
from resources.store.lake import Lake

Row = dict[str, Any]
BATCH_ROWS = 1024
WITHOUT_EXPLANATION = "none"
"""The explanation method of scores that read no explanation."""


@dataclass(frozen=True)
class PublishedExplanation:
    """One method's explanation of a feature, with its scores: rows of the table scores without strata, and their `judge` (who answered the
    scorer, empty where nobody was asked). `author` is who wrote an imported explanation,
    `label` the explanation in one to six words. Models in folders of this machine have the last name of their path."""

    method: str
    outcome: str
    text: str | None
    model: str
    author: str | None
    scores: tuple[Row, ...]
    label: str | None = None


@dataclass(frozen=True)
class WholeFeature:
    """All that the lake says of a feature. What was not made is None or empty.

    `examples` are rows of the table examples, in their order. `promoted` and `suppressed` are (token, logit), strongest first;
    `neighbours` (feature, decoder cosine), nearest first. `scores` are scores that read no explanation.
    """

    feature: int
    statistics: Row | None
    examples_outcome: str
    examples: tuple[Row, ...]
    promoted: tuple[tuple[str, float], ...] = ()
    suppressed: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[tuple[int, float], ...] = ()
    explanations: tuple[PublishedExplanation, ...] = ()
    scores: tuple[Row, ...] = ()


@dataclass(frozen=True)
class WholeFeatures:
    """The features of a dictionary that can be read: `methods` and `scorers` with rows, and `missing`, notes on what has none."""

    lake: Lake
    record: DictionaryRecord
    features: np.ndarray
    methods: tuple[str, ...]
    scorers: tuple[str, ...]
    judges: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[WholeFeature]:
        """Every feature, ascending. Memory holds the tables of one feature range, and the windows of one feature."""
        for key in ranges_with(self.record, self.features):
            yield from self._of_range(key)

    def _of_range(self, key: RangeKey) -> Iterator[WholeFeature]:
        wanted = np.intersect1d(self.record.features_of(key), self.features)
        statistics = _Rows(_optional(self.lake, FEATURE_STATISTICS.name, lake_partition(key)))
        drawn = _Rows(self.lake.read(FEATURE_EXAMPLES.name, lake_partition(key), columns=["feature", "outcome"]))
        logits = _Rows(_optional(self.lake, VOCABULARY_PROJECTIONS.name, lake_partition(key)))
        near = _Rows(_neighbours(self.lake, key.dictionary, wanted))
        explained = {m: _Rows(_optional(self.lake, EXPLANATIONS.name, _of_method(key, m))) for m in self.methods}
        authors = {m: _authors(self.lake, key.dictionary, m) for m in self.methods}
        scored = {s: _Rows(_without_strata(_optional(self.lake, SCORES.name, _of_scorer(key, s)))) for s in self.scorers}
        windows = _windows(self.lake, key)
        current = next(windows, None)
        for feature in wanted.tolist():
            while current is not None and current[0] < feature:
                current = next(windows, None)
            examples = current[1] if current is not None and current[0] == feature else ()
            scores = [{**row, "judge": ", ".join(self.judges.get(s, ()))} for s in self.scorers for row in scored[s].of(feature)]
            outcomes = drawn.of(feature)
            yield WholeFeature(
                feature, next(iter(statistics.of(feature)), None), outcomes[0]["outcome"] if outcomes else "not_made", examples,
                *_sides(logits.of(feature)),
                tuple((row["neighbour"], row["similarity"]) for row in sorted(near.of(feature), key=lambda row: row["rank"])),
                tuple(
                    _explanation(row, scores, authors[method].get(feature))
                    for method in self.methods for row in explained[method].of(feature)
                ),
                tuple(row for row in scores if row["explanation_method"] == WITHOUT_EXPLANATION),
            )  # fmt: skip


def whole_features(lake: Lake, record: DictionaryRecord, features: AskedFeatures | None = None) -> WholeFeatures:
    """The features of a dictionary, all that it treats or some, ready to be read. Of an interval, features that are not made are left out.

    Raises `UserError` for named features that the dictionary does not treat and for scores of earlier explanations, `LakeError` naming the
    partition where examples are missing.
    """
    record = with_chosen_features(lake, record)
    chosen, left_out = chosen_features(lake, record, features)
    keys = ranges_with(record, chosen)
    for key in keys:
        lake.require(FEATURE_EXAMPLES.name, lake_partition(key))
        lake.require(EXAMPLES.name, lake_partition(key))
    found = {m: [k for k in keys if lake.manifest(EXPLANATIONS.name, _of_method(k, m))] for m in METHODS}
    scored = {s.NAME: [k for k in keys if lake.manifest(SCORES.name, _of_scorer(k, s.NAME))] for s in SCORERS}
    methods = tuple(m for m, there in found.items() if any(lake.require(EXPLANATIONS.name, _of_method(k, m)).rows for k in there))
    scorers = tuple(s for s, there in scored.items() if any(lake.require(SCORES.name, _of_scorer(k, s)).rows for k in there))
    for key in keys:
        _refuse_older(lake, key, methods, scorers)
    judges = {s: _judges(lake, scored[s], s) for s in scorers}
    missing = list(_missing(lake, record, keys))
    if left_out:
        missing.append(f"{left_out:,} features without examples are left out: interp backfill {record.key} makes them")
    for what, there, ranges in (("explanations", methods, found), ("scores", scorers, scored)):
        if not there:
            missing.append(f"no {what}: interp backfill {record.key}")
        for name in there:
            if len(ranges[name]) < len(keys):
                missing.append(
                    f"{what}/{name} in {len(ranges[name])} of {len(keys)} ranges: interp backfill {record.key} --only {what}/{name}"
                )
    versions = tuple(
        manifest.data_version
        for key in keys
        for manifest in [
            lake.manifest(EXAMPLES.name, lake_partition(key)), lake.manifest(VOCABULARY_PROJECTIONS.name, lake_partition(key)),
            *(lake.manifest(EXPLANATIONS.name, _of_method(key, m)) for m in methods),
            *(lake.manifest(SCORES.name, _of_scorer(key, s)) for s in scorers),
        ] if manifest is not None
    )  # fmt: skip
    return WholeFeatures(lake, record, chosen, methods, scorers, judges, tuple(missing), versions)


def in_blocks(features: Iterable[WholeFeature], size: int = 256) -> Iterator[list[WholeFeature]]:
    """The features, up to `size` at a time."""
    waiting = iter(features)
    while block := list(islice(waiting, size)):
        yield block


def chosen_features(lake: Lake, record: DictionaryRecord, asked: AskedFeatures | None) -> tuple[np.ndarray, int]:
    """uint32 [n], ascending: the features that are asked for, or all that the dictionary treats; and how many of an interval are left out,
    since they have no examples yet.

    Raises `UserError` for named features that the dictionary does not treat, and where some of the features have examples and others, named
    or of the whole dictionary, have none.
    """
    treated = np.concatenate([record.features_of(RangeKey(record.key, name)) for name in FEATURE_RANGE_KEYS])
    chosen = selected_among(record, treated, asked)
    made = np.intersect1d(chosen, _with_examples(lake, record, ranges_with(record, chosen)))
    left_out = len(chosen) - len(made)
    if not left_out or not len(made):
        return chosen, 0
    if asked is not None and not asked.absent(made):
        return made, left_out
    raise UserError(
        f"{left_out:,} of {len(chosen):,} features of {record.key} have no examples yet: interp backfill {record.key} makes them; "
        f"--features {_as_intervals(made.tolist())} exports the features that are made"
    )


def ranges_with(record: DictionaryRecord, features: np.ndarray) -> list[RangeKey]:
    """The feature ranges that hold any of `features`, in order."""
    keys = (RangeKey(record.key, name) for name in FEATURE_RANGE_KEYS)
    return [key for key in keys if len(np.intersect1d(record.features_of(key), features))]


class _Rows:
    """A table sorted by feature, and the rows of any feature of it."""

    def __init__(self, table: pa.Table | None) -> None:
        self._table = None if table is None or not table.num_rows else table.sort_by("feature")
        self._features = np.empty(0, np.int64) if self._table is None else self._table["feature"].to_numpy()

    def of(self, feature: int) -> list[Row]:
        """The rows of a feature; empty where it has none."""
        first, end = np.searchsorted(self._features, [feature, feature + 1])
        return [] if self._table is None or first == end else self._table.slice(first, end - first).to_pylist()


def _optional(lake: Lake, table: str, partition: dict[str, str]) -> pa.Table | None:
    return lake.read(table, partition) if lake.manifest(table, partition) is not None else None


def _without_strata(table: pa.Table | None) -> pa.Table | None:
    return None if table is None else table.filter(pc.is_null(table["stratum"]))


def _neighbours(lake: Lake, dictionary: str, wanted: np.ndarray) -> pa.Table | None:
    if lake.manifest(FEATURE_NEIGHBOURS.name, {"dictionary": dictionary}) is None or not len(wanted):
        return None
    bounds = [
        ("feature", ">=", int(wanted[0])),
        ("feature", "<=", int(wanted[-1])),
        ("measure", "==", DECODER_COSINE),
        ("outcome", "==", "ok"),
    ]
    columns = ["feature", "rank", "neighbour", "similarity"]
    return lake.read(FEATURE_NEIGHBOURS.name, {"dictionary": dictionary}, columns=columns, filters=bounds)


def _windows(lake: Lake, key: RangeKey) -> Iterator[tuple[int, tuple[Row, ...]]]:
    rows = (row for batch in lake.batches(EXAMPLES.name, lake_partition(key), batch_rows=BATCH_ROWS) for row in batch.to_pylist())
    return ((feature, tuple(own)) for feature, own in groupby(rows, key=lambda row: row["feature"]))


def _sides(rows: Sequence[Row]) -> tuple[tuple[tuple[str, float], ...], tuple[tuple[str, float], ...]]:
    ordered = sorted((row for row in rows if row["outcome"] == "ok"), key=lambda row: row["rank"])
    promoted, suppressed = (
        tuple((row["token"], row["logit"]) for row in ordered if row["side"] == side) for side in ("promoted", "suppressed")
    )
    return promoted, suppressed


def _explanation(row: Row, scores: Sequence[Row], author: str | None) -> PublishedExplanation:
    own = tuple(score for score in scores if score["explanation_method"] == row["explanation_method"])
    explainer = public_place(row["model"])
    return PublishedExplanation(row["explanation_method"], row["outcome"], row["explanation"], explainer, author, own, label_in(row))


def _authors(lake: Lake, dictionary: str, method: str) -> dict[int, str | None]:
    table = _optional(lake, IMPORTED_EXPLANATIONS.name, {"explanation_method": method, "dictionary": dictionary})
    return {} if table is None else dict(zip(table["feature"].to_pylist(), table["author"].to_pylist(), strict=True))


def _judges(lake: Lake, keys: Sequence[RangeKey], scorer: str) -> tuple[str, ...]:
    """Who answered a scorer, over all ranges; empty where nobody was asked."""
    found: set[str] = set()
    for key in keys:
        if lake.manifest(TRIALS.name, _of_scorer(key, scorer)) is not None:
            found.update(lake.read(TRIALS.name, _of_scorer(key, scorer), columns=["model"])["model"].unique().to_pylist())
    return tuple(sorted({public_place(name) for name in found if name}))


def _missing(lake: Lake, record: DictionaryRecord, keys: Sequence[RangeKey]) -> Iterator[str]:
    for table, what in ((FEATURE_STATISTICS, "statistics or histograms"), (VOCABULARY_PROJECTIONS, "top logits")):
        there = sum(lake.manifest(table.name, lake_partition(key)) is not None for key in keys)
        if there < len(keys):
            yield f"no {what} in {len(keys) - there} of {len(keys)} ranges: interp backfill {record.key} --only {table.written_by}"


def _with_examples(lake: Lake, record: DictionaryRecord, keys: Sequence[RangeKey]) -> np.ndarray:
    """uint32 [n], ascending: the features of `keys` that were made, whatever their outcome."""
    made = [np.empty(0, dtype=np.uint32)]
    for key in keys:
        manifest = lake.manifest(FEATURE_EXAMPLES.name, lake_partition(key))
        if manifest is not None:
            alone = features_made(manifest)
            made.append(record.features_of(key) if alone is None else np.array(sorted(alone), dtype=np.uint32))
    return np.concatenate(made)


def _as_intervals(features: Sequence[int]) -> str:
    """Ascending features as --features takes them: "0-9,17"."""
    starts = [one for before, one in zip([None, *features], features, strict=False) if before is None or one != before + 1]
    ends = [one for one, after in zip(features, [*features[1:], None], strict=True) if after != one + 1]
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in zip(starts, ends, strict=True))


def _refuse_older(lake: Lake, key: RangeKey, methods: Sequence[str], scorers: Sequence[str]) -> None:
    """Raise `UserError`, naming all of them, where scorers' scores are of other explanations or other windows than the lake has."""
    inputs = {f"{EXPLANATIONS.name}/{m}": lake.manifest(EXPLANATIONS.name, _of_method(key, m)) for m in methods}
    inputs[EXAMPLES.name] = lake.manifest(EXAMPLES.name, lake_partition(key))
    older: dict[str, str] = {}
    for scorer in scorers:
        scores = lake.manifest(SCORES.name, _of_scorer(key, scorer))
        for name, manifest in inputs.items():
            if scores and manifest and not made_of(scores, name, manifest.data_version):
                older.setdefault(scorer, name)
    refuse_older("scores", key, older)


def refuse_older(what: str, key: RangeKey, older: Mapping[str, str]) -> None:
    """Raise `UserError` with the cure where there are `older` scorers, each with the table that is newer than `what` it made of a range."""
    if older:
        tables, only = " or ".join(dict.fromkeys(older.values())), " ".join(f"--only scores/{scorer}" for scorer in older)
        raise UserError(
            f"the {what} of {', '.join(older)} on {key} are older than its {tables}: `interp backfill {key.dictionary} {only}` makes them "
            "again, or takes them away where the settings no longer ask for them"
        )


def _of_method(key: RangeKey, method: str) -> dict[str, str]:
    return {"explanation_method": method, **lake_partition(key)}


def _of_scorer(key: RangeKey, scorer: str) -> dict[str, str]:
    return {"scorer": scorer, **lake_partition(key)}
