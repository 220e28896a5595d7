"""Writing feature files and labels for circuit-tracer's attribution graphs.

    features/index.json.gz    {"9": {"filename": "layer_9.bin", "offsets": [0, 812, …]}}: one offset a feature, and the file's length
    features/layer_9.bin      a feature after another: 4 bytes with the length (little-endian), then JSON compressed by zlib
    features/<pair>.json      the same JSON in a file of its own, where asked for; <pair> is Cantor's pairing of layer and feature
    labels.json               {"9_404": "cats"}: the label of each feature, by layer and feature

The JSON of a feature has the fields of circuit-tracer's `frontend/feature_models.py` and those that its pages read, at commit
FORMAT_COMMIT.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from resources.formats.interface import ExchangeError
from resources.formats.json_text import json_text

FORMAT_COMMIT = "4bb8c0ea10bde09727e14565ec8469656880da53"
NODE_TYPE = "cross layer transcoder"
"""The type of feature nodes in graphs, whatever the kind of transcoder."""

SIGNS = str.maketrans({"\n": "⏎", "\t": "→", "\r": "↵"})
"""What circuit-tracer's pages show in prompts for breaks of lines and tabs."""


def cantor_pair(layer: int, feature: int) -> int:
    """The number that graphs name a feature by."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


class LayerFile:
    """The features of one layer, written in order from 0 to `width` - 1; a feature that is not added gets a file that says that it is
    not there, since the pages read whatever lies between two offsets."""

    def __init__(self, folder: Path, layer: int, width: int, transcoder: str, *, loose: bool = False) -> None:
        self.filename, self.layer, self._width, self._transcoder = f"layer_{layer}.bin", layer, width, transcoder
        self._folder, self._loose = folder, loose
        self._offsets = [0]
        self._file: BinaryIO = (folder / self.filename).open("wb")

    def __enter__(self) -> "LayerFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, feature: int, content: Mapping[str, Any]) -> None:
        """Add a feature; features come in ascending order."""
        assert len(self._offsets) <= feature + 1 <= self._width, (feature, len(self._offsets), self._width)
        self._fill(feature)
        text = json_text(dict(content))
        self._append(text)
        if self._loose:
            (self._folder / f"{cantor_pair(self.layer, feature)}.json").write_text(text, encoding="ascii")

    def finish(self) -> dict[str, Any]:
        """Write the rest, and return the layer's entry in the index."""
        self._fill(self._width)
        return {"filename": self.filename, "offsets": self._offsets}

    def _fill(self, feature: int) -> None:
        while len(self._offsets) <= feature:
            self._append(json_text(absent_feature(self._transcoder, len(self._offsets) - 1)))

    def _append(self, text: str) -> None:
        content = zlib.compress(text.encode("ascii"), 6)
        self._file.write(len(content).to_bytes(4, "little") + content)
        self._offsets.append(self._offsets[-1] + 4 + len(content))


def write_index(folder: Path, layers: Mapping[int, Mapping[str, Any]]) -> None:
    """Write `folder`/index.json.gz over the entries of layers."""
    content = json_text({str(layer): dict(layers[layer]) for layer in sorted(layers)}).encode("ascii")
    (folder / "index.json.gz").write_bytes(gzip.compress(content, mtime=0))


def feature_content(
    transcoder: str,
    feature: int,
    *,
    quantiles: Iterable[tuple[str, list[dict[str, Any]]]],
    top_logits: list[str],
    bottom_logits: list[str],
    act_max: float,
    quantile_values: list[float],
    histogram: list[float],
    activation_frequency: float,
) -> dict[str, Any]:
    """The JSON of a feature. `quantiles` are (title, examples), strongest first."""
    return {
        "transcoder_id": transcoder, "index": feature,
        "examples_quantiles": [{"quantile_name": title, "examples": examples} for title, examples in quantiles],
        "top_logits": [token.translate(SIGNS) for token in top_logits],
        "bottom_logits": [token.translate(SIGNS) for token in bottom_logits],
        "act_min": 0.0, "act_max": act_max, "quantile_values": quantile_values,
        "histogram": histogram, "activation_frequency": activation_frequency,
    }  # fmt: skip


def absent_feature(transcoder: str, feature: int) -> dict[str, Any]:
    """The JSON of a feature that is not exported: all fields, without content."""
    empty = {"quantiles": (), "top_logits": [], "bottom_logits": [], "quantile_values": [], "histogram": []}
    return feature_content(transcoder, feature, **empty, act_max=0.0, activation_frequency=0.0)  # type: ignore[arg-type]


def example(tokens: list[str], activations: list[float]) -> dict[str, Any]:
    """A window as the pages draw it, centred at its peak; `tokens` and `activations` of equal length, at least one.

    The pages draw a window on one line, and at a line break would move the rest of the window below its peak. Breaks and tabs are the
    signs that the pages show for them in prompts.
    """
    return {
        "tokens": [token.translate(SIGNS) for token in tokens],
        "tokens_acts_list": activations,
        "train_token_ind": activations.index(max(activations)),
        "is_repeated_datapoint": False,
    }


def labelled_graph(file: Path, labels: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    """(graph, number of nodes labelled): the graph of a file with the label of each feature node that `labels` has one for.

    Labels that people wrote in the graph stay. Raises `ExchangeError` for a file that is no graph of circuit-tracer.
    """
    try:
        graph = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExchangeError(f"{file} cannot be read as a graph: {error}. Name a file that circuit-tracer wrote.") from None
    nodes = graph.get("nodes") if isinstance(graph, dict) else None
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise ExchangeError(f"{file} is no graph: it has no list `nodes`. Name a file that circuit-tracer wrote.")
    n_labelled = 0
    for node in nodes:
        if node.get("feature_type") != NODE_TYPE or node.get("clerp"):
            continue
        label = labels.get("_".join(str(node.get("node_id", "")).split("_")[:2]))
        if label:
            node["clerp"] = label
            n_labelled += 1
    return graph, n_labelled
