"""`explanations/<method>`: what each method says about each feature. Writes explanations, and ledger where a model was asked."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from interp_assets.asking.asker import Asker, RunSpending
from interp_assets.asking.ledger import LedgerSums, ledger_rows
from interp_assets.assets.explanations.asked import answered_features, failed_explanation, planned_features
from interp_assets.assets.explanations.explainer_inputs import read_explainer_inputs
from interp_assets.assets.explanations.rows import ExplanationReport, explanation_rows, report_of
from interp_assets.config.keys import N_FEATURE_RANGES
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.explaining import (
    COMPUTED,
    DERIVED,
    EXPLAINERS,
    IMPORTED_METHODS,
    PLANTED_METHODS,
    ComputedExplainer,
    Derived,
    Explainer,
    Shuffled,
)
from interp_assets.domain.explaining.shared.explainer_input import Reads
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.planted.rules import given_claims
from interp_assets.domain.trials import Explanation
from interp_assets.orchestration.outcome_check import outcome_check, outcome_check_spec
from interp_assets.orchestration.partitions import EXPLAINER_POOL
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.orchestration.range_run import RangeRun
from interp_assets.orchestration.stage import RangeStage, Upstream
from interp_assets.orchestration.stage_assets import range_asset
from interp_assets.orchestration.stage_progress import progress_of
from interp_assets.reading.explanations import read_all_explanations, read_explanations, read_imported
from interp_assets.reporting.materialisation import markdown, markdown_table, text_or_outcome
from interp_assets.tables import (
    EXAMPLES,
    EXPLANATIONS,
    FEATURE_STATISTICS,
    IMPORTED_EXPLANATIONS,
    LEDGER,
    STEERING,
    TOKEN_CHANGES,
    VOCABULARY_PROJECTIONS,
    Table,
)
from resources.language_models.reply_store import ReplyStore
from resources.model_provider import ModelProvider
from resources.store.lake import Lake

READABLE: tuple[tuple[Reads, Table, str], ...] = (
    ("feature_statistics", FEATURE_STATISTICS, "activation_shards"),
    ("vocabulary_projections", VOCABULARY_PROJECTIONS, "vocabulary_projections"),
    ("token_changes", TOKEN_CHANGES, "token_changes"),
    ("steering", STEERING, "steering"),
)
"""Each input that explainers may read beside examples: its name, its table, and the asset that makes the table."""

FEW_FEATURES = 16 * N_FEATURE_RANGES
"""A dictionary with fewer selected features shuffles explanations over all its ranges: one range has too few features to shuffle among."""


def is_small(record: DictionaryRecord) -> bool:
    """Whether a dictionary has FEW_FEATURES, or may have: how many a condition chooses is not known before the harvest."""
    return record.condition is not None or len(record.selected_features) < FEW_FEATURES


def _chosen(stages: StageSettings, method: str) -> bool:
    return method in stages.explanations


def _sources(stages: StageSettings, derived: Derived) -> list[str]:
    """The methods that a derived method is made out of: all its sources, and its optional sources where the settings ask for them."""
    return [*derived.SOURCES, *(source for source in derived.OPTIONAL_SOURCES if _chosen(stages, source))]


def _asked_for(stage: RangeRun, method: str) -> list[RangePartition]:
    """Partitions to do whose settings ask for the method."""
    note = f"the settings of this dictionary do not ask for {method}: `stages: {{explanations: […]}}`"
    return stage.to_do_where(lambda stages: _chosen(stages, method), [LEDGER, EXPLANATIONS], note)


def explainer_stage(explainer: Explainer) -> RangeStage:
    """What an explainer's explanations depend on; nothing where the settings do not ask for this explainer."""

    def settings_of(stages: StageSettings, platform: PlatformSettings) -> Any:
        if not _chosen(stages, explainer.NAME):
            return None
        encoder = [platform.sentence_encoder.versioned_settings] if explainer.CHOOSES else []
        return [stages.explaining.of(explainer), platform.explainer.versioned_settings, *encoder]

    return RangeStage(EXPLANATIONS, explainer.VERSION, _read_by(explainer), settings_of, {"explanation_method": explainer.NAME})


