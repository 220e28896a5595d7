"""`vocabulary_projections`: the tokens that each feature's output direction promotes and suppresses. Writes vocabulary_projections."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

import dagster as dg
import pyarrow as pa

from interp_assets.assets.vocabulary_projections.projections import ProjectedBlock, VocabularyProjector, projection_rows
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.orchestration.outcome_check import outcome_check, outcome_check_spec
from interp_assets.orchestration.partitions import SUBJECT_POOL
from interp_assets.orchestration.range_partition import PartitionReport, RangePartition
from interp_assets.orchestration.range_run import RangeRun
from interp_assets.orchestration.stage import RangeStage, Upstream
from interp_assets.orchestration.stage_assets import range_asset
from interp_assets.reporting.materialisation import markdown, markdown_table, preview_table
from interp_assets.tables import ACTIVATIONS, VOCABULARY_PROJECTIONS
from resources.model_provider import ModelProvider
from resources.store.lake import Lake

CODE_VERSION = "1"
RANGE_STAGE = RangeStage(
    VOCABULARY_PROJECTIONS,
    CODE_VERSION,
    (Upstream(ACTIVATIONS),),  # not read: projections must change with the record, as activations do
    lambda stages, platform: stages.projection,
)
PREVIEWED, PREVIEWED_TOKENS = 10, 8
HEADER = ["feature", "promoted", "suppressed"]
Line = tuple[int, str, str]


@range_asset(
    VOCABULARY_PROJECTIONS,
    deps=["activation_shards"],
    group_name="examples",
    kinds={"python", "pytorch", "parquet"},
    pool=SUBJECT_POOL,
    code_version=CODE_VERSION,
    check_specs=[outcome_check_spec("vocabulary_projections")],
)
def vocabulary_projections(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.MaterializeResult:
    """The tokens whose logits each decoder row raises and lowers most: row → final norm → unembedding (VocabProj, arXiv 2501.08319).

    Reads weights only: no forward pass is run, and no language model is asked. Neurons write by the down projection, attention outputs by
    the output projection. A feature without a decoder gets a row that says so; so does a feature whose decoder does not reach the residual
    stream.
    """
    stage = RangeRun(context, lake, registry, settings, RANGE_STAGE)
    previews: list[Line] = []
    with closing(VocabularyProjector(models)) as projector:
        for partition in stage.to_do():
            projected = ProjectedPartition(partition)
            blocks = projector.blocks(partition.record, partition.record.features_of(partition.key), partition.settings.projection)
            stage.write(partition, [(VOCABULARY_PROJECTIONS, projected.tables(blocks))], projected.report)
            projected.report.numbers["preview"] = markdown(preview_table(HEADER, projected.lines))
            previews += projected.lines[: PREVIEWED - len(previews)]
    return stage.result(
        {"projections": markdown(markdown_table(HEADER, previews) if previews else "*kept from an earlier run*")},
        [outcome_check(stage, {VOCABULARY_PROJECTIONS: lambda stages: True})],
    )


@dataclass
class ProjectedPartition:
    """Kept in memory while the rows of a partition stream to disk: counts of outcomes, and the first features for the preview."""

    partition: RangePartition
    lines: list[Line] = field(default_factory=list)
    report: PartitionReport = field(default_factory=PartitionReport)

    def tables(self, blocks: Iterable[ProjectedBlock]) -> Iterator[pa.Table]:
        """The rows of the partition, block by block."""
        for block in blocks:
            self.report.outcomes.update(Counter(block.outcomes.tolist()))
            self.lines += islice(_lines(block), PREVIEWED - len(self.lines))
            yield projection_rows(self.partition.key, block)


def _lines(block: ProjectedBlock) -> Iterator[Line]:
    """Each feature with its strongest tokens on both sides, or with its outcome."""
    n_tokens = block.token_ids.shape[2]
    place = 0
    for feature, outcome in zip(block.features.tolist(), block.outcomes.tolist(), strict=True):
        if outcome != "ok":
            yield feature, f"*{outcome}*", ""
            continue
        promoted, suppressed = (
            " · ".join(escape_markdown(text) or "∅" for text in block.tokens[start : start + min(n_tokens, PREVIEWED_TOKENS)].to_pylist())
            for start in (place, place + n_tokens)
        )
        place += 2 * n_tokens
        yield feature, promoted, suppressed
