"""Exports a dictionary's features, windows, explanations and scores as one source of a Neuronpedia export, layout v1."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import BASELINES
from interp_assets.exchange.neuronpedia_lines import PREFIX, SourceLines, named
from interp_assets.exchange.progress import Progress
from interp_assets.measuring.logit_histograms import FeatureWeights
from interp_assets.reading.activations import activations_of
from interp_assets.reading.whole_features import WholeFeature, WholeFeatures, in_blocks, whole_features
from resources.formats.neuronpedia_writing import (
    CREATOR,
    LISTED_BATCHES,
    Line,
    SourceFolder,
    SourceName,
    add_config,
    checked_name,
    config_row,
    refuse_other_content,
)
from resources.model_provider import ModelProvider
from resources.store.lake import Lake
from resources.store.whole_folders import folder_bytes, whole_folder

BLOCK = 256
"""Features whose activations are in memory at once."""


@dataclass(frozen=True)
class ExportedSource:
    """What was written: the source's folder, rows by kind, and bytes."""

    folder: Path
    written: dict[str, int]
    bytes: int


@dataclass(frozen=True)
class PublicName:
    """Names that Neuronpedia shows; None for the name that follows from the dictionary's key."""

    model: str | None = None
    source_set: str | None = None
    release: str | None = None
    creator: str = CREATOR


def export_neuronpedia(
    lake: Lake,
    record: DictionaryRecord,
    models: ModelProvider,
    folder: Path,
    *,
    features: AskedFeatures | None = None,
    methods: tuple[str, ...] | None = None,
    name: PublicName = PublicName(),
    weights: bool = True,
    vectors: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> ExportedSource:
    """Write the dictionary as `folder`/<model>/<source>, whole or not at all, and return what was written.

    `methods` None stands for all explanation methods but baselines. With `weights` the model and the dictionary are loaded for the
    histograms of logits, and with `vectors` each feature's decoder row is written. Raises `UserError` for features or methods that are not
    there, `ExchangeError` for names that Neuronpedia does not take, `FolderTaken` where the source's folder holds anything.
    """
    names = source_name(record, name)
    refuse_other_content(folder)
    whole = whole_features(lake, record, features)
    chosen = published_methods(whole, methods)
    for note in whole.missing:
        say(f"note: {note}")
    place = folder / names.folder
    say(f"writing {len(whole.features):,} features to {place}")
    with whole_folder(place) as aside, FeatureWeights(models, record, enabled=weights) as loaded:
        source = SourceFolder(aside)
        lines = SourceLines(record, names, name.creator, chosen, vectors)
        progress = Progress(len(whole.features), say)
        for block in in_blocks(whole, BLOCK):
            numbers = [one.feature for one in block]
            values = activations_of(lake, record, numbers) if record.has_activations and _harvested(block) else {}
            measured = loaded.of(np.array(numbers, dtype=np.uint32))
            for feature in block:
                fired = np.asarray(values[feature.feature][1], dtype=np.float64) if feature.feature in values else None
                source.add(*lines.of(feature, fired, measured.get(feature.feature)))
            progress.add(len(block))
        source.finish()
        source.write_metadata(*lines.metadata(loaded.n_layers))
        if source.n_batches > LISTED_BATCHES:
            lists = f"Neuronpedia lists {LISTED_BATCHES:,} of a folder: export --features in parts"
            say(f"note: {source.n_batches:,} batches; {lists}")
        written, size = dict(source.written), folder_bytes(aside)
        add_config(folder, _config(whole, chosen, lines.explainers, name.creator))
    return ExportedSource(place, written, size)


def source_name(record: DictionaryRecord, name: PublicName) -> SourceName:
    """The names of the record's source: model, layer without leading zeros, and name of its key unless `name` gives others."""
    model, layer, own = record.key.split("/")
    return SourceName(
        checked_name("--model-id", name.model or _as_id(model)),
        str(int(layer)) if layer.isdecimal() else checked_name("the layer", layer),
        checked_name("--source-set", name.source_set or _as_id(own)),
        checked_name("--release", name.release or f"{PREFIX}-{_as_id(model)}"),
    )


def published_methods(whole: WholeFeatures, methods: tuple[str, ...] | None) -> tuple[str, ...]:
    """The explanation methods to publish: those asked for, or all there are but baselines. Raises `UserError` for a method without rows."""
    if methods is None:
        return tuple(method for method in whole.methods if method not in BASELINES)
    if missing := [method for method in methods if method not in whole.methods]:
        there = ", ".join(whole.methods) or "none"
        raise UserError(
            f"--explanations {missing[0]}: {whole.record.key} has no explanations of this method; it has {there}. Make them: "
            f"interp backfill {whole.record.key} --only explanations/{missing[0]}"
        )
    return methods


def _config(whole: WholeFeatures, methods: tuple[str, ...], models: set[str], creator: str) -> dict[str, list[Line]]:
    """The names that the source's explanations and scores refer to: without them the importer refuses the explanations."""
    own = {"creatorId": creator}
    judges = sorted({", ".join(whole.judges[s]) or named("no-model") for s in whole.scorers})
    return {
        "explanation_type": [config_row(named(m), f"explanations of the method {m} of interp-assets", **own) for m in methods],
        "explanation_model_type": [config_row(m, "explainer") for m in sorted(models)],
        "explanation_score_type": [config_row(named(s), f"scores of the scorer {s} of interp-assets", **own) for s in whole.scorers],
        "explanation_score_model": [config_row(j, "judge") for j in judges],
    }


def _harvested(block: list[WholeFeature]) -> bool:
    return all(feature.statistics is not None for feature in block)


def _as_id(text: str) -> str:
    return "".join(c if (c.isalnum() and c.isascii()) or c in ".-_" else "-" for c in text).strip("-._").replace("__", "_") or "unnamed"
