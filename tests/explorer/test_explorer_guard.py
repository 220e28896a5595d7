"""Who may ask the explorer, and what a browser is told of its pages."""

import pytest
from starlette.testclient import TestClient

from interp_assets.config.base import UserError
from interp_assets.explorer.app import make_app
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.serving import is_local, listen


@pytest.mark.parametrize("host", ["127.0.0.1:3001", "localhost:3001", "LOCALHOST", "[::1]:3001"])
def test_this_machine_is_answered(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:3001", "evil.example:127", "", "localhost.:3001", "127.0.0.1@evil"]
)
def test_a_name_that_was_pointed_here_is_refused(client: TestClient, host: str) -> None:
    refused = client.get("/d/toy/00/sae/7", headers={"host": host})
    assert refused.status_code == 421 and "number 7" not in refused.text


def test_a_page_of_another_site_writes_nothing(client: TestClient) -> None:
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        assert client.post("/", headers=headers).status_code == 403
    assert client.post("/", headers={"origin": "http://127.0.0.1:3001", "sec-fetch-site": "same-origin"}).status_code == 405


def test_with_a_token_nobody_else_reads(explorer: Explorer) -> None:
    client = TestClient(make_app(explorer, token="sesame"), base_url="http://lab.example:3001", follow_redirects=False)
    for address in ("/", "/d/toy/00/sae/7", "/static/style.css", "/?token=", "/?token=sesam", "/?token=sesame2", "/nothing"):
        assert client.get(address).status_code == 401, address
    assert client.get("/", cookies={"interp_explorer": "sesam"}).status_code == 401
    admitted = client.get("/d/toy/00/sae?sort=-density&token=sesame")
    assert admitted.status_code == 303 and admitted.headers["location"] == "/d/toy/00/sae?sort=-density"
    cookie = admitted.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert client.get("/").status_code == 200  # the client has kept the cookie


def test_a_token_leads_to_no_other_site(explorer: Explorer) -> None:
    client = TestClient(make_app(explorer, token="sesame"), follow_redirects=False)
    assert client.get("http://testserver//evil.example?token=sesame").headers["location"] == "/evil.example"


@pytest.mark.parametrize("address", ["/", "/d/toy/00/sae/7", "/d/toy/00/nothing", "/static/explorer.js"])
def test_every_answer_binds_the_browser_to_our_own_files(client: TestClient, address: str) -> None:
    headers = client.get(address).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'self'" and "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_only_loopback_is_served_without_a_token() -> None:
    assert [is_local(host) for host in ("127.0.0.1", "127.8.0.1", "::1", "localhost")] == [True] * 4
    assert [is_local(host) for host in ("0.0.0.0", "::", "192.168.1.2", "lab.example", "localhost.evil.example")] == [False] * 5


def test_a_taken_port_is_named() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1 port {port}.*--port"):
            listen("127.0.0.1", port)
