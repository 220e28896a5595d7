"""Finds a dictionary's files: a folder or file on this machine, or "owner/repository/folder" on the Hugging Face hub."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.recognise import recognised
from resources.hub_content import damage

_READ_AT: ContextVar[tuple[str, str] | None] = ContextVar("read_at", default=None)


def source_folder(source: str, files: Sequence[str], written_by: str, also: Sequence[str] = ()) -> Path:
    """The folder of `source` with all of `files` in it. A folder on the hub, or the root of a repository, is downloaded into the hub's
    cache first, with `also` the files of these names that it has.

    Raises `DictionaryError` for a source of neither form, a folder that lacks a file, and a hub that does not answer. Where the folder
    has files of another format, the message names the format.
    """
    folder = Path(source).expanduser()
    refuse_file(source)
    if not folder.is_dir():
        if is_local(source) or source.count("/") < 1:
            raise DictionaryError(
                f"dictionary source {source!r} is neither a folder on this machine nor owner/repository/folder on the hub. "
                f"Check the path or the mount.{listing_beside(source)}"
            )
        folder = downloaded(source, (*files, *also))
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        held = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
        way_out = recognised(folder, written_by) or f"Point at a folder that {written_by} wrote"
        raise DictionaryError(f"dictionary folder {folder} has no {missing}; it holds {held}. {way_out}.")
    return folder


def refuse_file(source: str) -> None:
    """Raise `DictionaryError` where a source whose kind reads a folder is a file."""
    path = Path(source).expanduser()
    if path.is_file():
        way_out = recognised(path.parent)
        raise DictionaryError(f"dictionary source {source!r} is a file. Name its folder {path.parent}{f' ({way_out})' if way_out else ''}.")


def is_local(source: str) -> bool:
    """Whether `source` is meant as a path: absolute, starting with a dot or ~, or a name in a folder of a folder of this machine."""
    path = Path(source)
    return path.is_absolute() or source.startswith((".", "~")) or (len(path.parts) > 2 and os.path.isdir(path.parent))


def listing_beside(source: str) -> str:
    """ " /data holds 10, 20." for a missing path in a folder that exists, else ""."""
    folder = Path(source).expanduser().parent
    try:
        names = sorted(os.listdir(folder))
    except (OSError, ValueError):
        return ""
    return f" {folder} holds {', '.join(names[:8])}{' …' if len(names) > 8 else ''}." if names else ""


def hub_repository(source: str) -> str | None:
    """owner/repository of a source "owner/repository/…" on the hub; None for a source on this machine, or without an owner."""
    if is_local(source) or Path(source).expanduser().exists() or source.count("/") < 1:
        return None
    return "/".join(source.strip("/").split("/")[:2])


@contextmanager
def read_at(repository: str | None, commit: str | None) -> Iterator[None]:
    """A block in which every loader reads a hub repository at a commit; at the newest for None."""
    before = _READ_AT.set((repository, commit) if repository and commit else None)
    try:
        yield
    finally:
        _READ_AT.reset(before)


def commit_of(repository: str) -> str | None:
    """The commit at which a repository is read within `read_at`; None for the newest."""
    pinned = _READ_AT.get()
    return pinned[1] if pinned is not None and pinned[0] == repository else None


def downloaded(source: str, files: Sequence[str]) -> Path:
    """The folder of "owner/repository" or "owner/repository/folder" in the hub's cache, with those of `files` that the hub has.

    Raises `DictionaryError` where there are none, or the hub does not answer.
    """
    from huggingface_hub import snapshot_download

    owner, repository, *folders = source.strip("/").split("/")
    folder = "/".join(folders)
    wanted, commit = [f"{folder}/{name}" if folder else name for name in files], commit_of(f"{owner}/{repository}")
    try:
        root = snapshot_download(f"{owner}/{repository}", allow_patterns=wanted, revision=commit)
    except Exception as error:
        at = "" if commit is None else f" at commit {commit}"
        raise DictionaryError(f"the hub has no {folder!r} in {owner}/{repository}{at}, or it cannot be reached: {error}") from error
    for name in files:
        refuse_damaged(Path(root) / folder / name)
    return Path(root) / folder


def refuse_damaged(path: Path) -> Path:
    """The path. Raises `DictionaryError` for a file whose content in the hub's cache is not what the hub gave."""
    if told := damage(path):
        raise DictionaryError(f"{told}.")
    return path


def source_file(source: str, endings: tuple[str, ...], written_by: str) -> Path:
    """The file that `source` is, or the one file with one of `endings` in the folder that it is; owner/repository/file is downloaded.

    Raises `DictionaryError` with what there is, and the format that a folder's files are of.
    """
    place = Path(source).expanduser()
    if place.is_file():
        return place
    if place.is_dir():
        found = sorted(path for path in place.iterdir() if path.name.endswith(endings))
        if len(found) == 1:
            return found[0]
        told = f"{len(found)} files that end in {' or '.join(endings)}: {', '.join(path.name for path in found[:6])}"
        way_out = recognised(place, written_by) or ("Name one of them as the source" if found else f"Name the file of {written_by}")
        raise DictionaryError(f"dictionary folder {source} has {told if found else f'no file that ends in {endings[0]}'}. {way_out}.")
    if is_local(source) or source.count("/") < 2 or not source.endswith(endings):
        raise DictionaryError(f"dictionary source {source!r} is neither a file on this machine nor owner/repository/file on the hub.")
    folder, _, name = source.rpartition("/")
    found = downloaded(folder, (name,)) / name
    if not found.is_file():
        raise DictionaryError(f"the hub has no file {source!r}. Check its name.")
    return found
