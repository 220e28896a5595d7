"""Finds a dictionary's files: in a folder on this machine, or in "owner/repository/folder" on the Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path

from resources.dictionaries.interface import DictionaryError


def source_folder(source: str, files: Sequence[str], written_by: str) -> Path:
    """The folder of `source` with all of `files` in it. A folder on the hub is downloaded into the hub's cache first.

    Raises `DictionaryError` for a source of neither form, a folder that lacks a file, and a hub that does not answer.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if is_local(source) or source.count("/") < 2:
            raise DictionaryError(
                f"dictionary source {source!r} is neither a folder on this machine nor owner/repository/folder on the hub. "
                "Check the path or the mount."
            )
        folder = _download(source, files)
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        held = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
        raise DictionaryError(f"dictionary folder {folder} has no {missing}; it holds {held}. Point at a folder that {written_by} wrote.")
    return folder


def is_local(source: str) -> bool:
    """Whether `source` can only be a path: absolute, or starting with a dot or ~."""
    return Path(source).is_absolute() or source.startswith((".", "~"))


def _download(source: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    owner, repository, *folders = source.strip("/").split("/")
    folder = "/".join(folders)
    try:
        root = snapshot_download(f"{owner}/{repository}", allow_patterns=[f"{folder}/{name}" for name in files])
    except Exception as error:
        raise DictionaryError(f"the hub has no {folder!r} in {owner}/{repository}, or it cannot be reached: {error}") from error
    return Path(root) / folder
