"""`interp backfill` as it is typed: which partitions it selects, and with --dry-run what they would cost. Needs no webserver."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
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
    assets, left_out = chosen_assets(home, dictionaries, only)
    planned = _plan(home, assets, dictionaries, ranges, models or RealModels())
    home.warehouse.build()
    with home.warehouse.open() as connection:
        rates = Rates(measured_rates(connection), demo_rates())
    costs = estimates(planned, home.settings, rates)
    notes = _notes(home, ranges, features, left_out, only)
    return plan_frame(planned, costs), [*notes, *plan_summary(planned, costs, home.settings)]


def selected_partitions(
    home: Home,
    dictionaries: Sequence[str],
    only: Sequence[str],
    features: str | None,
    say: Callable[[str], None],
    models: ModelProvider | None = None,
) -> list[dict[str, Any]]:
    """Selectors of the backfill. What there is nothing to run of is left out, and `say` is told: stages that no settings ask for, and with
    `features` what cannot be made of their ranges alone.

    Such as explanations that are dealt out over a whole dictionary while the other ranges have none.
    """
    ranges = chosen_ranges(home, dictionaries, features)
    assets, left_out = chosen_assets(home, dictionaries, only)
    for line in _notes(home, ranges, features, left_out, only):
        say(line)
    if features is None:
        return partitions_by_asset(assets, dictionaries)
    planned = _plan(home, assets, dictionaries, ranges, models or RealModels())
    for one in planned:
        if one.blocked and one.asked:
            say(f"left out: {one.asset} of {one.dictionary}, {len(one.blocked)} ranges: {one.reason}")
    selectors = partitions_by_asset(assets, dictionaries, unblocked(planned, ranges))
    if not selectors:
        raise UserError("nothing can be made of these features alone; leave --features out, or make what is named above first")
    return selectors


def chosen_assets(home: Home, dictionaries: Sequence[str], only: Sequence[str]) -> tuple[dict[str, dg.AssetsDefinition], tuple[str, ...]]:
    """(assets to run by name, names of those left out): the latter are stages that the settings of none of the dictionaries ask for, and of
    which the lake holds no rows either.

    One that any of them asks for is run for all, since stages of the same partitions share a run and its models. Raises `UserError` where
    none is left, and `ServerError` for a name in `only` that is none of an asset.
    """
    from interp_assets.definitions import ASSETS, RANGE_STAGES

    records = [home.registry.get(key) for key in dictionaries]
    known = known_assets(ASSETS, only)
    stages = {stage.asset: stage for stage in RANGE_STAGES if stage.asset in known}
    settings = home.settings
    left_out = {name for name, stage in stages.items() if not any(stage.concerns(home.lake, record, settings) for record in records)}
    if left_out == set(known):
        raise UserError(
            f"nothing to make: the settings of {', '.join(dictionaries)} do not ask for {', '.join(known)}; name it under `stages:` in "
            "the record or in settings.yaml, as in {explanations: [vocab_proj], scores: {intruder: all}, steering: {enabled: true}}"
        )
    return {name: asset for name, asset in known.items() if name not in left_out}, tuple(name for name in known if name in left_out)


def _notes(
    home: Home, ranges: Mapping[str, Sequence[str]], features: str | None, left_out: Sequence[str], only: Sequence[str]
) -> list[str]:
    """How many features a selection of them comes to, and which stages are left out: by name where `only` names them."""
    notes = [_range_note(home, key, names) for key, names in ranges.items() if features]
    what = ", ".join(left_out) if only else f"{len(left_out)} stages"
    return [*notes, *([f"left out, since the settings of no dictionary here ask for it: {what}"] if left_out else [])]


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
    home: Home,
    assets: Mapping[str, dg.AssetsDefinition],
    dictionaries: Sequence[str],
    ranges: dict[str, tuple[str, ...]],
    models: ModelProvider,
) -> list[PlannedAsset]:
    """The plan of a site's backfill. Raises `UserError` where a model is not to be found."""
    from interp_assets.definitions import RANGE_STAGES

    encoder = home.settings.sentence_encoder
    planner = Planner(
        home.lake, home.registry, home.settings, RANGE_STAGES,
        lambda record: models.tokenizer(record.model.source, record.model.revision).revision,
        lambda: models.sentence_encoder(encoder.source, encoder.revision).revision,
    )  # fmt: skip
    try:
        return planner.plan(assets, dictionaries, ranges)
    except WeightsError as error:
        raise UserError(str(error)) from error