def computed_stage(explainer: ComputedExplainer) -> RangeStage:
    """What explanations without a model depend on: the explainer's own settings and inputs, and no model of the site."""

    def settings_of(stages: StageSettings, platform: PlatformSettings) -> Any:
        return stages.explaining.of(explainer) if _chosen(stages, explainer.NAME) else None

    return RangeStage(EXPLANATIONS, explainer.VERSION, _read_by(explainer), settings_of, {"explanation_method": explainer.NAME})


def _read_by(explainer: Explainer | ComputedExplainer) -> tuple[Upstream, ...]:
    """The tables that an explainer reads where the settings ask for it."""

    def read(name: Reads, table: Table) -> Upstream:
        return Upstream(table, needed=lambda stages: _chosen(stages, explainer.NAME) and name in stages.explaining.reads(explainer))

    examples = Upstream(EXAMPLES, needed=lambda stages: _chosen(stages, explainer.NAME))
    return (examples, *(read(name, table) for name, table, _ in READABLE if name in explainer.READS))


def derived_stage(derived: Derived) -> RangeStage:
    """What derived explanations depend on: the explanations of their source methods, and always the features that have rows in the
    examples. Several deals are a setting; one deal is none."""

    def made_of(source: str) -> Upstream:
        needed = lambda stages: _chosen(stages, derived.NAME) and source in _sources(stages, derived)  # noqa: E731
        return Upstream(EXPLANATIONS, {"explanation_method": source}, needed, all_ranges=lambda r: derived.SHUFFLES and is_small(r))

    def settings_of(stages: StageSettings, platform: PlatformSettings) -> Any:
        dealt_again = isinstance(derived, Shuffled) and stages.explaining.shuffled.deals > 1
        return _chosen(stages, derived.NAME) and ([stages.explaining.shuffled] if dealt_again else True)

    sources = map(made_of, (*derived.SOURCES, *derived.OPTIONAL_SOURCES))
    extra = {"explanation_method": derived.NAME}
    upstream = (Upstream(EXAMPLES, needed=lambda stages: _chosen(stages, derived.NAME)), *sources)
    return RangeStage(EXPLANATIONS, derived.VERSION, upstream, settings_of, extra)


def given_stage(method: str) -> RangeStage:
    """What given explanations (from files or rules) depend on: the files, and the features that have rows in the examples.

    The version of the examples changes with the dictionary's record, and so with its rules.
    """
    extra = {"explanation_method": method}
    chosen = lambda stages: _chosen(stages, method)  # noqa: E731
    files = (Upstream(IMPORTED_EXPLANATIONS, extra, chosen, optional=True),) if method in IMPORTED_METHODS else ()
    upstream = (Upstream(EXAMPLES, needed=chosen), *files)
    return RangeStage(EXPLANATIONS, f"{method}/1", upstream, lambda stages, platform: _chosen(stages, method), extra)


def _options(method: str, version: str, description: str | None, deps: Sequence[Any], **options: Any) -> dict[str, Any]:
    """What all assets of explanations have in common."""
    checks = [
        outcome_check_spec(["explanations", method]),
        dg.AssetCheckSpec(
            "explained_share", asset=["explanations", method], description="at least half of the features asked about are explained"
        ),
    ]
    common = {"key": ["explanations", method], "deps": deps, "description": description, "group_name": "explanations"}
    return {**common, "code_version": version, "check_specs": checks, **options}


