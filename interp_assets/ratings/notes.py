"""Free notes on features: one a rater and feature, in `$INTERP_HOME/notes/<model>/<layer>/<name>/<feature>.json`."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from interp_assets.ratings.rater_file import locked
from resources.store.whole_files import write_whole

MOST_CHARACTERS = 10_000


@dataclass(frozen=True)
class Note:
    """What a rater notes about a feature, and when (UTC, to the second)."""

    rater: str
    text: str
    at: str


def note_file(folder: Path, dictionary: str, feature: int) -> Path:
    """The file of the notes on a feature."""
    return folder.joinpath(*(quote(part, safe="") for part in dictionary.split("/"))) / f"{feature}.json"


def notes_on(folder: Path, dictionary: str, feature: int) -> list[Note]:
    """All notes on a feature, the newest first; none where there is no file, or where it cannot be read."""
    try:
        found = [Note(**row) for row in json.loads(note_file(folder, dictionary, feature).read_text())]
    except (OSError, ValueError, TypeError):
        return []
    return sorted(found, key=lambda note: note.at, reverse=True)


def save_note(folder: Path, dictionary: str, feature: int, rater: str, text: str) -> None:
    """Keep a rater's note on a feature in place of the rater's earlier note; an empty text removes it. Other raters' notes stay."""
    path = note_file(folder, dictionary, feature)
    with locked(path):
        others = [note for note in notes_on(folder, dictionary, feature) if note.rater != rater]
        own = [Note(rater, text.strip()[:MOST_CHARACTERS], datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"))] if text.strip() else []
        write_whole(path, json.dumps([asdict(note) for note in (*own, *others)], ensure_ascii=True))
