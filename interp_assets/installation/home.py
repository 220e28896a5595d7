"""The folder of one installation: `$INTERP_HOME`, by default `.interp` in the current folder.

On several machines the home is a folder that all machines see, the lake may be a bucket, and the scratch folder may be a local disk: see
`deploy/README.md`.
"""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from interp_assets.assets.warehouse.duckdb_file import Warehouse
from interp_assets.config.base import UserError
from interp_assets.config.moves import Moves
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.tables import SCHEMA_VERSION
from resources.store.lake import Lake
from resources.store.lake_memory import LakeMemory

if TYPE_CHECKING:  # the settings' classes take longer to load than a question to answer
    from interp_assets.config.settings import PlatformSettings
    from resources.language_models.reply_store import ReplyStore

log = logging.getLogger(__name__)

MISREAD = {
    r"\?": "a question mark, which begins options in the addresses of Dagster's SQLite files",
    r"\\": "a backslash, which DuckDB takes for a slash",
    r"%[0-9A-Fa-f]{2}": "a percent sign with two hex digits, which Dagster's SQLite addresses read as one character",
    r"[\udc80-\udcff]": "bytes that are not UTF-8, which DuckDB and Dagster do not take",
}


LONGEST_PATH_BYTES = 430
"""Longest path of a home. SQLite opens files of at most 504 bytes, and Dagster's are up to 64 bytes below the home."""


def refuse_misread_path(path: str) -> None:
    """Raise `UserError` for the path of a home that Dagster or DuckDB would read as another path, or that is too long for Dagster's
    database."""
    if (length := len(os.fsencode(path))) > LONGEST_PATH_BYTES:
        raise UserError(
            f"INTERP_HOME is {os.fsencode(path)[:60].decode(errors='backslashreplace')!r}…, a path of {length:,} bytes: SQLite, in which "
            f"Dagster keeps its history, takes a home of at most {LONGEST_PATH_BYTES}. Name a folder with a shorter path."
        )
    for pattern, why in MISREAD.items():
        if found := re.search(pattern, path):
            shown = path.encode(errors="backslashreplace").decode()
            raise UserError(f"INTERP_HOME is {shown!r}: it holds {found.group()!a}, {why}. Name a folder without it, or rename the folder.")


@dataclass(frozen=True)
class Home:
    """Paths under one root, and the stores in them. `lake_url` may name another place, such as an S3 bucket, and so may `scratch`."""

    root: Path
    lake_url: str
    scratch: Path | None = None

    @classmethod
    def from_environment(cls) -> "Home":
        """Home named by INTERP_HOME, with the lake named by INTERP_LAKE (any fsspec URL) and the scratch folder named by INTERP_SCRATCH.
        Without these two variables, lake and scratch folder are in the home.

        Raises `UserError` where the home is no folder, or where a part of the platform would read its path as another path.
        """
        root = Path(os.path.realpath(Path(os.environ.get("INTERP_HOME") or ".interp").expanduser()))
        refuse_misread_path(str(root))
        if os.path.lexists(root) and not root.is_dir():
            from interp_assets.config.base import UserError

            kind = "a link that leads to itself" if root.is_symlink() else "a file"
            raise UserError(f"INTERP_HOME is {root}, which is {kind}: name a folder, which may still be missing")
        scratch = os.environ.get("INTERP_SCRATCH")
        lake = os.environ.get("INTERP_LAKE") or str(root / "lake")
        return cls(root, lake, Path(os.path.realpath(Path(scratch).expanduser())) if scratch else None)

    @cached_property
    def lake(self) -> Lake:
        """The Parquet store; created on first use. Where it is away, the log says so."""
        lake = Lake(self.lake_url, SCHEMA_VERSION, LakeMemory(self.root / "lake_in_use.json"))
        if (loss := lake.loss) is not None:
            log.warning(loss)
        return lake

    def begin_lost_lake_anew(self, say: Callable[[str], None]) -> None:
        """Where the lake is away, say that all is made again, and let a new lake begin."""
        if self.lake.loss is not None:
            say(f"a new lake begins at {self.lake.url}, and everything is made again: Ctrl-C ends this; replies of models are kept")
            self.lake.begin_anew()

    @cached_property
    def registry(self) -> DictionaryRegistry:
        """The dictionary records."""
        return DictionaryRegistry(self.root / "dictionaries")

    @property
    def replies(self) -> "ReplyStore":
        """Every reply that any language model has given, by content address.

        Always in the home: journals need a file system with locks, and a run that continues on another host must find the replies.
        """
        from resources.language_models.reply_store import ReplyStore

        return ReplyStore(self.root / "replies")

    @property
    def settings_file(self) -> Path:
        """The site's settings; may be absent."""
        return self.root / "settings.yaml"

    @property
    def settings(self) -> "PlatformSettings":
        """The site's settings, read anew."""
        from interp_assets.config.settings import PlatformSettings

        return PlatformSettings.read(self.settings_file)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The DuckDB file of this home."""
        return Warehouse(self.root / "warehouse.duckdb", self.lake, self.registry, self.moves)

    @cached_property
    def moves(self) -> Moves:
        """The dictionaries that are being renamed or removed."""
        return Moves(self.root, self.registry)

    @property
    def ratings(self) -> Path:
        """Folder of the files of human ratings; may be absent."""
        return self.root / "ratings"

    @property
    def rating_tasks(self) -> Path:
        """Folder of the rating tasks that the explorer has drawn; may be absent."""
        return self.root / "rating_tasks"

    @property
    def notes(self) -> Path:
        """Folder of people's notes on features; may be absent."""
        return self.root / "notes"

    @property
    def reports(self) -> Path:
        """Folder of the pages that assets write for people."""
        return self.root / "reports"

    @property
    def estimates(self) -> Path:
        """Folder of the estimates that were made before backfills."""
        return self.root / "estimates"

    @property
    def spill(self) -> Path:
        """Folder for activations on their way to the lake."""
        return (self.scratch or self.root) / "spill"

    @property
    def dagster(self) -> Path:
        """The Dagster instance: DAGSTER_HOME."""
        return self.root / "dagster"

    @property
    def workspace_file(self) -> Path:
        """Says which code Dagster loads; written when the instance is prepared."""
        return self.dagster / "workspace.yaml"
