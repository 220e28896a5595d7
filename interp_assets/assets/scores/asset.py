"""`scores/<scorer>`: how good each explanation is by one scorer. Writes trials, verdicts, scores and ledger."""

import traceback
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.asking.asker import RunSpending
from interp_assets.asking.ledger import LedgerSums, ledger_rows
from interp_assets.assets.scores.rows import score_rows, trial_rows, verdict_rows
from interp_assets.assets.scores.scorer_inputs import planned_cases
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.outcomes import FAILED
from interp_assets.domain.prompting.instructions import prompt_version
from interp_assets.domain.scoring import SAMPLED, SCORERS, Scorer, reads_steering
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.scoring.shared.deals import mean_over_deals
from interp_assets.domain.statistics.metrics import UNDEFINED
from interp_assets.domain.trials import Model, ScorerInput, ScoreRow, Verdict, verdict_of
from interp_assets.measuring.answerer import AnsweredInput, Judging, answerer_of
from interp_assets.measuring.sampling import Sampling, sampling_settings
from interp_assets.orchestration.partition_tables import PartitionTables
from interp_assets.orchestration.partitions import EXPLAINER_POOL, ON_A_CARD
from interp_assets.orchestration.range_partition import PartitionReport, RangePartition
from interp_assets.orchestration.range_run import RangeRun
from interp_assets.orchestration.stage import RangeStage, Upstream
from interp_assets.orchestration.stage_assets import range_asset
from interp_assets.orchestration.stage_progress import progress_of
from interp_assets.reporting.histograms import distribution_plot
from interp_assets.reporting.materialisation import markdown, preview_table, text_or_outcome
from interp_assets.tables import EXAMPLES, EXPLANATIONS, FEATURE_NEIGHBOURS, LEDGER, SCORES, STEERING, TRIALS, VERDICTS
from resources.language_models.reply_store import ReplyStore
from resources.model_provider import ModelProvider
from resources.store.lake import Lake

PREVIEWED = 20
"""Score rows of a range that its preview shows."""


KINDS_OF: dict[Model, set[str]] = {"encoder": {"pytorch"}, "machine": set()}
"""What the assets of scorers that ask no language model run on."""


def score_stage(scorer: Scorer) -> RangeStage:
    """What a scorer's scores depend on; nothing where the settings ask for no scores by this scorer."""
    reads_rivals, reads_sets = "rivals" in scorer.READS, "steered_sets" in scorer.READS

    def judged(method: str) -> Upstream:
        needed = lambda stages: method in stages.scored(scorer)  # noqa: E731
        return Upstream(EXPLANATIONS, {"explanation_method": method}, needed, all_ranges=lambda record: reads_rivals)

    def settings_of(stages: StageSettings, platform: PlatformSettings) -> Any:
        if not stages.scored(scorer):
            return None
        scoring, who = stages.scoring, platform.model_of(scorer.MODEL)
        sequential = scoring.sequential if scorer.MODEL in ("scorer", "base") else None
        silence = [stages.examples.silent_share] if scorer.MODEL == "generator" and stages.examples.silent_share else []
        sampled = sampling_settings(scorer, scoring.prediction_powered, platform)
        return [
            scoring.of(scorer),
            scoring.n_bootstrap,
            sequential,
            stages.scored(scorer),
            who and who.versioned_settings,
            *silence,
            *sampled,
        ]

    upstream = (
        Upstream(EXAMPLES, needed=lambda stages: bool(stages.scored(scorer))),
        *(judged(method) for method in METHODS if "explanation" in scorer.READS),
        *([Upstream(FEATURE_NEIGHBOURS, needed=lambda stages: bool(stages.scored(scorer)))] if reads_rivals else []),
        *([Upstream(STEERING, needed=lambda s: bool(s.scored(scorer)), all_ranges=lambda r: reads_sets)] if reads_steering(scorer) else []),
    )
    return RangeStage(SCORES, scorer.VERSION, upstream, settings_of, {"scorer": scorer.NAME}, (TRIALS, VERDICTS))


