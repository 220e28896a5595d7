"""Conditions over the statistics of features, such as `token_density BETWEEN 1e-4 AND 1e-2`: SQL of DuckDB, without files and settings."""

import re

import numpy as np
import pyarrow as pa

CHANGES_BY_ITSELF = re.compile(
    r"\b(random|setseed|uuid\w*|gen_random_uuid|now|today|current_\w+|get_current_\w+|transaction_timestamp|localtime\w*|nextval)\b",
    re.IGNORECASE,
)
"""Matches functions whose value is another at every look."""


class BadCondition(ValueError):
    """A condition that chooses no features. The message says why, and which columns there are."""


def features_where(condition: str, statistics: pa.Table) -> np.ndarray:
    """uint32 [n]: the column `feature` of the rows of `statistics` that fulfil a condition, ascending; a condition that is null does not
    hold.

    The statistics are the one table that the condition sees. It reads no file, changes no setting and loads no extension. Raises
    `BadCondition`.
    """
    import duckdb

    columns = f"columns are {', '.join(statistics.column_names)}"
    if found := CHANGES_BY_ITSELF.search(condition):
        raise BadCondition(
            f"{condition!r} has {found[0]}, whose value is another at every look; for a draw write {{count: 200, seed: 0}}; {columns}"
        )
    sealed = {"enable_external_access": False, "autoinstall_known_extensions": False, "autoload_known_extensions": False}
    with duckdb.connect(":memory:", config={**sealed, "python_enable_replacements": False, "threads": 1}) as connection:
        connection.register("given", statistics)
        connection.execute("CREATE TABLE statistics AS SELECT * FROM given")
        connection.unregister("given")
        connection.execute("SET lock_configuration = true")
        sql = f"SELECT feature, (\n{condition}\n) AS chosen FROM statistics"
        try:
            statements = duckdb.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise BadCondition(f"{condition!r} is more than one condition; {columns}")
            rows = connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise BadCondition(f"{condition!r} is no condition: {str(error).splitlines()[0]}; {columns}") from None
    if rows.column_names != ["feature", "chosen"] or not pa.types.is_boolean(rows.schema.field("chosen").type):
        raise BadCondition(f"{condition!r} is a value of type {rows.schema.field(-1).type}, and no condition; {columns}")
    chosen = rows.column("chosen").to_numpy(zero_copy_only=False)
    return np.unique(rows.column("feature").to_numpy()[chosen == True].astype(np.uint32))  # noqa: E712  # null is no truth
