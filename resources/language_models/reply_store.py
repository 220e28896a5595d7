"""The reply store: every reply under the content address of its question, in Parquet, so that nothing is ever asked twice.

A reply is first a line of its writer's journal, in the file before `append` returns: a killed process loses none. Every
PART_REPLIES of them, and at the end of a batch, become a Parquet part. A journal whose writer has died becomes one at the next look.
Parts of like size are joined, so that each reply is rewritten a few times at most, however large the store grows.
"""

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resources.language_models.interface import ModelIdentity, Reply

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False, metadata={"unit": "content address: SHA-256 of model and request"}),
        pa.field("backend", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("model", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("revision", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("time", pa.float64(), nullable=False, metadata={"unit": "seconds since 1970, when the reply came"}),
        pa.field("reply", pa.string(), nullable=False, metadata={"unit": "the reply as JSON"}),
    ]
)
PART_REPLIES = 2_048
ROW_GROUP_REPLIES = 16_384
JOIN_PARTS = 8  # so many parts of one class are joined; a class spans a factor of as many in rows
JOIN_BELOW_BYTES = 64 << 20  # larger parts stay as they are, so that joining stays within memory


@dataclass(frozen=True)
class StoreSize:
    """How much is kept."""

    n_replies: int
    n_bytes: int
    n_parts: int
    replies_by_model: dict[str, int]


class ReplyStore:
    """A folder of Parquet parts and journals. Parts are written whole (temporary name, fsync, rename) and never changed, so that
    several processes can append at once; the same key may stand in two parts, and either reply is right."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._pending: list[dict[str, Any]] = []
        self._journal: IO[bytes] | None = None
        self._journal_path = self.folder

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """The kept replies among `keys`, by key; empty when none is kept. Reads replies only where there is a hit."""
        self._adopt_journals()
        asked = set(keys)
        wanted = pa.array(sorted(asked), pa.string())
        while True:
            found = {row["key"]: _reply(row["reply"]) for row in self._pending if row["key"] in asked}
            try:
                for path in self._parts():
                    with pq.ParquetFile(path) as part:
                        for group in range(part.num_row_groups):
                            hit = pc.is_in(part.read_row_group(group, columns=["key"]).column("key"), wanted)
                            if pc.any(hit).as_py():
                                rows = part.read_row_group(group, columns=["key", "reply"]).filter(hit).to_pylist()
                                found.update({row["key"]: _reply(row["reply"]) for row in rows})
                return found
            except FileNotFoundError:
                continue  # another process has just joined the parts: its new part is there, so look again

    def append(self, key: str, identity: ModelIdentity, reply: Reply) -> None:
        """Keep one reply. A reply that is an error is not kept: it will be asked again."""
        if reply.error is None:
            row = {"backend": identity.backend, "model": identity.model, "revision": identity.revision}
            self._pending.append({"key": key, **row, "time": time.time(), "reply": json.dumps(reply.content())})
            self._journal = self._journal or self._open_journal()
            self._journal.write(json.dumps(self._pending[-1]).encode() + b"\n")
            if len(self._pending) >= PART_REPLIES:
                self.flush()

    def flush(self) -> None:
        """Turn the journal into a part, and join parts where there are many. Nothing kept since the last time: nothing written."""
        if self._pending:
            self._write(pa.Table.from_pylist(self._pending, schema=SCHEMA))
            self._pending = []
            self._join()
        if self._journal is not None:
            self._journal_path.unlink(missing_ok=True)
            self._journal.close()
            self._journal = None

    def size(self) -> StoreSize:
        """What is on disk, distinct replies counted once."""
        self._adopt_journals()
        paths = self._parts()
        table = self._distinct(paths, ["key", "model"])
        counts = pc.value_counts(table.column("model").combine_chunks().cast(pa.string())).to_pylist() if table.num_rows else []
        by_model = {entry["values"]: entry["counts"] for entry in counts}
        return StoreSize(table.num_rows, sum(path.stat().st_size for path in paths), len(paths), by_model)

    def prune(self, older_than_days: float | None = None, model: str | None = None) -> int:
        """Number of replies forgotten: those of `model`, if given, that are older than `older_than_days`, if given.

        Do not prune while a run is writing: parts written meanwhile are kept, but may repeat what was pruned.
        """
        self._adopt_journals()
        paths = self._parts()
        table = self._distinct(paths, SCHEMA.names)
        doomed = pa.array([True] * table.num_rows, pa.bool_())
        if older_than_days is not None:
            doomed = pc.and_(doomed, pc.less(table.column("time"), time.time() - older_than_days * 86_400))
        if model is not None:
            doomed = pc.and_(doomed, pc.equal(table.column("model").cast(pa.string()), model))
        kept = table.filter(pc.invert(doomed))
        self._replace(paths, kept)
        return table.num_rows - kept.num_rows

    def _join(self) -> None:
        """Join JOIN_PARTS or more parts of one row class into one, for every class of parts below JOIN_BELOW_BYTES that has so many.

        Classes go by rows and not by bytes: a part's bytes hang on the compressor's version, its rows on nothing.
        """
        classes: dict[int, list[Path]] = {}
        try:
            for path in self._parts():
                if 0 < path.stat().st_size < JOIN_BELOW_BYTES:
                    classes.setdefault(_row_class(pq.read_metadata(path).num_rows), []).append(path)
            for paths in classes.values():
                if len(paths) >= JOIN_PARTS:
                    self._replace(paths, self._distinct(paths, SCHEMA.names))
        except FileNotFoundError:
            pass  # another process is joining them

    def _replace(self, paths: Sequence[Path], table: pa.Table) -> None:
        """Write `table` as a new part, then remove `paths`: a crash in between only leaves repeated rows."""
        if table.num_rows:
            self._write(table)
        for path in paths:
            path.unlink(missing_ok=True)

    def _distinct(self, paths: Sequence[Path], columns: list[str]) -> pa.Table:
        """These columns of the parts' rows, one row a key, the latest."""
        if not paths:
            return pa.schema([SCHEMA.field(name) for name in columns]).empty_table()
        table = pa.concat_tables([pq.read_table(path, schema=SCHEMA, columns=columns) for path in paths]).unify_dictionaries()
        last: Mapping[str, int] = {key: row for row, key in enumerate(table.column("key").to_pylist())}
        return table if len(last) == table.num_rows else table.take(sorted(last.values()))

    def _open_journal(self) -> IO[bytes]:
        """A new journal of this process, locked as long as it lives; each line goes to the file at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"journal-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.jsonl"
        hidden = self.folder / f".{name}.tmp"  # named only once it is locked, so that nobody takes it for a dead one
        journal = hidden.open("xb", buffering=0)
        fcntl.flock(journal, fcntl.LOCK_EX)
        self._journal_path = hidden.rename(self.folder / name)
        return journal

    def _adopt_journals(self) -> None:
        """Turn the journals of dead processes into parts; a line that was cut off by the death is dropped."""
        for path in sorted(self.folder.glob("journal-*.jsonl")):
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as journal:
                fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(journal.fileno()).st_nlink:
                    whole = [line for line in journal.read().splitlines(keepends=True) if line.endswith(b"\n")]
                    if whole:
                        self._write(pa.Table.from_pylist([json.loads(line) for line in whole], schema=SCHEMA))
                    path.unlink()

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def _write(self, table: pa.Table) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        temporary = self.folder / f".{name}.tmp"
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd", row_group_size=ROW_GROUP_REPLIES)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / name)


def _row_class(n_rows: int) -> int:
    """The k with JOIN_PARTS ** k <= n_rows < JOIN_PARTS ** (k + 1); 0 for no rows. In integers, since a float logarithm may round."""
    row_class = 0
    while n_rows >= JOIN_PARTS ** (row_class + 1):
        row_class += 1
    return row_class


def _reply(text: str) -> Reply:
    """The reply in its JSON form, tuples restored. Fields that a reply does not have, of stores of other versions, are left out."""
    stored = json.loads(text)
    return Reply(**{field.name: _tuples(stored[field.name]) for field in fields(Reply) if field.name in stored})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
