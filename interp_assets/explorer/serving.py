"""`interp explore` as a process: the application on one address until a signal ends it."""

import ipaddress
import re
import secrets
import socket
from collections.abc import Callable

from interp_assets.config.base import UserError
from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer

DEFAULT_PORT = 3001
END_SECONDS = 3
"""How long requests may take after the signal that ends the explorer. Unit: seconds."""


def serve(explorer: Explorer, host: str, port: int, say: Callable[[str], None], token: str | None = None) -> None:
    """Answer on an address until Ctrl-C. An address that other machines reach is only served with a token, which is made where none is
    given.

    Raises `UserError` where the address cannot be taken, and for a token that is none.
    """
    import uvicorn

    token = checked_token(token)
    if token is None and not is_local(host):
        token = secrets.token_urlsafe(24)
    listening = listen(host, port)
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    say(f"the explorer of {explorer.home.root} is at http://{shown}:{port}/{f'?token={token}' if token else ''}; Ctrl-C ends it")
    settings = uvicorn.Config(
        make_app(explorer, token), log_level="critical", access_log=False, server_header=False, timeout_graceful_shutdown=END_SECONDS
    )
    try:
        uvicorn.Server(settings).run(sockets=[listening])
    finally:
        listening.close()


def checked_token(token: str | None) -> str | None:
    """The token. Raises `UserError` for a token that a cookie and an address cannot hold as it is."""
    if token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]+", token):
        raise UserError(
            f"--token {token!r}: a token is letters and digits of ASCII, and . _ ~ - between them, such as {secrets.token_urlsafe(12)}; "
            "without --token and INTERP_EXPLORE_TOKEN one is made"
        )
    return token


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except (OSError, UnicodeError, TypeError) as error:  # a name that is none is a TypeError or UnicodeError
        listening.close()
        why = error.strerror if isinstance(error, OSError) and error.strerror else "that is not a name or an address of this machine"
        named = host if host.isascii() and host.isprintable() else repr(host)
        raise UserError(f"the explorer cannot listen on {named} port {port}: {why}. Choose others with --host and --port") from None
    return listening
