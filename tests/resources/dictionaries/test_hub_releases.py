"""Releases on the Hugging Face hub, downloaded by the packages that ask it, from a hub of this machine with made-up weights.

Only the address and the weights are not the hub's: names of releases and repositories, their layout and the client are.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_gemma_scope import SMALL, arrays
from test_sae_lens import D_IN, WIDTH, saved

from resources.dictionaries import load_dictionary

COMMIT = "0" * 40
LOADING = """
import sys, torch
from resources.dictionaries import DictionaryError, load_dictionary
kind, source, hook, where, revision = sys.argv[1:]
try:
    found = load_dictionary(kind, source, hook or None, revision=revision or None)
except DictionaryError as error:
    sys.exit(f"DictionaryError: {error}")
encoded = found.encode(torch.load(where))
told = {"hook": found.hook, "l0": found.l0_expected, "centred": found.centred}
torch.save({**told, "encoded": (encoded.token, encoded.feature, encoded.value)}, where)
"""


class Hub:
    """Files of repositories under a folder, served as the hub serves them; `asked` are the files that were downloaded,
    and `revisions` the revisions at which files were asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.revisions = folder, [], set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self, with_body=False)

            def do_GET(self) -> None:
                hub.answer(self, with_body=True)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, request: BaseHTTPRequestHandler, with_body: bool) -> None:
        path = request.path.partition("?")[0]
        if listed := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/[^/]+", path):
            root = self.folder / listed[1]
            files = [(str(file.relative_to(root)), file.stat().st_size) for file in sorted(root.rglob("*")) if file.is_file()]
            revision = {"id": listed[1], "sha": COMMIT, "siblings": [{"rfilename": name} for name, _ in files]}
            tree = [{"type": "file", "path": name, "size": size, "oid": COMMIT} for name, size in files]
            content = json.dumps(revision if listed[2] == "revision" else tree).encode()
            found = root.is_dir()
        else:
            named = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            file = self.folder / named[1] / named[3] if named else self.folder / "no such file"
            found = file.is_file()
            content = file.read_bytes() if found else b""
            self.revisions |= {named[2]} if named else set()
            if found and with_body and named:
                self.asked.append(f"{named[1]}/{named[3]}")
        request.send_response(200 if found else 404)
        if not found:
            repository = self.folder / "/".join(path.split("/")[1:3])
            request.send_header("X-Error-Code", "EntryNotFound" if repository.is_dir() else "RepoNotFound")
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if with_body:
            request.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub without repositories yet."""
    (tmp_path / "hub").mkdir()
    hub = Hub(tmp_path / "hub")
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


def loaded(hub: Hub, tmp_path: Path, kind: str, source: str, x: torch.Tensor, hook: str = "", revision: str = "") -> dict[str, Any]:
    """What a process of its own, with an empty cache, makes of a source on the hub: its hook, expected L0 and encoding of x."""
    torch.save(x, tmp_path / "x.pt")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", LOADING, kind, source, hook, str(tmp_path / "x.pt"), revision]
    ended = subprocess.run(command, env=environment, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=300)
    if ended.returncode:
        raise RuntimeError(ended.stderr.partition("DictionaryError: ")[2] or ended.stderr)
    return torch.load(tmp_path / "x.pt")


def assert_encodes_as(found: dict[str, Any], folder: Path, kind: str, x: torch.Tensor, hook: str | None = None) -> None:
    """What came from the hub encodes x as the folder that it was made of does."""
    local = load_dictionary(kind, str(folder), hook).encode(x)
    assert len(local.value) > len(x)
    for own, theirs in zip(found["encoded"], (local.token, local.feature, local.value), strict=True):
        torch.testing.assert_close(own, theirs)


@pytest.mark.slow
def test_a_release_that_sae_lens_lists_is_found_by_its_name(hub: Hub, tmp_path: Path) -> None:
    """Its repository, path, expected L0 and that its model wrote centred activations are looked up in sae-lens's own directory."""
    folder = hub.folder / "jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre"
    saved(folder, "standard")
    first_form = {"model_name": "gpt2-small", "hook_point": "blocks.8.hook_resid_pre", "hook_point_layer": 8, "hook_point_head_index": None}
    first_form |= {"dataset_path": "Skylion007/openwebtext", "context_size": 128, "d_in": D_IN, "d_sae": WIDTH, "dtype": "torch.float32"}
    (folder / "cfg.json").write_text(json.dumps(first_form))  # as this release has it
    x = torch.randn(25, D_IN)
    found = loaded(hub, tmp_path, "sae_lens", "gpt2-small-res-jb/blocks.8.hook_resid_pre", x)
    assert_encodes_as(found, folder, "sae_lens", x - x.mean(-1, keepdim=True))
    assert found["hook"] == "blocks.8.hook_resid_pre" and found["centred"] and found["l0"] > 1
    assert f"{folder.relative_to(hub.folder)}/sae_weights.safetensors" in hub.asked

    with pytest.raises(RuntimeError, match=r"no SAE 'blocks.99.hook_resid_pre' in release 'gpt2-small-res-jb', or no network"):
        loaded(hub, tmp_path, "sae_lens", "gpt2-small-res-jb/blocks.99.hook_resid_pre", x)


