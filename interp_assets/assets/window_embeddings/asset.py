"""`window_embeddings`: every cell of the token sample as a vector. Writes the tables window_embeddings and dictionary_embeddings."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.examples.windows import Places, WindowShape
from interp_assets.domain.prompting.rendering import plain_text
from interp_assets.measuring.loaded_models import EncoderOnDemand, loaded_encoder
from interp_assets.orchestration.dictionary_run import DictionaryRun
from interp_assets.orchestration.partitions import SUBJECT_POOL
from interp_assets.orchestration.stage_assets import dictionary_asset
from interp_assets.orchestration.versions import EMBEDDINGS_CODE_VERSION, NO_EMBEDDINGS, embeddings_version
from interp_assets.reading.token_sample import TokenSample, read_token_sample
from interp_assets.reporting.materialisation import markdown, markdown_table, path_lines
from interp_assets.tables import DICTIONARY_EMBEDDINGS, DICTIONARY_SAMPLES, WINDOW_EMBEDDINGS
from interp_assets.tables.columns import constant
from resources.model_provider import ModelProvider
from resources.progress import Progress
from resources.sentence_encoder import SentenceEncoder
from resources.store.lake import Lake
from resources.subject.document_breaks import ReadableTexts
from resources.subject.interface import SubjectTokenizer

BATCH_CELLS = 4096
WRITER_OPTIONS = {"use_dictionary": ["embeddings"], "compression_level": 1}
NOT_ASKED = "not embedded: the examples settings ask for no `similar` non-activating windows"


@dictionary_asset(
    WINDOW_EMBEDDINGS,
    deps=["token_sample"],
    group_name="examples",
    kinds={"python", "pytorch", "parquet"},
    pool=SUBJECT_POOL,
    code_version=EMBEDDINGS_CODE_VERSION,
    check_specs=[dg.AssetCheckSpec("every_cell_has_a_vector_of_length_one", asset="window_embeddings", blocking=True)],
)
def window_embeddings(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.MaterializeResult:
    """Sentence embeddings of all cells of a token sample, in one pass that all features share.

    Made only for dictionaries whose settings ask for `similar` silent windows. Two dictionaries with the same sample and window length
    share their embeddings.
    """
    run = DictionaryRun(context)
    faulty: list[str] = []
    with loaded_encoder(models, settings.sentence_encoder) as encoder:
        for key in run.keys:
            with run.failing_alone(key):
                if not _made(run, registry.get(key), lake, models, settings, encoder):
                    faulty.append(key)
    check = dg.AssetCheckResult(check_name="every_cell_has_a_vector_of_length_one", passed=not faulty, metadata={"faulty": faulty})
    return run.result([check])


def _made(
    run: DictionaryRun, record: DictionaryRecord, lake: Lake, models: ModelProvider, settings: PlatformSettings, encoder: EncoderOnDemand
) -> bool:
    """Embed the cells of a dictionary's sample where its settings ask for it, and report. Returns whether all vectors are sound."""
    key, stages = record.key, settings.stage_settings(record.stages)
    sample = lake.read(DICTIONARY_SAMPLES.name, {"dictionary": key}, columns=["sample"]).column(0)[0].as_py()
    version = run.versions[key] = embeddings_version(record, stages, sample, lambda: encoder().revision)
    row: dict[str, Any] = {
        "dictionary": key, "sample": sample, "embeddings": None, "encoder": None,
        "window_tokens": stages.examples.window_tokens, "n_cells": 0, "outcome": "not_asked",
    }  # fmt: skip
    report: dict[str, Any] = {"dagster/partition_row_count": 0, "preview": markdown(NOT_ASKED), "sound": True}
    if version != NO_EMBEDDINGS:
        tokenizer = models.tokenizer(record.model.source, record.model.revision)
        cells = SampleCells(read_token_sample(lake, key), tokenizer, stages.examples.window_tokens, stages.examples.across_documents)
        report = _embedded(run.context, lake, version, cells, encoder())
        name = f"{settings.sentence_encoder.source} {encoder().revision}"
        row.update(embeddings=version, encoder=name, n_cells=len(cells), outcome="ok")
    sound = report.pop("sound")
    rows = pa.Table.from_pylist([row], schema=DICTIONARY_EMBEDDINGS.schema)
    lake.write(DICTIONARY_EMBEDDINGS.name, {"dictionary": key}, DICTIONARY_EMBEDDINGS.schema, rows, version)
    run.report(key, {"outcome": row["outcome"], **report})
    return sound


