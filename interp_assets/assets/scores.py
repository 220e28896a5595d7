"""`scores/<scorer>`: how good each explanation is by one scorer. Writes trials, verdicts, scores and ledger."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa

from interp_assets.asking import Answer, Question, RunSpending, answers_by_range, ledger_rows, ledger_sums
from interp_assets.cells import Cell, CellReport, StageRun, progress_of, range_asset
from interp_assets.dictionaries import DictionaryRegistry
from interp_assets.domain.explaining import BASELINES, EXPLAINERS
from interp_assets.domain.scoring import SCORERS, Scorer
from interp_assets.domain.trials import AnsweredTrial, Explanation, ScoreRow, Trial, Verdict
from interp_assets.evidence import FeatureEvidence, read_evidence, read_explanations
from interp_assets.partitions import EXPLAINER_POOL
from interp_assets.reporting import distribution_plot, markdown, markdown_table, told
from interp_assets.settings import PlatformSettings
from interp_assets.stages import Stage, Upstream
from interp_assets.tables import EXAMPLES, EXPLANATIONS, LEDGER, SCORES, TRIALS, VERDICTS
from resources.lake import Lake
from resources.language_models.reply_store import ReplyStore
from resources.model_provider import ModelProvider

METHODS = tuple(member.NAME for member in (*EXPLAINERS, *BASELINES))


def score_stage(scorer: Scorer) -> Stage:
    """What a scorer's scores depend on."""
    explanations = (Upstream(EXPLANATIONS, {"explanation_method": method}) for method in METHODS)
    return Stage(
        SCORES, scorer.VERSION, (Upstream(EXAMPLES), *explanations),
        lambda stages, platform: [stages.scoring, stages.scored_explanations, platform.scorer.shaping_replies], {"scorer": scorer.NAME},
    )  # fmt: skip


def _score_asset(scorer: Scorer) -> dg.AssetsDefinition:
    """The asset of one scorer."""

    @range_asset(
        SCORES,
        key=["scores", scorer.NAME],
        deps=["examples", *(["explanations", method] for method in METHODS)],
        description=scorer.__doc__,
        group_name="scores",
        kinds={"python", "llm", "parquet"},
        pool=EXPLAINER_POOL,
        code_version=scorer.VERSION,
        check_specs=[
            dg.AssetCheckSpec("every_trial_has_an_outcome", asset=["scores", scorer.NAME], blocking=True),
            dg.AssetCheckSpec("answered_share", asset=["scores", scorer.NAME], description="at least 90 % of the items were answered"),
        ],
    )
    def scores(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        registry: dg.ResourceParam[DictionaryRegistry],
        models: dg.ResourceParam[ModelProvider],
        settings: dg.ResourceParam[PlatformSettings],
        replies: dg.ResourceParam[ReplyStore],
        spending: dg.ResourceParam[RunSpending],
    ) -> dg.MaterializeResult:
        stage = StageRun(context, lake, registry, settings, score_stage(scorer))
        cells = {cell.key: cell for cell in stage.to_do()}
        evidence = {key: list(read_evidence(lake, key)) for key in cells}
        explained = {
            key: {method: read_explanations(lake, key, method) for method in cell.settings.scored_explanations}
            for key, cell in cells.items()
        }
        trials = {key: _plan(scorer, cells[key], evidence[key], explained[key]) for key in cells}
        planned = {key: [Question(t.feature, t.explanation_method, t.prompt) for t in trials[key]] for key in cells}
        asked = answers_by_range(planned, settings.scorer, models, replies, spending.of_run(context), progress_of(context, "questions"))
        for key, answers, model in asked:
            verdicts = [
                verdict for trial, answer in zip(trials[key], answers, strict=True) for verdict in scorer.grade(_answered(trial, answer))
            ]
            summed = _summarise(scorer, cells[key], evidence[key], explained[key], verdicts)
            ledger = ledger_rows("/".join(context.asset_key.path), key, answers, model)
            tables = [
                (LEDGER, ledger),
                (TRIALS, _trial_rows(cells[key], trials[key], answers, model, scorer.VERSION)),
                (VERDICTS, _verdict_rows(cells[key], verdicts)),
                (SCORES, _score_rows(cells[key], summed)),
            ]
            stage.write(cells[key], tables, _report(summed, verdicts, explained[key], ledger))
        return stage.result(*_summary(lake, stage, scorer.NAME))

    return scores


def _plan(scorer: Scorer, cell: Cell, evidence: Sequence[FeatureEvidence], explained: dict[str, dict[int, Explanation]]) -> list[Trial]:
    """All trials of a range, feature by feature so that trials on the same windows stand together."""
    return [
        trial
        for item in evidence
        for by_feature in explained.values()
        for trial in scorer.plan(
            by_feature[item.feature], item.held_out, item.token_texts, cell.settings.scoring, cell.settings.seed
        )
    ]  # fmt: skip


def _answered(trial: Trial, answer: Answer) -> AnsweredTrial:
    reply = answer.reply
    return AnsweredTrial(trial, reply.text, reply.answer_probabilities, reply.finish_reason, reply.error)


