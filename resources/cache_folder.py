"""The folder of this user for what can be made again: unpacked weights and hashes of local inputs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Folder for converted weights: `$INTERP_CACHE`, else `~/.cache/interp-assets`. Not created here."""
    return Path(os.environ.get("INTERP_CACHE") or Path.home() / ".cache" / "interp-assets").expanduser()
