"""What is known of a table's partitions after a look, with what questions sum up of them: rows, dictionaries, digests of contents."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import quote, unquote

LEAST_TRUSTED_PARTS = 1_000
"""Partitions of a table below which every look is a whole look."""

SECONDS_A_PART = 2e-5
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


@dataclass(frozen=True)
class GroupSums:
    """What most questions need of the partitions in a folder: numbers, and digests of the readable partitions by dictionary ("" for
    partitions without one). `whole`: every partition is readable."""

    n_parts: int
    n_unread: int
    rows: int
    whole: bool
    digests: dict[str, str]


class Group:
    """The partitions in one folder, by their own folder, with their sums. A group of a stored index is read from its line when a partition
    of it is asked for: most questions ask for few."""

    def __init__(self, parts: dict[str, Part] | None = None, line: bytes = b"", sums: GroupSums | None = None) -> None:
        """A group of `parts`, or of a `line` of a stored index with its sums."""
        self._parts = {} if parts is None and not line else parts
        self._line = line
        self._sums = sums

    @property
    def parts(self) -> dict[str, Part]:
        """The partitions by folder."""
        if self._parts is None:
            self._parts = {row[0]: Part(*row) for row in json.loads(self._line)}
        return self._parts

    @property
    def line(self) -> bytes:
        """The partitions as a line of a stored index."""
        if not self._line:
            self._line = json.dumps([list(vars(part).values()) for part in self.parts.values()], separators=(",", ":")).encode()
        return self._line

    @property
    def sums(self) -> GroupSums:
        """Sums over the partitions."""
        if self._sums is None:
            readable = self.readable
            unread = sum(not part.read_through for part in readable)
            digests = {name: _digest([part.content for part in parts]) for name, parts in self.readable_by_dictionary.items()}
            rows = sum(part.rows for part in readable)
            self._sums = GroupSums(len(self.parts), unread, rows, len(readable) == len(self.parts), digests)
        return self._sums

    @property
    def readable(self) -> list[Part]:
        """The readable partitions."""
        return [part for part in self.parts.values() if part.vouched and not part.problem]

    @property
    def others(self) -> list[Part]:
        """Partitions that cannot be read, or that no manifest vouches for."""
        return [] if self.sums.whole else [part for part in self.parts.values() if part.problem or not part.vouched]

    @property
    def readable_by_dictionary(self) -> dict[str, list[Part]]:
        """Readable partitions by the value of their column `dictionary`, "" without one."""
        groups: dict[str, list[Part]] = {}
        for part in self.readable:
            groups.setdefault(part.values.get("dictionary", ""), []).append(part)
        return groups

    def forget_sums(self) -> None:
        """Sum up again: a partition has changed."""
        self._parts, self._line, self._sums = self.parts, b"", None


class PartsByDictionary(Mapping[str, list[Part]]):
    """Readable partitions by dictionary, "" for partitions without one. Partitions of a dictionary are read when they are asked for."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._groups: dict[str, list[Group]] = {}
        for group in groups:
            for name in group.sums.digests:
                self._groups.setdefault(name, []).append(group)

    def __getitem__(self, name: str) -> list[Part]:
        return [part for group in self._groups[name] for part in group.readable_by_dictionary[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)


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

    lost: int = 0
    """Number of partitions that an earlier look found in a lake that holds nothing now. It is not kept in the file."""

    hidden: dict[str, str] = field(default_factory=dict)
    """Why the partitions of a dictionary are left out, by its key: see `without`. It is not kept in the file."""

    def without(self, hidden: Mapping[str, str]) -> "TableIndex":
        """The index without the partitions of some dictionaries, of which `hidden` says why; itself where it has none of them."""
        steps = {f"dictionary={quote(key, safe='')}": key for key in hidden}
        groups: dict[str, Group] = {}
        left_out = set[str]()
        for folder, group in self.groups.items() if steps else ():
            of_group = {steps[step] for step in folder.split("/") if step in steps}
            kept = {} if of_group else {at: part for at, part in group.parts.items() if at.rpartition("/")[2] not in steps}
            left_out |= of_group or {steps[step] for at in group.parts if (step := at.rpartition("/")[2]) in steps}
            if kept:
                groups[folder] = group if len(kept) == len(group.parts) else Group(kept)
        return self if not left_out else replace(self, groups=groups, hidden={key: hidden[key] for key in sorted(left_out)})

    @cached_property
    def parts(self) -> dict[str, Part]:
        """All partitions by folder, in path order."""
        return {folder: part for group in self.groups.values() for folder, part in group.parts.items()}

    @property
    def readable(self) -> list[Part]:
        """The readable partitions."""
        return [part for group in self.groups.values() for part in group.readable]

    @cached_property
    def rows(self) -> int:
        """Rows of the readable partitions."""
        return sum(group.sums.rows for group in self.groups.values())

    @cached_property
    def _others(self) -> list[Part]:
        """Partitions that cannot be read, or that no manifest vouches for."""
        return [part for group in self.groups.values() for part in group.others]

    @property
    def missing(self) -> list[Part]:
        """Partitions with a manifest, or with the rest of one, that cannot be read."""
        return [part for part in self._others if part.problem]

    @property
    def unvouched(self) -> list[Part]:
        """Partitions with a part and without a manifest: a killed run left them, or they were withdrawn as damaged."""
        return [part for part in self._others if not part.problem]

    @cached_property
    def n_unread(self) -> int:
        """Number of readable partitions whose bytes were not compared with their checksums yet."""
        return sum(group.sums.n_unread for group in self.groups.values())

    @cached_property
    def n_parts(self) -> int:
        """Number of partitions."""
        return sum(group.sums.n_parts for group in self.groups.values())

    @cached_property
    def by_dictionary(self) -> PartsByDictionary:
        """Readable partitions by dictionary, "" for partitions without one."""
        return PartsByDictionary(self.groups.values())

    @cached_property
    def digests(self) -> dict[str, str]:
        """Names the content of a dictionary's readable partitions, by dictionary."""
        found: dict[str, list[str]] = {}
        for group in self.groups.values():
            for name, digest in group.sums.digests.items():
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
        for name in ("rows", "_others", "n_unread", "n_parts", "by_dictionary", "digests"):
            self.__dict__.pop(name, None)


def _digest(texts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(texts).encode(errors="surrogateescape"), digest_size=16).hexdigest()


@lru_cache(maxsize=1 << 16)
def _name_and_value(step: str) -> tuple[str, str]:
    name, _, value = step.partition("=")
    return name, unquote(value)
