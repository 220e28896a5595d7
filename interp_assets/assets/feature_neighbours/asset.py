"""`feature_neighbours`: the nearest features of every feature. Writes the table feature_neighbours."""

import time
from collections import Counter
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.assets.feature_neighbours.nearest import CoOccurrence, nearest_in_store
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import NeighbourSettings, PlatformSettings
from interp_assets.domain.features.co_occurrence import Nearest
from interp_assets.measuring.directions import decoder_directions, nearest_by_decoder
from interp_assets.orchestration.dictionary_run import DictionaryRun
from interp_assets.orchestration.partitions import SUBJECT_POOL
from interp_assets.orchestration.stage_assets import dictionary_asset
from interp_assets.orchestration.versions import NEIGHBOURS_CODE_VERSION, neighbours_version
from interp_assets.reading.neighbours import CO_OCCURRENCE, DECODER_COSINE
from interp_assets.reporting.histograms import distribution_plot
from interp_assets.reporting.materialisation import markdown, path_lines, preview_table
from interp_assets.tables import ACTIVATIONS, DICTIONARY_SAMPLES, FEATURE_NEIGHBOURS, FEATURE_STATISTICS
from interp_assets.tables.columns import constant
from resources.model_provider import ModelProvider
from resources.store.lake import Lake

ROW_GROUP_ROWS = 65_536
PREVIEWED = 10


