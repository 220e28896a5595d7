"""`explanations/<method>`: what each method says about each feature. Writes explanations, and ledger where a model was asked."""

from collections import Counter
from collections.abc import Sequence

import dagster as dg
import pyarrow as pa

from interp_assets.asking import Answer, Question, RunSpending, answers_by_range, ledger_rows, ledger_sums
from interp_assets.cells import Cell, CellReport, StageRun, progress_of, range_asset
from interp_assets.dictionaries import DictionaryRegistry
from interp_assets.domain import rendering
from interp_assets.domain.explaining import BASELINES, EXPLAINERS, Baseline, Explainer
from interp_assets.domain.trials import Explanation
from interp_assets.evidence import FeatureEvidence, read_evidence, read_explanations
from interp_assets.partitions import EXPLAINER_POOL
from interp_assets.reporting import markdown, markdown_table, told
from interp_assets.settings import PlatformSettings
from interp_assets.stages import Stage, Upstream
from interp_assets.tables import EXAMPLES, EXPLANATIONS, LEDGER
from resources.lake import Lake
from resources.language_models.reply_store import ReplyStore
from resources.model_provider import ModelProvider


def explainer_stage(explainer: Explainer) -> Stage:
    """What an explainer's explanations depend on."""
    extra = {"explanation_method": explainer.NAME}
    return Stage(
        EXPLANATIONS,
        explainer.VERSION,
        (Upstream(EXAMPLES),),
        lambda stages, platform: [stages.explaining, platform.explainer.shaping_replies],
        extra,
    )


def baseline_stage(baseline: Baseline, source: Explainer) -> Stage:
    """What a baseline's explanations depend on."""
    upstream = Upstream(EXPLANATIONS, {"explanation_method": source.NAME})
    return Stage(EXPLANATIONS, baseline.VERSION, (upstream,), lambda stages, platform: None, {"explanation_method": baseline.NAME})


def _outcome_check(name: str) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec("every_feature_has_an_outcome", asset=["explanations", name], blocking=True),
        dg.AssetCheckSpec("explained_share", asset=["explanations", name], description="at least half of the features with examples"),
    ]


def _explainer_asset(explainer: Explainer) -> dg.AssetsDefinition:
    """The asset of one explainer that asks a language model."""

    @range_asset(
        EXPLANATIONS,
        key=["explanations", explainer.NAME],
        deps=["examples"],
        description=explainer.__doc__,
        group_name="explanations",
        kinds={"python", "llm", "parquet"},
        pool=EXPLAINER_POOL,
        code_version=explainer.VERSION,
        check_specs=_outcome_check(explainer.NAME),
    )
    def explanations(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        registry: dg.ResourceParam[DictionaryRegistry],
        models: dg.ResourceParam[ModelProvider],
        settings: dg.ResourceParam[PlatformSettings],
        replies: dg.ResourceParam[ReplyStore],
        spending: dg.ResourceParam[RunSpending],
    ) -> dg.MaterializeResult:
        stage = StageRun(context, lake, registry, settings, explainer_stage(explainer))
        cells = {cell.key: cell for cell in stage.to_do()}
        evidence = {key: list(read_evidence(lake, key)) for key in cells}
        planned = {
            key: [
                Question(item.feature, explainer.NAME, prompt)
                for item in evidence[key]
                if (prompt := explainer.plan(item.feature, item.shown, item.token_texts, cells[key].settings.explaining))
            ]
            for key in cells
        }
        asked = answers_by_range(planned, settings.explainer, models, replies, spending.of_run(context), progress_of(context, "questions"))
        for key, answers, model in asked:
            by_feature = {answer.question.feature: answer for answer in answers}
            graded = [_graded(explainer, item, by_feature.get(item.feature)) for item in evidence[key]]
            rows = _rows(cells[key], graded, {f: a.key for f, a in by_feature.items() if not a.reply.error}, model)
            ledger = ledger_rows("/".join(context.asset_key.path), key, answers, model)
            report = _report(graded, evidence[key])
            report.numbers.update(ledger_sums(ledger))
            stage.write(cells[key], [(LEDGER, ledger), (EXPLANATIONS, rows)], report)
        return stage.result(*_summary(lake, stage, explainer.NAME))

    return explanations


