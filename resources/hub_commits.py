"""The commit at which a repository on the Hugging Face hub is read: asked of the hub, or else read from the hub's cache on this machine."""

import re
from pathlib import Path
from typing import Literal

RepositoryKind = Literal["model", "dataset"]

ASKING_SECONDS = 20
COMMIT = re.compile(r"[0-9a-f]{40}")


class MalformedRepository(ValueError):
    """A name that no repository on the hub can have."""


def refuse_malformed(repository: str) -> None:
    """Raise `MalformedRepository` for a name with characters that the hub does not allow."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise MalformedRepository(
            f"{repository!r} is neither a folder on this machine nor a name on the hub: an owner and a name there have letters, digits and "
            "- _ . alone, with a slash in between. Check the spelling or the mount."
        ) from None


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a whole commit hash: a branch, a tag and a shortened hash may come to name other content."""
    return revision is not None and COMMIT.fullmatch(revision) is not None


def hub_commit(repository: str, revision: str | None = None, kind: RepositoryKind = "model") -> str | None:
    """Commit of a revision ("main" for None) of owner/repository, 40 hex digits; None where neither the hub nor its cache knows it.

    Raises `MalformedRepository` for a name that no repository can have.
    """
    refuse_malformed(repository)
    if is_commit(revision):
        return revision
    return _asked(repository, revision, kind) or cached_commit(repository, revision, kind)


def _asked(repository: str, revision: str | None, kind: RepositoryKind) -> str | None:
    from huggingface_hub import HfApi

    try:
        return HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=ASKING_SECONDS).sha
    except Exception:  # no network, no such repository, no permission: the cache may still have it
        return None


def cached_commit(repository: str, revision: str | None = None, kind: RepositoryKind = "model") -> str | None:
    """Commit that the hub's cache on this machine has for a revision ("main" for None).

    Without a note of "main" it is the one commit of which the cache holds files; None where the cache holds none, or several.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type=kind)
    try:
        noted = (folder / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        noted = ""
    if is_commit(noted):
        return noted
    held = [path.name for path in folder.glob("snapshots/*") if is_commit(path.name)]
    fitting = [name for name in held if revision is None or (len(revision) >= 7 and name.startswith(revision))]
    return fitting[0] if len(fitting) == 1 else None
