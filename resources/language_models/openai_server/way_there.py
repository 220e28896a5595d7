"""The way to a server as the environment names it: a proxy, and the certificates that are believed.

The variables are read here and not by httpx, which reads all of them for every address: a proxy that it cannot speak to, or a NO_PROXY
that it cannot read, would end a batch that needs neither.
"""

import importlib.util
import ipaddress
import os
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from resources.language_models.openai_server.connection import ServerRefused
from resources.secrets import without_credentials

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


@dataclass(frozen=True)
class Proxy:
    """A proxy with the environment variable that names it."""

    url: str
    variable: str

    @property
    def shown(self) -> str:
        """The proxy in words, without its password."""
        return f"the proxy {without_credentials(self.url)} of the environment variable {self.variable}"

    @property
    def password(self) -> str:
        """The password in its address; empty without."""
        return urlsplit(self.url).password or ""


def proxy_to(url: str) -> Proxy | None:
    """The proxy that the environment names for an address; None without, for an address on this machine, and for hosts in NO_PROXY.

    Raises `ServerRefused` naming the variable of a proxy that cannot be used.
    """
    where = urlsplit(url)
    host = where.hostname or ""
    if is_local(host) or _excepted(host, where.port or {"https": 443}.get(where.scheme, 80)):
        return None
    named = next((name for name in (f"{where.scheme}_proxy", "all_proxy") if _variable(name)), None)
    if named is None:
        return None
    variable = named if os.environ.get(named) else named.upper()
    proxy = Proxy(address if "://" in (address := _variable(named)) else f"http://{address}", variable)
    try:
        parts = urlsplit(proxy.url)
        usable = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        httpx.Proxy(proxy.url)
    except (ValueError, httpx.InvalidURL):
        usable = False
    instead = f"Correct it, or name {host} in NO_PROXY to go without."
    if not usable:
        shown = without_credentials(proxy.url)
        raise ServerRefused(
            f"the environment variable {variable} is {shown!r}, which is no proxy's address: it begins with "
            f"{', '.join(f'{scheme}://' for scheme in PROXY_SCHEMES)} and names a host. {instead}"
        )
    if proxy.url.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ServerRefused(f"{proxy.shown} speaks SOCKS, and the package socksio is not installed: pip install socksio. {instead}")
    return proxy


def believed_certificates(url: str) -> ssl.SSLContext:
    """The certificates that are believed. Raises `ServerRefused` naming the variables where the environment names
    files that cannot be read, and the address needs certificates."""
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        if not url.startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # believes none, should a redirect lead to HTTPS
        named = ", ".join(f"{name}={os.environ[name]!r}" for name in CERTIFICATE_VARIABLES if os.environ.get(name))
        raise ServerRefused(
            f"the certificates for HTTPS cannot be read ({error.strerror or error}); the environment has {named or 'no file for them'}. "
            "Name a file of certificates that is there, or unset the variable."
        ) from None


def refuse_unsendable_names() -> None:
    """Raise `ServerRefused` naming a variable that the client sends as a header and that no header may hold."""
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        value = os.environ.get(name, "")
        if not (value.isascii() and value.isprintable()):
            raise ServerRefused(f"the environment variable {name} is {value!r}, which no HTTP header may hold. Correct or unset it.")


def is_local(host: str) -> bool:
    """Whether a host is this machine, which no proxy can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOCAL_HOSTS or host.endswith(".localhost")


def _variable(name: str) -> str:
    return (os.environ.get(name) or os.environ.get(name.upper()) or "").strip()


def _excepted(host: str, port: int) -> bool:
    """Whether NO_PROXY names the host: by name, by the end of its name, by address, or by a network such as 10.0.0.0/8."""
    for entry in filter(None, map(str.strip, _variable("no_proxy").lower().split(","))):
        entry = entry.rpartition("://")[2]
        if entry == "*" or _network_holds(entry, host):
            return True
        name, _, at = entry.rpartition(":") if entry.count(":") == 1 or entry.startswith("[") else (entry, "", "")
        name, at = (name, at) if at.isdecimal() else (entry, "")
        name = name.strip("[]").removeprefix("*").lstrip(".")
        if name and (not at or int(at) == port) and (host == name or host.endswith(f".{name}")):
            return True
    return False


def _network_holds(entry: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except (ValueError, TypeError):
        return False
