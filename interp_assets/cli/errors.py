"""A user's mistakes end a command with one message instead of a traceback."""

import contextlib
import errno
from collections.abc import Iterator
from typing import NoReturn

import typer

from interp_assets.installation.dagster_files import database_problem, room_remedy
from interp_assets.installation.interrupts import INTERRUPTED, answer_signals, exit_status_of, is_interrupt


def fail(message: object) -> NoReturn:
    """Print one error and leave with status 1."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


_OWNER = "it belongs to another user: change its owner or mode, or name another home in INTERP_HOME"
_LOCKS = "this disk knows no file locks: mount it with locks, or name a home on another disk in INTERP_HOME"
_MOUNT = "the disk went away: mount it again; what is finished is kept, and the same command continues"
_FILES = "raise the limit of open files (`ulimit -n 4096`); what is finished is kept, and the same command continues"
SYSTEM_REMEDIES = {
    errno.EACCES: _OWNER,
    errno.EPERM: _OWNER,
    errno.EROFS: "it is mounted read-only: mount it writable, or name another home in INTERP_HOME",
    errno.EIO: "the disk cannot be read or written: check it",
    errno.ENAMETOOLONG: "a disk takes names of 255 bytes: choose a shorter name",
    errno.ENOENT: "it is not there, or its folder cannot be made: check the path",
    errno.ENOTDIR: "a part of the path is a file: name another place",
    errno.EEXIST: "a file stands where a folder is needed: name another place",
    errno.EISDIR: "it is a folder: name a file",
    errno.ELOOP: "its links lead in a circle: name another place",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: "free memory, or let fewer things run at once; what is finished is kept, and the same command continues",
    errno.ENOLCK: _LOCKS,
    errno.ENOSYS: _LOCKS,
    errno.EOPNOTSUPP: _LOCKS,
    errno.ESTALE: _MOUNT,
    errno.ENOTCONN: _MOUNT,
    errno.ENODEV: _MOUNT,
    errno.EBUSY: "another program uses it: end that program",
}
"""The next step after an error of the operating system, where it is known."""


@contextlib.contextmanager
def errors_as_messages() -> Iterator[None]:
    """A user's mistakes, and an interrupt, end the command with one message instead of a traceback."""
    try:
        yield
    except typer.Exit:
        raise
    except BaseException as error:
        if is_interrupt(error):
            end_interrupted(error)
        if isinstance(error, RuntimeError | ValueError) and _is_mistake(error):
            fail(error)
        if isinstance(error, FileNotFoundError) and error.filename is None:
            fail("the current folder is gone, and a path is looked for in it: change to a folder that is there")
        if isinstance(error, OSError) and (remedy := room_remedy(error.strerror or "") or SYSTEM_REMEDIES.get(error.errno or 0)):
            fail(f"{error.filename or 'the system'}: {error.strerror}; {remedy}")
        if isinstance(error, Exception) and (problem := database_problem(error)) is not None:
            fail(problem)
        raise


def _is_mistake(error: Exception) -> bool:
    """Whether an error's message is all that a user needs."""
    from interp_assets.config.base import UserError
    from interp_assets.installation.server import ServerError
    from resources.corpus.interface import CorpusError
    from resources.dictionaries.interface import DictionaryError
    from resources.formats.interface import ExchangeError
    from resources.language_models.reply_store import ReplyStoreError
    from resources.store.lake import LakeError
    from resources.store.whole_folders import FolderTaken
    from resources.subject.block_paths import NoBlocks
    from resources.subject.chat_texts import ChatTemplateError
    from resources.subject.hook_points import ContextTooLong, UnknownFamily, UnknownHook
    from resources.weights import WeightsError

    outside = CorpusError | DictionaryError | ExchangeError | FolderTaken | LakeError | ReplyStoreError | ChatTemplateError | WeightsError
    return isinstance(error, UserError | ServerError | outside | ContextTooLong | NoBlocks | UnknownFamily | UnknownHook)


def end_interrupted(interrupt: BaseException, message: str = INTERRUPTED) -> NoReturn:
    """End an interrupted command with a message on standard error."""
    answer_signals()
    typer.echo(message, err=True)
    raise typer.Exit(exit_status_of(interrupt)) from None
