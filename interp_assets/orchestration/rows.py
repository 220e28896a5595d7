"""Rows of tables that list tokens of features by rank."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from interp_assets.config.keys import RangeKey
from interp_assets.tables import Table
from interp_assets.tables.columns import constant


def ranked_token_rows(
    key: RangeKey, table: Table, features: np.ndarray, outcomes: np.ndarray, tokens_a_feature: int, columns: Mapping[str, pa.Array]
) -> pa.Table:
    """Rows of `table`: for a feature with outcome "ok" one row a token, for any other feature one row with its outcome.

    `features` integers [n] and `outcomes` strings [n] are in the order of the rows. Each of `columns` holds `tokens_a_feature` values for
    every "ok" feature in turn; a row without a token has null there.
    """
    ok = outcomes == "ok"
    counts = np.where(ok, tokens_a_feature, 1)
    named, whose = np.repeat(ok, counts), pa.array(np.repeat(np.arange(len(counts)), counts))
    place = pa.array(np.cumsum(named) - 1, mask=~named)  # a row's place among the rows with a token; taking a null index gives null
    return pa.table(
        {
            "dictionary": constant(key.dictionary, len(named)), "feature_range": constant(key.feature_range, len(named)),
            "feature": np.repeat(features.astype(np.uint32), counts),
            **{name: values.take(place) for name, values in columns.items()},
            "outcome": pa.array(outcomes.tolist(), pa.string()).dictionary_encode().take(whose),
        },
        schema=table.schema,
    )  # fmt: skip


def names_at(places: np.ndarray, names: tuple[str, ...]) -> pa.DictionaryArray:
    """`names[places[i]]` for every i, dictionary-encoded."""
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), pa.array(names))
