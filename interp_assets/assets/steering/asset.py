"""`steering`: how strongly each feature must be changed to change the model's output, and the outputs at these strengths. Writes steering,
steered_texts and steered_sets."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.assets.steering.features import FeatureSteerer, steering_rows, text_rows
from interp_assets.assets.steering.sets import set_rows
from interp_assets.config.keys import lake_partition
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.domain.steering.strengths import Tried, is_monotone
from interp_assets.orchestration.outcome_check import outcome_check, outcome_check_spec
from interp_assets.orchestration.partitions import SUBJECT_POOL
from interp_assets.orchestration.range_partition import PartitionReport
from interp_assets.orchestration.range_run import RangeRun
from interp_assets.orchestration.stage import RangeStage, Upstream
from interp_assets.orchestration.stage_assets import range_asset
from interp_assets.orchestration.stage_progress import features_done
from interp_assets.reporting.materialisation import markdown, markdown_table, preview_table
from interp_assets.tables import ACTIVATIONS, STEERED_SETS, STEERED_TEXTS, STEERING
from resources.model_provider import ModelProvider
from resources.store.lake import Lake

CODE_VERSION = "2"
TABLES = (STEERED_TEXTS, STEERED_SETS, STEERING)
NOT_ASKED = "*not steered: `steering: {enabled: true}` under `stages:` asks for it*"
PREVIEWED = 10
HEADER = ["feature", "intervention", "target KL", "strength", "realised KL", "outcome", "prompt", "clean", "steered"]
SEARCHED = ("ok", "not_reached", "not_monotone", "not_converged")


def _enabled(stages: StageSettings) -> bool:
    return stages.steering.enabled


def _settings_of(stages: StageSettings, platform: PlatformSettings) -> Any:
    return [stages.steering.versioned_settings, stages.examples.silent_share] if _enabled(stages) else None


RANGE_STAGE = RangeStage(STEERING, CODE_VERSION, (Upstream(ACTIVATIONS, needed=_enabled),), _settings_of, side_tables=TABLES[:-1])


@range_asset(
    STEERING,
    deps=["activation_shards"],
    group_name="steering",
    kinds={"python", "pytorch", "parquet"},
    pool=SUBJECT_POOL,
    code_version=CODE_VERSION,
    check_specs=[
        outcome_check_spec("steering"),
        dg.AssetCheckSpec("kl_targets_met", asset="steering", description="at least half of the targets searched for are met"),
    ],
)
def steering(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.MaterializeResult:
    """Strengths at which each feature changes the next token by given KL divergences, with completions steered, ablated and clean.

    Prompts are activating contexts, cut right after the first firing token. The feature is changed from that token on, and the SAE's error
    is kept (arXiv 2410.13928). The table steered_sets has completions of a few fixed prompts, which are the same for all features (arXiv
    2501.08319). Costs nothing unless `steering: {enabled: true}` asks for it. Steering does not depend on explanations.
    """
    stage = RangeRun(context, lake, registry, settings, RANGE_STAGE)
    previews: list[Sequence[Any]] = []
    with closing(FeatureSteerer(models, lake)) as steerer:
        for partition in stage.to_do_where(_enabled, TABLES, NOT_ASKED.strip("*")):
            steered, blocks = SteeredPartition(), steerer.blocks(partition.record, partition.key, partition.settings)
            advance = features_done(context, partition, "steered")
            with stage.writing(partition, TABLES) as writer:
                for block in blocks:
                    tokenizer = steerer.tokenizer(partition.record)
                    rows, texts = steering_rows(partition.key, block), text_rows(partition.key, block, tokenizer)
                    sets = [feature.fixed for feature in block if feature.fixed is not None]
                    writer.add(STEERED_TEXTS, texts)
                    writer.add(STEERED_SETS, set_rows(partition.key, sets, partition.settings.steering.fixed, tokenizer))
                    writer.add(STEERING, rows)
                    steered.add(rows, texts)
                    advance(len(block))
                steered.report.numbers["preview"] = markdown(preview_table(HEADER, steered.lines))
                writer.commit(steered.report)
            previews += steered.lines[: PREVIEWED - len(previews)]
    asked = any(_enabled(partition.settings) for partition in stage.partitions)
    preview = markdown_table(HEADER, previews) if previews else "*kept from an earlier run*" if asked else NOT_ASKED
    return stage.result({"steered": markdown(preview)}, _checks(stage))


@dataclass
class SteeredPartition:
    """Kept in memory while the rows of a partition stream to disk: counts of outcomes, and the first runs for the preview."""

    lines: list[Sequence[Any]] = field(default_factory=list)
    report: PartitionReport = field(default_factory=PartitionReport)

    def add(self, rows: pa.Table, texts: pa.Table) -> None:
        """Take in the rows of a block in both tables."""
        self.report.outcomes.update(Counter(rows.column("outcome").to_pylist()))
        first = texts.filter(pc.equal(texts.column("prompt"), 0)).to_pylist()
        examples = {(text["feature"], text["intervention"], text["target_kl"]): text for text in first}
        for row in rows.slice(0, PREVIEWED - len(self.lines)).to_pylist():
            text = examples.get((row["feature"], row["intervention"], row["target_kl"]), {})
            shown = [escape_markdown(text.get(name, "")) for name in ("prompt_text", "clean_completion", "steered_completion")]
            numbers = [row[name] for name in ("feature", "intervention", "target_kl", "strength", "realised_kl", "outcome")]
            self.lines.append([*numbers, shown[0][-60:], *shown[1:]])


def _checks(stage: RangeRun) -> list[dg.AssetCheckResult]:
    """The two checks over all ranges of the run."""
    outcomes: Counter = Counter()
    rising = 0
    for partition in stage.partitions:
        rows = stage.lake.read(STEERING.name, lake_partition(partition.key), columns=["intervention", "outcome", "tried"]).to_pylist()
        tuned = [row for row in rows if row["intervention"] == "strength"]
        outcomes.update(row["outcome"] for row in tuned)
        rising += sum(is_monotone([Tried(pair["strength"], pair["kl"]) for pair in row["tried"]]) for row in tuned)
    searched = outcomes.total()
    share = outcomes["ok"] / searched if searched else None
    numbers = {"targets": searched, "kl_rises_with_strength": rising, **{name: outcomes[name] for name in SEARCHED if outcomes[name]}}
    return [
        outcome_check(stage, {STEERING: _enabled, STEERED_SETS: _with_sets}),
        dg.AssetCheckResult(
            check_name="kl_targets_met", passed=share is None or share >= 0.5, severity=dg.AssetCheckSeverity.WARN, metadata=numbers
        ),
    ]


def _with_sets(stages: StageSettings) -> bool:
    return _enabled(stages) and bool(stages.steering.fixed.prompts)
