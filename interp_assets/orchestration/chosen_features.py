"""The features that a record's condition over the statistics of the harvest chooses, looked up in the lake."""

import pyarrow as pa

from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord, condition_columns
from interp_assets.tables import FEATURE_STATISTICS
from resources.store.feature_conditions import BadCondition, features_where
from resources.store.lake import Lake


def with_chosen_features(lake: Lake, record: DictionaryRecord) -> DictionaryRecord:
    """The record with the features that its condition chooses; the record itself where it has no condition.

    The condition sees the statistics of all features of the dictionary. Raises `LakeError` before the harvest, and `UserError` for a
    condition that fails on these statistics.
    """
    if record.condition is None:
        return record
    columns = condition_columns()
    ranges = [lake_partition(RangeKey(record.key, name)) for name in FEATURE_RANGE_KEYS]
    statistics = pa.concat_tables([lake.read(FEATURE_STATISTICS.name, one, columns.names).cast(columns) for one in ranges])
    try:
        return record.with_chosen(features_where(record.condition, statistics))
    except BadCondition as error:
        raise UserError(f"dictionary {record.key}: features.where: {error}") from None
