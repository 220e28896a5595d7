"""Which lake a home's results are in, kept in a file of the home: so a lake that is away is told from a lake that was never begun."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from resources.store.lake_files import LakeFiles
from resources.store.lake_version import is_marked
from resources.store.whole_files import write_whole

ANEW = "If its results were removed on purpose, `interp backfill` or `interp run` begins a new lake there."


@dataclass(frozen=True)
class LakeMemory:
    """The address of the lake that was last seen with anything in it, in `file`."""

    file: Path

    @property
    def url(self) -> str | None:
        """The address; None where there is none, or none that can be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(self.file.read_bytes())["lake"]
            return found if isinstance(found, str) else None
        return None

    def remember(self, url: str) -> None:
        """Keep the address, where the home is there and may be written."""
        if self.url != url and self.file.parent.is_dir():
            with contextlib.suppress(OSError):
                write_whole(self.file, json.dumps({"lake": url}).encode())

    def forget(self) -> None:
        """A new lake may begin."""
        self.file.unlink(missing_ok=True)

    def loss(self, files: LakeFiles) -> str | None:
        """What to say of a lake that holds nothing while a lake is remembered; None otherwise. A lake that holds anything is remembered."""
        if is_marked(files):
            self.remember(files.url)
            return None
        known, url = self.url, files.url
        if known is None:
            return None
        if known == url:
            return f"the lake {url} holds nothing, and this home's results were in it at the last look. Mount its disk. {ANEW}"
        return f"the lake {url} holds nothing, and this home's results are in {known}. Correct INTERP_LAKE, or mount its disk. {ANEW}"
