"""`examples`: windows that show what a feature does, split into shown, validation and held out. Writes examples and feature_examples."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice

import dagster as dg
import numpy as np
import pyarrow as pa

from interp_assets.config.keys import lake_partition
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.examples.imported_examples import columns_of
from interp_assets.domain.examples.negatives import HARD_KINDS, NEGATIVE_KINDS
from interp_assets.domain.examples.sampling import ROLES, Example, ExampleColumns, ExampleSettings
from interp_assets.domain.prompting import rendering
from interp_assets.exchange.imported_files import NeuronpediaExamples, import_provenance
from interp_assets.measuring.drawn_examples import draw_examples, example_rows, features_with_a_text_in_two_roles
from interp_assets.measuring.hard_negatives import HardNegatives
from interp_assets.measuring.texts_of_windows import TokenTexts, WindowTexts
from interp_assets.orchestration.freed_memory import freed_memory_kept
from interp_assets.orchestration.outcome_check import outcome_check, outcome_check_spec
from interp_assets.orchestration.range_partition import PartitionReport, RangePartition
from interp_assets.orchestration.range_run import RangeRun
from interp_assets.orchestration.stage import RangeStage, Upstream
from interp_assets.orchestration.stage_assets import range_asset
from interp_assets.orchestration.threads import cores, groups_in_order
from interp_assets.orchestration.write_behind import written_behind
from interp_assets.reading.activations import activations_in_order, read_kept_shares
from interp_assets.reading.token_sample import read_token_sample
from interp_assets.reporting.histograms import distribution_plot
from interp_assets.reporting.materialisation import breakable, markdown, preview_table
from interp_assets.tables import (
    ACTIVATIONS,
    DICTIONARY_EMBEDDINGS,
    EXAMPLES,
    FEATURE_EXAMPLES,
    FEATURE_NEIGHBOURS,
    FEATURE_STATISTICS,
    Table,
)
from resources.model_provider import ModelProvider
from resources.store.lake import Lake
from resources.subject.document_breaks import ReadableTexts
from resources.subject.interface import SubjectTokenizer

CODE_VERSION = "7"
RANGE_STAGE = RangeStage(
    EXAMPLES,
    CODE_VERSION,
    (
        Upstream(ACTIVATIONS),
        Upstream(FEATURE_STATISTICS),
        Upstream(FEATURE_NEIGHBOURS, needed=lambda stages: stages.examples.asks_for("neighbour")),
        Upstream(DICTIONARY_EMBEDDINGS, needed=lambda stages: stages.examples.asks_for("similar")),
    ),
    lambda stages, platform: stages.examples,
    side_tables=(FEATURE_EXAMPLES,),
)
BLOCK_FEATURES = 64
"""Features that are drawn and written together: memory holds their examples beside the token sample."""

MOST_THREADS = 4
"""Most threads that draw at a time: drawing holds Python's lock for a third of its time, so that more threads would only hold memory."""

USED = {"shown": "to be shown", "validation": "for validation", "held_out": "to be held out"}
"""In messages, the use of the windows of each role: "3 of 10 silent windows to be held out"."""

PREVIEWED = 10
"""Features of a range that its preview shows."""


