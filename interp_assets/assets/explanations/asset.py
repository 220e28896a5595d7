"""`explanations/<method>`: what each method says about each feature. Writes explanations, and ledger where a model was asked."""

import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import dagster as dg
import pyarrow as pa

from interp_assets.asking.asker import Asker, RunSpending, answered_in_order, waves
from interp_assets.asking.encoder import cosines
from interp_assets.asking.ledger import LedgerSums, ledger_rows
from interp_assets.asking.questions import Answer, Question
from interp_assets.assets.explanations.explainer_inputs import read_explainer_inputs
from interp_assets.config.keys import N_FEATURE_RANGES
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.explaining import DERIVED, EXPLAINERS, IMPORTED_METHODS, PLANTED_METHODS, ChoosingExplainer, Derived, Explainer
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads
from interp_assets.domain.outcomes import FAILED, ExplanationOutcome
from interp_assets.domain.planted.rules import given_claims
from interp_assets.domain.prompting import rendering
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.trials import Explanation
from interp_assets.orchestration.outcome_check import outcome_check, outcome_check_spec
from interp_assets.orchestration.partitions import EXPLAINER_POOL
from interp_assets.orchestration.runs import PartitionReport, RangePartition, RangeRun, progress_of, range_asset
from interp_assets.orchestration.stage import RangeStage, Upstream
from interp_assets.reading.examples import StoredExamples, read_examples
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
PREVIEWED = 10
"""Explanations of a range in its preview."""


FEW_FEATURES = 16 * N_FEATURE_RANGES
"""A dictionary with fewer selected features shuffles explanations over all its ranges: one range has too few features to shuffle among."""


def is_small(record: DictionaryRecord) -> bool:
    """Whether a dictionary has FEW_FEATURES."""
    return len(record.selected_features) < FEW_FEATURES


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

    def read(name: Reads, table: Table) -> Upstream:
        return Upstream(table, needed=lambda stages: _chosen(stages, explainer.NAME) and name in stages.explaining.reads(explainer))

    examples = Upstream(EXAMPLES, needed=lambda stages: _chosen(stages, explainer.NAME))
    upstream = (examples, *(read(name, table) for name, table, _ in READABLE if name in explainer.READS))
    return RangeStage(EXPLANATIONS, explainer.VERSION, upstream, settings_of, {"explanation_method": explainer.NAME})


def derived_stage(derived: Derived) -> RangeStage:
    """What derived explanations depend on: the explanations of their source methods, and always the features that have rows in the
    examples."""

    def made_of(source: str) -> Upstream:
        needed = lambda stages: _chosen(stages, derived.NAME) and source in _sources(stages, derived)  # noqa: E731
        return Upstream(EXPLANATIONS, {"explanation_method": source}, needed, all_ranges=lambda r: derived.SHUFFLES and is_small(r))

    sources = map(made_of, (*derived.SOURCES, *derived.OPTIONAL_SOURCES))
    extra = {"explanation_method": derived.NAME}
    upstream = (Upstream(EXAMPLES, needed=lambda stages: _chosen(stages, derived.NAME)), *sources)
    return RangeStage(EXPLANATIONS, derived.VERSION, upstream, lambda stages, platform: _chosen(stages, derived.NAME), extra)


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


@dataclass(frozen=True)
class _Planned:
    """A feature with its prompts, or with the outcome that takes their place; without stored examples, the end of its partition."""

    partition: RangePartition
    evidence: StoredExamples | None = None
    explainer_input: ExplainerInput | None = None
    prompts: tuple[Prompt, ...] | ExplanationOutcome = ()

    def questions(self, method: str) -> list[Question]:
        """The questions to the language model about the feature; none for an outcome."""
        prompts = () if isinstance(self.prompts, str) or self.explainer_input is None else self.prompts
        return [Question(self.explainer_input.feature, method, prompt) for prompt in prompts] if self.explainer_input else []


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
            works = _planned(lake, explainer, _asked_for(stage, explainer.NAME), context.log)
            answered = _with_replies(explainer, asker, works, models, settings, context.log)
            for first in answered:
                partition, cost, questions = first[0].partition, LedgerSums(), 0
                report = _Report()
                with stage.writing(partition, [LEDGER, EXPLANATIONS]) as writer:
                    work, answers, graded = first
                    while work.evidence is not None:
                        assert graded is not None
                        ledger = ledger_rows(asset, partition.key, answers, questions)
                        questions += ledger.num_rows
                        cost.add(ledger, answers)
                        writer.add(LEDGER, ledger)
                        writer.add(EXPLANATIONS, _rows(partition, [graded], answers))
                        report.add(graded, work.evidence)
                        work, answers, graded = next(answered)
                    writer.commit(report.of_partition(cost.numbers))
        return stage.result(*_summary(lake, stage, explainer.NAME))

    return explanations


