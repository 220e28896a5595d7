"""`interp backfill` as it is typed: which partitions it selects, and with --dry-run what they would cost. Needs no webserver."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from interp_assets.backfill import known_assets, partitions_by_asset
from interp_assets.backfill_cost import Rates, demo_rates, estimates, measured_rates, plan_frame, plan_summary
from interp_assets.backfill_plan import PlannedAsset, Planner, ranges_holding, unblocked
from interp_assets.home import Home
from interp_assets.import_records import parse_features
from interp_assets.partitions import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.settings import UserError
from resources.model_provider import ModelProvider, RealModels
from resources.weights import WeightsError


def costed_plan(
    home: Home, dictionaries: Sequence[str], only: Sequence[str], features: str | None, models: ModelProvider | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """The plan of a backfill with its costs, and lines on the whole of it. Nothing is started or written but the warehouse's views."""
    ranges = chosen_ranges(home, dictionaries, features)
    planned = _plan(home, dictionaries, only, ranges, models or RealModels())
    home.warehouse.build()
    with home.warehouse.open() as connection:
        rates = Rates(measured_rates(connection), demo_rates())
    costs = estimates(planned, home.settings, rates)
    notes = [_range_note(home, key, ranges[key]) for key in dictionaries if features]
    return plan_frame(planned, costs), [*notes, *plan_summary(planned, costs, home.settings)]


def selected_partitions(
    home: Home,
    dictionaries: Sequence[str],
    only: Sequence[str],
    features: str | None,
    say: Callable[[str], None],
    models: ModelProvider | None = None,
) -> list[dict[str, Any]]:
    """Selectors of the backfill. With `features`, what cannot be made of their ranges alone is left out, and `say` is told.

    Such as explanations that are dealt out over a whole dictionary while the other ranges have none.
    """
    from interp_assets.definitions import ASSETS

    ranges = chosen_ranges(home, dictionaries, features)
    if features is None:
        return partitions_by_asset(ASSETS, dictionaries, only)
    for key in dictionaries:
        say(_range_note(home, key, ranges[key]))
    planned = _plan(home, dictionaries, only, ranges, models or RealModels())
    for one in planned:
        if one.blocked and one.asked:
            say(f"left out: {one.asset} of {one.dictionary}, {len(one.blocked)} ranges: {one.reason}")
    selectors = partitions_by_asset(ASSETS, dictionaries, only, unblocked(planned, ranges))
    if not selectors:
        raise UserError("nothing can be made of these features alone; leave --features out, or make what is named above first")
    return selectors


def chosen_ranges(home: Home, dictionaries: Sequence[str], features: str | None) -> dict[str, tuple[str, ...]]:
    """The feature ranges of each dictionary that hold any of `features`, such as 0-4095; all where it is None.

    Raises `UserError` for a dictionary that is not registered, or of which none is selected.
    """
    wanted = parse_features(features)
    records = [home.registry.get(key) for key in dictionaries]
    return {record.key: FEATURE_RANGE_KEYS if wanted is None else ranges_holding(record, wanted) for record in records}


def _range_note(home: Home, key: str, ranges: Sequence[str]) -> str:
    """How many features a selection of ranges comes to."""
    record = home.registry.get(key)
    n_features = sum(len(record.features_of(RangeKey(key, name))) for name in ranges)
    return f"{key}: {n_features:,} of {len(record.selected_features):,} features, in the ranges {', '.join(ranges)}"


def _plan(
    home: Home, dictionaries: Sequence[str], only: Sequence[str], ranges: dict[str, tuple[str, ...]], models: ModelProvider
) -> list[PlannedAsset]:
    """The plan of a site's backfill. Raises `UserError` where a model is not to be found."""
    from interp_assets.definitions import ASSETS, RANGE_STAGES

    encoder = home.settings.sentence_encoder
    planner = Planner(
        home.lake, home.registry, home.settings, RANGE_STAGES,
        lambda record: models.tokenizer(record.model.source, record.model.revision).revision,
        lambda: models.sentence_encoder(encoder.source, encoder.revision).revision,
    )  # fmt: skip
    try:
        return planner.plan(known_assets(ASSETS, only), dictionaries, ranges)
    except WeightsError as error:
        raise UserError(str(error)) from error
