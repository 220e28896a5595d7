"""`interp backfill`: selects the partitions, and with --dry-run tells their cost. Needs no webserver."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from interp_assets.asking.estimates import KeptEstimate, keep_estimates
from interp_assets.assets.feature_matches.matching import asks_for_matches, holds_matches
from interp_assets.assets.score_stability.asked import asks_for_stability, holds_stability
from interp_assets.assets.scorer_validity.comparison import validity_is_current
from interp_assets.backfill.bound import Bounds
from interp_assets.backfill.cost import Estimate, Rates, demo_rates, estimates, measured_rates, plan_frame, plan_summary
from interp_assets.backfill.launch import known_assets, partitions_by_asset
from interp_assets.backfill.plan import BEFORE_RANGES, STABILITY, PlannedAsset, Planner, ranges_holding, ranges_with_features, unblocked
from interp_assets.config.asset_names import prefix_of
from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import parse_features
from interp_assets.config.keys import FEATURE_RANGE_KEYS, N_FEATURE_RANGES, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import LanguageModelSettings, StageSettings
from interp_assets.domain.explaining import DERIVED, EXPLAINERS
from interp_assets.domain.scoring import SCORERS, reads_steering
from interp_assets.installation.home import Home
from interp_assets.orchestration.chosen_features import with_chosen_features
from interp_assets.orchestration.stage import RangeStage, Upstream, changed_inputs
from resources.kept_models import KeptModels
from resources.language_models.openai_server.usage import TokenCounter
from resources.model_provider import ModelProvider, RealModels
from resources.store.lake import LakeError
from resources.subject.document_breaks import ReadableTexts
from resources.weights import WeightsError


def costed_plan(
    home: Home, dictionaries: Sequence[str], only: Sequence[str], features: str | None, models: ModelProvider | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """The plan of a backfill with its costs, and lines that sum it up. Nothing is started, and nothing is written but the warehouse's
    views."""
    ranges = chosen_ranges(home, dictionaries, features)
    chosen = chosen_assets(home, dictionaries, only)
    models = models or KeptModels(RealModels())
    planned = _plan(home, chosen.assets, dictionaries, ranges, models)
    costs = costs_of(home, planned, dictionaries, models)
    notes = [_range_note(home, key, ranges[key]) for key in dictionaries if features or len(ranges[key]) < N_FEATURE_RANGES]
    return plan_frame(planned, costs), [*notes, *chosen.notes(bool(only)), *plan_summary(planned, costs, home.settings)]


def costs_of(home: Home, planned: Sequence[PlannedAsset], dictionaries: Sequence[str], models: ModelProvider) -> list[Estimate]:
    """The upper bound on the costs of a plan, and its costs by the rates of features so far."""
    home.warehouse.build()
    with home.warehouse.open() as connection:
        rates = Rates(measured_rates(connection), demo_rates())
    return estimates(planned, home.settings, rates, {key: _bounds(home, home.registry.get(key), models) for key in dictionaries})


def _keep_costs(
    home: Home, chosen: "ChosenAssets", dictionaries: Sequence[str], ranges: dict[str, tuple[str, ...]], models: ModelProvider
) -> None:
    """Keep the estimate of the backfill's costs for the view cost_by_method. A failure to make the plan does not stop the backfill."""
    try:
        costs = costs_of(home, _plan(home, chosen.assets, dictionaries, ranges, models), dictionaries, models)
    except UserError:
        return
    for key in dictionaries:
        mine = [(cost, cost.bound) for cost in costs if cost.dictionary == key and cost.bound is not None]
        keep_estimates(home.estimates, key, [
            KeptEstimate(
                cost.asset, cost.method, cost.model, cost.n_features, cost.n_features * bound.questions,
                cost.n_features * bound.prompt_tokens, cost.n_features * bound.completion_tokens,
            )
            for cost, bound in mine
        ])  # fmt: skip


