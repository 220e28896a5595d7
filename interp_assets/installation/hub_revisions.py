"""Commits of what a record names on the Hugging Face hub: its model, its dictionary and its datasets. Registration writes them into the
record, so that its results stay the same when somebody pushes to a repository, and become others when the record takes another commit."""

from collections.abc import Callable
from typing import Any

from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord
from interp_assets.installation.home import Home
from resources.corpus.hugging_face import hub_dataset
from resources.dictionaries import repository_of_source
from resources.hub_commits import MalformedRepository, RepositoryKind, hub_commit, is_commit
from resources.weights import hub_model

SHOWN = 12
"""Characters of a commit in a message."""


def registered(home: Home, key: str) -> DictionaryRecord | None:
    """The record that is registered under a key; None where there is none, or a broken one."""
    try:
        return home.registry.get(key)
    except UserError:
        return None


def with_hub_commits(record: DictionaryRecord, earlier: DictionaryRecord | None, say: Callable[[str], None]) -> DictionaryRecord:
    """The record with a commit wherever it names a repository on the hub. `say` gets a line for each that it did not name itself.

    A repository without a revision takes the commit of `earlier`, the record that is registered under the same key, where this record
    names the same source; otherwise the newest. Raises `UserError` for a branch or tag that is not found, for a revision of a source
    that is not on the hub, and for a name that no repository can have.
    """
    same = earlier if earlier is not None and earlier.source == record.source and earlier.kind == record.kind else None
    repository = repository_of_source(record.kind, record.source)
    if repository is None and record.revision is not None:
        raise UserError(
            f"dictionary {record.key} has revision {record.revision!r}, and its source {record.source!r} names no repository on the hub. "
            "Leave revision out: the content of local files is noted by itself."
        )
    update: dict[str, Any] = {"revision": _commit(repository, record.revision, same.revision if same else None, "model", say)}
    model = record.model
    same_model = earlier.model if earlier is not None and earlier.model.source == model.source else None
    kept = same_model.revision if same_model else None
    if (name := hub_model(model.source)) is not None:
        update["model"] = model.model_copy(update={"revision": _commit(name, model.revision, kept, "model", say)})
    sample, commits = record.token_sample, {}
    for source in sample.corpus:
        held = earlier.token_sample.revisions.get(source) if earlier is not None else None
        commits[source] = _commit(hub_dataset(source), sample.revisions.get(source), held, "dataset", say)
    revisions = {source: commit for source, commit in commits.items() if commit is not None}
    update["token_sample"] = sample.model_copy(update={"revisions": revisions})
    return record.model_copy(update=update)


def _commit(repository: str | None, revision: str | None, kept: str | None, kind: RepositoryKind, say: Callable[[str], None]) -> str | None:
    """The commit of one repository; None without a repository, and where no commit of its newest is known."""
    if repository is None or is_commit(revision):
        return revision
    if revision is None and kept is not None:
        say(f"{repository}: commit {kept[:SHOWN]} of the earlier registration is kept; a revision in the record takes another")
        return kept
    try:
        found = hub_commit(repository, revision, kind)
    except MalformedRepository as error:
        raise UserError(f"{kind} {error}") from None
    if found is not None:
        say(f"{repository}: commit {found[:SHOWN]} is written into the record")
    elif revision is not None:
        raise UserError(
            f"{kind} {repository} has no revision {revision!r} on the hub or in the hub's cache here, or the hub cannot be reached. Name a "
            "commit (40 hex digits), a branch or a tag that there is."
        )
    else:
        say(f"note: the commit of {repository} was not found, so the record names none, and a change on the hub would not be noticed")
    return found
