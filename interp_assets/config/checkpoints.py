"""Checkpoints of a training run: which folder is watched, which names are checkpoints, and the record that each checkpoint gets."""

import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from interp_assets.config.base import Closed, UserError, validated
from interp_assets.config.records import DictionaryRecord

STEP = re.compile(r"\{step(?::0([1-9]\d?)d)?\}")
"""The step in a pattern, or in a string of the record: `{step}`, or `{step:06d}` with zeros in front."""

RUN = "{run}"
"""The name of a training run in a pattern, or in a string of the record."""

LARGEST_STEP = 1 << 53

NAMED = 3
"""Most names that fit no pattern in a line."""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk, a file or a folder: its step, and its run where the pattern names one."""

    path: Path
    step: int
    run: str = ""


class WatchedFolder(Closed):
    """A folder into which a training run writes checkpoints. Each checkpoint becomes a dictionary once it is written whole."""

    folder: Annotated[str, Field(min_length=1)]
    """The folder. It may still be missing. Unit: path."""
    pattern: str = "{step}"
    """Names of checkpoints in the folder, files or folders: `{step}` stands for a whole number, `{run}` for the name of a run, `*` for any
    characters but a slash; `/` goes into a folder. SAELens writes `{run}/{step}`."""
    record: dict[str, Any]
    """The record of each checkpoint. `{step}` or `{step:08d}` in its texts is the checkpoint's step, `{run}` is its run, and `{path}` is
    where the checkpoint is. The key needs `{step}`. Without a source, the source is `{path}`."""
    every: Annotated[int, Field(ge=1, le=LARGEST_STEP)] = 1
    """Only steps that are multiples of this number are registered. Unit: steps."""
    settle_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """A checkpoint is registered when none of its files has changed for so long, since a training run may still be writing. Unit:
    seconds."""

    @field_validator("pattern")
    @classmethod
    def _one_step(cls, pattern: str) -> str:
        if len(STEP.findall(pattern)) != 1:
            raise ValueError(f"{pattern!r} needs {{step}} once, such as ae_{{step}}.pt or {{run}}/{{step}}")
        if pattern.count(RUN) > 1:
            raise ValueError(f"{pattern!r} names {{run}} more than once: name it once")
        if pattern.startswith("/") or ".." in pattern.split("/"):
            raise ValueError(f"{pattern!r} leaves the folder: write the pattern relative to it")
        return pattern

    @model_validator(mode="after")
    def _a_record_for_each_step(self) -> Self:
        if not STEP.search(str(self.record.get("key", ""))):
            raise ValueError(f"record.key is {self.record.get('key')!r}: it needs {{step}}, since each checkpoint is one dictionary")
        if (RUN in self.pattern) != (RUN in self.record["key"]):
            raise ValueError("{run} stands in the pattern and in record.key, or in neither: each run is a series of its own")
        if "checkpoint" in self.record:
            raise ValueError("record.checkpoint is filled in for each checkpoint: leave it out")
        self.record_of(Checkpoint(self.path / "checkpoint", 1, "run"))
        return self

    @property
    def path(self) -> Path:
        """Where the folder is."""
        return Path(self.folder).expanduser().absolute()

    @property
    def series(self) -> str:
        """Name of the series of dictionaries: the key of the record, with `{step}` and `{run}` in it."""
        return STEP.sub("{step}", self.record["key"])

    def record_of(self, checkpoint: Checkpoint) -> DictionaryRecord:
        """The record of one checkpoint. Raises `UserError` naming each wrong key."""
        content = _filled({"source": "{path}", **self.record}, checkpoint)
        content["key"] = _filled(self.record["key"], replace(checkpoint, run=re.sub(r"[^A-Za-z0-9_:@-]", "-", checkpoint.run)))
        content["checkpoint"] = {"series": self.series.replace(RUN, checkpoint.run), "step": checkpoint.step}
        return validated(DictionaryRecord, content, f"watch.record for step {checkpoint.step}").with_absolute_paths()

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints that are in the folder, by run and step; none while the folder is missing. Of two checkpoints of a run with the
        same step, the newer counts. Names that begin with a dot, and links to another place in the folder, are no checkpoints."""
        name = re.compile("".join(_regular_expression(self.pattern)))
        found: dict[tuple[str, int], Checkpoint] = {}
        top = Path(os.path.realpath(self.path))  # Path.resolve raises for a link to itself
        for path in sorted(self.path.glob(STEP.sub("*", _with_literal_brackets(self.pattern)).replace(RUN, "*")), key=_written):
            inside = path.relative_to(self.path)
            match = name.fullmatch(inside.as_posix())
            if match and int(match["step"]) <= LARGEST_STEP and int(match["step"]) % self.every == 0:
                if (real := Path(os.path.realpath(path))) != top / inside and real.is_relative_to(top):
                    continue  # a link such as latest-run to another run of the folder
                run, step = match.groupdict().get("run", ""), int(match["step"])
                found[run, step] = Checkpoint(path, step, run)
        return [found[place] for place in sorted(found)]

    def why_empty(self) -> str:
        """Why no checkpoint is found, with names that are in the folder; "" where there are checkpoints."""
        if not self.path.is_dir():
            return f"{self.path} is not there" if not self.path.exists() else f"{self.path} is no folder"
        if self.checkpoints():
            return ""
        depth = self.pattern.count("/")
        there = sorted(path.relative_to(self.path).as_posix() for path in self.path.glob("/".join(["*"] * (depth + 1))))
        there = there or sorted(path.name for path in self.path.iterdir())
        steps = f" with a step that is a multiple of {self.every:,}" if self.every > 1 else ""
        shown = ", ".join(map(repr, there[:NAMED])) + (f" and {len(there) - NAMED:,} more" if len(there) > NAMED else "")
        return f"no name in {self.path} fits {self.pattern!r}{steps}; there {'are ' + shown if there else 'is nothing'}"

    def is_settled(self, checkpoint: Checkpoint, now: float | None = None) -> bool:
        """Whether a checkpoint holds a file, and none of its files has changed for `settle_seconds`."""
        changes = [_last_change(path) for path in files_of(checkpoint.path)]
        return bool(changes) and (time.time() if now is None else now) - max(changes) >= self.settle_seconds