def _explainer_asset(explainer: Explainer) -> dg.AssetsDefinition:
    """The asset of one explainer that asks a language model."""
    deps = ["examples", *(asset for name, _, asset in READABLE if name in explainer.READS)]
    kinds = {"python", "llm", "parquet"}

    @range_asset(EXPLANATIONS, **_options(explainer.NAME, explainer.VERSION, explainer.__doc__, deps, kinds=kinds, pool=EXPLAINER_POOL))
    def explanations(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        registry: dg.ResourceParam[DictionaryRegistry],
        models: dg.ResourceParam[ModelProvider],
        settings: dg.ResourceParam[PlatformSettings],
        replies: dg.ResourceParam[ReplyStore],
        spending: dg.ResourceParam[RunSpending],
    ) -> dg.MaterializeResult:
        stage = RangeRun(context, lake, registry, settings, explainer_stage(explainer))
        asset = "/".join(context.asset_key.path)
        asker = Asker(settings.explainer, models, replies, spending.of_run(context), progress_of(context, "questions"))
        with asker:
            works = planned_features(lake, explainer, _asked_for(stage, explainer.NAME), context.log)
            answered = answered_features(explainer, asker, works, models, settings, context.log)
            for first in answered:
                partition, cost, questions = first[0].partition, LedgerSums(), 0
                report = ExplanationReport()
                with stage.writing(partition, [LEDGER, EXPLANATIONS]) as writer:
                    work, answers, graded = first
                    while work.evidence is not None:
                        assert graded is not None
                        ledger = ledger_rows(asset, partition.key, answers, questions)
                        questions += ledger.num_rows
                        cost.add(ledger, answers)
                        writer.add(LEDGER, ledger)
                        writer.add(EXPLANATIONS, explanation_rows(partition, [graded], answers))
                        report.add(graded, work.evidence)
                        work, answers, graded = next(answered)
                    writer.commit(report.of_partition(cost.numbers))
        return stage.result(*_summary(lake, stage, explainer.NAME))

    return explanations


def _computed_asset(explainer: ComputedExplainer) -> dg.AssetsDefinition:
    """The asset of one explainer that asks no model, range by range."""
    deps = ["examples", *(asset for name, _, asset in READABLE if name in explainer.READS)]

    @range_asset(EXPLANATIONS, **_options(explainer.NAME, explainer.VERSION, explainer.__doc__, deps, kinds={"python", "parquet"}))
    def explanations(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        registry: dg.ResourceParam[DictionaryRegistry],
        settings: dg.ResourceParam[PlatformSettings],
    ) -> dg.MaterializeResult:
        stage = RangeRun(context, lake, registry, settings, computed_stage(explainer))
        for partition in _asked_for(stage, explainer.NAME):
            own, report, made = partition.settings.explaining.of(explainer), ExplanationReport(), []
            for evidence, explainer_input in read_explainer_inputs(lake, partition, explainer):
                try:
                    found = explainer.explain(explainer_input, own)
                except Exception:
                    found = failed_explanation(explainer, explainer_input, context.log)
                made.append(found)
                report.add(found, evidence)
            stage.write(partition, [(EXPLANATIONS, explanation_rows(partition, made, ()))], report.of_partition({}))
        return stage.result(*_summary(lake, stage, explainer.NAME))

    return explanations


def _derived_asset(derived: Derived) -> dg.AssetsDefinition:
    """The asset of explanations that are derived from explanations of other methods, range by range."""
    deps = ["examples", *(["explanations", source] for source in (*derived.SOURCES, *derived.OPTIONAL_SOURCES))]

    @range_asset(EXPLANATIONS, **_options(derived.NAME, derived.VERSION, derived.__doc__, deps, kinds={"python", "parquet"}))
    def explanations(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        registry: dg.ResourceParam[DictionaryRegistry],
        settings: dg.ResourceParam[PlatformSettings],
    ) -> dg.MaterializeResult:
        stage = RangeRun(context, lake, registry, settings, derived_stage(derived))
        for partition in _asked_for(stage, derived.NAME):
            sources: dict[str, Mapping[int, Explanation]] = {}
            for source in _sources(partition.settings, derived):
                whole = derived.SHUFFLES and is_small(partition.record)
                key = partition.key
                sources[source] = read_all_explanations(lake, key.dictionary, source) if whole else read_explanations(lake, key, source)
            features, seed = partition.record.features_of(partition.key).tolist(), partition.settings.seed
            if isinstance(derived, Shuffled):
                made = derived.explain(features, sources, seed, partition.settings.explaining.shuffled.deals)
            else:
                made = derived.explain(features, sources, seed)
            stage.write(partition, [(EXPLANATIONS, explanation_rows(partition, made, ()))], report_of(lake, partition, made))
        return stage.result(*_summary(lake, stage, derived.NAME))

    return explanations


