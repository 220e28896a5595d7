"""`token_changes`: the tokens that each feature makes more and less likely while it is clamped. Writes the table token_changes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pyarrow as pa

from interp_assets.assets.token_changes.changes import ChangedBlock, TokenChanger, change_rows
from interp_assets.config.keys import lake_partition
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.explaining import EXPLAINERS
from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.orchestration.outcome_check import outcome_check, outcome_check_spec
from interp_assets.orchestration.partitions import SUBJECT_POOL
from interp_assets.orchestration.range_partition import PartitionReport, RangePartition
from interp_assets.orchestration.range_run import RangeRun
from interp_assets.orchestration.stage import RangeStage, Upstream
from interp_assets.orchestration.stage_assets import range_asset
from interp_assets.orchestration.stage_progress import features_done
from interp_assets.reporting.materialisation import markdown, markdown_table, preview_table
from interp_assets.tables import FEATURE_STATISTICS, TOKEN_CHANGES
from resources.model_provider import ModelProvider
from resources.store.lake import Lake

CODE_VERSION = "1"
NOT_ASKED = "*not measured: no explanation asks for token changes, as `stages: {explanations: [max_act, token_change]}` does*"
PREVIEWED, PREVIEWED_TOKENS = 10, 6
HEADER = ["feature", "strength", "raised", "lowered", "raised by the negative", "lowered by the negative"]


def _asked(stages: StageSettings) -> bool:
    return any("token_changes" in stages.explaining.reads(one) for one in EXPLAINERS if one.NAME in stages.explanations)


def _settings_of(stages: StageSettings, platform: PlatformSettings) -> Any:
    return stages.token_change.versioned_settings if _asked(stages) else None


RANGE_STAGE = RangeStage(TOKEN_CHANGES, CODE_VERSION, (Upstream(FEATURE_STATISTICS, needed=_asked),), _settings_of)


@range_asset(
    TOKEN_CHANGES,
    deps=["activation_shards"],
    group_name="steering",
    kinds={"python", "pytorch", "parquet"},
    pool=SUBJECT_POOL,
    code_version=CODE_VERSION,
    check_specs=[
        outcome_check_spec("token_changes"),
        dg.AssetCheckSpec("logits_stay_finite", asset="token_changes", description="no clamp makes the model overflow"),
    ],
)
def token_changes(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.MaterializeResult:
    """The tokens whose mean logits over random windows rise and fall most with each feature clamped to ± its largest activation
    (TokenChange, arXiv 2501.08319).

    The SAE's error is kept. The windows are the same for all features of a dictionary, and the model runs on these windows from the hook
    on. Costs nothing unless an explanation method asks for token changes. No language model is asked.
    """
    stage = RangeRun(context, lake, registry, settings, RANGE_STAGE)
    previews: list[Sequence[Any]] = []
    with closing(TokenChanger(models, lake)) as changer:
        for partition in stage.to_do_where(_asked, [TOKEN_CHANGES], NOT_ASKED.strip("*")):
            changed = ChangedPartition(partition, features_done(context, partition, "clamped"))
            stage.write(
                partition,
                [(TOKEN_CHANGES, changed.tables(changer.blocks(partition.record, partition.key, partition.settings)))],
                changed.report,
            )
            previews += changed.lines[: PREVIEWED - len(previews)]
    asked = any(_asked(partition.settings) for partition in stage.partitions)
    preview = markdown_table(HEADER, previews) if previews else "*kept from an earlier run*" if asked else NOT_ASKED
    return stage.result({"changes": markdown(preview)}, _checks(stage))


@dataclass
class ChangedPartition:
    """Kept in memory while the rows of a partition stream to disk: counts of outcomes, and the first features for the preview."""

    partition: RangePartition
    advance: Callable[[int], None]
    lines: list[Sequence[Any]] = field(default_factory=list)
    report: PartitionReport = field(default_factory=PartitionReport)

    def tables(self, blocks: Iterable[ChangedBlock]) -> Iterator[pa.Table]:
        """The rows of the partition, block by block. The preview is complete after the last block."""
        for block in blocks:
            self.report.outcomes.update(Counter(block.outcomes.tolist()))
            self.lines += list(_lines(block))[: PREVIEWED - len(self.lines)]
            self.advance(len(block.features))
            yield change_rows(self.partition.key, block)
        self.report.numbers["preview"] = markdown(preview_table(HEADER, self.lines))


def _lines(block: ChangedBlock) -> Iterator[Sequence[Any]]:
    """Each feature with its most changed tokens of both signs and sides, or with its outcome."""
    n_tokens = block.token_ids.shape[3]
    place = 0
    for feature, outcome in zip(block.features.tolist(), block.outcomes.tolist(), strict=True):
        if outcome != "ok":
            yield feature, None, f"*{outcome}*", "", "", ""
            continue
        starts = range(4 * n_tokens * place, 4 * n_tokens * (place + 1), n_tokens)
        shown = [block.tokens[start : start + min(n_tokens, PREVIEWED_TOKENS)].to_pylist() for start in starts]
        yield feature, round(float(block.strengths[place]), 3), *(" · ".join(escape_markdown(t) or "∅" for t in side) for side in shown)
        place += 1


def _checks(stage: RangeRun) -> list[dg.AssetCheckResult]:
    """The two checks over all ranges of the run."""
    outcomes: Counter = Counter()
    for partition in stage.partitions:
        rows = stage.lake.read(TOKEN_CHANGES.name, lake_partition(partition.key), columns=["feature", "outcome"])
        ends = dict(zip(rows.column("feature").to_pylist(), rows.column("outcome").to_pylist(), strict=True))
        outcomes.update(ends.values())
    checks = [
        outcome_check(stage, {TOKEN_CHANGES: _asked}),
        dg.AssetCheckResult(
            check_name="logits_stay_finite", passed=not outcomes["overflow"], severity=dg.AssetCheckSeverity.WARN,
            metadata={"outcomes": dict(outcomes)},
        ),
    ]  # fmt: skip
    return checks