def _planned(lake: Lake, explainer: Explainer, partitions: Sequence[RangePartition], log: dg.DagsterLogManager) -> Iterator[_Planned]:
    """Every feature of every partition; after the features of a partition, the end of the partition."""
    for partition in partitions:
        for evidence, explainer_input in read_explainer_inputs(lake, partition, explainer):
            prompts: tuple[Prompt, ...] | ExplanationOutcome
            try:
                prompts = explainer.plan(explainer_input, partition.settings.explaining.of(explainer), partition.settings.seed)
            except Exception:
                prompts = _failed(explainer, explainer_input, log).outcome
            yield _Planned(partition, evidence, explainer_input, prompts)
        yield _Planned(partition)


def _failed(explainer: Explainer, explainer_input: ExplainerInput, log: dg.DagsterLogManager) -> Explanation:
    """The outcome of a feature on which the explainer's own code fails. Other features go on; the error being handled goes to the log."""
    log.error(f"{explainer.NAME} failed on feature {explainer_input.feature}:\n{traceback.format_exc()}")
    return Explanation(explainer_input.feature, explainer.NAME, None, FAILED, "", explainer.VERSION)


def _with_replies(
    explainer: Explainer,
    asker: Asker,
    planned: Iterator[_Planned],
    models: ModelProvider,
    settings: PlatformSettings,
    log: dg.DagsterLogManager,
) -> Iterator[tuple[_Planned, list[Answer], Explanation | None]]:
    """Each planned feature with the answers and its explanation, in order; the explanation is None at the end of a partition."""
    for wave in waves(planned, lambda work: len(work.questions(explainer.NAME))):
        answers = answered_in_order(asker, [work.questions(explainer.NAME) for work in wave])
        if not explainer.CHOOSES:
            for work, given in zip(wave, answers, strict=True):
                yield work, given, _graded(explainer, work, given, log)
            continue
        yield from _chosen_by_encoder(cast(ChoosingExplainer, explainer), asker, wave, list(answers), models, settings, log)


def _graded(explainer: Explainer, work: _Planned, answers: Sequence[Answer], log: dg.DagsterLogManager) -> Explanation | None:
    if work.explainer_input is None:
        return None
    if isinstance(work.prompts, str):
        return Explanation(work.explainer_input.feature, explainer.NAME, None, work.prompts, "", explainer.VERSION)
    try:
        return explainer.grade(work.explainer_input, _replies(answers), work.partition.settings.explaining.of(explainer))
    except Exception:
        return _failed(explainer, work.explainer_input, log)


def _chosen_by_encoder(
    explainer: ChoosingExplainer,
    asker: Asker,
    wave: Sequence[_Planned],
    answers: Sequence[list[Answer]],
    models: ModelProvider,
    settings: PlatformSettings,
    log: dg.DagsterLogManager,
) -> Iterator[tuple[_Planned, list[Answer], Explanation | None]]:
    """Each feature of a wave with the answers and its explanation, where an explainer compares its candidates by the sentence encoder.

    The language model is freed before the encoder is loaded.
    """
    comparisons = []
    for work, given in zip(wave, answers, strict=True):
        own = work.partition.settings.explaining.of(explainer)
        asked = work.explainer_input is not None and not isinstance(work.prompts, str)
        try:
            comparisons.append(explainer.compare(work.explainer_input, _replies(given), own) if asked and work.explainer_input else None)
        except Exception:  # grading meets the same failure and names it
            comparisons.append(None)
    asked_for = [comparison for comparison in comparisons if comparison is not None]
    found: list[tuple[tuple[float, ...], ...]] = []
    if asked_for:
        asker.close()
        encoder = models.sentence_encoder(settings.sentence_encoder.source, settings.sentence_encoder.revision)
        try:
            found = list(cosines(encoder.embed, asked_for))
        finally:
            encoder.close()
    cosine = iter(found)
    for work, given, comparison in zip(wave, answers, comparisons, strict=True):
        own = work.partition.settings.explaining.of(explainer)
        if comparison is None or work.explainer_input is None:
            yield work, given, _graded(explainer, work, given, log)
            continue
        here = next(cosine)
        try:
            chosen = explainer.choose(work.explainer_input, _replies(given), own, here)
        except Exception:
            chosen = _failed(explainer, work.explainer_input, log)
        yield work, given, chosen


