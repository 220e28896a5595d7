"""Exports dictionaries as one Hugging Face dataset: features with windows, explanations and scores, and a card."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interp_assets.config.base import UserError, fingerprint
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.records import DictionaryRecord
from interp_assets.exchange.dataset_card import Described, dataset_card
from interp_assets.exchange.progress import Progress
from interp_assets.reading.whole_features import PublishedExplanation, Row, WholeFeature, WholeFeatures, in_blocks, whole_features
from resources.formats.dataset_writing import FEATURES, FILE_FEATURES, GROUP_FEATURES, SCORE, SCORES, sorted_files
from resources.store.lake import Lake
from resources.store.whole_folders import folder_bytes, require_free, whole_folder

LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
"""Ids of licences as the hub's list writes them."""

STATISTICS = ("firing_count", "token_density", "context_density", "mean_activation", "max_activation")
WINDOW = ("example_id", "role", "kind", "sampling", "stratum", "row", "start", "tokens", "activations", "max_activation")


@dataclass(frozen=True)
class ExportedDataset:
    """What was written: features and scores by config, and bytes."""

    folder: Path
    features: dict[str, int] = field(default_factory=dict)
    scores: dict[str, int] = field(default_factory=dict)
    bytes: int = 0


def export_dataset(
    lake: Lake,
    records: Sequence[DictionaryRecord],
    folder: Path,
    *,
    features: AskedFeatures | None = None,
    license_: str = "unknown",
    say: Callable[[str], None] = lambda line: None,
) -> ExportedDataset:
    """Write `records`, one or two configs each, and a card to `folder`, whole or not at all, and return what was written.

    `license_` is an id of the hub's list, such as cc-by-4.0. Raises `UserError` for dictionaries of one config name and for features that
    are not selected, `FolderTaken` where the folder holds anything.
    """
    require_free(folder)
    if not LICENCE.fullmatch(license_):
        raise UserError(f"--license {license_!r} is no id of the hub's list of licences, such as cc-by-4.0, mit or unknown")
    configs = config_names(records)
    whole = {configs[record.key]: whole_features(lake, record, features) for record in records}
    for one in whole.values():
        for note in one.missing:
            say(f"note: {note}")
    total = sum(len(one.features) for one in whole.values())
    say(f"writing {total:,} features to {folder}")
    progress = Progress(total, say)
    with whole_folder(folder) as aside:
        described = [_write(one, aside / "data" / config, config, progress) for config, one in whole.items()]
        (aside / "README.md").write_text(dataset_card(described, license_), encoding="utf-8")
        size = folder_bytes(aside)
    counts = {one.config: one.n_features for one in described}
    return ExportedDataset(folder, counts, {one.config: one.n_scores for one in described}, size)


def config_names(records: Sequence[DictionaryRecord]) -> dict[str, str]:
    """The config of each dictionary by its key: `smollm2-135m/09/res-2k` becomes `smollm2-135m--09--res-2k`."""
    names: dict[str, str] = {}
    for record in records:
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", record.key.replace("/", "--"))
        if name in names.values():
            raise UserError(f"{record.key} is given twice, or another KEY has its config name {name}. Leave one of them out")
        names[record.key] = name
    return names


def _write(whole: WholeFeatures, folder: Path, config: str, progress: Progress) -> Described:
    """Write the files of one dictionary."""
    folder.mkdir(parents=True)
    example = int(whole.features[0]) if len(whole.features) else 0
    described = Described(config, whole.record, whole.judges, fingerprint(*whole.versions), example)
    with sorted_files(folder, "features", FEATURES) as features, sorted_files(folder, "scores", SCORES) as scores:
        for block in in_blocks(whole, GROUP_FEATURES):
            for part in _of_one_file(block):
                features.add([feature_row(one) for one in part])
                scores.add([row for one in part for row in score_rows(one)])
            _count(block, described)
            progress.add(len(block))
        described.n_features, described.n_scores = features.rows, scores.rows
    return described


def _of_one_file(block: Sequence[WholeFeature]) -> list[list[WholeFeature]]:
    """The block, cut where another file begins."""
    parts: dict[int, list[WholeFeature]] = {}
    for one in block:
        parts.setdefault(one.feature // FILE_FEATURES, []).append(one)
    return list(parts.values())


def feature_row(feature: WholeFeature) -> Row:
    """A feature as a row of FEATURES."""
    statistics = feature.statistics or {}
    return {
        "feature": feature.feature, **{name: statistics.get(name) for name in STATISTICS},
        "top_tokens": [{"token": one["token"], "mass": one["mass"]} for one in statistics.get("top_tokens", ())],
        "promoted": _logits(feature.promoted), "suppressed": _logits(feature.suppressed),
        "neighbours": [{"feature": number, "cosine": cosine} for number, cosine in feature.neighbours],
        "examples_outcome": feature.examples_outcome,
        "explanations": [_explanation(one) for one in feature.explanations],
        "scores": [_score(row) for row in feature.scores],
        "examples": [{name: row[name] for name in WINDOW} for row in feature.examples],
    }  # fmt: skip


def score_rows(feature: WholeFeature) -> list[Row]:
    """The scores of a feature as rows of SCORES: of every explanation, then those that read no explanation."""
    of_explanations = [
        {"feature": feature.feature, "explanation_method": one.method, "explanation": one.text, "explainer": one.model, **_score(row)}
        for one in feature.explanations
        for row in one.scores
    ]
    without = {"feature": feature.feature, "explanation_method": None, "explanation": None, "explainer": None}
    return of_explanations + [{**without, **_score(row)} for row in feature.scores]


def _logits(tokens: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"token": token, "logit": logit} for token, logit in tokens]


def _explanation(one: PublishedExplanation) -> Row:
    return {
        "method": one.method, "outcome": one.outcome, "explanation": one.text, "explainer": one.model, "author": one.author,
        "scores": [_score(row) for row in one.scores],
    }  # fmt: skip


def _score(row: Row) -> Row:
    return {field_.name: row[field_.name] for field_ in SCORE}


def _count(block: Sequence[WholeFeature], described: Described) -> None:
    """Add a block to the counts and sums of the card."""
    for feature in block:
        for one in feature.explanations:
            described.explanations.setdefault((one.method, one.model), Counter())[one.outcome] += 1
            for row in one.scores:
                if row["headline"] and row["value"] is not None:
                    described.values.setdefault((row["scorer"], row["metric"], one.method), []).append(row["value"])
        for row in feature.scores:
            if row["headline"] and row["value"] is not None:
                described.values.setdefault((row["scorer"], row["metric"], ""), []).append(row["value"])