def _summarise(
    scorer: Scorer,
    cell: Cell,
    evidence: Sequence[FeatureEvidence],
    explained: dict[str, dict[int, Explanation]],
    verdicts: Sequence[Verdict],
) -> list[ScoreRow]:
    """Score rows of every feature and explanation of a range; those that could not be asked about end in a named outcome."""
    groups: dict[tuple[int, str], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.feature, verdict.explanation_method].append(verdict)
    rows: list[ScoreRow] = []
    for item in evidence:
        for method, by_feature in explained.items():
            absent = "no_explanation" if by_feature[item.feature].text is None and item.examples else "no_examples"
            rows += scorer.summarise(item.feature, method, groups[item.feature, method], cell.settings.scoring, cell.settings.seed, absent)
    return rows


def _trial_rows(cell: Cell, trials: Sequence[Trial], answers: Sequence[Answer], model: str, version: str) -> pa.Table:
    rows = [
        {
            "dictionary": cell.key.dictionary, "feature_range": cell.key.feature_range, "feature": trial.feature,
            "explanation_method": trial.explanation_method, "scorer": trial.scorer, "trial": trial.trial_id,
            "reply": None if answer.reply.error else answer.key, "outcome": "model_error" if answer.reply.error else "answered",
            "example_ids": [item.example_id for item in trial.items], "truths": [item.truth for item in trial.items],
            "reply_text": answer.reply.text, "error": answer.reply.error, "prompt_tokens": answer.reply.prompt_tokens,
            "cached_tokens": answer.reply.cached_tokens, "completion_tokens": answer.reply.completion_tokens,
            "model": model, "prompt_version": version,
        }
        for trial, answer in zip(trials, answers, strict=True)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=TRIALS.schema)


def _verdict_rows(cell: Cell, verdicts: Iterable[Verdict]) -> pa.Table:
    here = {"dictionary": cell.key.dictionary, "feature_range": cell.key.feature_range}
    return pa.Table.from_pylist([{**here, **asdict(v), "trial": v.trial_id} for v in verdicts], schema=VERDICTS.schema)


def _score_rows(cell: Cell, rows: Iterable[ScoreRow]) -> pa.Table:
    here = {"dictionary": cell.key.dictionary, "feature_range": cell.key.feature_range}
    return pa.Table.from_pylist([{**here, **asdict(row)} for row in rows], schema=SCORES.schema)


def _report(
    rows: Sequence[ScoreRow], verdicts: Sequence[Verdict], explained: dict[str, dict[int, Explanation]], ledger: pa.Table
) -> CellReport:
    """Outcomes of the items, what they cost, and a table of balanced accuracies with their intervals beside the explanations."""
    lines = [
        (
            row.feature, row.explanation_method, told(explanation.text, explanation.outcome),
            f"{row.value:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]" if row.value is not None else f"*{row.outcome}*",
        )
        for row in rows
        if row.metric == "balanced_accuracy" and (explanation := explained[row.explanation_method][row.feature])
    ]  # fmt: skip
    numbers: dict[str, Any] = ledger_sums(ledger)
    numbers["preview"] = markdown(markdown_table(["feature", "method", "explanation", "balanced accuracy"], lines[:20]))
    return CellReport(Counter(verdict.outcome for verdict in verdicts), numbers)


def _summary(lake: Lake, stage: StageRun, scorer: str) -> tuple[dict[str, dg.MetadataValue], list[dg.AssetCheckResult]]:
    """Score distribution over all ranges of the run, and the two checks."""
    values: dict[str, list[float]] = defaultdict(list)
    outcomes: Counter = Counter()
    uneven: list[str] = []
    for cell in stage.cells:
        partition = stage.partition(cell)
        for row in lake.read(SCORES.name, partition, columns=["metric", "explanation_method", "value"]).to_pylist():
            if row["metric"] == "balanced_accuracy" and row["value"] is not None:
                values[row["explanation_method"]].append(row["value"])
        cell_outcomes = Counter(lake.read(VERDICTS.name, partition, columns=["outcome"]).column(0).to_pylist())
        outcomes += cell_outcomes
        asked = sum(len(items) for items in lake.read(TRIALS.name, partition, columns=["example_ids"]).column(0).to_pylist())
        if asked != sum(cell_outcomes.values()):
            uneven.append(str(cell.key))
    total = sum(outcomes.values())
    share = outcomes["answered"] / total if total else None
    plot = distribution_plot(values, "balanced accuracy", f"{scorer}: score per feature", floor=0.5)
    checks = [
        dg.AssetCheckResult(check_name="every_trial_has_an_outcome", passed=not uneven, metadata={"uneven_ranges": uneven}),
        dg.AssetCheckResult(
            check_name="answered_share", passed=share is None or share >= 0.9, severity=dg.AssetCheckSeverity.WARN,
            metadata={"outcomes": dict(outcomes)},
        ),
    ]  # fmt: skip
    return {"score_distribution": markdown(plot), "item_outcomes": dg.MetadataValue.json(dict(outcomes))}, checks


STAGES = tuple(score_stage(scorer) for scorer in SCORERS)
score_assets = tuple(_score_asset(scorer) for scorer in SCORERS)
