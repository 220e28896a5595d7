"""How commands stand in `--help`, a whole sentence beside each, and how each of them ends."""

from typing import Any

from typer.core import TyperGroup

from interp_assets.cli.errors import errors_as_messages

LONG = 10_000


class CommandGroup(TyperGroup):
    """A group whose list of commands has the whole first sentence of each command's help, over as many lines as it takes.

    A mistake of the user and an interrupt end each command with a message, before typer says "Aborted".
    """

    def invoke(self, ctx) -> Any:  # type: ignore[no-untyped-def]  # of typer's own copy of click
        """Run the command."""
        with errors_as_messages():
            return super().invoke(ctx)

    def format_commands(self, ctx, formatter) -> None:  # type: ignore[no-untyped-def]  # both are of typer's own copy of click
        """Write the list of commands; typer's own cuts each sentence off at the line's end."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [(name, command.get_short_help_str(LONG)) for name, command in found.items() if command is not None and not command.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
