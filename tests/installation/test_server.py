"""Talking to what listens on a port, whatever it is, and preparing what Dagster reads."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from interp_assets.installation.home import Home
from interp_assets.installation.server import DagsterServer, ServerError, prepare_instance, refuse_taken_port, url_of


@contextmanager
def answering(content: str, status: int = 200) -> Iterator[DagsterServer]:
    """A program on a port of its own that answers every request with this."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield DagsterServer(url_of("127.0.0.1", server.server_port))
        server.shutdown()


def dagster_of(folder: str, loaded: bool = True) -> str:
    """What Dagster's webserver over the instance in `folder` answers."""
    info = yaml.safe_dump({"local_artifact_storage": {"config": {"base_dir": folder}}, "nux": {"enabled": False}})
    return json.dumps({"data": {"instance": {"info": info}, "repositoriesOrError": {"nodes": [{"name": "r"}] if loaded else []}}})


@pytest.mark.parametrize("content", ["<html>hello</html>", "[]", "null", '"text"', '{"data": null}', '{"detail": "Not found"}', ""])
def test_another_program_on_the_port_is_no_dagster(content: str, tmp_path: Path) -> None:
    with answering(content) as server:
        assert not server.serves(Home(tmp_path, str(tmp_path / "lake")))
        with pytest.raises(ServerError, match="answers, but is no Dagster webserver: choose another --port"):
            server.query("{ version }")


def test_a_server_is_taken_for_its_own_home_alone(tmp_path: Path) -> None:
    for name in ("interp", "it's [here]", "a: b #c", "é" * 90):
        home = Home(tmp_path / name, "")
        for folder, is_ours in {
            str(home.dagster): True,
            str(home.dagster / "storage"): True,
            f"{home.dagster}2": False,
            f"/mnt{home.dagster}": False,
            str(home.root): False,
        }.items():
            with answering(dagster_of(folder)) as server:
                assert server.serves(home) is is_ours, folder
    with answering(dagster_of(str(home.dagster), loaded=False)) as server:
        assert not server.serves(home)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    home = Home(tmp_path, "")
    with answering(dagster_of(str(home.dagster))) as server:
        assert server.serves(home)


def test_urls_are_what_a_browser_on_this_machine_opens() -> None:
    assert url_of("0.0.0.0", 3000) == "http://127.0.0.1:3000" and url_of("::", 80) == "http://[::1]:80"
    assert url_of("localhost", 1) == "http://localhost:1" and url_of("10.0.0.7", 1) == "http://10.0.0.7:1"


def test_a_taken_port_and_a_wrong_address_are_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServerError, match=r"nothing can listen at 127.0.0.1, port \d+: .*Choose another --port"):
            refuse_taken_port("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ServerError, match=r"nothing can listen at 192\.0\.2\.1"):
        refuse_taken_port("192.0.2.1", 3000)


def test_what_dagster_loads_is_said_in_the_home_and_its_configuration_can_be_edited(tmp_path: Path) -> None:
    home = Home(tmp_path / "it's [here]", "")
    environment = prepare_instance(home)
    loaded = yaml.safe_load(home.workspace_file.read_text())["load_from"][0]["python_module"]
    assert loaded["module_name"] == "interp_assets.definitions" and loaded["working_directory"] == str(home.dagster)
    assert environment["PYTHONSAFEPATH"] == "1" and environment["DAGSTER_HOME"] == str(home.dagster)
    configuration = home.dagster / "dagster.yaml"
    assert os.access(configuration, os.W_OK)
    configuration.write_text(configuration.read_text().replace("max_concurrent_runs: 4", "max_concurrent_runs: 2"))
    home.workspace_file.write_text("load_from: []")
    prepare_instance(home)
    assert "max_concurrent_runs: 2" in configuration.read_text() and "interp_assets.definitions" in home.workspace_file.read_text()
    assert sorted(path.name for path in home.dagster.glob("*.yaml")) == ["dagster.yaml", "workspace.yaml"]


def test_dagster_imports_the_modules_of_every_folder_in_pythonpath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "texts_of_mine.py").write_text("TEXTS = ['a']\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    environment = prepare_instance(Home(tmp_path / "home", ""))
    loads = "from dagster._core.code_pointer import load_python_module; import sys; load_python_module('texts_of_mine', sys.argv[1])"
    subprocess.run([sys.executable, "-c", loads, environment["DAGSTER_HOME"]], env=environment, check=True, cwd=tmp_path)
