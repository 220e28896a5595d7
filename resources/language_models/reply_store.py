"""The reply store: every reply under the content address of its question, in Parquet, so that no question is asked twice.

A reply is first a line of its writer's journal, which is in the file before `append` returns: a killed process loses no reply. Every
PART_REPLIES of them, and at the end of a batch, become a Parquet part. A journal whose writer has died becomes one at the next look.
Parts of like size are joined, so that each reply is rewritten a few times at most, however large the store grows.

Every row has a checksum (see `stored_rows`). A part or line that does not fit is set aside into the folder `damaged`, named and counted in
`damaged/damage.jsonl`; its whole rows stay, and the questions of the others are asked again.
"""

import errno
import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resources.language_models.interface import ModelIdentity, Reply
from resources.language_models.stored_rows import (
    CHECK,
    SCHEMA,
    UNREADABLE,
    Salvaged,
    checked_row,
    columns_of,
    footer_of,
    opened_part,
    part_name,
    reply_of,
    rows_of_journal,
    salvaged_from_part,
    whole_rows,
)

log = logging.getLogger(__name__)
PART_REPLIES = 2_048
ROW_GROUP_REPLIES = 16_384
JOIN_PARTS = 8  # so many parts of one class are joined; a class spans a factor of as many in rows
JOIN_BELOW_BYTES = 64 << 20  # larger parts stay as they are, so that joining stays within memory


DAMAGED = "damaged"
MINE_TO_MEND = (PermissionError, IsADirectoryError)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ReplyStoreError(RuntimeError):
    """The store cannot keep or read replies. The message says why and what to do. Replies that were kept before stay."""


@dataclass(frozen=True)
class StoreSize:
    """The size of the store. `n_damaged` files were set aside as damaged, with `n_lost` replies; lost replies are asked again when
    needed."""

    n_replies: int
    n_bytes: int
    n_parts: int
    replies_by_model: dict[str, int]
    n_damaged: int = 0
    n_lost: int = 0


