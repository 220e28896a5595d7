"""Writing a partition: many small parts are gathered, in order, and what failed does not count as complete."""

from collections import Counter
from types import SimpleNamespace

import pyarrow as pa
import pytest

from interp_assets.orchestration.runs import PartitionReport, PartitionTables
from interp_assets.tables import FEATURE_NEIGHBOURS, FEATURE_STATISTICS

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])


class Recorder:
    """A partition's writer that keeps what it is given."""

    def __init__(self) -> None:
        self.parts: list[pa.Table] = []
        self.version = ""

    def add(self, part: pa.Table) -> None:
        self.parts.append(part)

    def commit(self, version: str, inputs: dict) -> SimpleNamespace:
        self.version = version
        return SimpleNamespace(rows=sum(part.num_rows for part in self.parts))


def writer_of(recorders: dict[str, Recorder]) -> tuple[PartitionTables, SimpleNamespace]:
    said: list[str] = []
    log = SimpleNamespace(info=said.append, warning=said.append, error=said.append)
    stage = SimpleNamespace(context=SimpleNamespace(log=log), reports={}, said=said)
    partition = SimpleNamespace(key="cell", data_version="v", inputs={})
    return PartitionTables(stage, partition, recorders), stage  # type: ignore[arg-type]


def row(n: int) -> pa.Table:
    return pa.Table.from_pylist([{"n": n, "text": f"t{n}"}], schema=SCHEMA)


def test_many_small_parts_become_few_row_groups_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartitionTables, "BUFFERED_ROWS", 100)
    monkeypatch.setattr(PartitionTables, "WAITING_PARTS", 7)
    one, other = Recorder(), Recorder()
    writer, _ = writer_of({FEATURE_STATISTICS.name: one, FEATURE_NEIGHBOURS.name: other})
    for n in range(250):
        writer.add(FEATURE_STATISTICS, row(n))
        if n % 50 == 0:
            writer.add(FEATURE_NEIGHBOURS, row(n))
        assert max(map(len, writer._waiting.values())) <= 8
    writer.commit(PartitionReport())
    assert [part.num_rows for part in one.parts] == [100, 100, 50] and [part.num_rows for part in other.parts] == [5]
    assert pa.concat_tables(one.parts).column("text").to_pylist() == [f"t{n}" for n in range(250)]


@pytest.mark.parametrize(
    ("outcomes", "version", "told"),
    [
        ({"ok": 3}, "v", ""), ({"ok": 3, "model_error": 2}, "v-incomplete", "2 questions ended in model_error"),
        ({"failed": 1}, "v-incomplete", "1 outcomes are 'failed'"),
    ],
)  # fmt: skip
def test_a_cell_with_errors_does_not_count_as_complete(outcomes: dict[str, int], version: str, told: str) -> None:
    recorder = Recorder()
    writer, stage = writer_of({FEATURE_STATISTICS.name: recorder})
    writer.commit(PartitionReport(Counter(outcomes)))
    assert recorder.version == version and told in " ".join(stage.said)