def _baseline_asset(baseline: Baseline, source: Explainer) -> dg.AssetsDefinition:
    """The asset of a baseline that is made out of another method's explanations, range by range."""

    @range_asset(
        EXPLANATIONS,
        key=["explanations", baseline.NAME],
        deps=[["explanations", source.NAME]],
        description=baseline.__doc__,
        group_name="explanations",
        kinds={"python", "parquet"},
        code_version=baseline.VERSION,
        check_specs=_outcome_check(baseline.NAME),
    )
    def explanations(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        registry: dg.ResourceParam[DictionaryRegistry],
        settings: dg.ResourceParam[PlatformSettings],
    ) -> dg.MaterializeResult:
        stage = StageRun(context, lake, registry, settings, baseline_stage(baseline, source))
        for cell in stage.to_do():
            sources = read_explanations(lake, cell.key, source.NAME)
            dealt = baseline.explain(list(sources.values()), cell.settings.seed)
            stage.write(cell, [(EXPLANATIONS, _rows(cell, dealt, {}, ""))], _report(dealt, list(read_evidence(lake, cell.key))))
        return stage.result(*_summary(lake, stage, baseline.NAME))

    return explanations


def _graded(explainer: Explainer, item: FeatureEvidence, answer: Answer | None) -> Explanation:
    if answer is None:
        return explainer.grade(item.feature, None)
    return explainer.grade(item.feature, answer.reply.text, answer.reply.error)


def _rows(cell: Cell, graded: Sequence[Explanation], reply_keys: dict[int, str], model: str) -> pa.Table:
    rows = [
        {
            "dictionary": cell.key.dictionary, "feature_range": cell.key.feature_range, "feature": e.feature,
            "explanation_method": e.method, "outcome": e.outcome, "explanation": e.text, "raw_reply": e.raw_reply or None,
            "reply": reply_keys.get(e.feature), "donor_feature": e.donor_feature, "model": model, "prompt_version": e.prompt_version,
        }
        for e in graded
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=EXPLANATIONS.schema)


def _report(graded: Sequence[Explanation], evidence: Sequence[FeatureEvidence]) -> CellReport:
    """Outcomes, and each explanation beside the strongest window that its feature fired on."""
    by_feature = {item.feature: item for item in evidence}
    lines = [(e.feature, told(e.text, e.outcome), _strongest(by_feature[e.feature])) for e in graded[:10]]
    preview = markdown_table(["feature", "explanation", "strongest shown window"], lines)
    return CellReport(Counter(e.outcome for e in graded), {"preview": markdown(preview)})


def _strongest(item: FeatureEvidence) -> str:
    if not item.shown:
        return ""
    best = max(item.shown, key=lambda example: max(example.activations))
    return rendering.markdown([item.token_texts[i] for i in best.token_ids], rendering.marked_positions(best.activations, 0.3))


def _summary(lake: Lake, stage: StageRun, method: str) -> tuple[dict[str, dg.MetadataValue], list[dg.AssetCheckResult]]:
    """Metadata over all ranges of the run, and the two checks."""
    explained, explainable, missing, lines = 0, 0, [], []
    for cell in stage.cells:
        rows = lake.read(EXPLANATIONS.name, stage.partition(cell), columns=["feature", "outcome", "explanation"]).to_pylist()
        if {row["feature"] for row in rows} != set(cell.record.features_of(cell.key).tolist()):
            missing.append(str(cell.key))
        explained += sum(row["outcome"] == "ok" for row in rows)
        explainable += sum(row["outcome"] not in ("no_examples", "no_donor") for row in rows)
        lines += [(row["feature"], told(row["explanation"], row["outcome"])) for row in rows[:2]]
    share = explained / explainable if explainable else None
    checks = [
        dg.AssetCheckResult(check_name="every_feature_has_an_outcome", passed=not missing, metadata={"incomplete_ranges": missing}),
        dg.AssetCheckResult(
            check_name="explained_share", passed=share is None or share >= 0.5, severity=dg.AssetCheckSeverity.WARN,
            metadata={"explained": explained, "with_examples": explainable},
        ),
    ]  # fmt: skip
    return {"explanations": markdown(markdown_table(["feature", method], lines[:40]))}, checks


STAGES = (
    *(explainer_stage(explainer) for explainer in EXPLAINERS),
    *(baseline_stage(baseline, EXPLAINERS[0]) for baseline in BASELINES),
)
explanation_assets = (
    *(_explainer_asset(explainer) for explainer in EXPLAINERS),
    *(_baseline_asset(baseline, EXPLAINERS[0]) for baseline in BASELINES),
)
