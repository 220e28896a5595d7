"""`examples`: windows that show what a feature does, split into shown and held out. Writes examples and feature_examples."""

from collections import Counter

import dagster as dg
import numpy as np
import pyarrow as pa

from interp_assets.cells import Cell, CellReport, StageRun, range_asset
from interp_assets.dictionaries import DictionaryRegistry
from interp_assets.domain import rendering
from interp_assets.domain.sampling import Example, FeatureExamples, build_examples
from interp_assets.domain.token_numbers import NO_ID
from interp_assets.imports import NeuronpediaExamples, import_provenance
from interp_assets.reporting import distribution_plot, markdown, markdown_table
from interp_assets.samples import TokenSample, read_token_sample
from interp_assets.settings import PlatformSettings
from interp_assets.stages import Stage, Upstream, cell_partition
from interp_assets.tables import ACTIVATIONS, EXAMPLES, FEATURE_EXAMPLES, FEATURE_STATISTICS
from resources.lake import Lake
from resources.model_provider import ModelProvider
from resources.tokenizer import Tokenizer

TokenTexts = Tokenizer | NeuronpediaExamples
CODE_VERSION = "1"
STAGE = Stage(EXAMPLES, CODE_VERSION, (Upstream(ACTIVATIONS), Upstream(FEATURE_STATISTICS)), lambda stages, platform: stages.examples)


