"""What a home takes: bytes by dictionary and table, bytes of the rest of the home, and tokens and money by month."""

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from interp_assets.installation.home import Home
from interp_assets.tables import TABLES
from resources.language_models.ledger import price_usd
from resources.store.lake_version import MARKER
from resources.store.table_index import Part

TABLE_SCHEMA = pl.Schema({"dictionary": pl.String, "table": pl.String, "partitions": pl.Int64, "rows": pl.Int64, "bytes": pl.Int64})


def table_sizes(home: Home) -> pl.DataFrame:
    """Complete partitions, their rows and bytes by dictionary and table, the largest first; the dictionary is null for tables over all
    dictionaries."""
    parts = [(part.values.get("dictionary"), table, part.rows, part.bytes) for table, part in _complete_parts(home)]
    rows = pl.DataFrame(parts, {"dictionary": pl.String, "table": pl.String, "rows": pl.Int64, "bytes": pl.Int64}, orient="row")
    counted = rows.group_by("dictionary", "table").agg(
        pl.len().cast(pl.Int64).alias("partitions"), pl.col("rows").sum(), pl.col("bytes").sum()
    )
    return counted.select(list(TABLE_SCHEMA)).sort("bytes", "table", "dictionary", descending=[True, False, False])


def _complete_parts(home: Home) -> Iterator[tuple[str, Part]]:
    """Table and part of each partition whose manifest vouches for the file that is there."""
    for table in TABLES:
        for part in home.warehouse.index.look(table.name, len(table.partition_columns)).parts.values():
            if part.vouched and not part.problem:
                yield table.name, part


def bytes_of_no_partition(home: Home) -> int:
    """Bytes on disk of the lake's files that belong to no complete partition: of a run that writes, or was killed, and of a person. 0 for a
    lake that is no local folder."""
    if not home.lake.is_local:
        return 0
    root = Path(home.lake.root)
    complete = {str(root / table / part.folder) for table, part in _complete_parts(home)}
    return sum(
        _blocks(Path(folder, name))
        for folder, _, names in os.walk(root)
        if folder not in complete
        for name in names
        if (folder, name) != (str(root), MARKER)
    )


def other_sizes(home: Home) -> dict[str, int]:
    """Bytes of each folder or file of the home beside the lake, by name, the largest first. The lake counts nowhere, also where it lies in
    a folder of the home, or where a link in the home leads to it."""
    lake = Path(home.lake.root) if home.lake.is_local else None
    places = {} if not home.root.is_dir() else {place.name: place for place in home.root.iterdir() if not _is_same(place, lake)}
    if home.spill.parent != home.root:
        places[str(home.spill)] = home.spill
    sizes = {name: bytes_of(place, lake) for name, place in places.items()}
    return dict(sorted(sizes.items(), key=lambda entry: -entry[1]))


def bytes_of(place: Path, apart: Path | None = None) -> int:
    """Bytes on disk of a file, or of all files in a folder, but for the folder `apart`. A file that goes away meanwhile counts nothing."""
    if not place.is_dir():
        return _blocks(place)
    size = 0
    for folder, inner, names in os.walk(place):
        inner[:] = [name for name in inner if not _is_same(Path(folder, name), apart)]
        size += sum(_blocks(Path(folder, name)) for name in names)
    return size


def _is_same(place: Path, other: Path | None) -> bool:
    return other is not None and os.path.realpath(place) == os.path.realpath(other)


def _blocks(file: Path) -> int:
    try:
        return file.lstat().st_blocks * 512
    except OSError:
        return 0


def spent_by_month(home: Home) -> pl.DataFrame:
    """Replies, tokens and price by month and model, the earliest month first. The price is null for a model without a price."""
    rows = pl.DataFrame(home.replies.usage())
    prices = [price_usd(row["model"], row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) for row in rows.to_dicts()]
    return rows.with_columns(pl.Series("price_usd", prices, dtype=pl.Float64))
