"""The schemas: one version for all of them, and what every table must have."""

import hashlib

import pytest

from interp_assets.tables import SCHEMA_VERSION, TABLES, Table
from resources.store.later_columns import is_later

SCHEMAS_OF_THIS_VERSION = (9, "2e640ffcd342240a")


def test_a_changed_schema_has_a_new_version() -> None:
    fields = [(t, f) for t in TABLES for f in t.schema if not is_later(f)]
    columns = "\n".join(f"{t.name} {t.partition_columns} {f.name} {f.type} {f.nullable}" for t, f in fields)
    found = (SCHEMA_VERSION, hashlib.sha256(columns.encode()).hexdigest()[:16])
    assert found == SCHEMAS_OF_THIS_VERSION, "raise SCHEMA_VERSION, then write both numbers down here"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_keys_are_columns_and_every_column_says_its_unit(table: Table) -> None:
    assert set(table.keys) <= set(table.schema.names)
    assert all((field.metadata or {}).get(b"unit") for field in table.schema)
