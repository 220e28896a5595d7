"""The marker of a lake: the schema version that it was written under."""

import contextlib
import json
import logging
import os

from resources.store.lake_errors import LakeError
from resources.store.lake_files import MANIFEST, LakeFiles

log = logging.getLogger(__name__)

MARKER = "lake.json"


def refuse_other_version(files: LakeFiles, schema_version: int) -> None:
    """Raise `LakeError` when the lake was written under another schema version."""
    found = _marked_version(files, schema_version)
    if found != schema_version:
        raise LakeError(
            f"the lake at {files.url} has schema version {found}, this code reads and writes version {schema_version}. "
            "Use the release that wrote it, or point INTERP_HOME at a new folder and materialise again."
        )


def is_marked(files: LakeFiles) -> bool:
    """Whether the lake has a marker: a lake with anything in it has one."""
    return files.fs.exists(_marker(files))


def mark(files: LakeFiles, schema_version: int) -> None:
    """Create the lake under this code's schema version."""
    if files.is_local:
        files.fs.makedirs(files.root, exist_ok=True)
    files.put(_marker(files), json.dumps({"schema_version": schema_version}).encode())


def _marked_version(files: LakeFiles, schema_version: int) -> int:
    """Schema version that the lake was written under; the version of this code for a lake that does not exist yet.

    A marker that is lost or damaged is written again where the manifests have this version. Raises `LakeError` where they have another.
    """
    marker = _marker(files)
    problem = "is lost"
    if is_marked(files):
        try:
            version = json.loads(files.fs.cat_file(marker))["schema_version"]
            if type(version) is int:
                return version
            problem = f"names the schema version {version!r}"
        except (ValueError, KeyError, TypeError, RecursionError):
            problem = "is empty or damaged"
    version = _version_of_manifests(files)
    if version is not None:
        if version != schema_version:
            raise LakeError(
                f"{marker} {problem}, and the lake's manifests are of schema version {version}; this code reads and writes version "
                f"{schema_version}. Use the release that wrote it, or point INTERP_HOME at a new folder and materialise again."
            )
        log.warning(f"{marker} {problem}: it is written again, for schema version {version}, which the lake's manifests are of")
        files.put(marker, json.dumps({"schema_version": version}).encode())
    return schema_version


def _version_of_manifests(files: LakeFiles) -> int | None:
    """Schema version of the first manifest with a version; None without such a manifest."""
    for folder, _, names in (os.walk if files.is_local else files.fs.walk)(files.root):
        if MANIFEST in names:
            with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                version = json.loads(files.fs.cat_file(f"{folder}/{MANIFEST}"))["schema_version"]
                if type(version) is int:
                    return version
    return None


def _marker(files: LakeFiles) -> str:
    return f"{files.root}/{MARKER}"
