"""Proxies and certificates that the environment names: a server on this machine needs none, and each mistake is named with its variable."""

import importlib.util
from typing import Any

import pytest
from odd_server import Answer, OddServer, completion

from resources.language_models.interface import Message, Request
from resources.language_models.openai_server import way_there
from resources.language_models.openai_server.model import OpenAIModel, ServerGone, ServerRefused
from resources.language_models.openai_server.way_there import proxy_to

OPTIONS: dict[str, Any] = {"backoff_seconds": 0.01, "structured": "off", "max_connection_failures": 2, "timeout_seconds": 5.0}
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def asked(base_url: str, **options: Any) -> str | None:
    """The text, or the error, of one reply."""
    (_, reply), *_ = OpenAIModel("stub", base_url=base_url, **{**OPTIONS, **options}).ask([Request((Message("user", "a"),), 5)])
    return reply.error or reply.text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTP_PROXY", "http://127.0.0.1:9"), ("http_proxy", "127.0.0.1:9"), ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("HTTPS_PROXY", "socks4://a"), ("HTTP_PROXY", "nonsense:x"), ("NO_PROXY", "localhost,[::1]"), ("NO_PROXY", "fd00::/8"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"), ("SSLKEYLOGFILE", "/nowhere/keys"),
    ],
)  # fmt: skip
def test_a_server_on_this_machine_is_asked_whatever_the_environment_names(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with OddServer(lambda question, seen: Answer(completion())) as server:
        assert asked(server.url) == "yes"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HTTP_PROXY", "http://127.0.0.1:9", "through the proxy http://127.0.0.1:9 of the environment variable HTTP_PROXY"),
        ("ALL_PROXY", "http://user:hunter22@127.0.0.1:9", "the proxy http://127.0.0.1:9 of the environment variable ALL_PROXY"),
        ("http_proxy", "socks4://127.0.0.1:9", "variable http_proxy is 'socks4://127.0.0.1:9', which is no proxy's address.*NO_PROXY"),
        ("HTTP_PROXY", "http://127.0.0.1:port", "which is no proxy's address"),
        ("OPENAI_ORG_ID", "ключ", "variable OPENAI_ORG_ID is 'ключ', which no HTTP header may hold"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_with_its_variable(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises((ServerGone, ServerRefused), match=said) as error:
        asked("http://judge.example/v1", api_key_env="PATH")
    assert "hunter22" not in str(error.value)


def test_a_proxy_of_socks_without_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setattr(way_there.importlib.util, "find_spec", lambda name: None)
    assert importlib.util.find_spec is way_there.importlib.util.find_spec
    with pytest.raises(ServerRefused, match=r"socks5://127.0.0.1:9 .*ALL_PROXY speaks SOCKS.*pip install socksio"):
        proxy_to("http://judge.example/v1")


def test_certificates_that_are_not_there_are_named_where_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    with pytest.raises(ServerRefused, match=r"SSL_CERT_FILE='/nowhere/certificates\.pem'"):
        asked("https://127.0.0.1:9/v1")


def test_a_proxy_that_wants_a_password_ends_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    with OddServer(lambda question, seen: Answer(b"who are you?", 407)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        with pytest.raises(ServerRefused, match=r"the proxy on the way wants a user and a password"):
            asked("http://judge.example/v1", api_key_env="PATH")


def test_the_proxy_is_asked_for_hosts_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with OddServer(lambda question, seen: Answer(completion("through"))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        assert asked("http://judge.example/v1", api_key_env="PATH") == "through"


@pytest.mark.parametrize(
    ("entries", "url", "direct"),
    [
        ("judge.example", "http://judge.example/v1", True), (".example", "http://judge.example/v1", True),
        ("*.example", "http://judge.example/v1", True), ("*", "http://judge.example/v1", True), ("judge", "http://judge.example/v1", False),
        ("example", "http://anexample/v1", False), ("judge.example:8000", "http://judge.example:8000/v1", True),
        ("judge.example:8000", "http://judge.example:8001/v1", False), ("10.0.0.0/8", "http://10.1.2.3/v1", True),
        ("10.0.0.0/8", "http://11.1.2.3/v1", False), ("fd00::/8,[fe80::1]", "http://[fd12::1]:80/v1", True),
        ("fd00::/8,[fe80::1]", "http://[fe80::1]:80/v1", True), ("[::1]", "http://judge.example/v1", False), (" ,, ", "http://a/v1", False),
    ],
)  # fmt: skip
def test_who_is_asked_without_the_proxy(entries: str, url: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", entries)
    assert (proxy_to(url) is None) == direct