class ReplyStore:
    """A folder of Parquet parts and journals. Parts are written whole (temporary name, fsync, rename) and never changed, so that several
    processes can append at once. The same key may occur in two parts; either reply is right."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._pending: list[dict[str, Any]] = []
        self._journal: IO[bytes] | None = None
        self._journal_path = self.folder
        self._identities: list[ModelIdentity] | None = None

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """The kept replies among `keys`, by key; empty when no reply is kept. Reads replies only where a key is found."""
        self._adopt_journals()
        asked = set(keys)
        wanted = pa.array(sorted(asked), pa.string())
        while True:
            found = {row["key"]: reply_of(row["reply"]) for row in self._pending if row["key"] in asked}
            try:
                for path in self._parts():
                    found.update(self._hits(path, wanted))
                return found
            except FileNotFoundError:
                continue  # another process has just joined the parts: its new part is there, so look again

    def _hits(self, path: Path, wanted: pa.Array) -> dict[str, Reply]:
        """The replies of a part with wanted keys. A damaged part is set aside, and its whole replies are returned."""
        found: dict[str, Reply] = {}
        try:
            with opened_part(path) as part:
                columns = columns_of(part)
                for group in range(part.num_row_groups):
                    hit = pc.is_in(part.read_row_group(group, columns=["key"]).column("key"), wanted)
                    if pc.any(hit).as_py():
                        rows = whole_rows(part, part.read_row_group(group, columns=columns).filter(hit))
                        found.update({row["key"]: reply_of(row["reply"]) for row in rows})
        except UNREADABLE as error:
            asked = set(wanted.to_pylist())
            return {row["key"]: reply_of(row["reply"]) for row in self._set_aside(path, error) if row["key"] in asked}
        return found

    def append(self, key: str, identity: ModelIdentity, reply: Reply) -> None:
        """Keep one reply. An error reply is not kept: its question will be asked again. Raises `ReplyStoreError` on a full disk."""
        if reply.error is None:
            made_by = {"backend": identity.backend, "model": identity.model, "revision": identity.revision}
            row = checked_row({"key": key, **made_by, "time": time.time(), "reply": json.dumps(reply.content())})
            with self._kept_readable():
                self._journal = self._journal or self._open_journal()
                _write_whole(self._journal, json.dumps(row).encode() + b"\n")
            self._pending.append(row)
            if len(self._pending) >= PART_REPLIES:
                self.flush()

    def flush(self) -> None:
        """Turn the journal into a part, and join parts where there are many. Writes nothing when no reply was kept since the last flush."""
        if self._pending:
            with self._kept_readable():
                self._write(pa.Table.from_pylist(self._pending, schema=SCHEMA))
            self._pending = []
            with self._kept_readable():
                self._join()
        if self._journal is not None:
            self._journal_path.unlink(missing_ok=True)
            self._journal.close()
            self._journal = None

    def size(self) -> StoreSize:
        """The size on disk; distinct replies are counted once."""
        self._adopt_journals()
        table = self._distinct(self._parts(), ["key", "model"])
        counts = pc.value_counts(table.column("model").combine_chunks().cast(pa.string())).to_pylist() if table.num_rows else []
        by_model = {entry["values"]: entry["counts"] for entry in counts}
        paths = self._parts()
        return StoreSize(table.num_rows, sum(path.stat().st_size for path in paths), len(paths), by_model, *self._damage())

    def usage(self) -> pa.Table:
        """Replies and their tokens by month and model, the earliest month first: `month` (such as 2026-11, UTC), `model`, `replies`,
        `prompt_tokens`, `cached_tokens`, `completion_tokens`. Each reply counts once, in the month in which it came."""
        import polars as pl

        self._adopt_journals()
        rows = cast(pl.DataFrame, pl.from_arrow(self._distinct(self._parts(), ["key", "model", "time", "reply"])))
        counts = ("prompt_tokens", "cached_tokens", "completion_tokens")
        summed = (
            rows.with_columns(
                pl.from_epoch(pl.col("time").cast(pl.Int64), time_unit="s").dt.strftime("%Y-%m").alias("month"),
                pl.col("model").cast(pl.String),
                *(pl.col("reply").str.json_path_match(f"$.{name}").cast(pl.Int64, strict=False).alias(name) for name in counts),
            )
            .group_by("month", "model")
            .agg(pl.len().cast(pl.Int64).alias("replies"), *(pl.col(name).clip(lower_bound=0).sum() for name in counts))
            .sort("month", "model")
        )
        return summed.to_arrow()

    def identities(self) -> list[ModelIdentity]:
        """The models with kept replies at the time of the first call, also models of earlier releases."""
        if self._identities is None:
            columns = ["backend", "model", "revision"]
            tables = [self._read(path, columns) for path in self._parts()]
            rows = pa.concat_tables(tables).unify_dictionaries().group_by(columns).aggregate([]).to_pylist() if tables else []
            self._identities = [ModelIdentity(**row) for row in rows]
        return self._identities

    def count_older_than(self, time: float) -> int:
        """Number of distinct replies that came before a time, in seconds since 1970."""
        self._adopt_journals()
        return int(pc.sum(pc.less(self._distinct(self._parts(), ["key", "time"]).column("time"), time)).as_py() or 0)

    def prune(self, older_than_days: float | None = None, model: str | None = None) -> int:
        """Remove replies of `model`, if given, that are older than `older_than_days`, if given. Returns the number of removed replies.

        Do not prune while a run is writing: parts that are written meanwhile are kept, but may repeat removed replies.
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

    def forget(self, keys: Iterable[str]) -> int:
        """Remove the replies with these keys, and return their number. Only parts that hold one of them are written again.

        As with `prune`, do not do this while a run is writing.
        """
        self._adopt_journals()
        wanted, forgotten = pa.array(sorted(set(keys)), pa.string()), set[str]()
        for path in self._parts():
            found = pc.is_in(self._read(path, ["key"]).column("key"), wanted)
            if pc.any(found).as_py():
                table = self._read(path, SCHEMA.names)
                gone = pc.is_in(table.column("key"), wanted)
                forgotten |= set(table.filter(gone).column("key").to_pylist())
                self._replace([path], table.filter(pc.invert(gone)))
        return len(forgotten)

    def _join(self) -> None:
        """Join JOIN_PARTS or more parts of one row class into one, for every class of parts below JOIN_BELOW_BYTES that has so many.

        Classes go by rows and not by bytes: a part's bytes hang on the compressor's version, its rows on nothing.
        """
        classes: dict[int, list[Path]] = {}
        try:
            for path in self._parts():
                if 0 < path.stat().st_size < JOIN_BELOW_BYTES:
                    classes.setdefault(_row_class(self._n_rows(path)), []).append(path)
            for paths in classes.values():
                if len(paths) >= JOIN_PARTS:
                    self._replace(paths, self._distinct(paths, SCHEMA.names))
        except FileNotFoundError:
            pass  # another process is joining them

    def _n_rows(self, path: Path) -> int:
        """Rows of a part. A damaged part is set aside, and its whole rows are returned."""
        try:
            with opened_part(path) as part:
                return part.metadata.num_rows
        except UNREADABLE as error:
            return len(self._set_aside(path, error))

    def _replace(self, paths: Sequence[Path], table: pa.Table) -> None:
        """Write `table` as a new part, then remove `paths`: a crash in between leaves only repeated rows."""
        if table.num_rows:
            self._write(table)
        for path in paths:
            path.unlink(missing_ok=True)

    def _distinct(self, paths: Sequence[Path], columns: list[str]) -> pa.Table:
        """These columns of the parts' rows: one row a key, the latest. A damaged part is set aside, and its whole rows are used."""
        schema = pa.schema([SCHEMA.field(name) for name in columns])
        tables = [self._read(path, columns) for path in paths]
        if not tables:
            return schema.empty_table()
        table = pa.concat_tables(tables).unify_dictionaries()
        last: Mapping[str, int] = {key: row for row, key in enumerate(table.column("key").to_pylist())}
        return table if len(last) == table.num_rows else table.take(sorted(last.values()))

    def _read(self, path: Path, columns: list[str]) -> pa.Table:
        """These columns of a part. Where they are all columns, to be written again, every row is compared with its checksum."""
        schema = pa.schema([SCHEMA.field(name) for name in columns])
        try:
            with opened_part(path) as part:
                there = columns_of(part)
                if CHECK not in columns:
                    return part.read(columns=columns).select(columns).cast(schema)
                return pa.Table.from_pylist(list(map(checked_row, whole_rows(part, part.read(columns=there)))), schema=schema)
        except UNREADABLE as error:
            return pa.Table.from_pylist(list(map(checked_row, self._set_aside(path, error))), schema=SCHEMA).select(columns)

    def _set_aside(self, path: Path, error: Exception) -> list[dict[str, Any]]:
        """Write the whole rows of a damaged part as a new part, move the damaged part into the folder `damaged`, and return the rows.

        Raises the error itself where the part's content is not its cause: `FileNotFoundError` for a part that another process has joined,
        and `ReplyStoreError` for a part that may not be read.
        """
        if isinstance(error, FileNotFoundError):
            raise error
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO, errno.EINVAL):
            raise ReplyStoreError(f"{path} cannot be read ({error.strerror}). Give this user the right to read the reply store.") from error
        if isinstance(error, MemoryError) and path.name.count(".") > 1:
            raise error  # the footer is whole, so the cause is a lack of memory on this machine
        salvaged = salvaged_from_part(path)
        if salvaged.rows:
            self._write(pa.Table.from_pylist(list(map(checked_row, salvaged.rows)), schema=SCHEMA))
        with suppress(FileNotFoundError):  # another process has set it aside
            aside = self._aside(path.name)
            path.rename(aside)
            self._note_damage(aside, salvaged, str(error).splitlines()[0] if str(error) else type(error).__name__)
        return salvaged.rows

    def _aside(self, name: str) -> Path:
        """The place of a damaged file. Whatever else stands where its folder should be is moved beside it."""
        folder = self.folder / DAMAGED
        if os.path.lexists(folder) and not folder.is_dir():
            with suppress(FileNotFoundError):  # another process has moved it
                folder.rename(folder.with_name(f"{DAMAGED}-{time.time_ns()}"))
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def _note_damage(self, aside: Path, salvaged: Salvaged, problem: str) -> None:
        """Report a file that was set aside, in the log and in the file that `size` counts."""
        lost = "an unknown number of replies" if salvaged.n_lost is None else f"{salvaged.n_lost:,} replies"
        log.warning(
            f"reply store: {aside.name} is damaged ({problem}) and was set aside as {aside}; {len(salvaged.rows):,} of its replies are "
            f"whole and stay, {lost} will be asked again when they are needed"
        )
        note = {"file": aside.name, "kept": len(salvaged.rows), "lost": salvaged.n_lost, "problem": problem}
        with (self.folder / DAMAGED / "damage.jsonl").open("a") as notes:
            notes.write(json.dumps(note) + "\n")

    def _damage(self) -> tuple[int, int]:
        """(files set aside, replies lost with them as far as known); a file that was removed from the folder by hand no longer counts."""
        notes = self.folder / DAMAGED / "damage.jsonl"
        n_lost: dict[str, int] = {}
        for line in notes.read_text(errors="replace").splitlines() if notes.is_file() else ():
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                note = json.loads(line)
                if isinstance(note["file"], str) and isinstance(note["lost"], int | None):
                    n_lost[note["file"]] = note["lost"] or 0
        there = [name for name in n_lost if "\0" not in name and (self.folder / DAMAGED / name).is_file()]
        return len(there), sum(n_lost[name] for name in there)

    def _open_journal(self) -> IO[bytes]:
        """A new journal of this process, locked as long as the process lives. Each line goes to the file at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"journal-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.jsonl"
        hidden = self.folder / f".{name}.tmp"  # renamed once it is locked, so that nobody takes it for a journal of a dead process
        journal = hidden.open("xb", buffering=0)
        fcntl.flock(journal, fcntl.LOCK_EX)
        self._journal_path = hidden.rename(self.folder / name)
        return journal

    def _adopt_journals(self) -> None:
        """Turn the journals of dead processes into parts. A line that was cut off is dropped; a damaged line is set aside."""
        for path in sorted(self.folder.glob("journal-*.jsonl")):
            with suppress(FileNotFoundError, BlockingIOError, *MINE_TO_MEND), path.open("rb") as journal:
                fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(journal.fileno()).st_nlink:
                    lines = list(rows_of_journal(journal.read()))
                    rows = [checked_row(row) for _, row in lines if row is not None]
                    with self._kept_readable():
                        if rows:
                            self._write(pa.Table.from_pylist(rows, schema=SCHEMA))
                        if bad := [line for line, row in lines if row is None]:
                            aside = self._aside(path.name)
                            aside.write_bytes(b"".join(line.rstrip(b"\n") + b"\n" for line in bad))
                            self._note_damage(aside, Salvaged(rows, len(bad)), f"{len(bad)} of its lines hold no whole reply")
                    path.unlink()

    def _parts(self) -> list[Path]:
        """The parts, oldest first. Anything but a file, such as a link to nowhere, is left out."""
        return sorted(path for path in self.folder.glob("part-*.parquet") if path.is_file())

    def _write(self, table: pa.Table) -> None:
        """Write rows with their checksums as a part, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        temporary = self.folder / f".part-{stem}.parquet.tmp"
        try:
            with temporary.open("wb") as file:
                pq.write_table(table, file, compression="zstd", row_group_size=ROW_GROUP_REPLIES, write_page_checksum=True)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self.folder / part_name(stem, footer_of(temporary)))
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _kept_readable(self) -> Iterator[None]:
        """A block that writes: a full disk, or a folder that may not be written, is a `ReplyStoreError` that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in NO_ROOM:
                raise ReplyStoreError(
                    f"no room left for replies under {self.folder} ({error.strerror}). What was kept stays, and nothing half is left. Make "
                    "room and run again: only what is missing is asked."
                ) from error
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise ReplyStoreError(
                    f"replies cannot be kept under {self.folder} ({error.strerror}). Give this user the right to write there."
                ) from error
            raise


def _write_whole(file: IO[bytes], line: bytes) -> None:
    """Append a line to an unbuffered file, either the whole line or nothing."""
    end = os.fstat(file.fileno()).st_size
    written = 0
    try:
        while written < len(line):
            written += file.write(line[written:])
    except BaseException:
        os.ftruncate(file.fileno(), end)
        file.seek(end)
        raise


def _row_class(n_rows: int) -> int:
    """The k with JOIN_PARTS ** k <= n_rows < JOIN_PARTS ** (k + 1); 0 for no rows. In integers, since a float logarithm may round."""
    row_class = 0
    while n_rows >= JOIN_PARTS ** (row_class + 1):
        row_class += 1
    return row_class
