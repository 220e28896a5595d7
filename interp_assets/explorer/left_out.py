"""Partitions that pages leave out because they are damaged, or because no manifest vouches for them: each by its path below the lake, with
the reason."""

from collections.abc import Iterable

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.tables import Table
from resources.store.lake import PART

UNVOUCHED = "no manifest vouches for it: a killed run left it, or it was withdrawn as damaged"


def left_out(warehouse: Warehouse, tables: Iterable[Table], key: str | None = None) -> dict[str, str]:
    """Reason by path of the partitions of these tables that cannot be read: of one dictionary, with what belongs to no dictionary; without
    a key of all. Folders that cannot be looked into are among them."""
    found: dict[str, str] = {}
    for table in tables:
        looked = warehouse.look(table)
        for part in (*looked.missing, *looked.unvouched):
            if key is None or part.values.get("dictionary", key) == key:
                place = "/".join(filter(None, (table.name, part.folder, PART)))
                found[place] = below(warehouse.lake.root, part.problem) or UNVOUCHED
        found |= {f"{table.name}/{folder}": reason for folder, reason in looked.unlisted.items()}
    return found


def below(root: str, text: str) -> str:
    """A text with the paths in it below the lake's root, in which nobody reads where the lake is."""
    return text.replace(f"{root}/", "")
