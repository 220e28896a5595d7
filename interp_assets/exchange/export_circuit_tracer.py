"""Exports dictionaries, one a layer, as the feature files and labels of circuit-tracer's attribution graphs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.records import DictionaryRecord
from interp_assets.exchange.export_neuronpedia import published_methods
from interp_assets.exchange.neuronpedia_lines import intervals, linear_histogram
from interp_assets.exchange.progress import Progress
from interp_assets.reading.activations import FeatureActivations, activations_of
from interp_assets.reading.whole_features import WholeFeature, WholeFeatures, in_blocks, whole_features
from resources.formats.circuit_tracer_writing import LayerFile, example, feature_content, labelled_graph, write_index
from resources.formats.decimal_floats import decimal_array
from resources.formats.json_text import json_text
from resources.store.lake import Lake
from resources.store.whole_folders import folder_bytes, require_free, whole_folder

QUANTILES = 100
"""Activations at the shares 1/100, 2/100 … 1 of all activations: the pages say between which of them a node's activation lies."""


@dataclass(frozen=True)
class ExportedFeatures:
    """What was written: features and labels over all layers, labelled nodes by graph, and bytes."""

    folder: Path
    features: int
    labels: int
    nodes: dict[str, int]
    bytes: int


def export_circuit_tracer(
    lake: Lake,
    records: Sequence[DictionaryRecord],
    folder: Path,
    *,
    features: AskedFeatures | None = None,
    methods: tuple[str, ...] | None = None,
    graphs: Sequence[Path] = (),
    loose: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> ExportedFeatures:
    """Write the feature files of `records`, one a layer, and the labels of their features to `folder`, whole or not at all.

    The label of a feature is its first explanation in the order of `methods` (None: all but baselines). Each of `graphs` is written to
    `folder`/graph_data with labels at its feature nodes. With `loose`, every feature has a file of its own too. Raises `UserError` for two
    dictionaries of one layer, `ExchangeError` for a file that is no graph, `FolderTaken` where the folder holds anything.
    """
    require_free(folder)
    layers = _layers(records)
    whole = {layer: whole_features(lake, record, features) for layer, record in layers.items()}
    chosen = {layer: published_methods(one, methods) for layer, one in whole.items()}
    for one in whole.values():
        for note in one.missing:
            say(f"note: {note}")
    total = sum(len(one.features) for one in whole.values())
    say(f"writing {total:,} features of {len(whole)} {'layer' if len(whole) == 1 else 'layers'} to {folder}")
    progress = Progress(total, say)
    labels: dict[str, str] = {}
    with whole_folder(folder) as aside:
        (aside / "features").mkdir()
        index = {}
        for layer, one in whole.items():
            index[layer] = _write_layer(lake, aside / "features", layer, one, chosen[layer], labels, loose, progress)
        write_index(aside / "features", index)
        (aside / "labels.json").write_text(json_text(labels, indent=1) + "\n", encoding="ascii")
        nodes = _write_graphs(aside / "graph_data", graphs, labels)
        size = folder_bytes(aside)
    return ExportedFeatures(folder, total, len(labels), nodes, size)


def _layers(records: Sequence[DictionaryRecord]) -> dict[int, DictionaryRecord]:
    """The dictionaries by layer."""
    found: dict[int, DictionaryRecord] = {}
    for record in records:
        layer = record.key.split("/")[1]
        if not layer.isdecimal():
            raise UserError(
                f"{record.key}: the layer {layer!r} is no number, by which graphs name layers. Register it as <model>/<number>/<name>"
            )
        if int(layer) in found:
            raise UserError(f"{found[int(layer)].key} and {record.key} are of one layer; a graph has one dictionary a layer. Leave one out")
        found[int(layer)] = record
    return dict(sorted(found.items()))


def _write_layer(
    lake: Lake,
    folder: Path,
    layer: int,
    whole: WholeFeatures,
    methods: tuple[str, ...],
    labels: dict[str, str],
    loose: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Write one layer, add its labels, and return its entry in the index."""
    record = whole.record
    with LayerFile(folder, layer, record.width, record.key, loose=loose) as file:
        for block in in_blocks(whole):
            harvested = record.has_activations and all(one.statistics is not None for one in block)
            fired = activations_of(lake, record, [one.feature for one in block]) if harvested else {}
            for feature in block:
                file.add(feature.feature, _content(record.key, feature, fired.get(feature.feature)))
                label = next((one.label or one.text for m in methods for one in feature.explanations if one.method == m and one.text), None)
                if label:
                    labels[f"{layer}_{feature.feature}"] = label
            progress.add(len(block))
        return file.finish()


def _content(key: str, feature: WholeFeature, fired: FeatureActivations | None) -> dict[str, Any]:
    values = np.sort(np.asarray(fired[1], dtype=np.float64)) if fired is not None else np.empty(0)
    strongest = (feature.statistics or {}).get("max_activation") or max((row["max_activation"] for row in feature.examples), default=0.0)
    shares = np.arange(1, QUANTILES + 1) / QUANTILES
    return feature_content(
        key, feature.feature,
        quantiles=_quantiles(feature),
        top_logits=[token for token, _ in feature.promoted],
        bottom_logits=[token for token, _ in feature.suppressed],
        act_max=float(strongest),
        quantile_values=np.quantile(values, shares).tolist() if len(values) else [],
        histogram=linear_histogram(values)[0],
        activation_frequency=(feature.statistics or {}).get("token_density") or 0.0,
    )  # fmt: skip


def _quantiles(feature: WholeFeature) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(title, windows) of each stratum, strongest first and strongest windows first; silent windows are left out."""
    bounds = intervals(feature.examples)
    for stratum, (low, high) in sorted(bounds.items()):
        rows = sorted((row for row in feature.examples if row["stratum"] == stratum), key=lambda row: -row["max_activation"])
        title = f"Interval {low:.3g} to {high:.3g}"
        yield (
            title,
            [
                example(list(row["tokens"]), np.nan_to_num(decimal_array(np.asarray(row["activations"], np.float32))).tolist())
                for row in rows
            ],
        )


def _write_graphs(folder: Path, graphs: Sequence[Path], labels: dict[str, str]) -> dict[str, int]:
    nodes: dict[str, int] = {}
    for file in graphs:
        if file.name in nodes:
            raise UserError(f"--graph {file}: a graph of this name is given twice. Name one of them otherwise")
        graph, nodes[file.name] = labelled_graph(file, labels)
        folder.mkdir(exist_ok=True)
        (folder / file.name).write_text(json_text(graph), encoding="ascii")
    return nodes