def _replies(answers: Sequence[Answer]) -> list[ExplainerReply]:
    return [ExplainerReply(answer.reply.text, answer.reply.error) for answer in answers]


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
            made = derived.explain(partition.record.features_of(partition.key).tolist(), sources, partition.settings.seed)
            stage.write(partition, [(EXPLANATIONS, _rows(partition, made, ()))], _reported(lake, partition, made))
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
            stage.write(partition, [(EXPLANATIONS, _rows(partition, made, ()))], _reported(lake, partition, made))
        return stage.result(*_summary(lake, stage, method))

    return explanations


def _rows(partition: RangePartition, made: Sequence[Explanation], answers: Sequence[Answer]) -> pa.Table:
    """Rows of the table explanations. `answers` are the answers that an asked explanation was read out of: `made` has then one entry."""
    failed = any(answer.reply.error for answer in answers)
    rows = [
        {
            "dictionary": partition.key.dictionary, "feature_range": partition.key.feature_range, "feature": e.feature,
            "explanation_method": e.method, "outcome": e.outcome, "explanation": e.text, "raw_reply": e.raw_reply or None,
            "replies": [] if failed else [answer.key for answer in answers], "donor_feature": e.donor_feature,
            "model": answers[0].model if answers else "", "prompt_version": e.prompt_version,
        }
        for e in made
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=EXPLANATIONS.schema)


class _Report:
    """Counts of outcomes, and the first explanations, each beside the strongest window of its feature."""

    def __init__(self) -> None:
        self._outcomes: Counter = Counter()
        self._lines: list[tuple] = []

    def add(self, made: Explanation, evidence: StoredExamples) -> None:
        """Count one explanation."""
        self._outcomes[made.outcome] += 1
        if len(self._lines) < PREVIEWED:
            self._lines.append((made.feature, text_or_outcome(made.text, made.outcome), _strongest(evidence)))

    def of_partition(self, numbers: Mapping[str, Any]) -> PartitionReport:
        """The report of the finished partition."""
        table = markdown_table(["feature", "explanation", "strongest shown window"], self._lines)
        return PartitionReport(self._outcomes, {"preview": markdown(table), **numbers})


def _reported(lake: Lake, partition: RangePartition, made: Sequence[Explanation]) -> PartitionReport:
    report = _Report()
    for explanation, evidence in zip(made, read_examples(lake, partition.key) if made else (), strict=True):
        assert explanation.feature == evidence.feature, (explanation.feature, evidence.feature)
        report.add(explanation, evidence)
    return report.of_partition({})


def _strongest(item: StoredExamples) -> str:
    if not item.shown:
        return ""
    best = max(item.shown, key=lambda example: max(example.activations))
    return rendering.markdown([item.token_texts[i] for i in best.token_ids], rendering.marked_positions(best.activations, 0.3))


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


RANGE_STAGES = (*map(explainer_stage, EXPLAINERS), *map(derived_stage, DERIVED), *map(given_stage, (*IMPORTED_METHODS, *PLANTED_METHODS)))
explanation_assets = (
    *map(_explainer_asset, EXPLAINERS),
    *map(_derived_asset, DERIVED),
    *map(_given_asset, (*IMPORTED_METHODS, *PLANTED_METHODS)),
)
