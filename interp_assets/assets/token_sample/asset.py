"""`token_sample`: the contexts that the subject model reads. Writes the tables token_samples and documents."""

from collections.abc import Iterator

import dagster as dg
import numpy as np
import pyarrow as pa

from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.domain.examples.passages import Passages
from interp_assets.domain.features.packing import CorpusTooSmall, PackedRows, TokenisedDocument, pack_documents
from interp_assets.exchange.imported_files import import_provenance, open_delphi
from interp_assets.orchestration.dictionary_run import DictionaryRun
from interp_assets.orchestration.stage_assets import dictionary_asset
from interp_assets.orchestration.versions import SAMPLE_CODE_VERSION, sample_version
from interp_assets.reading.token_sample import token_matrix
from interp_assets.reporting.materialisation import markdown, markdown_table, path_lines
from interp_assets.tables import DICTIONARY_SAMPLES, DOCUMENTS, TOKEN_SAMPLES
from resources.corpus import read_documents
from resources.corpus.encoding import DocumentEncoder
from resources.corpus.interface import CorpusError
from resources.formats.delphi import read_tokens
from resources.model_provider import ModelProvider
from resources.store.lake import Lake
from resources.subject.document_breaks import ReadableTexts
from resources.subject.interface import SubjectTokenizer


@dictionary_asset(
    TOKEN_SAMPLES,
    group_name="sample",
    kinds={"python", "parquet"},
    code_version=SAMPLE_CODE_VERSION,
    check_specs=[dg.AssetCheckSpec("rows_have_context_tokens_and_one_bos", asset="token_sample", blocking=True)],
)
def token_sample(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
) -> dg.MaterializeResult:
    """Rows of tokens drawn from the corpus with the subject's own tokenizer, each starting with BOS where the model uses one.

    Dictionaries with the same tokenizer and sample settings share one sample, written once. The sample of an imported delphi cache is
    the cache's own tokens; a dictionary of imported examples has none.
    """
    run = DictionaryRun(context)
    faulty: list[str] = []
    for key in run.keys:
        with run.failing_alone(key):
            if not _sampled(run, registry.get(key), lake, models):
                faulty.append(run.versions[key])
    found = {"faulty_samples": faulty, "samples": list(run.versions.values())}
    return run.result([dg.AssetCheckResult(check_name="rows_have_context_tokens_and_one_bos", passed=not faulty, metadata=found)])


def _sampled(run: DictionaryRun, record: DictionaryRecord, lake: Lake, models: ModelProvider) -> bool:
    """Write the sample of a dictionary unless the lake holds it already, and report on it. Returns whether its rows are sound."""
    log, key = run.context.log, record.key
    tokenizer = models.tokenizer(record.model.source, record.model.revision)
    sample = run.versions[key] = sample_version(record, tokenizer.revision)
    partition = {"sample": sample}
    run.report(key, {"sample": sample, **import_provenance(record)})
    if not record.has_activations:
        log.info(f"{key}: its examples are imported, so it has no token sample")
        _write_use(lake, record, sample, 0, 0)
        return True
    if lake.is_current(TOKEN_SAMPLES.name, partition, sample):
        log.info(f"{key}: sample {sample} is already there")
        rows, documents = lake.read(TOKEN_SAMPLES.name, partition), lake.read(DOCUMENTS.name, partition)
    else:
        log.info(f"{key}: reading {record.token_sample.n_tokens:,} tokens from {', '.join(record.token_sample.corpus)}")
        packed, documents = _own_rows(record, tokenizer) if record.has_own_tokens else _pack(record, tokenizer, sample)
        rows = _rows(packed, sample)
        lake.write(DOCUMENTS.name, partition, DOCUMENTS.schema, documents, sample)
        lake.write(TOKEN_SAMPLES.name, partition, TOKEN_SAMPLES.schema, rows, sample, row_group_rows=TOKEN_SAMPLES.row_group_rows)
    tokens = token_matrix(rows)
    _write_use(lake, record, sample, *tokens.shape)
    counts = documents.column("source").combine_chunks().dictionary_decode().value_counts().to_pylist()
    run.report(
        key,
        {
            "dagster/partition_row_count": len(tokens),
            "tokens": int(tokens.size),
            "context_tokens": int(tokens.shape[1]),
            "path_in_lake": path_lines(lake.relative_path(TOKEN_SAMPLES.name, partition)),
            "documents": markdown(markdown_table(["source", "documents"], [(c["values"], c["counts"]) for c in counts])),
            "preview": markdown(_preview(tokens, tokenizer)),
        },
    )
    return _sound(tokens, record, tokenizer)