def files_of(path: Path) -> Iterator[Path]:
    """The file itself, or all files under a folder."""
    if path.is_file():
        yield path
    for place, _, names in os.walk(path):
        yield from (Path(place, name) for name in names)


def _written(path: Path) -> float:
    """When a file was last written by its own time, which a copy keeps; infinity for a file that goes away meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")


def _last_change(path: Path) -> float:
    """When a file last changed here; infinity for a file that goes away meanwhile, so that its checkpoint does not count as settled. A link
    to nowhere counts as it is: nobody is writing it.

    The file system notes this time by itself. `rsync -a` and `cp -p` give files that they have just written an old time of writing, and a
    machine whose clock is ahead gives them one to come.
    """
    try:
        return path.stat().st_ctime
    except OSError:
        pass
    try:
        return path.lstat().st_ctime
    except OSError:
        return float("inf")


def _regular_expression(pattern: str) -> Iterator[str]:
    """Parts of the regular expression of a pattern, with the group `step`."""
    before = "/"
    for part in filter(None, re.split(r"(\{step(?::0\d+d)?\}|\{run\}|\*)", pattern)):
        shown = r"(?!\.)" if before.endswith("/") else ""  # a folder that is being written may have a name with a dot in front
        if STEP.fullmatch(part):
            yield r"(?P<step>\d{1,17})"
        else:
            yield {"*": f"{shown}[^/]*", RUN: f"(?P<run>{shown}[^/]+?)"}.get(part, re.escape(part))
        before = part


def _with_literal_brackets(pattern: str) -> str:
    """A pattern for `Path.glob` in which brackets and question marks stand for themselves."""
    return re.sub(r"[\[?]", lambda match: f"[{match[0]}]", pattern)


def _filled(value: Any, checkpoint: Checkpoint) -> Any:
    """`value` with the checkpoint's step, run and path in its strings."""
    if isinstance(value, str):
        text = STEP.sub(lambda match: str(checkpoint.step).zfill(int(match[1] or 0)), value)
        return text.replace(RUN, checkpoint.run).replace("{path}", str(checkpoint.path))
    if isinstance(value, Mapping):
        return {key: _filled(one, checkpoint) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(one, checkpoint) for one in value]
    return value


@dataclass(frozen=True)
class Seen:
    """What a look at a watched folder finds: records to write, checkpoints that are still being written, and the reason of each checkpoint
    that can have no record, by its path."""

    records: list[DictionaryRecord] = field(default_factory=list)
    unsettled: list[Checkpoint] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def unregistered(watched: WatchedFolder, known: Mapping[str, DictionaryRecord], forgotten: Collection[str] = ()) -> Seen:
    """The settled checkpoints that have no record yet, by run and step.

    A dictionary that was renamed is still its checkpoint's. Keys in `forgotten` get no record. Of two runs whose names give one key, the
    second gets no record and is named.
    """
    seen = Seen()
    series = {(one.checkpoint.series, one.checkpoint.step) for one in known.values() if one.checkpoint is not None}
    owners = {key: one.checkpoint for key, one in known.items()}
    for checkpoint in watched.checkpoints():
        try:
            record = watched.record_of(checkpoint)
        except UserError as error:
            seen.refused[str(checkpoint.path)] = str(error)
            continue
        assert record.checkpoint is not None
        if (record.checkpoint.series, record.checkpoint.step) in series or record.key in forgotten:
            continue
        if record.key in owners:
            if (owner := owners[record.key]) is not None:
                seen.refused[str(checkpoint.path)] = (
                    f"its key {record.key} is the key of step {owner.step} of {owner.series} already: give the run another name, or the "
                    "folder's record another key"
                )
            continue
        owners[record.key] = record.checkpoint
        if watched.is_settled(checkpoint):
            seen.records.append(record)
        else:
            seen.unsettled.append(checkpoint)
    return seen


def refuse_shared_series(watched: tuple[WatchedFolder, ...]) -> None:
    """Raise `UserError` where two watched folders would write records of the same keys."""
    series = [one.series for one in watched]
    if repeated := sorted({name for name in series if series.count(name) > 1}):
        raise UserError(f"watch: more than one folder gives the keys {', '.join(repeated)}: give each folder's record a key of its own")
