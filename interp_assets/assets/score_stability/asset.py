"""`score_stability`: how far scores repeat themselves, and what they carry. Writes repeated_scores, score_variances and ledger."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa

from interp_assets.asking.asker import Asker, RunSpending
from interp_assets.asking.ledger import LedgerSums, ledger_rows
from interp_assets.assets.score_stability.asked import (
    CODE_VERSION,
    asks_for_stability,
    remove_ledger,
    stability_inputs,
    stability_version,
)
from interp_assets.assets.score_stability.redrawn import features_to_take_again, features_with_examples, redrawn
from interp_assets.assets.score_stability.repeated import Repeated, Repeater
from interp_assets.assets.score_stability.variances import variance_rows
from interp_assets.config.keys import lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.scoring import SCORERS
from interp_assets.domain.stability import written_again
from interp_assets.measuring.answerer import answerer_of
from interp_assets.orchestration.chosen_features import with_chosen_features
from interp_assets.orchestration.dictionary_run import DictionaryRun
from interp_assets.orchestration.partitions import EXPLAINER_POOL
from interp_assets.orchestration.stage_assets import dictionary_asset
from interp_assets.orchestration.stage_progress import progress_of
from interp_assets.reporting.materialisation import markdown, markdown_table, path_lines
from interp_assets.tables import LEDGER, REPEATED_SCORES, SCORE_VARIANCES
from resources.language_models.reply_store import ReplyStore
from resources.model_provider import ModelProvider
from resources.store.lake import Lake

NOTHING = "not taken again: `stages: {stability: {n_features: 50}}` asks for it"
CHECK = "scores_carry_the_difference"
STATES = {
    "carries": "dictionaries and methods",
    "methods_only": "methods only",
    "carries_not": "**neither**",
    "too_few_features": "unknown",
}


@dictionary_asset(
    SCORE_VARIANCES,
    deps=["examples", *(["scores", scorer.NAME] for scorer in SCORERS)],
    group_name="stability",
    kinds={"python", "llm", "parquet"},
    pool=EXPLAINER_POOL,
    code_version=CODE_VERSION,
    check_specs=[
        dg.AssetCheckSpec(
            CHECK, asset="score_stability", description="by every scorer, means carry `stability.difference` between two dictionaries"
        )
    ],
)
def score_stability(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
    settings: dg.ResourceParam[PlatformSettings],
    replies: dg.ResourceParam[ReplyStore],
    spending: dg.ResourceParam[RunSpending],
) -> dg.MaterializeResult:
    """Scores of a sample of features taken again: windows drawn from other parts of the corpus, explanations written again, judged again.

    For each scorer: what share of the variance is the feature's, the draw's, the explanation's and the judge's, whether features are ranked
    alike again, and in words which differences between dictionaries or methods the site's scores carry (OpenReview HMUSKNJO6R). Costs
    nothing unless `stability: {n_features: …}` is above 0.
    """
    run = DictionaryRun(context)
    told: dict[str, list[dict[str, Any]]] = {}
    for key in run.keys:
        with run.failing_alone(key):
            started, record, partition = time.monotonic(), registry.get(key), {"dictionary": key}
            stages = settings.stage_settings(record.stages)
            inputs = stability_inputs(lake, record, stages)
            run.versions[key] = version = stability_version(stages, settings, inputs)
            kept = lake.is_current(SCORE_VARIANCES.name, partition, version)
            numbers: dict[str, Any] = {}
            if not kept:
                remove_ledger(lake, key)
                found, n_compared = Repeated(), 0
                if asks_for_stability(stages):
                    found, n_compared = _taken_again(context, lake, record, models, settings, replies, spending)
                numbers = _written_ledger(lake, found, version)
                done = f"{version}-incomplete" if found.undone else version
                if found.undone:
                    context.log.warning(f"{key}: {dict(found.undone)} are left; materialise it again to ask them again")
                repeated = pa.Table.from_pylist(found.rows, schema=REPEATED_SCORES.schema)
                lake.write(REPEATED_SCORES.name, partition, REPEATED_SCORES.schema, repeated, done, inputs)
                rows = variance_rows(key, stages, found.rows, found.judges, n_compared)
                variances = pa.Table.from_pylist(rows, schema=SCORE_VARIANCES.schema)
                lake.write(SCORE_VARIANCES.name, partition, SCORE_VARIANCES.schema, variances, done, inputs)
                numbers["seconds"] = round(time.monotonic() - started, 2)
            told[key] = lake.read(SCORE_VARIANCES.name, partition).to_pylist()
            path = path_lines(lake.relative_path(SCORE_VARIANCES.name, partition))
            run.report(key, {**_report(told[key]), **numbers, "path_in_lake": path, "kept_from_an_earlier_run": kept})
    return run.result([_check([row for rows in told.values() for row in rows])])


def _taken_again(
    context: dg.AssetExecutionContext,
    lake: Lake,
    record: DictionaryRecord,
    models: ModelProvider,
    settings: PlatformSettings,
    replies: ReplyStore,
    spending: RunSpending,
) -> tuple[Repeated, int]:
    """The replicates of a dictionary, and the number of its features with examples. One model is in memory at a time."""
    stages = settings.stage_settings(record.stages)
    record = with_chosen_features(lake, record)
    explained = features_with_examples(lake, record)
    features = features_to_take_again(explained, stages)
    drawn = redrawn(lake, models, record, stages, features) if record.has_activations and features else None
    repeater = Repeater(record, stages, features, drawn, context.log)
    context.log.info(f"{record.key}: {len(features):,} of {len(explained):,} features with examples are taken again")
    written = {}
    if any("explanation" in scorer.READS for scorer in stages.taken_again):
        with Asker(settings.explainer, models, replies, spending.of_run(context), progress_of(context, "explanations")) as asker:
            written = repeater.written(written_again(stages.stability.method), asker)
    for scorer in stages.taken_again:
        who = answerer_of(scorer, settings, models, replies, spending.of_run(context), partial(progress_of, context), lake)
        try:
            repeater.judge(scorer, who, written)
        finally:
            who.close()
    return repeater.found, len(explained)


def _written_ledger(lake: Lake, found: Repeated, version: str) -> dict[str, Any]:
    """Write the questions into the ledger, by explainer or scorer and by feature range; returns the sums of their costs."""
    cost = LedgerSums()
    for (name, key), answers in found.answers.items():
        rows = ledger_rows(name, key, answers, 0)
        cost.add(rows, answers)
        if rows.num_rows:
            lake.write(LEDGER.name, {"asset": name, **lake_partition(key)}, LEDGER.schema, rows, version)
    return cost.numbers


def _report(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was found of each scorer, in words and numbers."""
    if not rows:
        return {"dagster/partition_row_count": 0, "preview": markdown(f"*{NOTHING}*")}
    header = ["scorer", "features", "ICC", "draw", "explanation", "judge", "between dictionaries", "between methods"]
    lines = [
        (row["scorer"], row["n_features"], row["icc"], *_shares(row), row["between_dictionaries"], row["between_methods"]) for row in rows
    ]
    return {
        "dagster/partition_row_count": len(rows),
        "in_words": markdown("\n".join(f"* {row['in_words']}" for row in rows)),
        "variances": markdown(markdown_table(header, lines)),
    }


def _shares(row: Mapping[str, Any]) -> list[float | None]:
    """The shares of the variance that are the draw's, the explanation's and the judge's; None where nothing varies."""
    parts = [row[f"variance_{name}"] for name in ("feature", "draw", "explanation", "judge")]
    total = sum(part or 0 for part in parts)
    return [part / total if total and part is not None else None for part in parts[1:]]


def _check(rows: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    """Passes where every scorer carries the difference that the site wants to rely on, and where nothing was asked for."""
    short = "; ".join(f"{row['dictionary']}: {row['difference']:g} by {row['scorer']}: {STATES[row['outcome']]}" for row in rows)
    words = "\n".join(f"* {row['dictionary']}: {row['in_words']}" for row in rows)
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=all(row["outcome"] == "carries" for row in rows),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{short}\n\n{words}" if rows else NOTHING,
    )