def _write_use(lake: Lake, record: DictionaryRecord, sample: str, n_rows: int, context_tokens: int) -> None:
    """Write which sample a dictionary is harvested on; no rows for a dictionary whose examples are imported."""
    use = {"dictionary": record.key, "sample": sample, "n_rows": n_rows, "context_tokens": context_tokens}
    rows = pa.Table.from_pylist([use], schema=DICTIONARY_SAMPLES.schema)
    partition = {"dictionary": record.key}
    lake.write(DICTIONARY_SAMPLES.name, partition, DICTIONARY_SAMPLES.schema, rows, sample, record.corpus_inputs)


def _own_rows(record: DictionaryRecord, tokenizer: SubjectTokenizer) -> tuple[PackedRows, pa.Table]:
    """The rows of an imported cache, and no documents: a cache does not keep documents. Control tokens are taken for the ends of
    documents."""
    tokens = read_tokens(open_delphi(record)).astype(np.int32)
    return PackedRows(
        tokens, ~np.isin(tokens, list(tokenizer.special_token_ids)), [()] * len(tokens), [()] * len(tokens)
    ), DOCUMENTS.schema.empty_table()


def _pack(record: DictionaryRecord, tokenizer: SubjectTokenizer, sample: str) -> tuple[PackedRows, pa.Table]:
    """Packed rows of a record's corpus and the documents that went into them; raises `UserError` when the corpus is too small."""
    settings = record.token_sample
    read: list[dict] = []

    encode = DocumentEncoder(tokenizer, settings.turns)

    def tokenised() -> Iterator[TokenisedDocument]:
        for number, document in enumerate(read_documents(settings.corpus, settings.seed, settings.revisions)):
            read.append(
                {
                    "sample": sample, "document_id": number, "source": document.source,
                    "title": document.title, "characters": len(document.text),
                }
            )  # fmt: skip
            yield TokenisedDocument(str(number), *encode(document))

    try:
        packed = pack_documents(
            tokenised(), settings.context_tokens, tokenizer.bos_token_id, tokenizer.eos_token_id, settings.n_tokens
        )  # fmt: skip
    except CorpusTooSmall as error:
        raise UserError(
            f"dictionary {record.key}: token_sample asks for {settings.n_tokens:,} tokens, but the corpus "
            f"{', '.join(settings.corpus)} fills {error.found_tokens:,}. Lower token_sample.n_tokens or add a source to "
            "token_sample.corpus."
        ) from None
    except CorpusError as error:
        raise UserError(f"dictionary {record.key}, token_sample.corpus: {error}") from None
    return packed, pa.Table.from_pylist(read, schema=DOCUMENTS.schema)


def _rows(packed: PackedRows, sample: str) -> pa.Table:
    n = len(packed.token_ids)
    passages = Passages.of(packed.is_text, packed.document_starts)
    offsets = pa.array(np.searchsorted(passages.row, np.arange(n + 1)).astype(np.int32))
    return pa.table(
        {
            "sample": pa.array([sample] * n).dictionary_encode(),
            "row": pa.array(np.arange(n, dtype=np.uint32)),
            "token_ids": pa.array(list(packed.token_ids), pa.list_(pa.int32())),
            "document_ids": pa.array([list(map(int, ids)) for ids in packed.document_ids], pa.list_(pa.uint32())),
            "document_starts": pa.array([list(map(int, starts)) for starts in packed.document_starts], pa.list_(pa.uint32())),
            "passage_starts": pa.ListArray.from_arrays(offsets, pa.array(passages.start.astype(np.uint32))),
            "passage_lengths": pa.ListArray.from_arrays(offsets, pa.array(passages.length.astype(np.uint32))),
        },
        schema=TOKEN_SAMPLES.schema,
    )


def _sound(tokens: np.ndarray, record: DictionaryRecord, tokenizer: SubjectTokenizer) -> bool:
    """Whether all rows have the asked length and, unless another tool made them, start with BOS where the tokenizer has one."""
    bos = tokenizer.bos_token_id
    return tokens.shape[1] == record.token_sample.context_tokens and (
        bos is None or record.has_own_tokens or bool((tokens[:, 0] == bos).all())
    )


def _preview(tokens: np.ndarray, tokenizer: SubjectTokenizer) -> str:
    """The beginnings of five contexts spread over the sample, ¶ where a document ends."""
    picks = np.linspace(0, len(tokens) - 1, min(5, len(tokens))).astype(int)
    rows = [(int(row), ReadableTexts(tokenizer).text(tokens[row, 1:41])) for row in picks]
    return markdown_table(["context", "begins"], rows)
