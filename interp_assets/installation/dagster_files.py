"""Checks Dagster's own files of a home, so that problems are named before Dagster fails on each."""

import contextlib
import os
import sqlite3
from pathlib import Path

CHECKED_BYTES = 512 << 20
"""A larger database is not read whole before a start. Unit: bytes."""


def damaged_databases(folder: Path) -> dict[Path, str]:
    """Dagster's SQLite files under `folder` that cannot be read, with the reasons. Only the first pages of large files are read."""
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
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return (
            f"{folder} cannot be written: {error.strerror or error}. It belongs to another user, is mounted read-only or is full. "
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
