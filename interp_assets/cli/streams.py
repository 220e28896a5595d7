"""Standard streams of a command: open, in UTF-8, and printing whatever they can."""

import codecs
import io
import locale
import os
import sys


def open_closed_streams() -> None:
    """Open the null device in the place of each standard stream that is closed, as a service or `>&-` leaves it. Otherwise the next file
    that is opened would take its place, and get what is printed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115


def in_utf8() -> None:
    """Start the command again in Python's UTF-8 mode where the locale has another encoding: records and texts are UTF-8 everywhere."""
    if not sys.flags.utf8_mode and codecs.lookup(locale.getpreferredencoding(False)).name != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def print_what_streams_take() -> None:
    """Print a question mark for a letter that the encoding of a stream has not, such as an encoding that PYTHONIOENCODING names."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