@range_asset(
    EXAMPLES,
    deps=["activation_shards"],
    group_name="examples",
    kinds={"python", "numpy", "parquet"},
    code_version=CODE_VERSION,
    check_specs=[
        dg.AssetCheckSpec("shown_and_held_out_are_disjoint", asset="examples", blocking=True),
        dg.AssetCheckSpec("every_feature_has_an_outcome", asset="examples", blocking=True),
    ],
)
def examples(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.MaterializeResult:
    """Activating windows by quantile (or top, random, mix), split into shown and held out, and silent windows held out.

    No window, and no identical token sequence, is both shown and held out. A feature with too few windows gets a row saying so. Windows
    of an imported Neuronpedia export are cut and split by the same rules; their strata are the export's activation bins.
    """
    stage = StageRun(context, lake, registry, settings, STAGE)
    samples: dict[str, tuple[TokenSample, Tokenizer]] = {}
    imports: dict[str, NeuronpediaExamples] = {}
    previews: list[str] = []
    overlapping: list[str] = []
    for cell in stage.to_do():
        name, record = cell.key.dictionary, cell.record
        if name not in samples and name not in imports:
            tokenizer = models.tokenizer(record.model.source, record.model.revision)
            if record.has_activations:
                samples[name] = read_token_sample(lake, name), tokenizer
            else:
                context.log.info(f"{name}: examples from {record.source}")
                imports[name] = NeuronpediaExamples(record, tokenizer)
        if record.has_activations:
            sample, texts = samples[name]
            built = list(_build(lake, cell, sample, texts))
        else:
            texts = imports[name]
            built = texts.of_range(cell.key, cell.settings.examples, cell.settings.seed)
        overlapping += [f"{cell.key} feature {item.feature}" for item in built if _overlaps(item)]
        numbers = {"preview": markdown(_preview(built, texts)), **import_provenance(record)}
        report = CellReport(Counter(item.outcome for item in built), numbers)
        stage.write(cell, [(FEATURE_EXAMPLES, _outcome_rows(cell, built)), (EXAMPLES, _example_rows(cell, built, texts))], report)
        previews.append(_preview(built[:1], texts))
    counts = _counts(lake, stage)
    missing = [str(cell.key) for cell in stage.cells if counts[str(cell.key)] != len(cell.record.features_of(cell.key))]
    windows = {"activating windows": [n for key in stage.cells for n in _windows(lake, key)]}
    return stage.result(
        {
            "windows_per_feature": markdown(distribution_plot(windows, "activating windows", "Windows found per feature", log_x=True)),
            "examples": markdown("\n\n".join(previews[:4]) or "*kept from an earlier run*"),
        },
        [
            dg.AssetCheckResult(
                check_name="shown_and_held_out_are_disjoint", passed=not overlapping, metadata={"overlapping": overlapping[:20]}
            ),
            dg.AssetCheckResult(check_name="every_feature_has_an_outcome", passed=not missing, metadata={"incomplete_ranges": missing}),
        ],
    )


def _build(lake: Lake, cell: Cell, sample: TokenSample, tokenizer: Tokenizer):
    """The examples of every selected feature of a cell, one after the other."""
    shards = lake.read(ACTIVATIONS.name, cell_partition(cell.key), columns=["feature", "position", "value"])
    feature = shards.column("feature").to_numpy()
    position = shards.column("position").to_numpy()
    value = shards.column("value").to_numpy()
    for number in cell.record.features_of(cell.key):
        first, end = np.searchsorted(feature, number, "left"), np.searchsorted(feature, number, "right")
        yield build_examples(
            position[first:end], value[first:end].astype(np.float64), sample.tokens, sample.first_position(tokenizer.bos_token_id),
            cell.settings.examples, cell.settings.seed, int(number),
        )  # fmt: skip


def _outcome_rows(cell: Cell, built: list[FeatureExamples]) -> pa.Table:
    rows = [
        {
            "dictionary": cell.key.dictionary, "feature_range": cell.key.feature_range, "feature": item.feature,
            "outcome": item.outcome, "n_windows": item.n_windows, "message": _message(item, cell),
            "n_shown": sum(e.role == "shown" for e in item.examples),
            "n_held_out": sum(e.role == "held_out" and e.kind == "activating" for e in item.examples),
            "n_non_activating": sum(e.kind == "non_activating" for e in item.examples),
        }
        for item in built
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=FEATURE_EXAMPLES.schema)


def _example_rows(cell: Cell, built: list[FeatureExamples], texts: TokenTexts) -> pa.Table:
    rows = [
        {
            "dictionary": cell.key.dictionary, "feature_range": cell.key.feature_range, "feature": e.feature,
            "example_id": e.example_id, "role": e.role, "kind": e.kind, "sampling": e.sampling, "stratum": e.stratum,
            "row": e.row, "start": e.start, "token_ids": [max(i, NO_ID) for i in e.token_ids], "tokens": texts.tokens(e.token_ids),
            "activations": e.activations, "max_activation": max(e.activations, default=0.0),
        }
        for item in built
        for e in item.examples
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=EXAMPLES.schema)


def _message(item: FeatureExamples, cell: Cell) -> str:
    """What was needed and what there was, for a feature whose outcome is not ok; empty otherwise."""
    silent = sum(e.kind == "non_activating" for e in item.examples)
    settings, imported = cell.settings.examples, not cell.record.has_activations
    return {
        "ok": "",
        "dead": "the import has no activation of the feature" if imported else "the feature never fires on this token sample",
        "too_few_windows": f"{item.n_windows} activating windows, min_activating is {settings.min_activating}",
        "too_few_silent_windows": f"{silent} silent windows of the {settings.n_non_activating} asked for"
        + (", the import has no more" if imported else ""),
    }[item.outcome]


def _highlighted(example: Example, texts: TokenTexts) -> str:
    """One Markdown line of a window, its active tokens as code spans."""
    return rendering.markdown(texts.tokens(example.token_ids), rendering.marked_positions(example.activations, 0.3))


def _overlaps(item: FeatureExamples) -> bool:
    """Whether a token sequence is both shown and held out."""
    shown = {e.token_ids for e in item.examples if e.role == "shown"}
    return any(e.token_ids in shown for e in item.examples if e.role == "held_out")


def _preview(built: list[FeatureExamples], texts: TokenTexts) -> str:
    """For each feature its three strongest shown windows, active tokens highlighted, or its outcome."""
    rows = []
    for item in built:
        shown = sorted((e for e in item.examples if e.role == "shown"), key=lambda e: -max(e.activations))[:3]
        rows += [(item.feature, round(max(e.activations), 2), _highlighted(e, texts)) for e in shown]
        if not shown:
            rows.append((item.feature, item.outcome, f"{item.n_windows} windows"))
    return markdown_table(["feature", "peak", "window"], rows)


def _counts(lake: Lake, stage: StageRun) -> dict[str, int]:
    """Features with a row in feature_examples, by cell."""
    return {str(cell.key): lake.require(FEATURE_EXAMPLES.name, cell_partition(cell.key)).rows for cell in stage.cells}


def _windows(lake: Lake, cell: Cell) -> list[int]:
    return lake.read(FEATURE_EXAMPLES.name, cell_partition(cell.key), columns=["n_windows"]).column(0).to_pylist()