def _score_asset(scorer: Scorer) -> dg.AssetsDefinition:
    """The asset of one scorer."""
    explanations = [["explanations", method] for method in METHODS if "explanation" in scorer.READS]
    neighbours = ["feature_neighbours"] if "rivals" in scorer.READS else []

    @range_asset(
        SCORES,
        key=["scores", scorer.NAME],
        deps=["examples", *explanations, *neighbours, *(["steering"] if reads_steering(scorer) else [])],
        description=scorer.__doc__,
        group_name="scores",
        kinds={"python", "parquet", *KINDS_OF.get(scorer.MODEL, {"llm"})},
        pool=None if scorer.MODEL == "machine" else EXPLAINER_POOL,
        op_tags=ON_A_CARD if scorer.MODEL == "generator" else None,
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
        stage = RangeRun(context, lake, registry, settings, score_stage(scorer))
        who = answerer_of(scorer, settings, models, replies, spending.of_run(context), partial(progress_of, context), lake)
        who = Sampling(scorer, who, settings, models) if isinstance(who, Judging) and scorer in SAMPLED else who
        try:
            note = f"the settings of this dictionary ask for no {scorer.NAME} scores: `stages: {{scores: …}}`"
            partitions = stage.to_do_where(lambda stages: bool(stages.scored(scorer)), [LEDGER, TRIALS, VERDICTS, SCORES], note)
            answered = who.answer(work for partition in partitions for work in planned_cases(lake, scorer, partition))
            for first in answered:
                with stage.writing(first.planned.partition, [LEDGER, TRIALS, VERDICTS, SCORES]) as writer:
                    scored = _ScoredPartition(scorer, first.planned.partition, context, writer)
                    work = first
                    while work.planned.scorer_input is not None:
                        scored.add(work)
                        work = next(answered)
                    writer.commit(scored.report())
        finally:
            who.close()
        return stage.result(*_summary(lake, stage, scorer))

    return scores


class _ScoredPartition:
    """Grades and sums up the scorer inputs of a partition as their answers come, and writes the rows."""

    def __init__(self, scorer: Scorer, partition: RangePartition, context: dg.AssetExecutionContext, writer: PartitionTables) -> None:
        self._scorer, self._partition, self._context, self._writer = scorer, partition, context, writer
        self._asset = "/".join(context.asset_key.path)
        self._settings = partition.settings.scoring.of(scorer)
        self._outcomes: Counter = Counter()
        self._cost = LedgerSums()
        self._questions = 0
        self._lines: list[tuple] = []
        self._deals: list[tuple[ScorerInput, Sequence[ScoreRow]]] = []

    def add(self, work: AnsweredInput) -> None:
        """Write the ledger, trials and verdicts of one scorer input, and its scores; after the last of several deals, the mean of their
        scores."""
        scorer_input = work.planned.scorer_input
        assert scorer_input is not None
        verdicts, rows = self._judged(scorer_input, work)
        ledger = ledger_rows(self._asset, self._partition.key, work.answers, self._questions)
        self._questions += ledger.num_rows
        self._cost.add(ledger, work.answers)
        self._outcomes.update([v.outcome for v in verdicts] or [row.outcome for row in rows if row.outcome == FAILED])
        self._writer.add(LEDGER, ledger)
        self._writer.add(TRIALS, trial_rows(self._partition, work, prompt_version(self._scorer.VERSION, self._settings)))
        self._writer.add(VERDICTS, verdict_rows(self._partition, verdicts))
        self._deals.append((scorer_input, rows))
        if work.planned.deals_left:
            return
        if len(self._deals) > 1:
            rows = mean_over_deals([own for _, own in self._deals], [one.donor for one, _ in self._deals])
        self._deals.clear()
        self._writer.add(SCORES, score_rows(self._partition, rows, self._scorer.HEADLINE))
        if len(self._lines) < PREVIEWED:
            (headline,) = (row for row in rows if row.metric == self._scorer.HEADLINE)
            explained = (
                [scorer_input.method, text_or_outcome(scorer_input.explanation, "no explanation")] if self._reads_explanations else []
            )
            self._lines.append((scorer_input.feature, *explained, _with_interval(headline)))

    @property
    def _reads_explanations(self) -> bool:
        return "explanation" in self._scorer.READS

    def _judged(self, scorer_input: ScorerInput, work: AnsweredInput) -> tuple[Sequence[Verdict], Sequence[ScoreRow]]:
        """Verdicts and score rows of a scorer input. Where the scorer's own code fails, their outcome is "failed", and the error goes to
        the log."""
        failure = work.planned.failure
        if not failure:
            try:
                verdicts = self._scorer.grade(scorer_input, work.trials, self._settings)
                n_bootstrap, seed = self._partition.settings.scoring.n_bootstrap, self._partition.settings.seed
                return verdicts, self._scorer.summarise(scorer_input, verdicts, self._settings, n_bootstrap, seed)
            except Exception:
                failure = traceback.format_exc()
        self._context.log.error(
            f"{self._partition.key}: {self._scorer.NAME} failed on feature {scorer_input.feature}, {scorer_input.method}:\n{failure}"
        )
        verdicts = [verdict_of(one.trial, number, FAILED) for one in work.trials for number in range(len(one.trial.items))]
        counts = (0, 0, len(verdicts))
        return verdicts, [score_row(self._scorer.NAME, scorer_input, self._scorer.HEADLINE, UNDEFINED, None, counts, FAILED)]

    def report(self) -> PartitionReport:
        """Outcomes and costs of the items, and headline scores with their intervals beside the explanations."""
        numbers: dict[str, Any] = dict(self._cost.numbers)
        explained = ["method", "explanation"] if self._reads_explanations else []
        header = ["feature", *explained, self._scorer.HEADLINE.replace("_", " ")]
        numbers["preview"] = markdown(preview_table(header, self._lines))
        return PartitionReport(self._outcomes, numbers)


def _with_interval(row: ScoreRow) -> str:
    if row.value is None:
        return f"*{row.outcome}*"
    interval = "" if row.ci_low is None or row.ci_high is None else f" [{row.ci_low:.2f}, {row.ci_high:.2f}]"
    return f"{row.value:.2f}{interval}"


def _summary(lake: Lake, stage: RangeRun, scorer: Scorer) -> tuple[dict[str, dg.MetadataValue], list[dg.AssetCheckResult]]:
    """Score distribution over all ranges of the run, and the two checks."""
    values: dict[str, list[float]] = defaultdict(list)
    floors: list[float] = []
    outcomes: Counter = Counter()
    uneven: list[str] = []
    for partition in stage.partitions:
        if not partition.settings.scored(scorer):
            continue
        in_lake = stage.partition(partition)
        for row in lake.read(SCORES.name, in_lake, columns=["headline", "explanation_method", "value", "floor"]).to_pylist():
            if row["headline"] and row["value"] is not None:
                values[row["explanation_method"]].append(row["value"])
                floors += [] if row["floor"] is None else [row["floor"]]
        verdicts = lake.read(VERDICTS.name, in_lake, columns=["outcome"]).column(0).cast(pa.string()).value_counts().to_pylist()
        outcomes.update({one["values"]: one["counts"] for one in verdicts})
        trials = lake.read(TRIALS.name, in_lake, columns=["outcome", "example_ids"])
        asked = trials.filter(pc.invert(pc.is_in(trials.column("outcome").cast(pa.string()), pa.array(["stopped_early", "not_asked"]))))
        n_asked = pc.sum(pc.list_value_length(asked.column("example_ids"))).as_py() or 0
        if n_asked != sum(one["counts"] for one in verdicts):
            uneven.append(str(partition.key))
    total = sum(outcomes.values())
    share = outcomes["answered"] / total if total else None
    floor = sorted(floors)[len(floors) // 2] if floors else None
    plot = distribution_plot(values, scorer.HEADLINE.replace("_", " "), f"{scorer.NAME}: score per feature", floor=floor)
    checks = [
        dg.AssetCheckResult(check_name="every_trial_has_an_outcome", passed=not uneven, metadata={"uneven_ranges": uneven}),
        dg.AssetCheckResult(
            check_name="answered_share", passed=share is None or share >= 0.9, severity=dg.AssetCheckSeverity.WARN,
            metadata={"outcomes": dict(outcomes)},
        ),
    ]  # fmt: skip
    return {"score_distribution": markdown(plot), "item_outcomes": dg.MetadataValue.json(dict(outcomes))}, checks


RANGE_STAGES = tuple(score_stage(scorer) for scorer in SCORERS)
score_assets = tuple(_score_asset(scorer) for scorer in SCORERS)
