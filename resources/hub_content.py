"""Whether a file in the cache of the Hugging Face hub still has the content that the hub gave."""

import re
from pathlib import Path

CONTENT_NAME = re.compile(r"[0-9a-f]{64}")
"""Name of a large file in the cache: the SHA-256 of its content. Small files have shorter names."""


def damage(path: Path) -> str | None:
    """What is wrong with a large file of the hub's cache, as a sentence with the cure; None for a sound file, and for any other file.

    A file is hashed once, and again only where its size or times have changed.
    """
    from resources.store.input_content import CONTENTS

    try:
        file = path.resolve()
        if not path.is_symlink() or not CONTENT_NAME.fullmatch(file.name) or CONTENTS.of_file(file) == file.name:
            return None
    except OSError:  # whoever reads it says so
        return None
    return f"{path.name} is damaged in the hub's cache: {file} has another content than the hub gave. Remove that file and run again"
