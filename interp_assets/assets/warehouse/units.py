"""Units of views, and the state of each: a digest of all partitions and records that its rows come from."""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from interp_assets.assets.warehouse.views import KEPT_BY, view_files, view_sql
from resources.store.duckdb_views import named_in
from resources.store.table_index import TableIndex

DICTIONARIES = "dictionaries"
"""The table of records, beside the lake's tables."""


def unit_of(kind: str, dictionary: str, row: Mapping[str, Any] | None) -> str | None:
    """The unit of a dictionary, whose row of the table of records is `row`; None where it has none."""
    if kind == "dictionary":
        return dictionary
    if kind == "layer":
        return "/".join(dictionary.split("/")[:2])
    if row is None:
        return None
    return f"{row['model']}/{row['layer']}/{row['kind']}" if kind == "kind of a layer" else row["series"]


def members_of(view: str, found: Mapping[str, TableIndex], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The dictionaries of each unit of a view: all that have partitions of a table that the view reads. `rows` are rows of the table of
    records by dictionary."""
    names = sorted({name for table in tables_of(view, found) for name in found[table].digests})
    members: dict[str, list[str]] = {}
    for name in names:
        if (unit := unit_of(KEPT_BY[view], name, rows.get(name))) is not None:
            members.setdefault(unit, []).append(name)
    return members


def states_of(
    view: str, members: Mapping[str, Collection[str]], found: Mapping[str, TableIndex], rows: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """The state of each unit: names the view's SQL and the content of all that the unit's rows come from."""
    files = view_files()
    tables, views = named_in(f"FROM {view}", [*found, DICTIONARIES], files)
    sql = "\n".join(view_sql(files[name]) for name in views)
    states = {}
    for unit, names in members.items():
        digest = hashlib.blake2b(sql.encode(), digest_size=16)
        for name in names:
            digest.update(f"\n{name}".encode())
            for table in tables:
                known = rows.get(name) if table == DICTIONARIES else found[table].digests.get(name)
                digest.update(f"\n{table} {known}".encode())
        states[unit] = digest.hexdigest()
    return states


def tables_of(view: str, names: Collection[str]) -> list[str]:
    """The tables among `names` that a view reads."""
    return named_in(f"FROM {view}", names, view_files())[0]