@dictionary_asset(
    FEATURE_NEIGHBOURS,
    deps=["activation_shards"],
    group_name="examples",
    kinds={"python", "pytorch", "parquet"},
    pool=SUBJECT_POOL,
    code_version=NEIGHBOURS_CODE_VERSION,
    check_specs=[
        dg.AssetCheckSpec("every_feature_has_both_measures", asset="feature_neighbours", blocking=True),
        dg.AssetCheckSpec("neighbours_are_others_and_similarities_in_range", asset="feature_neighbours", blocking=True),
    ],
)
def feature_neighbours(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.MaterializeResult:
    """The nearest features of each feature: by cosine of the decoder rows, and by the Jaccard index of the tokens that both fire on.

    Neighbours are among the features that the record selects, since only selected features are harvested. A kind without a decoder has
    neighbours by co-occurrence alone.
    """
    run = DictionaryRun(context)
    incomplete: list[str] = []
    unsound: list[str] = []
    for key in run.keys:
        with run.failing_alone(key):
            record = registry.get(key)
            stages = settings.stage_settings(record.stages)
            cells = ({"dictionary": key, "feature_range": feature_range} for feature_range in FEATURE_RANGE_KEYS)
            activations = "-".join(sorted({lake.require(ACTIVATIONS.name, cell).data_version for cell in cells}))
            version = run.versions[key] = neighbours_version(stages, activations)
            partition = {"dictionary": key}
            started = time.monotonic()
            kept = lake.is_current(FEATURE_NEIGHBOURS.name, partition, version)
            if kept:
                context.log.info(f"{key}: neighbours are already complete and are kept")
            else:
                rows = _neighbours(lake, models, record, stages.neighbours, context.log)
                inputs, schema = {ACTIVATIONS.name: activations}, FEATURE_NEIGHBOURS.schema
                lake.write(FEATURE_NEIGHBOURS.name, partition, schema, rows, version, inputs, row_group_rows=ROW_GROUP_ROWS)
            rows = lake.read(FEATURE_NEIGHBOURS.name, partition)
            incomplete += _incomplete(key, record, rows)
            unsound += _unsound(key, rows)
            seconds = {} if kept else {"seconds": round(time.monotonic() - started, 2)}
            run.report(key, {**_report(lake, record, rows), **seconds, "kept_from_an_earlier_run": kept})
    return run.result(
        [
            dg.AssetCheckResult(check_name="every_feature_has_both_measures", passed=not incomplete, metadata={"incomplete": incomplete}),
            dg.AssetCheckResult(
                check_name="neighbours_are_others_and_similarities_in_range", passed=not unsound, metadata={"unsound": unsound}
            ),
        ]
    )


def _neighbours(
    lake: Lake, models: ModelProvider, record: DictionaryRecord, settings: NeighbourSettings, log: dg.DagsterLogManager
) -> pa.Table:
    """Rows of one dictionary: decoder cosines, then co-occurrence, each by feature and rank."""
    selected = record.selected_features
    use = lake.read(DICTIONARY_SAMPLES.name, {"dictionary": record.key}).to_pylist()[0]
    found = nearest_in_store(lake, record, use["n_rows"] * use["context_tokens"], settings.n_neighbours, settings.max_pairs)
    log.info(f"{record.key}: co-occurrence of {len(selected):,} features compared on {found.n_positions:,} token positions")
    directions = _directions(models, record)
    if directions is None:
        log.info(f"{record.key}: a {record.kind} dictionary has no decoder, so neighbours are by co-occurrence alone")
        by_decoder = _rows(record, DECODER_COSINE, None, np.full(len(selected), "no_decoder"), None)
    else:
        nearest = nearest_by_decoder(directions, settings.n_neighbours)
        by_decoder = _rows(record, DECODER_COSINE, nearest, np.full(len(selected), "alone"), None)
    without = np.where(found.firings > 0, "alone", "silent")
    return pa.concat_tables([by_decoder, _rows(record, CO_OCCURRENCE, found.nearest, without, found)])


def _directions(models: ModelProvider, record: DictionaryRecord):
    """Decoder directions of the selected features, None where there is no decoder; the dictionary itself is freed."""
    import torch

    if not record.reads_hook:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dictionary = models.dictionary(kind=record.kind, **record.loader_fields, device=device)
    return decoder_directions(dictionary, record.selected_features)


def _rows(record: DictionaryRecord, measure: str, nearest: Nearest | None, without: np.ndarray, compared: CoOccurrence | None) -> pa.Table:
    """Rows of one measure. A feature without neighbours has one row with nulls and its outcome from `without` [selected]."""
    selected = record.selected_features
    count = np.zeros(len(selected), dtype=np.int64) if nearest is None else np.diff(nearest.bounds)
    rows = np.maximum(count, 1)
    owner = np.repeat(np.arange(len(selected)), rows)
    has_one = np.repeat(count > 0, rows)
    neighbour, similarity = np.zeros(len(owner), dtype=np.uint32), np.zeros(len(owner), dtype=np.float32)
    if nearest is not None:
        neighbour[has_one], similarity[has_one] = selected[nearest.neighbour], nearest.similarity
    n_positions = pa.nulls(len(owner), pa.uint64()) if compared is None else np.full(len(owner), compared.n_positions, dtype=np.uint64)
    return pa.table(
        {
            "dictionary": constant(record.key, len(owner)), "feature": selected[owner], "measure": constant(measure, len(owner)),
            "rank": (np.arange(len(owner)) - np.repeat(np.cumsum(rows) - rows, rows)).astype(np.uint16),
            "neighbour": pa.array(neighbour, mask=~has_one), "similarity": pa.array(similarity, mask=~has_one), "n_positions": n_positions,
            "outcome": pa.array(np.where(has_one, "ok", without[owner])).dictionary_encode(),
        },
        schema=FEATURE_NEIGHBOURS.schema,
    )  # fmt: skip


def _incomplete(key: str, record: DictionaryRecord, rows: pa.Table) -> list[str]:
    """One line for each measure in which a selected feature has no row of rank 0, or two."""
    feature, rank = rows.column("feature").to_numpy(), rows.column("rank").to_numpy()
    measure = rows.column("measure").to_numpy()
    return [
        f"{key}: {name}"
        for name in (DECODER_COSINE, CO_OCCURRENCE)
        if not np.array_equal(np.sort(feature[(rank == 0) & (measure == name)]), record.selected_features)
    ]


def _unsound(key: str, rows: pa.Table) -> list[str]:
    """One line for each kind of impossible row: a feature as its own neighbour, a similarity out of range, neighbours that are not
    sorted."""
    found = rows.filter(pc.equal(rows.column("outcome"), "ok"))
    feature, neighbour = found.column("feature").to_numpy(), found.column("neighbour").to_numpy()
    rank, similarity = found.column("rank").to_numpy(), found.column("similarity").to_numpy()
    by_cosine = np.asarray(pc.equal(found.column("measure"), DECODER_COSINE))
    least = np.where(by_cosine, -1.001, 0.0)
    faults = {
        "own neighbour": feature == neighbour,
        "similarity out of range": (similarity < least) | (similarity > 1.001),
        "not sorted": (rank[1:] > rank[:-1]) & (similarity[1:] > similarity[:-1]),
    }
    return [f"{key}: {name} in {int(fault.sum())} rows" for name, fault in faults.items() if fault.any()]


def _report(lake: Lake, record: DictionaryRecord, rows: pa.Table) -> dict[str, Any]:
    """Counts, the similarity of the nearest features, and some features with their neighbours and the top tokens of these neighbours."""
    selected = record.selected_features
    nearest = rows.filter(pc.equal(rows.column("rank"), 0))
    outcomes = Counter(zip(nearest.column("measure").to_pylist(), nearest.column("outcome").to_pylist(), strict=True))
    series = {
        name: nearest.filter(pc.equal(nearest.column("measure"), name)).column("similarity").drop_null().to_pylist()
        for name in (DECODER_COSINE, CO_OCCURRENCE)
    }
    shown = selected[np.linspace(0, len(selected) - 1, min(PREVIEWED, len(selected))).astype(int)].tolist()
    lines = rows.filter(pc.is_in(rows.column("feature"), pa.array(shown, pa.uint32()))).to_pylist()
    near = {name: {f: [r for r in lines if (r["feature"], r["measure"]) == (f, name)] for f in shown} for name in series}
    texts = _top_tokens(lake, record, {r["neighbour"] for r in lines if r["neighbour"] is not None} | set(shown))
    preview = [(f, texts.get(f, ""), *(_told(near[name][f][:3], texts) for name in series)) for f in shown]
    header = ["feature", "top tokens", "nearest by decoder cosine", "nearest by co-occurrence"]
    return {
        "dagster/partition_row_count": rows.num_rows,
        "features": len(selected),
        "neighbours_are_among": f"{len(selected):,} selected features of {record.width:,}",
        "outcomes": dg.MetadataValue.json({f"{measure}: {outcome}": n for (measure, outcome), n in sorted(outcomes.items())}),
        "positions_compared": pc.max(rows.column("n_positions")).as_py(),
        "nearest_similarity": markdown(distribution_plot(series, "similarity of the nearest feature", "Nearest feature")),
        "preview": markdown(preview_table(header, preview)),
        "path_in_lake": path_lines(lake.relative_path(FEATURE_NEIGHBOURS.name, {"dictionary": record.key})),
    }


def _told(rows: list[dict[str, Any]], texts: dict[int, str]) -> str:
    """Neighbours with similarity and top tokens as one entry of a table, or the outcome."""
    if rows[0]["outcome"] != "ok":
        return f"*{rows[0]['outcome']}*"
    return " · ".join(f"{row['neighbour']} ({row['similarity']:.2f}) {texts.get(row['neighbour'], '')}".strip() for row in rows)


def _top_tokens(lake: Lake, record: DictionaryRecord, features: set[int]) -> dict[int, str]:
    """The three heaviest tokens of some features, as code spans."""
    texts: dict[int, str] = {}
    for feature_range in FEATURE_RANGE_KEYS:
        cell = {"dictionary": record.key, "feature_range": feature_range}
        wanted = [("feature", "in", sorted(features))]
        for row in lake.read(FEATURE_STATISTICS.name, cell, columns=["feature", "top_tokens"], filters=wanted).to_pylist():
            texts[row["feature"]] = " ".join(f"`{entry['token'].strip() or '␣'}`" for entry in row["top_tokens"][:3])
    return texts