@pytest.mark.slow
def test_a_repository_of_ones_own_is_found_by_its_name(hub: Hub, tmp_path: Path) -> None:
    folder = hub.folder / "somebody/my-saes/blocks.0.hook_resid_post"
    saved(folder, "topk")
    x = torch.randn(25, D_IN)
    found = loaded(hub, tmp_path, "sae_lens", "somebody/my-saes/blocks.0.hook_resid_post", x, revision=COMMIT)
    assert_encodes_as(found, folder, "sae_lens", x)
    assert found["l0"] == 5 and hub.revisions == {COMMIT}  # sae-lens itself asks for "main"


@pytest.mark.slow
def test_an_sae_at_the_root_of_a_repository_is_found_by_the_repository(hub: Hub, tmp_path: Path) -> None:
    folder = hub.folder / "somebody/one-sae"
    saved(folder, "jumprelu")
    (folder / "README.md").write_text("not downloaded")
    x = torch.randn(25, D_IN)
    assert_encodes_as(loaded(hub, tmp_path, "sae_lens", "somebody/one-sae", x), folder, "sae_lens", x)
    assert sorted(hub.asked) == ["somebody/one-sae/cfg.json", "somebody/one-sae/sae_weights.safetensors"]
    (folder / "cfg.json").unlink()
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(RuntimeError, match=r"has no \['cfg.json'\]; it holds \['sae_weights.safetensors'\]"):
        loaded(hub, tmp_path, "sae_lens", "somebody/one-sae", x)
    with pytest.raises(RuntimeError, match="sae-lens lists no release 'nobody', and the hub has no '' in nobody/nothing"):
        loaded(hub, tmp_path, "sae_lens", "nobody/nothing", x)


@pytest.mark.slow
def test_a_folder_of_gemma_scope_is_downloaded_alone_and_once(hub: Hub, tmp_path: Path) -> None:
    repository, name = "google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71"
    for folder in (name, "layer_20/width_16k/average_l0_139"):
        (hub.folder / repository / folder).mkdir(parents=True)
        np.savez(hub.folder / repository / folder / "params.npz", **arrays(*SMALL))
    x, hook = torch.randn(25, SMALL[0]), "blocks.20.hook_resid_post"
    for _ in range(2):
        found = loaded(hub, tmp_path, "gemma_scope", f"{repository}/{name}", x, hook)
        assert_encodes_as(found, hub.folder / repository / name, "gemma_scope", x, hook)
        assert found["l0"] == 71
    assert hub.asked == [f"{repository}/{name}/params.npz"]
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(RuntimeError, match="the hub has no 'layer_20' in google/nothing, or it cannot be reached"):
        loaded(hub, tmp_path, "gemma_scope", "google/nothing/layer_20", x, hook)
