"""People's ratings of explanations: read from the files of `$INTERP_HOME/ratings` into the lake, row by row.

`interp ratings import` writes files into that folder; a file that is put there by hand is read in the same way. Every row ends as a rating,
as "not yet rated", or as a rejection. A rejection names file, line, column and the allowed values.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from os.path import realpath
from pathlib import Path

import pyarrow as pa

from interp_assets.config.base import UserError, fingerprint
from interp_assets.config.keys import RangeKey
from interp_assets.config.nearest import nearest_hint
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.domain.ratings.ratings import (
    COLUMNS,
    Explained,
    Place,
    Rateable,
    Rating,
    Rejection,
    checked_rating,
    is_unrated,
    without_repeats,
)
from interp_assets.reading.explanations import explanations_of_range
from interp_assets.tables import HUMAN_RATINGS, REJECTED_RATINGS
from resources.formats.interface import ExchangeError
from resources.formats.rating_files import SUFFIXES, RatingRow, read_rating_rows
from resources.formats.spreadsheet_cells import csv_text
from resources.store.lake import Lake, Manifest
from resources.store.whole_files import write_whole

CODE_VERSION = "1"
CACHED_RANGES = 64


@dataclass
class ReadRatings:
    """The content of rating files: ratings, rejections, and the number of rows not yet rated of each file."""

    ratings: list[Rating] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    unrated: Counter[str] = field(default_factory=Counter)
    n_rows: Counter[str] = field(default_factory=Counter)


def rateable(lake: Lake, registry: DictionaryRegistry) -> Rateable:
    """The features of the registered dictionaries and their explanations: what can be rated. Explanations are read when they are asked
    for."""
    records = registry.read_all()[0]

    @lru_cache(maxsize=CACHED_RANGES)
    def of_range(key: RangeKey) -> Mapping[int, Sequence[Explained]]:
        return explanations_of_range(lake, key, records[key.dictionary].first_key)

    def explanations(dictionary: str, feature: int) -> Sequence[Explained]:
        return of_range(records[dictionary].range_of(feature)).get(feature, ())

    renamed = {former: key for key, record in records.items() for former in record.former_keys if former not in records}
    return Rateable({key: selected(record) for key, record in records.items()}, explanations, renamed)


def selected(record: DictionaryRecord) -> Sequence[int]:
    """The features that a record selects, ascending."""
    return range(record.width) if record.features is None else record.selected_features.tolist()


def rating_files(folder: Path) -> list[Path]:
    """The rating files of a folder, sorted by name; empty where the folder does not exist."""
    return sorted(path for path in folder.glob("*") if path.is_file() and path.name.endswith(SUFFIXES) and path.name[0] != ".")


def read_ratings(files: Iterable[Path], there: Rateable) -> ReadRatings:
    """The ratings and rejections in every row of the files. A file that cannot be read at all is one rejection; other files are still
    read."""
    read = ReadRatings()
    for file in files:
        try:
            _sort_rows(read, file.name, read_rating_rows(file), there)
        except ExchangeError as error:
            read.rejections.append(Rejection(Place(file.name, 0), "file", file.name, str(error)))
    read.ratings, repeated = without_repeats(read.ratings)
    read.rejections += repeated
    return read


def _sort_rows(read: ReadRatings, name: str, rows: Iterable[RatingRow], there: Rateable) -> None:
    """Sort the rows of one file into ratings, rejections and rows not yet rated."""
    for row in rows:
        place = Place(name, row.line)
        read.n_rows[name] += 1
        if row.problem is not None:
            read.rejections.append(Rejection(place, "row", row.fields.get("row", ""), row.problem))
        elif is_unrated(row.fields):
            read.unrated[name] += 1
        else:
            found = checked_rating(row.fields, place, there)
            if isinstance(found, Rating):
                read.ratings.append(found)
            else:
                read.rejections += found


def import_ratings(
    folder: Path,
    there: Rateable,
    path: Path,
    *,
    rater: str = "",
    dictionaries: Mapping[str, str] | None = None,
    rater_kind: str | None = None,
    name: str | None = None,
    max_bad_share: float = 0.0,
    say: Callable[[str], None] = lambda line: None,
) -> ReadRatings:
    """Read `path`, write its ratings to `folder` as `<name>.csv` with all COLUMNS, and return what was read. Either all ratings are
    written, or none. By default, `name` is the name of `path`.

    An older file of this name is replaced; a file with equal content is kept. For `rater` and `dictionaries` see `read_rating_rows`;
    `rater_kind` holds for rows that name no kind. Each rejected row is told to `say`. A row is also rejected where the rater gave the same
    explanation another rating in another file. Raises `ExchangeError` where the share of rejected rows exceeds `max_bad_share`, where no
    row is rated, or where the older file has ratings by a rater who has none in the new file.
    """
    if not path.is_file():
        raise ExchangeError(f"there is no file {path}. Name a file of ratings ({', '.join(SUFFIXES)}); `interp ratings template` makes one")
    target = folder / f"{name or _stem(path)}.csv"
    read = ReadRatings()
    rows = (_of_kind(row, rater_kind) for row in read_rating_rows(path, rater, dictionaries))
    _sort_rows(read, path.name, rows, there)
    others = read_ratings([file for file in rating_files(folder) if realpath(file) not in (realpath(target), realpath(path))], there)
    kept, repeated = without_repeats([*others.ratings, *read.ratings])
    read.rejections += repeated
    known = {rating.key for rating in others.ratings}
    read.ratings = [rating for rating in kept if rating.key not in known]
    for rejection in read.rejections:
        say(f"rejected {rejection}")
    n_bad, n_rated = len({rejection.place for rejection in read.rejections}), sum(read.n_rows.values()) - sum(read.unrated.values())
    if n_bad > max_bad_share * n_rated:
        raise ExchangeError(
            f"{path}: {n_bad:,} of {n_rated:,} rated rows are rejected, allowed is a share of {max_bad_share:g}. Nothing was written. "
            "Correct the rows named above, or leave them out: --max-bad-share 0.05"
        )
    if n_rated == 0:
        raise ExchangeError(f"{path} has no rating yet: the column rating is empty in all of its {sum(read.n_rows.values()):,} rows")
    if not read.ratings:
        say(f"all ratings of {path} are in {folder} already, under another name")
        return read
    content = ratings_csv(read.ratings)
    if target.exists():
        lost = {rating.rater for rating in read_ratings([target], there).ratings} - {rating.rater for rating in read.ratings}
        if lost:
            raise ExchangeError(
                f"{target} has ratings by {', '.join(sorted(lost))}, of whom {path} has none. Nothing was written. Keep both under another "
                "name (--name), or remove the older file"
            )
    if not target.exists() or target.read_text() != content:
        say(f"{'replacing' if target.exists() else 'writing'} {target}")
        write_whole(target, content)
    else:
        say(f"{target} holds these ratings already")
    return read


def ratings_csv(ratings: Sequence[Rating]) -> str:
    """Ratings as a CSV text with all COLUMNS."""
    return csv_text(list(COLUMNS), map(_csv_row, ratings))


def _csv_row(rating: Rating) -> dict[str, object]:
    return {
        "rater": rating.rater, "rater_kind": rating.rater_kind, "model": rating.dictionary.split("/")[0],
        "dictionary": rating.dictionary, "feature": rating.feature, "explanation_id": rating.explained.explanation_id,
        "explanation_method": "", "explanation": rating.explained.text, "context": rating.context or "",
        "scale_min": f"{rating.scale_min:g}", "scale_max": f"{rating.scale_max:g}", "rating": repr(rating.rating),
        "seconds": "" if rating.seconds is None else f"{rating.seconds:g}",
        "source": rating.source or f"{rating.place.file} line {rating.place.line}",
    }  # fmt: skip


def ratings_version(read: ReadRatings) -> str:
    """Data version of ratings and rejections: over their content, not over file and line."""
    ratings = [[*map(str, rating.key), rating.rater_kind, rating.rating, rating.scale_min, rating.scale_max] for rating in read.ratings]
    methods = [[rating.explained.explanation_id, *rating.explained.methods] for rating in read.ratings]
    return fingerprint(CODE_VERSION, ratings, methods, list(map(str, read.rejections)))


def write_ratings(lake: Lake, read: ReadRatings) -> Manifest:
    """Write human_ratings and rejected_ratings, and return the manifest of human_ratings. Unchanged tables are not written again."""
    version = ratings_version(read)
    current = lake.manifest(HUMAN_RATINGS.name, {})
    if current is not None and current.data_version == version:
        return current
    lake.write(REJECTED_RATINGS.name, {}, REJECTED_RATINGS.schema, _rejected_rows(read.rejections), version)
    return lake.write(HUMAN_RATINGS.name, {}, HUMAN_RATINGS.schema, _rating_rows(read.ratings), version)


def dictionaries_option(values: Sequence[str], known: Iterable[str]) -> dict[str, str]:
    """`--dictionary KEY` and `--dictionary SOURCE=KEY` as a mapping from the source to the key; the source of a bare KEY is "".

    Raises `UserError` for a key that is not registered.
    """
    known = sorted(known)
    found: dict[str, str] = {}
    for value in values:
        source, _, key = value.rpartition("=")
        if key not in known:
            registered = ", ".join(known) or "none yet"
            raise UserError(f"--dictionary {value}: {key!r} is not registered{nearest_hint(key, known)}. Registered: {registered}")
        found[source] = key
    return found


def _of_kind(row: RatingRow, kind: str | None) -> RatingRow:
    if kind is None or row.fields.get("rater_kind", "").strip():
        return row
    return RatingRow(row.line, {**row.fields, "rater_kind": kind}, row.problem)


def _stem(path: Path) -> str:
    suffixes = sorted(SUFFIXES, key=len, reverse=True)
    return next((path.name.removesuffix(suffix) for suffix in suffixes if path.name.endswith(suffix)), path.stem)


def _rating_rows(ratings: Sequence[Rating]) -> pa.Table:
    rows = [
        {
            "rater": rating.rater, "rater_kind": rating.rater_kind, "dictionary": rating.dictionary, "feature": rating.feature,
            "explanation_id": rating.explained.explanation_id, "explanation": rating.explained.text,
            "explanation_methods": list(rating.explained.methods), "context": rating.context, "scale_min": rating.scale_min,
            "scale_max": rating.scale_max, "rating": rating.rating, "normalised": rating.normalised, "seconds": rating.seconds,
            "source": f"{rating.place.file} line {rating.place.line}" + (f" ({rating.source})" if rating.source else ""),
        }
        for rating in sorted(ratings, key=lambda one: (one.dictionary, one.feature, *map(str, one.key)))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=HUMAN_RATINGS.schema)


def _rejected_rows(rejections: Sequence[Rejection]) -> pa.Table:
    rows = [
        {"file": one.place.file, "line": one.place.line, "column": one.column, "value": one.value, "allowed": one.allowed}
        for one in rejections
    ]
    return pa.Table.from_pylist(rows, schema=REJECTED_RATINGS.schema)
