"""A user's mistakes end a command with one message instead of a traceback."""

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import typer


def fail(message: object) -> NoReturn:
    """Print one error and leave with status 1."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


@contextlib.contextmanager
def errors_as_messages() -> Iterator[None]:
    """A user's mistakes, and an interrupt, end the command with one message instead of a traceback."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        typer.echo("interrupted; what is finished is kept, and the same command continues", err=True)
        raise typer.Exit(getattr(interrupt, "exit_status", 130)) from None
    except (RuntimeError, ValueError) as error:
        from interp_assets.config.base import UserError
        from interp_assets.installation.server import ServerError
        from resources.formats.interface import ExchangeError
        from resources.store.lake import LakeError

        if isinstance(error, UserError | ServerError | LakeError | ExchangeError):
            fail(error)
        raise
