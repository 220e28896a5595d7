"""The reply store: every reply under the content address of its question, in Parquet, so that nothing is ever asked twice."""

import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
COMPACT_ABOVE_PARTS = 200


@dataclass(frozen=True)
class StoreSize:
    """How much is kept."""

    n_replies: int
    n_bytes: int
    n_parts: int
    replies_by_model: dict[str, int]


class ReplyStore:
    """A folder of Parquet parts. Parts are written whole (temporary name, fsync, rename) and never changed, so that several
    processes can append at once; the same key may stand in two parts, and either reply is right."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._pending: list[dict[str, Any]] = []

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """The kept replies among `keys`, by key; empty when none is kept."""
        wanted = pa.array(sorted(set(keys)), pa.string())
        while True:
            found: dict[str, Reply] = {}
            try:
                for path in self._parts():
                    table = pq.read_table(path, columns=["key", "reply"])
                    hits = table.filter(pc.is_in(table.column("key"), wanted))
                    found.update({row["key"]: _reply(row["reply"]) for row in hits.to_pylist()})
                return found
            except FileNotFoundError:
                continue  # another process has just joined the parts: its new part is there, so look again

    def append(self, key: str, identity: ModelIdentity, reply: Reply) -> None:
        """Hold one reply for the next `flush`. A reply that is an error is not kept: it will be asked again."""
        if reply.error is None:
            row = {"backend": identity.backend, "model": identity.model, "revision": identity.revision}
            self._pending.append({"key": key, **row, "time": time.time(), "reply": json.dumps(asdict(reply))})

    @property
    def n_pending(self) -> int:
        """Replies held in memory, lost if the process is killed now."""
        return len(self._pending)

    def flush(self) -> None:
        """Write what is held as one part. Nothing held: nothing written."""
        if self._pending:
            self._write(pa.Table.from_pylist(self._pending, schema=SCHEMA))
            self._pending = []

    def size(self) -> StoreSize:
        """What is on disk, distinct replies counted once."""
        paths = self._parts()
        table = self._read(paths)
        counts = pc.value_counts(table.column("model").combine_chunks().cast(pa.string())).to_pylist() if table.num_rows else []
        by_model = {entry["values"]: entry["counts"] for entry in counts}
        return StoreSize(table.num_rows, sum(path.stat().st_size for path in paths), len(paths), by_model)

    def prune(self, older_than_days: float | None = None, model: str | None = None) -> int:
        """Number of replies forgotten: those of `model`, if given, that are older than `older_than_days`, if given.

        Do not prune while a run is writing: parts written meanwhile are kept, but may repeat what was pruned.
        """
        paths = self._parts()
        table = self._read(paths)
        doomed = pa.array([True] * table.num_rows, pa.bool_())
        if older_than_days is not None:
            doomed = pc.and_(doomed, pc.less(table.column("time"), time.time() - older_than_days * 86_400))
        if model is not None:
            doomed = pc.and_(doomed, pc.equal(table.column("model").cast(pa.string()), model))
        kept = table.filter(pc.invert(doomed))
        self._replace(paths, kept)
        return table.num_rows - kept.num_rows

    def compact(self) -> None:
        """Join the parts into one when there are many."""
        paths = self._parts()
        if len(paths) > COMPACT_ABOVE_PARTS:
            with suppress(FileNotFoundError):  # another process is joining them
                self._replace(paths, self._read(paths))

    def _replace(self, paths: Sequence[Path], table: pa.Table) -> None:
        """Write `table` as a new part, then remove `paths`: a crash in between only leaves repeated rows."""
        if table.num_rows:
            self._write(table)
        for path in paths:
            path.unlink(missing_ok=True)

    def _read(self, paths: Sequence[Path]) -> pa.Table:
        """All rows of the parts, one a key."""
        if not paths:
            return SCHEMA.empty_table()
        table = pa.concat_tables([pq.read_table(path, schema=SCHEMA) for path in paths]).unify_dictionaries()
        keys = table.column("key").to_pylist()
        last: Mapping[str, int] = {key: row for row, key in enumerate(keys)}
        return table.take(sorted(last.values()))

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def _write(self, table: pa.Table) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        temporary = self.folder / f".{name}.tmp"
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / name)


def _reply(text: str) -> Reply:
    """The reply in its JSON form, tuples restored."""
    fields = json.loads(text)
    if fields["answer_probabilities"] is not None:
        fields["answer_probabilities"] = tuple(tuple(row) for row in fields["answer_probabilities"])
    if fields["prompt_logprobs"] is not None:
        fields["prompt_logprobs"] = tuple(fields["prompt_logprobs"])
    return Reply(**fields)