def _bounds(home: Home, record: DictionaryRecord, models: ModelProvider) -> Bounds:
    """The bounds of a dictionary. Its sample and the models' tokenizers are looked up at first use."""

    def texts_of(token_ids: Sequence[int]) -> Sequence[str]:
        return ReadableTexts(models.tokenizer(record.model.source, record.model.revision)).tokens(token_ids)

    def count_of(model: LanguageModelSettings) -> TokenCounter | None:
        source = model.options.get("tokenizer") if model.backend == "openai" else model.model if model.backend != "replay" else None
        if source is None:
            return None
        tokenizer = models.tokenizer(source, model.revision if model.backend != "openai" else None)
        return lambda text: len(tokenizer.encode(text))

    return Bounds(home.lake, record, home.settings.stage_settings(record.stages), texts_of, count_of)


def selected_partitions(
    home: Home,
    dictionaries: Sequence[str],
    only: Sequence[str],
    features: str | None,
    say: Callable[[str], None],
    models: ModelProvider | None = None,
) -> list[list[dict[str, Any]]]:
    """Selectors of each backfill to be run, one after another, without partitions that have nothing to run. `say` is told what is left out,
    and that a new lake begins where the lake is away.

    Left out are stages that no settings ask for, and with `features` stages that cannot be made from their ranges alone: explanations that
    are shuffled over a whole dictionary need explanations in all ranges.

    Dagster starts one run for each series of consecutive ranges. A whole dictionary is therefore selected from its first range with
    features to its last. Where `features` lie in ranges apart, stages that read all ranges come in a second backfill (`in_parts`).
    """
    ranges = chosen_ranges(home, dictionaries, features)
    chosen = chosen_assets(home, dictionaries, only)
    home.begin_lost_lake_anew(say)
    changed = [line for key in dictionaries for line in changed_inputs(home.lake, home.registry.get(key))]
    for line in [
        *(_range_note(home, key, ranges[key]) for key in dictionaries if features or len(ranges[key]) < N_FEATURE_RANGES),
        *changed,
        *chosen.notes(bool(only)),
    ]:
        say(line)
    models = models or KeptModels(RealModels())
    _keep_costs(home, chosen, dictionaries, ranges, models)
    if features is None:
        return [partitions_by_asset(chosen.assets, dictionaries, lambda _, dictionary: _without_gaps(ranges[dictionary]))]
    planned = _plan(home, chosen.assets, dictionaries, ranges, models)
    for one in planned:
        if one.blocked and one.asked:
            say(f"left out: {one.asset} of {one.dictionary}, {len(one.blocked)} ranges: {one.reason}")
    parts = in_parts(home, chosen.assets, dictionaries, ranges)
    selectors = [partitions_by_asset(part, dictionaries, unblocked(planned, ranges)) for part in parts]
    if not any(selectors):
        raise UserError("nothing can be made of these features alone; leave --features out, or make the assets named above first")
    return [part for part in selectors if part]


def _without_gaps(ranges: Sequence[str]) -> tuple[str, ...]:
    """All ranges from the first to the last of `ranges`; none of none."""
    places = [FEATURE_RANGE_KEYS.index(name) for name in ranges]
    return FEATURE_RANGE_KEYS[min(places) : max(places) + 1] if places else ()


def in_parts(
    home: Home, assets: Mapping[str, dg.AssetsDefinition], dictionaries: Sequence[str], ranges: Mapping[str, Sequence[str]]
) -> list[dict[str, dg.AssetsDefinition]]:
    """The assets in one part, or in two where some dictionary's ranges have gaps: the second part reads all ranges of the first.

    The second part has the stages by range that read another stage of `assets` in all ranges of a dictionary, such as shuffled
    explanations. It also has all stages that read such a stage, and the reports over dictionaries.
    """
    from interp_assets.graph.assembly import RANGE_STAGES

    apart = [home.registry.get(key) for key in dictionaries if len(_without_gaps(ranges[key])) > len(ranges[key])]
    stages_of = {record.key: home.settings.stage_settings(record.stages) for record in apart}
    stages = {stage.asset: stage for stage in RANGE_STAGES if stage.asset in assets}

    def reads(stage: RangeStage, record: DictionaryRecord) -> list[Upstream]:
        return [one for one in stage.upstream if one.name in stages and one.needed(stages_of[record.key])]

    later = {name for name, stage in stages.items() if any(one.all_ranges(record) for record in apart for one in reads(stage, record))}
    if not later:
        return [dict(assets)]
    while more := {name for name, stage in stages.items() if any(one.name in later for r in apart for one in reads(stage, r))} - later:
        later |= more
    first = {name: asset for name, asset in assets.items() if (name in stages and name not in later) or name in BEFORE_RANGES}
    return [first, {name: asset for name, asset in assets.items() if name not in first}]


