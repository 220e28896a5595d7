"""`dg.asset` with the options that all assets of a kind have: by dictionary and by feature range."""

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from interp_assets.orchestration.partitions import DICTIONARIES, DICTIONARY_BY_RANGE, ON_A_CARD, SUBJECT_POOL
from interp_assets.orchestration.waiting import (
    RangesWait,
)
from interp_assets.reporting.materialisation import column_schema
from interp_assets.tables import Table

AssetMaker = Callable[[Callable[..., Any]], dg.AssetsDefinition]


def range_asset(table: Table, **options: Any) -> AssetMaker:
    """`dg.asset` with the options of all per-range stages: partitions, one run per backfill, owner, and the columns of `table`.

    Where steps are Ray jobs, a stage in the subject model's pool has a GPU of its own.
    """
    return lambda function: _asset(table, DICTIONARY_BY_RANGE, {"output_required": False, **options})(_or_waits(function))


def dictionary_asset(table: Table, **options: Any) -> AssetMaker:
    """`dg.asset` with the options of all stages by dictionary: partitions, one run per backfill, owner, and the columns of `table`."""
    return _asset(table, DICTIONARIES, options)


def _asset(table: Table, partitions: dg.PartitionsDefinition, options: dict[str, Any]) -> AssetMaker:
    on_a_card = {"op_tags": ON_A_CARD} if options.get("pool") == SUBJECT_POOL else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # Dagster calls backfill_policy a beta
        return dg.asset(
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.single_run(),
            owners=["team:interp"],
            metadata={"dagster/column_schema": column_schema(table.schema), "table": table.name},
            **{**on_a_card, **options},
        )


def _or_waits(function: Callable[..., dg.MaterializeResult]) -> Callable[..., Iterator[Any]]:
    """The function of an asset by range as Dagster calls it: where ranges wait, it yields the checks and no materialisation, so that the
    run leaves out all that comes after."""

    @functools.wraps(function)
    def yielding(*args: Any, **named: Any) -> Iterator[Any]:
        try:
            yield function(*args, **named)
        except RangesWait as waiting:
            yield from waiting.checks

    takes = inspect.signature(function)
    yielding.__signature__ = takes.replace(return_annotation=takes.empty)  # type: ignore[attr-defined]
    return yielding
