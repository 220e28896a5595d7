"""`token_changes`: the tokens that each feature makes more and less likely while it is clamped. Writes the table of that name."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from interp_assets.assets.token_changes.changes import ChangedBlock, TokenChanger, change_rows
from interp_assets.config.keys import cell_partition
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.explaining import EXPLAINERS
from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.orchestration.partitions import SUBJECT_POOL
from interp_assets.orchestration.runs import Cell, CellReport, StageRun, features_done, range_asset
from interp_assets.orchestration.stage import Stage, Upstream
from interp_assets.reporting.materialisation import markdown, markdown_table
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
    return stages.token_change.shaping_results if _asked(stages) else None


STAGE = Stage(TOKEN_CHANGES, CODE_VERSION, (Upstream(FEATURE_STATISTICS, needed=_asked),), _settings_of)


@range_asset(
    TOKEN_CHANGES,
    deps=["activation_shards"],
    group_name="steering",
    kinds={"python", "pytorch", "parquet"},
    pool=SUBJECT_POOL,
    code_version=CODE_VERSION,
    check_specs=[
        dg.AssetCheckSpec("every_feature_has_an_outcome", asset="token_changes", blocking=True),
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
    """The tokens whose logits rise and fall most, on the mean over random windows, with each feature clamped to ± its largest activation
    (TokenChange, arXiv 2501.08319).

    The SAE's error is kept; the windows are the same for all features of a dictionary, and the model runs on them from the hook on. Costs
    nothing unless an explanation asks for it. No language model is asked.
    """
    stage = StageRun(context, lake, registry, settings, STAGE)
    previews: list[Sequence[Any]] = []
    with closing(TokenChanger(models, lake)) as changer:
        for cell in stage.to_do_where(_asked, [TOKEN_CHANGES], NOT_ASKED.strip("*")):
            changed = ChangedCell(cell, features_done(context, cell, "clamped"))
            stage.write(cell, [(TOKEN_CHANGES, changed.tables(changer.blocks(cell.record, cell.key, cell.settings)))], changed.report)
            previews += changed.lines[: PREVIEWED - len(previews)]
    asked = any(_asked(cell.settings) for cell in stage.cells)
    preview = markdown_table(HEADER, previews) if previews else "*kept from an earlier run*" if asked else NOT_ASKED
    return stage.result({"changes": markdown(preview)}, _checks(lake, stage.cells))


@dataclass
class ChangedCell:
    """What is kept of a cell while its rows stream to disk: counts of outcomes, and the first features for the preview."""

    cell: Cell
    advance: Callable[[int], None]
    lines: list[Sequence[Any]] = field(default_factory=list)
    report: CellReport = field(default_factory=CellReport)

    def tables(self, blocks: Iterable[ChangedBlock]) -> Iterator[pa.Table]:
        """The rows of the cell, block by block; the preview is there once they are through."""
        for block in blocks:
            self.report.outcomes.update(Counter(block.outcomes.tolist()))
            self.lines += list(_lines(block))[: PREVIEWED - len(self.lines)]
            self.advance(len(block.features))
            yield change_rows(self.cell.key, block)
        self.report.numbers["preview"] = markdown(markdown_table(HEADER, self.lines))


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


def _checks(lake: Lake, cells: Sequence[Cell]) -> list[dg.AssetCheckResult]:
    """The two checks over all ranges of the run."""
    missing: list[str] = []
    outcomes: Counter = Counter()
    for cell in cells:
        rows = lake.read(TOKEN_CHANGES.name, cell_partition(cell.key), columns=["feature", "outcome"])
        expected = cell.record.features_of(cell.key) if _asked(cell.settings) else np.empty(0, dtype=np.uint32)
        if not np.array_equal(np.unique(rows.column("feature").to_numpy()), expected):
            missing.append(str(cell.key))
        ends = dict(zip(rows.column("feature").to_pylist(), rows.column("outcome").to_pylist(), strict=True))
        outcomes.update(ends.values())
    checks = [
        dg.AssetCheckResult(check_name="every_feature_has_an_outcome", passed=not missing, metadata={"incomplete_ranges": missing}),
        dg.AssetCheckResult(
            check_name="logits_stay_finite", passed=not outcomes["overflow"], severity=dg.AssetCheckSeverity.WARN,
            metadata={"outcomes": dict(outcomes)},
        ),
    ]  # fmt: skip
    return checks