def left_to_make(home: Home, dictionaries: Sequence[str], models: ModelProvider | None = None) -> list[str]:
    """Names of the assets that a backfill of the dictionaries would make, or could not make, in the order of the graph. Empty when
    everything that the settings ask for is complete and current."""
    ranges = chosen_ranges(home, dictionaries, None)
    planned = _plan(home, chosen_assets(home, dictionaries, ()).assets, dictionaries, ranges, models or KeptModels(RealModels()))
    left = [f"{one.asset} of {one.dictionary}" for one in planned if one.dictionary and one.certain and (one.to_make or one.blocked)]
    records = [home.registry.get(key) for key in dictionaries]
    left += [f"scorer_validity of {one.key}" for one in records if not validity_is_current(home.lake, one, home.settings)]
    return left + ([] if home.warehouse.path.exists() else ["warehouse"])


MATCHES = "feature_matches"

OPTIONAL = {
    MATCHES: (asks_for_matches, holds_matches),
    STABILITY: (lambda record, stages: asks_for_stability(stages), holds_stability),
}
"""The assets by dictionary that are made for none unless its settings ask for them: whether they do, and whether rows are there."""

NAMED = 12
"""Most names of emptied partitions in a line."""


@dataclass(frozen=True)
class ChosenAssets:
    """What a backfill runs: `assets` by name.

    `left_out` are assets that no dictionary's settings ask for and that have no rows in the lake. `emptied` names rows that go, as "<asset>
    of <dictionary>": the settings do not ask for them.
    """

    assets: dict[str, dg.AssetsDefinition]
    left_out: tuple[str, ...]
    emptied: tuple[str, ...]

    def notes(self, by_name: bool) -> list[str]:
        """Lines on the assets left out, by name or as a number, and on the rows that are emptied."""
        left_out = ", ".join(self.left_out) if by_name else f"{len(self.left_out)} stages"
        more = f" and {len(self.emptied) - NAMED:,} more" if len(self.emptied) > NAMED else ""
        emptied = ", ".join(self.emptied[:NAMED]) + more
        return [
            *([f"left out, since the settings of no dictionary here ask for it: {left_out}"] if self.left_out else []),
            *([f"emptied, since the settings do not ask for it any more: {emptied}"] if self.emptied else []),
        ]


def chosen_assets(home: Home, dictionaries: Sequence[str], only: Sequence[str]) -> ChosenAssets:
    """The assets of a backfill: all, or the assets that `only` names, without assets that have nothing to run.

    A prefix in `only`, such as "scores", stands for the assets that any of the dictionaries asks for; other assets of the prefix are
    neither made nor emptied. An asset that any of the dictionaries asks for is run for all dictionaries, since stages of the same
    partitions share a run and its models. Raises `UserError` where no asset is left, saying how to ask for one, and for an unknown name
    in `only`.
    """
    from interp_assets.graph.assembly import ASSETS, RANGE_STAGES

    known, settings, lake = known_assets(ASSETS, only), home.settings, home.lake
    records = [home.registry.get(key) for key in dictionaries]
    stages_of = {record.key: settings.stage_settings(record.stages) for record in records}
    optional = {stage.asset: stage for stage in RANGE_STAGES}

    def asks(name: str, record: DictionaryRecord) -> bool:
        stages = stages_of[record.key]
        return OPTIONAL[name][0](record, stages) if name in OPTIONAL else optional[name].asked_for(stages, settings)

    def holds(name: str, record: DictionaryRecord) -> bool:
        return OPTIONAL[name][1](lake, record) if name in OPTIONAL else optional[name].holds_rows(lake, record)

    left_out: list[str] = []
    emptied: list[str] = []
    passed: list[str] = []  # named by a prefix alone, and asked for by no dictionary
    for name in known:
        if name in optional or name in OPTIONAL:
            unasked = [record for record in records if not asks(name, record)]
            if len(unasked) == len(records) and only and name not in only:
                passed.append(name)
                continue
            held = [f"{name} of {record.key}" for record in unasked if holds(name, record)]
            emptied += held
            left_out += [name] if len(unasked) == len(records) and not held else []
    assets = {name: asset for name, asset in known.items() if name not in left_out and name not in passed}
    empty = [name for name in only if name not in known and not any(prefix_of(one) == name for one in assets)]
    if not assets:
        defaults = StageSettings()
        members = [[one for one in passed if prefix_of(one) == name] for name in empty]
        usual = [next((one for one in those if optional[one].asked_for(defaults, settings)), those[0]) for those in members]
        raise UserError(
            f"nothing to make: the settings of {', '.join(dictionaries)} do not ask for {', '.join([*left_out, *empty])}. Under "
            f"`stages:` of the record, or of settings.yaml, this does: {{{how_to_ask([*left_out, *usual], stages_of[dictionaries[0]])}}}"
        )
    return ChosenAssets(assets, (*left_out, *empty), tuple(emptied))


