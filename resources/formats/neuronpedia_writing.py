"""Writing a Neuronpedia export, layout v1, as Neuronpedia's importer reads it: see `resources.formats.neuronpedia` for the layout.

    config/explanation_type.jsonl …                the names that explanations and scores refer to: the importer reads them first
    <model>/<source>/release.jsonl, model.jsonl, sourceset.jsonl, source.jsonl
    <model>/<source>/features/batch-0.jsonl.gz     one line a feature (the table Neuron)
    <model>/<source>/activations/batch-0.jsonl.gz  one line a window
    <model>/<source>/explanations/batch-0.jsonl.gz
    <model>/<source>/explanation_scores/batch-0.jsonl.gz

Batches of one number hold the same features. Columns are the columns of Neuronpedia's Prisma schema at commit SCHEMA_COMMIT. The importer
takes the names of a file's columns from its first line, so every line of a kind has the same columns.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.formats.interface import ExchangeError
from resources.formats.json_text import json_text
from resources.store.whole_files import write_whole

SCHEMA_COMMIT = "ebb8426fc550ad5d1f76d52c271a624af3c08a57"
CREATOR = "clkht01d40000jv08hvalcvly"
"""Neuronpedia's own user for uploads, which its seed makes in every instance: rows refer to a user that exists."""

BATCH_FEATURES = 1024
BATCH_BYTES = 64 << 20
"""Largest text of a batch of activations. The importer hands a batch to Postgres as one jsonb array, which holds 256 MB."""

LISTED_BATCHES = 1000
"""Most batches that the importer sees: it lists a folder once, and a listing has 1,000 names."""

CONFIG = ("explanation_type", "explanation_model_type", "explanation_score_type", "explanation_score_model")
KINDS = ("features", "activations", "explanations", "explanation_scores")
Line = Mapping[str, Any]


@dataclass(frozen=True)
class SourceName:
    """The names under which Neuronpedia shows a dictionary: https://<instance>/<model>/<source>/<index>."""

    model: str
    layer: str
    source_set: str
    release: str

    @property
    def source(self) -> str:
        """The id of the source, such as 9-res-2k."""
        return f"{self.layer}-{self.source_set}"

    @property
    def folder(self) -> str:
        """The source's folder below the export's."""
        return f"{self.model}/{self.source}"


def checked_name(option: str, name: str) -> str:
    """`name` in lower case, where Neuronpedia takes it as an id. Raises `ExchangeError` naming the option otherwise."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name.lower()) or "__" in name or name.lower() == "config":
        raise ExchangeError(f"{option} {name!r} is no id of Neuronpedia: allowed are letters, digits, single _ . and -, such as gpt2-small")
    return name.lower()


def identity(*parts: object) -> str:
    """An id of 25 characters in the form of Neuronpedia's ids. Equal parts have equal ids, so that a second import adds nothing."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    number = int.from_bytes(hashlib.sha256(json_text([str(part) for part in parts]).encode()).digest()[:16], "big")
    text = ""
    for _ in range(24):
        number, digit = divmod(number, 36)
        text += digits[digit]
    return f"c{text}"


class SourceFolder:
    """The folder of one source while it is written: features in order, a batch at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number, self._features, self._bytes = folder, 0, 0, 0
        self._lines: dict[str, list[str]] = {kind: [] for kind in KINDS}
        self.written: dict[str, int] = dict.fromkeys(KINDS, 0)
        for kind in KINDS:
            (folder / kind).mkdir(parents=True)

    @property
    def n_batches(self) -> int:
        """Batches that are written or begun."""
        return self._number + bool(self._features)

    def write_metadata(self, release: Line, model: Line, source_set: Line, source: Line) -> None:
        """Write the four files of one line each."""
        for name, line in {"release": release, "model": model, "sourceset": source_set, "source": source}.items():
            (self._folder / f"{name}.jsonl").write_text(json_text(dict(line)) + "\n", encoding="ascii")

    def add(self, feature: Line, activations: Iterable[Line], explanations: Iterable[Line], scores: Iterable[Line]) -> None:
        """Add a feature with its windows, explanations and scores. A batch is never cut inside a feature."""
        parts = dict(zip(KINDS, ([feature], activations, explanations, scores), strict=True))
        texts = {kind: [json_text(dict(line)) for line in lines] for kind, lines in parts.items()}
        size = sum(map(len, texts["activations"]))
        if self._features and (self._features == BATCH_FEATURES or self._bytes + size > BATCH_BYTES):
            self.finish()
        for kind, lines in texts.items():
            self._lines[kind] += lines
        self._features += 1
        self._bytes += size

    def finish(self) -> None:
        """Write the batch that is begun."""
        for kind, lines in self._lines.items():
            if lines:
                text = "".join(f"{line}\n" for line in lines).encode("ascii")
                (self._folder / kind / f"batch-{self._number}.jsonl.gz").write_bytes(gzip.compress(text, compresslevel=6, mtime=0))
                self.written[kind] += len(lines)
        self._lines = {kind: [] for kind in KINDS}
        self._number += bool(self._features)
        self._features = self._bytes = 0


def add_config(folder: Path, rows: Mapping[str, Sequence[Line]]) -> None:
    """Add rows to the files of `folder`/config; a row of a name that is there takes its place."""
    for name in CONFIG:
        file = folder / "config" / f"{name}.jsonl"
        there = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []
        merged = {row["name"]: row for row in [*there, *rows.get(name, ())]}
        write_whole(file, "".join(json_text(dict(merged[key])) + "\n" for key in sorted(merged)))


def refuse_other_content(folder: Path) -> None:
    """Raise `ExchangeError` where `folder` holds anything but exports of this layout."""
    if folder.exists() and not folder.is_dir():
        raise ExchangeError(f"{folder} is a file. Name a folder that is not there yet, an empty one, or one with exports in this layout.")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        hidden = path.name.startswith(".")
        if not hidden and path.name != "config" and not (path.is_dir() and any(path.glob("*/source.jsonl"))) and any_content(path):
            raise ExchangeError(f"{folder} is not empty: it holds {path.name}, which is no Neuronpedia export. Name another folder.")


def any_content(path: Path) -> bool:
    """Whether a path is a file, or a folder with anything but hidden names in it."""
    return not path.is_dir() or any(not one.name.startswith(".") for one in path.iterdir())


def config_row(name: str, description: str, **more: object) -> Line:
    """A row of a config file: Neuronpedia shows `name` as it is."""
    return {"name": name, "displayName": name, "description": description, "creatorName": "interp-assets", "featured": False, **more}
