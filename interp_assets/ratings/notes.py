"""Free notes on features: one a rater and feature, in `$INTERP_HOME/notes/<model>/<layer>/<name>/<feature>.json`.

A file that cannot be read is named on the feature's page. The next note on the feature sets it aside, and replaces nothing in it.
"""

import json
from collections.abc import Sequence
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


class UnreadNotes(ValueError):
    """A file of notes that cannot be read; the message names it and says what to do."""


def notes_on(folder: Path, dictionary: str, feature: int) -> list[Note]:
    """All notes on a feature, the newest first; none where there is no file. Raises `UnreadNotes`."""
    path = note_file(folder, dictionary, feature)
    try:
        found = [_note(row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, TypeError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise UnreadNotes(f"{path} cannot be read: {why}. Correct it, or leave a new note, which sets this file aside") from None
    return sorted(found, key=lambda note: note.at, reverse=True)


def files_set_aside(folder: Path, dictionary: str, feature: int) -> Sequence[Path]:
    """Files of notes on a feature that could not be read when a later note was saved."""
    path = note_file(folder, dictionary, feature)
    return sorted(path.parent.glob(f"{path.stem}.damaged-*.json"))


def move_notes(folder: Path, old: str, new: str) -> list[Path]:
    """Move the notes on a dictionary's features to its new key, and return the files that stay, since the new key has notes on the same
    feature already."""
    stayed = []
    for path in sorted(note_file(folder, old, 0).parent.glob("*.json")):
        target = note_file(folder, new, 0).with_name(path.name)
        with locked(path), locked(target):
            if target.exists():
                stayed.append(path)
            else:
                path.rename(target)
    return stayed


def save_note(folder: Path, dictionary: str, feature: int, rater: str, text: str) -> None:
    """Keep a rater's note on a feature in place of the rater's earlier note; an empty text removes it. Other raters' notes stay. A file
    that cannot be read is set aside."""
    path = note_file(folder, dictionary, feature)
    with locked(path):
        try:
            others = [note for note in notes_on(folder, dictionary, feature) if note.rater != rater]
        except UnreadNotes:
            n = len(files_set_aside(folder, dictionary, feature))
            path.rename(path.with_name(f"{path.stem}.damaged-{n + 1}.json"))
            others = []
        own = [Note(rater, text.strip()[:MOST_CHARACTERS], datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"))] if text.strip() else []
        write_whole(path, json.dumps([asdict(note) for note in (*own, *others)], ensure_ascii=True))


def _note(row: object) -> Note:
    """The note in a row. Raises TypeError for a row with other fields, or with values that are no texts."""
    if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()):
        raise TypeError(f"a note is an object of texts, not {str(row)[:60]!r}")
    return Note(**row)
