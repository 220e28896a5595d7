"""Manifests: small JSON files that mark partitions as complete. Each has its own checksum, so that a changed manifest is not valid."""

import json
import zlib
from dataclasses import asdict, dataclass, fields
from typing import Any

CHECK = "manifest_crc32"
KINDS: dict[str, type | tuple[type, ...]] = {
    "table": str, "partition": dict, "rows": int, "bytes": int, "schema_version": int, "data_version": str, "inputs": dict,
    "footer_crc32": int,
}  # fmt: skip


class BadManifest(ValueError):
    """A manifest that is not valid. The message names the fault."""


@dataclass(frozen=True)
class Manifest:
    """The mark of a complete partition: written last, so a partition without a manifest is not complete.

    `data_version` names the content: a hash over the code's version, the settings and the versions of the inputs. `footer_crc32` is the
    checksum of the file's footer, which the page checksums leave out; `file_crc32` is the checksum of the whole file, with the headers of
    its pages (None in the manifests of earlier releases). No clock times are kept, so that identical runs leave identical bytes.
    """

    table: str
    partition: dict[str, str]
    rows: int
    bytes: int
    schema_version: int
    data_version: str
    inputs: dict[str, str]
    footer_crc32: int
    file_crc32: int | None = None


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest's file."""
    content = asdict(manifest)
    return json.dumps({**content, CHECK: _check(content)}, indent=1).encode()


def parsed_manifest(content: bytes, schema_version: int) -> Manifest:
    """The manifest in a file's content. A manifest without a checksum, of an earlier release, is accepted where its fields have their
    types.

    Raises `BadManifest` for a manifest that is empty, cut off, changed, or of another schema version.
    """
    if not content.strip():
        raise BadManifest("it is empty")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise BadManifest("it is not JSON: cut off or damaged") from None
    if not isinstance(found, dict):
        raise BadManifest(f"it holds a {type(found).__name__}, not a manifest")
    check = found.pop(CHECK, None)
    names = [field.name for field in fields(Manifest)]
    if missing := [name for name in KINDS if name not in found]:
        raise BadManifest(f"it has no {', '.join(missing)}")
    if found["schema_version"] != schema_version:
        raise BadManifest(f"it was written under schema version {found['schema_version']}, this code reads {schema_version}")
    known: dict[str, Any] = {name: found.get(name) for name in names}
    for name, kind in KINDS.items():
        if not isinstance(known[name], kind) or isinstance(known[name], bool) or (kind is int and known[name] < 0):
            raise BadManifest(f"its {name} is {str(known[name])[:60]!r}")
    if not isinstance(known["file_crc32"], int | None):
        raise BadManifest(f"its file_crc32 is {str(known['file_crc32'])[:60]!r}")
    if not all(isinstance(text, str) for text in (*known["partition"].values(), *known["inputs"].values())):
        raise BadManifest("its partition or inputs hold values that are no text")
    if check is None and "file_crc32" in found:
        raise BadManifest("it is not what was written: its checksum is missing")
    if check is not None and check != _check(found):
        raise BadManifest("it is not what was written: its checksum does not fit")
    return Manifest(**known)


def _check(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
