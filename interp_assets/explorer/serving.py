"""`interp explore` as a process: the application on one address until a signal ends it."""

import ipaddress
import secrets
import socket
from collections.abc import Callable

from interp_assets.config.base import UserError
from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer

DEFAULT_PORT = 3001


def serve(explorer: Explorer, host: str, port: int, say: Callable[[str], None], token: str | None = None) -> None:
    """Answer on an address until Ctrl-C. An address that other machines reach is only served with a token, which is made where none is
    given.

    Raises `UserError` where the address cannot be taken.
    """
    import uvicorn

    if token is None and not is_local(host):
        token = secrets.token_urlsafe(24)
    listening = listen(host, port)
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    say(f"the explorer of {explorer.home.root} is at http://{shown}:{port}/{f'?token={token}' if token else ''}; Ctrl-C ends it")
    settings = uvicorn.Config(make_app(explorer, token), log_level="warning", access_log=False, server_header=False)
    try:
        uvicorn.Server(settings).run(sockets=[listening])
    finally:
        listening.close()


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
    except OSError as error:
        listening.close()
        raise UserError(f"the explorer cannot listen on {host} port {port}: {error.strerror}. Choose another with --port") from None
    return listening
