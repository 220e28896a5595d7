"""Arrow tables in files that are mapped into memory: what the explorer has prepared, and may make again at any time."""

import contextlib
from pathlib import Path

import pyarrow as pa


def kept_table(place: Path) -> pa.Table | None:
    """The table in a file, mapped into memory; None where there is none or it is damaged."""
    with contextlib.suppress(OSError, pa.ArrowException):
        return pa.ipc.open_file(pa.memory_map(str(place))).read_all()
    return None


def keep_table(place: Path, table: pa.Table) -> None:
    """Write a table whole, and remove earlier files of its name: names end in `-<state>.<suffix>`. Raises OSError where the folder may not
    be written."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.tmp")
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    temporary.replace(place)
    for earlier in place.parent.glob(f"{place.stem.rpartition('-')[0]}-*{place.suffix}"):
        if earlier != place:
            earlier.unlink(missing_ok=True)
