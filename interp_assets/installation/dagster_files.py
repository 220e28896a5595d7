"""Checks Dagster's own files of a home, so that problems are named before Dagster fails on each."""

import contextlib
import errno
import os
import resource
import shutil
from pathlib import Path

CHECKED_BYTES = 512 << 20
"""A larger database is not read whole before a start. Unit: bytes."""
ROOM = "make room there; what is finished is kept, and the same command continues"
FULL_BYTES = 1 << 20
"""A disk with less room counts as full where a database cannot write. Unit: bytes."""


PROBE_BYTES, GROWTH_BYTES = 64 << 10, 1 << 20
"""Bytes that are written to try a disk, and how much larger than the largest database a file must be allowed to grow."""


def room_remedy(why: str) -> str | None:
    """The next step where a file could not grow, by what the system or a library says; None where it says another thing."""
    if os.strerror(errno.EFBIG) in why:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit == resource.RLIM_INFINITY:
            return "this disk takes no file so large: name a home on another disk in INTERP_HOME"
        return f"a file may have at most {limit:,} bytes here: raise the limit (`ulimit -f unlimited`); what is finished is kept"
    if os.strerror(errno.EDQUOT) in why:
        return f"this user's share of the disk is used up: {ROOM}"
    return ROOM if os.strerror(errno.ENOSPC) in why else None


def database_problem(error: BaseException, folder: Path | None = None) -> str | None:
    """What Dagster's database, or DuckDB, cannot do at the moment, with the next step; None for any other error. `folder` holds Dagster's
    database."""
    kind = type(error).__module__.partition(".")[0]
    if kind in ("duckdb", "_duckdb"):
        said = str(error).splitlines()[0]
        return f"{said}; {remedy}" if (remedy := room_remedy(said)) else None
    said = str(error.__dict__.get("orig") or "")  # of SQLAlchemy, which wraps the error of the database itself
    if kind != "sqlalchemy" or not said:
        return None
    if "locked" in said:
        return f"Dagster's database is held by another program ({said}), such as a backup: end it; the same command continues"
    if "I/O" in said and folder is not None and (why := unwritable(folder)) is not None and (remedy := room_remedy(why)):
        return f"Dagster's database in {folder} cannot be written ({why}): {remedy}"
    if "full" in said or ("I/O" in said and folder is not None and shutil.disk_usage(folder).free < FULL_BYTES):
        return f"there is no room left for Dagster's database{f' in {folder}' if folder else ''} ({said}): {ROOM}"
    return f"Dagster's database does not answer: {said.splitlines()[0]}. `interp doctor` says what is damaged"


def unwritable(folder: Path) -> str | None:
    """Why Dagster's databases in a folder cannot be written, or cannot grow, in the words of the system; None where they can."""
    probe = folder / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
        os.truncate(probe, max((path.stat().st_size for path in folder.rglob("*.db")), default=0) + GROWTH_BYTES)  # takes no room
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink()
        return error.strerror or str(error)
    return None


def damaged_databases(folder: Path) -> dict[Path, str]:
    """Dagster's SQLite files under `folder` that cannot be read, with the reasons. Only the first pages of large files are read."""
    import sqlite3

    found: dict[Path, str] = {}
    for path in sorted(folder.rglob("*.db")):
        try:
            with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
                if path.stat().st_size <= CHECKED_BYTES:
                    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                else:
                    said = "ok" if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() else "no schema"
        except sqlite3.OperationalError as error:
            said = "ok" if "locked" in str(error) else str(error)  # in use: no sign of damage
        except sqlite3.DatabaseError as error:
            said = str(error)
        if said != "ok":
            found[path] = said
    return found


def unusable_home(folder: Path) -> str | None:
    """The reason why Dagster cannot work in `folder`, with the next step; None where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        why = unwritable(folder)
    except OSError as error:
        why = error.strerror or str(error)
    if why and (remedy := room_remedy(why)):
        return f"{folder} cannot be written: {why}; {remedy}"
    if why:
        return (
            f"{folder} cannot be written: {why}. It belongs to another user or is mounted read-only. "
            "Make it writable, or name another home in INTERP_HOME."
        )
    damaged = damaged_databases(folder)
    if damaged:
        named = "; ".join(f"{path}: {why}" for path, why in damaged.items())
        return (
            f"Dagster's database is damaged ({named}). Results are not in it, nor replies: they are kept. Move {folder} away and run the "
            "same command again: Dagster begins a new history there, and what the lake holds complete is not made again."
        )
    return None
