"""Dictionaries that `interp rename` or `interp forget` has begun to move or to remove. No answer holds a part of one.

                        before the record has moved                    afterwards
rename old -> new       all of old is shown, what is there of new not   all of new is shown, what is left of old not
forget old              all of old is shown                             what is left of old is not

A note in a folder of the home begins a move and ends with it. The record's file decides which of the two is shown, so that readers change
from one to the other at one moment.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from interp_assets.config.base import UserError
from interp_assets.config.registry import DictionaryRegistry
from resources.store.whole_files import write_whole

RENAMES, REMOVALS = "renames", "removals"


@dataclass(frozen=True)
class Moves:
    """The moves under way in the home `root`."""

    root: Path
    registry: DictionaryRegistry

    def begin_rename(self, old: str, new: str) -> None:
        """From here on nothing of `new` is shown until its record is there, and nothing of `old` afterwards."""
        write_whole(self._note(RENAMES, old), json.dumps({"old": old, "new": new}))

    def begin_removal(self, key: str) -> None:
        """Nothing of `key` is shown once its record is gone."""
        write_whole(self._note(REMOVALS, key), json.dumps({"old": key}))

    def end(self, old: str) -> None:
        """The move of `old` is finished."""
        for kind in (RENAMES, REMOVALS):
            self._note(kind, old).unlink(missing_ok=True)

    def new_key(self, old: str) -> str | None:
        """The key that `old` is being renamed to; None where it is not, and where its note cannot be read."""
        try:
            new = json.loads(self._note(RENAMES, old).read_text(encoding="utf-8"))["new"]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return new if isinstance(new, str) else None

    def hidden(self) -> dict[str, str]:
        """Why nothing of a dictionary is shown, by its key; nearly always empty."""
        found: dict[str, str] = {}
        for old in self._begun(RENAMES):
            new = self.new_key(old)
            if new is None:
                continue
            if self.registry.path_of(new).exists():
                found[old] = f"{old} is {new} now, and what is left of it is not in this answer: interp rename {old} {new} removes it"
            else:
                found[new] = f"{old} is being renamed to {new}, which is not in this answer yet: interp rename {old} {new} finishes it"
        for key in self._begun(REMOVALS):
            if not self.registry.path_of(key).exists():
                found[key] = f"{key} is being removed, and what is left of it is not in this answer: interp forget {key} finishes it"
        return found

    def refuse(self, key: str) -> None:
        """Raise `UserError` for a key that cannot be registered, since a move of it is unfinished."""
        if (why := self.hidden().get(key)) is not None:
            raise UserError(f"{key} cannot be registered now: {why}")

    def _begun(self, kind: str) -> Iterator[str]:
        try:
            names = sorted(one.name for one in (self.root / kind).iterdir() if one.suffix == ".json")
        except OSError:
            return
        yield from (unquote(name.removesuffix(".json")) for name in names)

    def _note(self, kind: str, old: str) -> Path:
        return self.root / kind / f"{quote(old, safe='')}.json"
