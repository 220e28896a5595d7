"""What is known of a table's partitions after a look, with what questions sum up of them: rows, dictionaries, digests of contents."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import unquote

LEAST_TRUSTED_PARTS = 1_000
"""Partitions of a table below which every look is a whole look."""

SECONDS_A_PART = 1e-5
"""What a whole look takes a partition."""

Stamp = list[Any]
"""Size, time and inode of a file, or on an object store size and tag; empty where there is no file."""


@dataclass
class Part:
    """A partition at its last look. `problem` says why its rows cannot be read; "" where they can. `read_through` says whether the whole
    file was compared with its checksums."""

    folder: str
    manifest_stamp: Stamp
    part_stamp: Stamp
    rows: int = 0
    bytes: int = 0
    footer: int = 0
    version: str = ""
    problem: str = ""
    vouched: bool = False
    read_through: bool = False

    @property
    def values(self) -> dict[str, str]:
        """Values of the partition columns, from the folder's name."""
        return dict(map(_name_and_value, self.folder.split("/")))

    @property
    def content(self) -> str:
        """Names the part's rows."""
        return f"{self.folder} {self.version} {self.footer} {self.bytes} {self.rows}"

    def waits_for(self, budget: int) -> bool:
        """Whether the partition is readable, was not read through yet, and has no more bytes than the budget."""
        return self.vouched and not self.problem and not self.read_through and self.bytes <= budget


@dataclass
class Group:
    """The partitions in one folder, by their own folder; what a query sums up of them is kept with them."""

    parts: dict[str, Part] = field(default_factory=dict)

    @cached_property
    def readable(self) -> list[Part]:
        """The readable partitions."""
        return [part for part in self.parts.values() if part.vouched and not part.problem]

    @cached_property
    def rows(self) -> int:
        """Rows of the readable partitions."""
        return sum(part.rows for part in self.readable)

    @cached_property
    def others(self) -> list[Part]:
        """Partitions that cannot be read, or that no manifest vouches for."""
        return [part for part in self.parts.values() if part.problem or not part.vouched]

    @cached_property
    def unread(self) -> list[Part]:
        """Readable partitions whose bytes were not compared with their checksums yet."""
        return [part for part in self.readable if not part.read_through]

    @cached_property
    def readable_by_dictionary(self) -> dict[str, tuple[list[Part], str]]:
        """Readable partitions by the value of their column `dictionary`, "" without one, and a digest of their contents."""
        groups: dict[str, list[Part]] = {}
        for part in self.readable:
            groups.setdefault(part.values.get("dictionary", ""), []).append(part)
        return {name: (parts, _digest([part.content for part in parts])) for name, parts in groups.items()}

    def forget_sums(self) -> None:
        """Sum up again: a partition has changed."""
        for name in set(self.__dict__) - {"parts"}:
            del self.__dict__[name]


@dataclass
class TableIndex:
    """The partitions of one table, by the folder that holds them, with the listings in which they were found. An index that a look returns
    is never changed by a later look, but for notes on parts that were read."""

    groups: dict[str, Group] = field(default_factory=dict)
    listings: dict[str, list[Any]] = field(default_factory=dict)
    unlisted: dict[str, str] = field(default_factory=dict)
    """Folders that could not be looked into at the last look, with the reason. They are not kept in the file."""

    whole_look: float = 0.0
    """Time of the last look at every partition, seconds since the epoch."""

    @cached_property
    def parts(self) -> dict[str, Part]:
        """All partitions by folder, in path order."""
        return {folder: part for group in self.groups.values() for folder, part in group.parts.items()}

    @property
    def readable(self) -> list[Part]:
        """The readable partitions."""
        return [part for group in self.groups.values() for part in group.readable]

    @property
    def rows(self) -> int:
        """Rows of the readable partitions."""
        return sum(group.rows for group in self.groups.values())

    @property
    def missing(self) -> list[Part]:
        """Partitions with a manifest, or with the rest of one, that cannot be read."""
        return [part for group in self.groups.values() for part in group.others if part.problem]

    @property
    def unvouched(self) -> list[Part]:
        """Parts without a manifest: left by a killed run, or withdrawn."""
        return [part for group in self.groups.values() for part in group.others if not part.problem]

    @property
    def unread(self) -> list[Part]:
        """Readable partitions whose bytes were not compared with their checksums yet."""
        return [part for group in self.groups.values() for part in group.unread]

    @cached_property
    def n_parts(self) -> int:
        """Number of partitions."""
        return sum(len(group.parts) for group in self.groups.values())

    @cached_property
    def by_dictionary(self) -> dict[str, list[Part]]:
        """Readable partitions by dictionary, "" for partitions without one."""
        found: dict[str, list[Part]] = {}
        for group in self.groups.values():
            for name, (parts, _) in group.readable_by_dictionary.items():
                found.setdefault(name, []).extend(parts)
        return found

    @cached_property
    def digests(self) -> dict[str, str]:
        """Names the content of a dictionary's readable partitions, by dictionary."""
        found: dict[str, list[str]] = {}
        for group in self.groups.values():
            for name, (_, digest) in group.readable_by_dictionary.items():
                found.setdefault(name, []).append(digest)
        return {name: _digest(digests) for name, digests in found.items()}

    @property
    def trusted_seconds(self) -> float:
        """Seconds after a whole look in which folders tell of changes: whole looks take about 1/50 of the time. 0 for a table that is
        looked at in some milliseconds."""
        return 0.0 if self.n_parts < LEAST_TRUSTED_PARTS else 50 * SECONDS_A_PART * self.n_parts

    def forget_sums(self, folder: str) -> None:
        """Sum up again: a partition has changed."""
        self.groups[folder.rpartition("/")[0]].forget_sums()
        for name in ("by_dictionary", "digests"):
            self.__dict__.pop(name, None)


def _digest(texts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(texts).encode(errors="surrogateescape"), digest_size=16).hexdigest()


@lru_cache(maxsize=1 << 16)
def _name_and_value(step: str) -> tuple[str, str]:
    name, _, value = step.partition("=")
    return name, unquote(value)
