"""Where published rows come from, in words that may leave this machine."""

import re
from pathlib import PurePosixPath


def public_place(place: str) -> str:
    """`place` without the folders of this machine: `text:/home/ann/books/*.txt` becomes `text:*.txt`, a hub id stays as it is."""
    kind, path = match.groups() if (match := re.fullmatch(r"((?:text|jsonl|parquet|hf):)?(.*)", place, re.DOTALL)) else ("", place)
    return f"{kind or ''}{PurePosixPath(path).name}" if path.startswith(("/", "~", ".")) else place
