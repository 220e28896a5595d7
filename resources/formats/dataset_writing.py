"""Writing a Hugging Face dataset: Parquet from which one feature is read by a small range, and a card that says what is in it.

    README.md                                              the card: YAML front matter with one or two configs a dictionary, then Markdown
    data/<config>/features-000000-004095.parquet           one row a feature, sorted
    data/<config>/scores-000000-004095.parquet             one row a score, sorted by feature

A row group has GROUP_FEATURES features, and a file FILE_FEATURES: so a footer stays below a megabyte, and a reader that asks for one
feature reads a footer and one row group. Files have a page index.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

GROUP_FEATURES = 32
FILE_FEATURES = 4096

SCORE = pa.struct(
    [
        ("scorer", pa.string()), ("metric", pa.string()), ("headline", pa.bool_()), ("value", pa.float64()), ("ci_low", pa.float64()),
        ("ci_high", pa.float64()), ("floor", pa.float64()), ("n_positive", pa.uint32()), ("n_negative", pa.uint32()),
        ("n_unanswered", pa.uint32()), ("outcome", pa.string()), ("judge", pa.string()),
    ]
)  # fmt: skip
EXPLANATION = pa.struct(
    [
        ("method", pa.string()), ("outcome", pa.string()), ("explanation", pa.string()), ("explainer", pa.string()),
        ("author", pa.string()), ("scores", pa.list_(SCORE)),
    ]
)  # fmt: skip
EXAMPLE = pa.struct(
    [
        ("example_id", pa.string()), ("role", pa.string()), ("kind", pa.string()), ("sampling", pa.string()), ("stratum", pa.int8()),
        ("row", pa.uint32()), ("start", pa.uint32()), ("tokens", pa.list_(pa.string())), ("activations", pa.list_(pa.float32())),
        ("max_activation", pa.float32()),
    ]
)  # fmt: skip
LOGIT = pa.struct([("token", pa.string()), ("logit", pa.float32())])
FEATURES = pa.schema(
    [
        ("feature", pa.uint32()), ("firing_count", pa.uint64()), ("token_density", pa.float64()), ("context_density", pa.float64()),
        ("mean_activation", pa.float64()), ("max_activation", pa.float64()),
        ("top_tokens", pa.list_(pa.struct([("token", pa.string()), ("mass", pa.float64())]))),
        ("promoted", pa.list_(LOGIT)), ("suppressed", pa.list_(LOGIT)),
        ("neighbours", pa.list_(pa.struct([("feature", pa.uint32()), ("cosine", pa.float32())]))),
        ("examples_outcome", pa.string()), ("explanations", pa.list_(EXPLANATION)), ("scores", pa.list_(SCORE)),
        ("examples", pa.list_(EXAMPLE)),
    ]
)  # fmt: skip
SCORES = pa.schema(
    [
        ("feature", pa.uint32()), ("explanation_method", pa.string()), ("explanation", pa.string()), ("explainer", pa.string()),
        *((field.name, field.type) for field in SCORE),
    ]
)  # fmt: skip


class SortedFiles:
    """Files of one table, written in order of features: a row group for each block of GROUP_FEATURES, a file for FILE_FEATURES numbers."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._folder, self._name, self._schema = folder, name, schema
        self._first: int | None = None
        self._stack = ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the rows of a block of features, whose numbers ascend; the block has its own row group."""
        if not rows:
            return
        first = rows[0]["feature"] // FILE_FEATURES * FILE_FEATURES
        if first != self._first:
            self.close()
            self._first = first
            file = self._folder / f"{self._name}-{first:06d}-{first + FILE_FEATURES - 1:06d}.parquet"
            order = pq.SortingColumn.from_ordering(self._schema, [("feature", "ascending")])
            options = {"compression": "zstd", "write_page_index": True, "write_page_checksum": True, "sorting_columns": order}
            self._writer = self._stack.enter_context(pq.ParquetWriter(file, self._schema, **options))
        assert self._writer is not None
        self._writer.write_table(pa.Table.from_pylist(list(rows), self._schema), row_group_size=max(len(rows), 1))
        self.rows += len(rows)

    def close(self) -> None:
        """Finish the file that is begun."""
        self._stack.close()


@contextmanager
def sorted_files(folder: Path, name: str, schema: pa.Schema) -> Iterator[SortedFiles]:
    """`SortedFiles`, whose last file is finished at the end of the block."""
    files = SortedFiles(folder, name, schema)
    try:
        yield files
    finally:
        files.close()


def card(front_matter: Mapping[str, Any], markdown: str) -> str:
    """The text of a dataset card."""
    import yaml

    return f"---\n{yaml.safe_dump(dict(front_matter), sort_keys=False, allow_unicode=False, width=120)}---\n\n{markdown}"