def how_to_ask(names: Sequence[str], stages: StageSettings) -> str:
    """The lines under `stages:` that ask for these assets and for their sources, without what `stages` already ask for."""
    named = _with_sources([name.split("/")[1] for name in names if name.startswith("explanations/")])
    explainers = [one for one in EXPLAINERS if one.NAME in named]
    scorers = [one for one in SCORERS if f"scores/{one.NAME}" in names]
    methods = [*named, *(["token_change"] if "token_changes" in names else [])]
    chooses = any(one.CHOOSES for one in explainers) and not stages.examples.n_validation
    steers = "steering" in names or any(map(reads_steering, scorers)) or any("steering" in one.READS for one in explainers)
    return ", ".join([
        *([f"explanations: [{', '.join(dict.fromkeys([*stages.explanations, *methods]))}]"] if methods else []),
        *(["examples: {n_validation: 30}"] if chooses else []),
        *([f"scores: {{{', '.join(f'{one.NAME}: all' for one in scorers)}}}"] if scorers else []),
        *(["steering: {enabled: true}"] if steers and not stages.steering.enabled else []),
        *(["matching: {with: [<another dictionary>]}"] if MATCHES in names else []),
        *(["stability: {n_features: 50}"] if STABILITY in names else []),
    ])  # fmt: skip


def _with_sources(methods: Sequence[str]) -> list[str]:
    """The explanation methods, each after the methods that it is made out of."""
    sources = {one.NAME: one.SOURCES for one in DERIVED}
    return [name for method in methods for name in (*_with_sources(sources.get(method, ())), method)]


def chosen_ranges(home: Home, dictionaries: Sequence[str], features: str | None) -> dict[str, tuple[str, ...]]:
    """The feature ranges of each dictionary that hold any of `features`, such as 0-4095, or any selected feature where `features` is None.

    Raises `UserError` for a dictionary that is not registered, and for a dictionary that selects none of `features`.
    """
    wanted = parse_features(features)
    records = [home.registry.get(key) for key in dictionaries]
    return {record.key: ranges_with_features(home.lake, record) if wanted is None else ranges_holding(record, wanted) for record in records}


def _range_note(home: Home, key: str, ranges: Sequence[str]) -> str:
    """A line on the number of features in a selection of ranges."""
    record = home.registry.get(key)
    harvested = len(record.selected_features)
    with contextlib.suppress(LakeError):
        record = with_chosen_features(home.lake, record)
    n_features = sum(len(record.features_of(RangeKey(key, name))) for name in ranges)
    return f"{key}: {n_features:,} of {harvested:,} features, in {len(ranges)} of {N_FEATURE_RANGES} ranges: {', '.join(ranges)}"


def _plan(
    home: Home,
    assets: Mapping[str, dg.AssetsDefinition],
    dictionaries: Sequence[str],
    ranges: dict[str, tuple[str, ...]],
    models: ModelProvider,
) -> list[PlannedAsset]:
    """The plan of a site's backfill. Raises `UserError` where a model is not found."""
    from interp_assets.graph.assembly import RANGE_STAGES

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
