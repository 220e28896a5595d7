"""Feature files and labels as circuit-tracer's pages read them.

`--circuit-tracer FOLDER`, a checkout of circuit-tracer, has its own models and server read them.
"""

import gzip
import importlib
import json
import sys
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import pytest

from resources.formats.circuit_tracer_writing import (
    LayerFile,
    absent_feature,
    cantor_pair,
    example,
    feature_content,
    labelled_graph,
    write_index,
)
from resources.formats.interface import ExchangeError

FIELDS = {
    "transcoder_id": str, "index": int, "examples_quantiles": list, "top_logits": list, "bottom_logits": list, "act_min": float,
    "act_max": float, "quantile_values": list, "histogram": list, "activation_frequency": float,
}  # fmt: skip
"""Fields of `circuit_tracer.frontend.feature_models.Model` at FORMAT_COMMIT, all of which it asks for."""

NASTY = ["<script>alert(1)</script>", "a\nb\t\r", "\ud83d", r"\u0000"]


def content(feature: int, tokens: list[str]) -> dict[str, Any]:
    window = example(tokens, [0.0] * (len(tokens) - 1) + [2.0])
    return feature_content(
        "m/9/t", feature, quantiles=[("Interval 0 to 2", [window])], top_logits=tokens, bottom_logits=[], act_max=2.0,
        quantile_values=[1.0, 2.0], histogram=[1.0, 0.0, 3.0], activation_frequency=0.01,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Features 1 and 3 of a layer of width 5."""
    with LayerFile(tmp_path, 9, 5, "m/9/t", loose=True) as file:
        for feature in (1, 3):
            file.add(feature, content(feature, NASTY))
        write_index(tmp_path, {9: file.finish()})
    return tmp_path


def read(served: bytes) -> dict[str, Any]:
    """A feature from the bytes that a page asks for: 4 bytes of length, then zlib; what follows is not read."""
    length = int.from_bytes(served[:4], "little")
    return json.loads(zlib.decompress(served[4 : 4 + length]))


def test_every_feature_lies_between_its_two_offsets(folder: Path) -> None:
    index = json.loads(gzip.decompress((folder / "index.json.gz").read_bytes()))
    offsets, whole = index["9"]["offsets"], (folder / index["9"]["filename"]).read_bytes()
    assert len(offsets) == 6 and offsets[-1] == len(whole)
    for feature in range(5):
        found = read(whole[offsets[feature] : offsets[feature + 1] + 1])  # a page asks for one byte more
        assert {name: type(value) for name, value in found.items()} == FIELDS and found["index"] == feature
        if feature in (1, 3):
            assert found["examples_quantiles"][0]["examples"][0]["tokens"] == ["<script>alert(1)</script>", "a⏎b→↵", "\ufffd", r"\u0000"]
            assert found["examples_quantiles"][0]["examples"][0]["train_token_ind"] == 3
            assert json.loads((folder / f"{cantor_pair(9, feature)}.json").read_text()) == found
        else:
            assert found == absent_feature("m/9/t", feature)


def test_cantors_pairing_is_the_one_of_graphs() -> None:
    assert [cantor_pair(*pair) for pair in ((0, 0), (1, 0), (0, 1), (1, 57794))] == [0, 1, 2, 1670217704]


def test_labels_go_to_feature_nodes_that_have_none(tmp_path: Path) -> None:
    graph = tmp_path / "graph.json"
    kind = "cross layer transcoder"
    ids = [
        ("9_3_1", kind, ""),
        ("9_3_2", kind, "by hand"),
        ("0_9_3", "mlp reconstruction error", ""),
        ("9_4_1", kind, ""),
        ("E_9_3", "embedding", ""),
    ]
    graph.write_text(json.dumps({"nodes": [{"node_id": i, "feature_type": t, "clerp": c} for i, t, c in ids], "links": []}))
    labelled, n = labelled_graph(graph, {"9_3": "cats", "0_9": "wrong", "E_9": "wrong"})
    assert n == 1 and [node["clerp"] for node in labelled["nodes"]] == ["cats", "by hand", "", "", ""]
    for text in ("", "[]", '{"nodes": 3}', '{"nodes": [1]}'):
        graph.write_text(text)
        with pytest.raises(ExchangeError, match="circuit-tracer wrote"):
            labelled_graph(graph, {})


def test_circuit_tracers_own_code_reads_the_files(folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = request.config.getoption("--circuit-tracer")
    if checkout is None:
        pytest.skip("needs a checkout of circuit-tracer: pytest --circuit-tracer FOLDER")
    monkeypatch.setattr(sys, "path", [checkout, *sys.path])
    models = importlib.import_module("circuit_tracer.frontend.feature_models")
    server = importlib.import_module("circuit_tracer.frontend.local_server").serve(str(folder), features_dir=str(folder), port=0)
    try:
        address = f"http://127.0.0.1:{server.httpd.server_address[1]}/features"
        index = json.loads(gzip.decompress(urllib.request.urlopen(f"{address}/index.json.gz").read()))["9"]
        for feature in range(5):
            part = {"Range": f"bytes={index['offsets'][feature]}-{index['offsets'][feature + 1]}"}
            served = urllib.request.urlopen(urllib.request.Request(f"{address}/{index['filename']}", headers=part)).read()
            model = models.Model.model_validate(read(served))
            assert model.index == feature and model.model_dump() == read(served)
    finally:
        server.stop()