@range_asset(
    EXAMPLES,
    deps=["activation_shards", "feature_neighbours", "window_embeddings"],
    group_name="examples",
    kinds={"python", "numpy", "parquet"},
    code_version=CODE_VERSION,
    check_specs=[
        dg.AssetCheckSpec(
            "roles_are_disjoint", asset="examples", blocking=True, description="no text has two of the roles shown, validation, held out"
        ),
        outcome_check_spec("examples"),
    ],
)
def examples(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.MaterializeResult:
    """Activating windows by quantile (or top, random, mix) and silent windows, split into shown, validation and held out.

    Silent windows are random, or hard negatives: similar in meaning, of neighbouring features, or around the feature's own tokens. No
    window has two roles, and no two roles share a token sequence. A feature with too few windows gets a row that says so. Windows of an
    imported Neuronpedia export are cut and split by the same rules; the strata of imported windows are the activation bins of the export.
    """
    stage = RangeRun(context, lake, registry, settings, RANGE_STAGE)
    previews: list[str] = []
    overlapping: list[str] = []
    with freed_memory_kept(), written_behind(stage, cores()) as write:
        for _, partitions in groupby(stage.to_do(), key=lambda partition: partition.key.dictionary):
            for drawn, texts, made in _drawn_partitions(lake, models, list(partitions)):
                partition = drawn.partition
                drawn.report.numbers.update(import_provenance(partition.record))
                write(partition, [FEATURE_EXAMPLES, EXAMPLES], _parts(drawn, made), drawn.report)
                overlapping += drawn.overlapping
                drawn.report.numbers["preview"] = markdown(_preview(drawn.previewed, partition.settings.examples, texts))
                previews = previews or [_preview(drawn.previewed[:1], partition.settings.examples, texts)]
    windows = {"activating windows": [n for partition in stage.partitions for n in _windows(lake, partition)]}
    return stage.result(
        {
            "windows_per_feature": markdown(distribution_plot(windows, "activating windows", "Windows found per feature", log_x=True)),
            "examples": markdown(previews[0] if previews else "*kept from an earlier run*"),
        },
        [
            dg.AssetCheckResult(check_name="roles_are_disjoint", passed=not overlapping, metadata={"overlapping": overlapping[:20]}),
            outcome_check(stage, {FEATURE_EXAMPLES: lambda stages: True}),
        ],
    )


@dataclass
class DrawnPartition:
    """Kept in memory while the examples of a partition stream to disk: a row per feature, and the first features for the preview."""

    partition: RangePartition
    outcomes: list[dict[str, object]] = field(default_factory=list)
    previewed: list[ExampleColumns] = field(default_factory=list)
    overlapping: list[str] = field(default_factory=list)
    report: PartitionReport = field(default_factory=PartitionReport)

    def add(self, block: "Block") -> None:
        """Take in the examples of the next features."""
        self.outcomes += block.outcomes
        self.report.outcomes.update(columns.outcome for columns in block.found)
        filled = sum(columns.n_filled for columns in block.found)
        self.report.numbers["filled_with_random"] = self.report.numbers.get("filled_with_random", 0) + filled
        self.previewed += block.found[: PREVIEWED - len(self.previewed)]
        self.overlapping += [f"{self.partition.key} feature {feature}" for feature in block.overlapping]


@dataclass(frozen=True)
class Block:
    """The examples of some features in order, their rows, and the features with a text in two roles."""

    found: list[ExampleColumns]
    rows: pa.Table
    outcomes: list[dict[str, object]]
    overlapping: list[int]


def _drawn_partitions(
    lake: Lake, models: ModelProvider, partitions: Sequence[RangePartition]
) -> Iterator[tuple[DrawnPartition, TokenTexts, Iterator[Block]]]:
    """For each of some partitions of a dictionary the texts of its tokens, and its examples, block by block.

    While a partition is written, its next blocks, and the first blocks of the next partitions, are drawn by other threads.
    """
    model = partitions[0].record.model
    tokenizer = models.tokenizer(model.source, model.revision)
    source = _source(lake, partitions[0], tokenizer)
    if isinstance(source, NeuronpediaExamples):
        texts, n_threads = source, 1  # an import has a range as one block
        groups = ((partition, _imported(partition, source)) for partition in partitions)
    else:
        texts, n_threads = ReadableTexts(tokenizer), min(cores(), MOST_THREADS)
        groups = ((partition, _drawn(lake, partition, source)) for partition in partitions)
    work = partial(_block, WindowTexts(texts))
    for partition, made in groups_in_order(work, groups, n_threads):
        yield DrawnPartition(partition), texts, made


def _block(texts: WindowTexts, partition: RangePartition, draw: Callable[[], list[ExampleColumns]]) -> Block:
    """Draw the examples of some features; runs in a thread of its own."""
    found = draw()
    rows = example_rows(partition.key, partition.settings.examples.sampling, found, texts)
    return Block(found, rows, [_outcome_row(partition, columns) for columns in found], features_with_a_text_in_two_roles(found))


def _source(lake: Lake, partition: RangePartition, tokenizer: SubjectTokenizer) -> HardNegatives | NeuronpediaExamples:
    """The source of the examples of a partition's dictionary: its activations, or the files that it was imported from."""
    if not partition.record.has_activations:
        return NeuronpediaExamples(partition.record, tokenizer)
    sample = read_token_sample(lake, partition.key.dictionary)
    return HardNegatives(lake, partition.record, sample, tokenizer, partition.settings)


def _drawn(lake: Lake, partition: RangePartition, source: HardNegatives) -> Iterator[Callable[[], list[ExampleColumns]]]:
    """For each block of a partition's features a function that draws their examples from the activations of the dictionary."""
    shares, seed = read_kept_shares(lake, partition.key), partition.settings.seed
    features = activations_in_order(lake, partition.key, partition.record.features_of(partition.key), partition.narrowed)
    while block := list(islice(features, BLOCK_FEATURES)):
        yield partial(draw_examples, source, block, shares, partition.settings.examples, seed, seed)


def _imported(partition: RangePartition, source: NeuronpediaExamples) -> Iterator[Callable[[], list[ExampleColumns]]]:
    """A function that gives the examples of a partition's features as they were imported."""
    if found := source.of_range(partition.key, partition.settings.examples, partition.settings.seed):
        yield partial(lambda items: [columns_of(item) for item in items], found)


def _parts(drawn: DrawnPartition, blocks: Iterator[Block]) -> Iterator[tuple[Table, pa.Table]]:
    """The examples of a partition, block by block, and after the last block the table feature_examples."""
    for block in blocks:
        drawn.add(block)
        yield EXAMPLES, block.rows
    yield FEATURE_EXAMPLES, pa.Table.from_pylist(drawn.outcomes, schema=FEATURE_EXAMPLES.schema)


def _outcome_row(partition: RangePartition, columns: ExampleColumns) -> dict[str, object]:
    held_out = columns.negatives_of("held_out")
    kinds = {f"n_{kind}": held_out.count(kind) for kind in NEGATIVE_KINDS}
    return {
        "dictionary": partition.key.dictionary, "feature_range": partition.key.feature_range, "feature": columns.feature,
        "outcome": columns.outcome, "n_windows": columns.n_windows, "message": _message(columns, partition),
        "n_shown": columns.n_shown, "n_shown_non_activating": columns.n_shown_non_activating, "n_validation": columns.n_validation,
        "n_validation_non_activating": columns.n_validation_non_activating, "n_held_out": columns.n_held_out,
        "n_non_activating": len(held_out), **kinds, "n_filled_with_random": columns.n_filled,
        "firing_share": None if columns.firing is None else columns.firing.of_windows,
        "start_shares": None if columns.firing is None else list(columns.firing.of_starts),
    }  # fmt: skip


def _message(columns: ExampleColumns, partition: RangePartition) -> str:
    """For a feature with fewer windows than asked for: the windows needed and the windows found. Empty otherwise."""
    settings, imported = partition.settings.examples, not partition.record.has_activations
    match columns.outcome:
        case "ok":
            return "" if imported else _filled(columns, settings)
        case "dead":
            return "the import has no activation of the feature" if imported else "the feature never fires on this token sample"
        case "too_few_windows":
            return f"{columns.n_windows} activating windows, min_activating is {settings.min_activating}"
        case "too_few_silent_windows":
            return _lacking(columns, settings) + (": the import has no more" if imported else ": there are no more")


def _filled(columns: ExampleColumns, settings: ExampleSettings) -> str:
    """The kinds of hard negatives with fewer windows than asked for, by role; empty where there are enough."""
    found = [
        f"{columns.negatives_of(role).count(kind)} of {count} {kind} windows {USED[role]}"
        for role in ROLES
        for kind, count in settings.negative_counts_of(role).items()
        if count and kind in HARD_KINDS and columns.negatives_of(role).count(kind) < count
    ]
    return ", ".join(found) + (": filled with random ones" if found else "")


def _lacking(columns: ExampleColumns, settings: ExampleSettings) -> str:
    """The roles with fewer silent windows than asked for."""
    asked = {role: sum(settings.negative_counts_of(role).values()) for role in ROLES}
    found = {role: len(columns.negatives_of(role)) for role in ROLES}
    return ", ".join(f"{found[role]} of {n} silent windows {USED[role]}" for role, n in asked.items() if found[role] < n)


def _highlighted(example: Example, texts: TokenTexts) -> str:
    """One Markdown line of a window, its active tokens as code spans."""
    return rendering.markdown(texts.tokens(example.token_ids), rendering.marked_positions(example.activations, 0.3))


def _preview(found: Sequence[ExampleColumns], settings: ExampleSettings, texts: TokenTexts) -> str:
    """For each feature its three strongest shown windows and a silent window of each kind, active tokens highlighted; or its outcome.

    Only the first of these rows are shown, and only their texts are looked up.
    """
    return preview_table(["feature", "peak", "window"], _preview_rows(found, settings, texts))


def _preview_rows(found: Sequence[ExampleColumns], settings: ExampleSettings, texts: TokenTexts) -> Iterator[tuple[object, ...]]:
    for columns in found:
        strongest = np.argsort(-columns.max_activation[: columns.n_shown], kind="stable")[:3]
        for example in columns.examples(settings.sampling, strongest):
            yield columns.feature, round(max(example.activations), 2), breakable(_highlighted(example, texts))
        first_of_kind = [columns.n_activating + columns.negatives.index(kind) for kind in set(columns.negatives)]
        for example in sorted(columns.examples(settings.sampling, first_of_kind), key=lambda example: example.sampling):
            yield columns.feature, f"silent, {example.sampling}", breakable(_highlighted(example, texts))
        if not columns.n_shown:
            yield columns.feature, columns.outcome, f"{columns.n_windows} windows"


def _counts(lake: Lake, stage: RangeRun) -> dict[str, int]:
    """Features with a row in feature_examples, by partition."""
    return {str(partition.key): lake.require(FEATURE_EXAMPLES.name, lake_partition(partition.key)).rows for partition in stage.partitions}


def _windows(lake: Lake, partition: RangePartition) -> list[int]:
    return lake.read(FEATURE_EXAMPLES.name, lake_partition(partition.key), columns=["n_windows"]).column(0).to_pylist()