class SampleCells:
    """The cells of a token sample as texts: the same cells that the window builder "cells" cuts."""

    def __init__(self, sample: TokenSample, tokenizer: SubjectTokenizer, window_tokens: int, across_documents: bool = False) -> None:
        self.sample, self.tokenizer = sample, tokenizer
        first_position, text = sample.first_position(tokenizer.bos_token_id), None if across_documents else sample.text(tokenizer)
        self.shape = WindowShape("cells", window_tokens, sample.tokens.shape[1], first_position, text)

    def __len__(self) -> int:
        return self.shape.n_cells(len(self.sample.tokens))

    def places(self, first: int, end: int) -> Places:
        """The places in the sample of the cells `first` to `end`, exclusive."""
        return self.shape.cells_at(np.arange(first, end))

    def texts(self, first: int, end: int) -> list[str]:
        """The text of each of the cells `first` to `end`, exclusive, as scorers see a window."""
        places = self.places(first, end)
        shown = ReadableTexts(self.tokenizer)
        rows = zip(places.row.tolist(), places.start.tolist(), places.length.tolist(), strict=True)
        return [plain_text(shown.tokens(self.sample.tokens[row, start : start + length])) for row, start, length in rows]


def _embedded(context: dg.AssetExecutionContext, lake: Lake, version: str, cells: SampleCells, encoder: SentenceEncoder) -> dict[str, Any]:
    """The report on the embeddings, new or kept, with whether all vectors are sound."""
    partition = {"embeddings": version}
    kept = lake.is_current(WINDOW_EMBEDDINGS.name, partition, version)
    started = time.monotonic()
    if kept:
        context.log.info(f"embeddings {version} are already there")
    else:
        context.log.info(f"embedding {len(cells):,} cells of sample {cells.sample.sample}")
        batches = _batches(context, version, cells, encoder)
        lake.write(
            WINDOW_EMBEDDINGS.name, partition, WINDOW_EMBEDDINGS.schema, batches, version, {"sample": cells.sample.sample}, WRITER_OPTIONS
        )  # fmt: skip
    seconds = time.monotonic() - started
    rates = {} if kept else {"seconds": round(seconds, 2), "cells_per_second": round(len(cells) / max(seconds, 1e-9), 1)}
    n_cells, sound, first = 0, True, np.empty((0, 0), dtype=np.float32)
    for batch in lake.batches(WINDOW_EMBEDDINGS.name, partition, ["vector"], BATCH_CELLS):
        vectors = batch.column("vector").flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1).astype(np.float32)
        first = vectors if n_cells == 0 else first
        n_cells += len(vectors)
        sound = sound and bool((np.abs(np.linalg.norm(vectors, axis=1) - 1) < 0.01).all())
    return {
        "sound": sound and n_cells == len(cells),
        "dagster/partition_row_count": n_cells,
        "dimensions": first.shape[1],
        "bytes": lake.require(WINDOW_EMBEDDINGS.name, partition).bytes,
        "path_in_lake": path_lines(lake.relative_path(WINDOW_EMBEDDINGS.name, partition)),
        "kept_from_an_earlier_run": kept,
        "preview": markdown(_preview(first, cells)),
        **rates,
    }


def _batches(context: dg.AssetExecutionContext, version: str, cells: SampleCells, encoder: SentenceEncoder) -> Iterator[pa.Table]:
    """Rows of the table, some thousand cells at a time, so that memory stays bounded."""
    started = reported = time.monotonic()
    for first in range(0, len(cells), BATCH_CELLS):
        end = min(first + BATCH_CELLS, len(cells))
        vectors = encoder.embed(cells.texts(first, end)).astype(np.float16)
        address = constant(version, end - first)
        offsets = np.arange(end - first + 1, dtype=np.int32) * vectors.shape[1]
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
        yield pa.table(
            {"embeddings": address, "cell": np.arange(first, end, dtype=np.uint32), "vector": lists}, schema=WINDOW_EMBEDDINGS.schema
        )
        if time.monotonic() - reported > 10 or end == len(cells):
            reported = time.monotonic()
            rate = end / (reported - started)
            context.log.info(f"cells embedded: {Progress(end, len(cells), 0, rate, (len(cells) - end) / rate)}")


def _preview(vectors: np.ndarray, cells: SampleCells) -> str:
    """Five of the first cells, each with the nearest other cell among the first cells."""
    n = min(len(vectors), 512)
    near = vectors[:n] @ vectors[:n].T
    np.fill_diagonal(near, -1)
    texts = cells.texts(0, n)
    picks = np.linspace(0, n - 1, min(5, n)).astype(int)
    lines = [(texts[i], texts[int(near[i].argmax())], float(near[i].max())) for i in picks]
    return markdown_table(["cell", f"nearest of the first {n}", "cosine"], lines)
