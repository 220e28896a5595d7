"""Parquet from which one feature is read by a small range, and a card whose front matter any text leaves whole."""

import io
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import yaml

from resources.formats.dataset_writing import FEATURES, GROUP_FEATURES, card, sorted_files

WIDTH = 6000


class Counted(io.FileIO):
    """A file that counts the bytes that are read from it."""

    n_read = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.n_read += len(found or b"")
        return found


def row(feature: int) -> dict[str, Any]:
    words = [f"w{feature * 31 % 997}", " a", " b"] * 10
    window = {
        "example_id": f"{feature}",
        "role": "shown",
        "kind": "activating",
        "sampling": "quantiles",
        "stratum": 0,
        "row": feature,
        "start": 0,
    }
    examples = [{**window, "tokens": words, "activations": [0.1 * i + feature for i in range(30)], "max_activation": 3.0} for _ in range(3)]
    empty = {name: [] for name in ("top_tokens", "promoted", "suppressed", "neighbours", "explanations", "scores")}
    return {"feature": feature, "examples_outcome": "ok", "examples": examples, **empty}


def test_one_feature_is_a_small_range(tmp_path: Path) -> None:
    with sorted_files(tmp_path, "features", FEATURES) as files:
        for first in range(0, WIDTH, GROUP_FEATURES):
            numbers = range(first, min(first + GROUP_FEATURES, WIDTH))
            for part in ([n for n in numbers if n < 4096], [n for n in numbers if n >= 4096]):
                files.add([row(n) for n in part])
        assert files.rows == WIDTH
    first_file, second = sorted(tmp_path.iterdir())
    assert [path.name for path in (first_file, second)] == ["features-000000-004095.parquet", "features-004096-008191.parquet"]
    metadata = pq.read_metadata(first_file)
    assert metadata.num_row_groups == 4096 // GROUP_FEATURES and metadata.row_group(0).column(0).has_column_index
    size, footer = first_file.stat().st_size, metadata.serialized_size
    with Counted(str(first_file)) as file:
        found = pq.read_table(file, filters=[("feature", "==", 1234)])
    assert found["feature"].to_pylist() == [1234] and found["examples"][0][0]["tokens"][0].as_py() == "w368"
    assert file.n_read < footer + (size - footer) / 40 + 70_000, (file.n_read, footer, size)  # of 128 row groups one, and the footer
    asked = duckdb.sql(f"SELECT feature, len(examples) FROM '{tmp_path}/features-*.parquet' WHERE feature = 5999").fetchall()
    assert asked == [(5999, 3)]


def test_any_text_leaves_the_front_matter_whole() -> None:
    front = {"pretty_name": "a: b\n---\n# c <script> \ud83d'\"", "license": "unknown"}
    text = card(front, "# Body\n\n---\n")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "unknown" and body.startswith("\n# Body")
    assert yaml.safe_load(head)["pretty_name"].startswith("a: b\n---\n# c <script>")
