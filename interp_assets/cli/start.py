"""What the command `interp` calls. Signals are heard before the modules of the command line are imported."""

from typing import NoReturn

from interp_assets.cli.streams import open_closed_streams
from interp_assets.installation.interrupts import interrupt_at_ending_signals


def main() -> NoReturn:
    """Run the command that was typed."""
    open_closed_streams()  # before the watch of signals opens a pipe
    interrupt_at_ending_signals()
    from interp_assets.cli import main

    main.main()
