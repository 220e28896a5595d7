"""Partitions that hold some features of their range alone: `interp run --features` writes them, and the next whole run replaces them.

Such a partition has the data version that it would have as a whole, followed by a mark and a fingerprint of its features. So it never
counts as complete, and stages after it compute the version of their own inputs without the mark.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from interp_assets.config.base import fingerprint
from interp_assets.orchestration.stage import Versioned, Versions
from resources.store.lake import Manifest

_MARK = "-features-"
_NARROWED = re.compile(rf"(?P<whole>.+){_MARK}[0-9a-f]+(?P<rest>.*)")
FEATURES_MADE = "features made"
"""Name under which the manifest's inputs keep the features of such a partition, between commas."""


def narrowed_version(whole: str, features: Sequence[int]) -> str:
    """The version of a partition that holds these features alone and would have the version `whole`."""
    return f"{whole}{_MARK}{fingerprint(sorted(features))}"


def whole_version(version: str) -> str:
    """A version without the mark of its features; the version itself where it has none."""
    return found["whole"] + found["rest"] if (found := _NARROWED.fullmatch(version)) else version


def features_made(manifest: Manifest | None) -> frozenset[int] | None:
    """The features that a partition holds alone; None for a whole partition, and for a missing one."""
    if manifest is None or _MARK not in manifest.data_version:
        return None
    return frozenset(int(one) for one in manifest.inputs.get(FEATURES_MADE, "").split(",") if one)


def made_of(made: Manifest, name: str, present: str) -> bool:
    """Whether a partition was made of the input `name` as it is at present, by its data version; also where it has no such input."""
    return made.inputs.get(name, present) in (present, whole_version(present))


@dataclass(frozen=True)
class _Version:
    data_version: str


class WholeVersions:
    """The versions of another source without the marks of features: partitions of some features count as whole inputs."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    def manifest(self, table: str, partition: Mapping[str, str]) -> Versioned | None:
        """The version of a partition; None where the partition is missing."""
        found = self._versions.manifest(table, partition)
        return None if found is None else _Version(whole_version(found.data_version))

    def require(self, table: str, partition: Mapping[str, str]) -> Versioned:
        """The version of a partition. Raises `LakeError` naming the partition where it is missing."""
        return _Version(whole_version(self._versions.require(table, partition).data_version))