def _given_asset(method: str) -> dg.AssetsDefinition:
    """The asset of given explanations: read from files, or from the rules of a planted dictionary."""
    description = (
        f"Explanations read from files with `interp import explanations … --method {method}`."
        if method in IMPORTED_METHODS
        else f"The {method.removeprefix('planted_')} explanations in the rules of a planted dictionary: see domain/planted.py."
    )
    without: ExplanationOutcome = "not_imported" if method in IMPORTED_METHODS else "not_planted"

    @range_asset(EXPLANATIONS, **_options(method, f"{method}/1", description, ["examples"], kinds={"python", "parquet"}))
    def explanations(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        registry: dg.ResourceParam[DictionaryRegistry],
        settings: dg.ResourceParam[PlatformSettings],
    ) -> dg.MaterializeResult:
        stage = RangeRun(context, lake, registry, settings, given_stage(method))
        texts: dict[str, Mapping[int, str]] = {}
        for partition in _asked_for(stage, method):
            made: list[Explanation] = []
            name, rules = partition.key.dictionary, partition.record.planted_rules
            if name not in texts:
                texts[name] = read_imported(lake, name, method) if method in IMPORTED_METHODS else given_claims(rules, method)
            for feature in partition.record.features_of(partition.key).tolist():
                text = texts[name].get(feature)
                made.append(Explanation(feature, method, text, without if text is None else "ok", "", f"{method}/1"))
            stage.write(partition, [(EXPLANATIONS, explanation_rows(partition, made, ()))], report_of(lake, partition, made))
        return stage.result(*_summary(lake, stage, method))

    return explanations


NEVER_ASKED = (
    "no_examples", "no_contrast", "no_projection", "no_changes", "no_steering", "not_single_token", "no_validation", "no_parts", "no_donor",
    "not_imported", "not_planted",
)  # fmt: skip


def _summary(lake: Lake, stage: RangeRun, method: str) -> tuple[dict[str, dg.MetadataValue], list[dg.AssetCheckResult]]:
    """Metadata over all ranges of the run, and the result of the two checks."""
    explained, explainable, lines = 0, 0, []
    for partition in stage.partitions:
        rows = lake.read(EXPLANATIONS.name, stage.partition(partition), columns=["feature", "outcome", "explanation"]).to_pylist()
        explained += sum(row["outcome"] == "ok" for row in rows)
        explainable += sum(row["outcome"] not in NEVER_ASKED for row in rows)
        lines += [(row["feature"], text_or_outcome(row["explanation"], row["outcome"])) for row in rows[:2]]
    share = explained / explainable if explainable else None
    checks = [
        outcome_check(stage, {EXPLANATIONS: lambda stages: _chosen(stages, method)}),
        dg.AssetCheckResult(
            check_name="explained_share", passed=share is None or share >= 0.5, severity=dg.AssetCheckSeverity.WARN,
            metadata={"explained": explained, "asked_about": explainable},
        ),
    ]  # fmt: skip
    return {"explanations": markdown(markdown_table(["feature", method], lines[:40]))}, checks


RANGE_STAGES = (
    *map(explainer_stage, EXPLAINERS),
    *map(computed_stage, COMPUTED),
    *map(derived_stage, DERIVED),
    *map(given_stage, (*IMPORTED_METHODS, *PLANTED_METHODS)),
)
explanation_assets = (
    *map(_explainer_asset, EXPLAINERS),
    *map(_computed_asset, COMPUTED),
    *map(_derived_asset, DERIVED),
    *map(_given_asset, (*IMPORTED_METHODS, *PLANTED_METHODS)),
)
