"""Matches of one dictionary's features with features of another dictionary, and how alike their explanations are: rows of
feature_matches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import IMPORTED_KINDS, DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.features.co_occurrence import Nearest
from interp_assets.domain.features.matching import controls, one_to_one
from interp_assets.domain.seeds import generator
from interp_assets.measuring.directions import decoder_directions, nearest_both_ways, summed_directions
from interp_assets.orchestration.stage import Versions
from interp_assets.orchestration.versions import matched_explanations, matches_version
from interp_assets.tables import EXPLANATIONS, FEATURE_MATCHES
from interp_assets.tables.columns import constant
from interp_assets.tables.features import COMPARED_EXPLANATIONS
from resources.dictionaries import written_hooks
from resources.model_provider import ModelProvider
from resources.store.lake import Lake

NEAREST, ONE_TO_ONE = "nearest", "one_to_one"
ASSIGNMENTS = (NEAREST, ONE_TO_ONE)
ROWS_AT_ONCE = 65_536
Embed = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class PairMatches:
    """All matches of one dictionary in another dictionary, as arrays [rows] by assignment, feature and rank.

    `feature` and `matched` count the selected features of the two records; `matched` and `cosine` are defined where `outcome` is "ok".
    """

    assignment: np.ndarray
    feature: np.ndarray
    rank: np.ndarray
    matched: np.ndarray
    cosine: np.ndarray
    outcome: np.ndarray


@dataclass(frozen=True)
class ExplainedFeatures:
    """One method's explanations of a dictionary: which selected features are explained (int64, ascending), and the text for each."""

    features: np.ndarray
    texts: list[str]


@dataclass(frozen=True)
class ComparedExplanations:
    """For each ok match (arrays [matches]): an outcome, the cosine of the two explanations, and the cosine with the control where there is
    a control. The outcome says which of the two explanations exist."""

    method: str
    outcome: np.ndarray
    cosine: np.ndarray
    control: np.ndarray
    has_control: np.ndarray


@dataclass(frozen=True)
class AskedMatches:
    """The inputs of a dictionary's matches: the other dictionaries, the versions of the compared explanations, and the data version."""

    others: tuple[DictionaryRecord, ...]
    explanations: dict[str, str]
    data_version: str


def asked_matches(
    lake: Versions, registry: DictionaryRegistry, platform: PlatformSettings, record: DictionaryRecord, encoder_revision: Callable[[], str]
) -> AskedMatches:
    """The inputs of the matches that a dictionary's settings ask for. Where the settings ask for no matches, there are no other
    dictionaries, and no input is needed.

    Raises `UserError` for a dictionary that is not registered or not of the same model, `LakeError` while explanations of `record` are
    missing.
    """
    stages = platform.stage_settings(record.stages)
    others = tuple(registry.get(key) for key in stages.matching.others if key != record.key)
    for other in others:
        refuse_other_model(record, other)
    explanations = matched_explanations(lake, record, others, platform)
    return AskedMatches(others, explanations, matches_version(record, others, stages, explanations, encoder_revision))


def asks_for_matches(record: DictionaryRecord, stages: StageSettings) -> bool:
    """Whether a dictionary's settings name another dictionary to match with."""
    return any(key != record.key for key in stages.matching.others)


def holds_matches(lake: Lake, record: DictionaryRecord) -> bool:
    """Whether the lake has matches of a dictionary, current or old; matches left by a killed run count."""
    return lake.holds_rows(FEATURE_MATCHES.name, {"dictionary": record.key})


def refuse_other_model(record: DictionaryRecord, other: DictionaryRecord) -> None:
    """Raise `UserError` naming both dictionaries where their models differ: directions of different models have nothing in common."""
    if (record.model.source, record.model.revision) != (other.model.source, other.model.revision):
        raise UserError(
            f"dictionary {record.key} of the model {record.model.source} is to be matched with {other.key} of the model "
            f"{other.model.source}: only dictionaries of one model and revision write into one space. Take {other.key} out of "
            f"`stages: {{matching: {{with: …}}}}` of {record.key}."
        )


def match_pair(models: ModelProvider, record: DictionaryRecord, other: DictionaryRecord, n_nearest: int) -> PairMatches:
    """Nearest and one-to-one matches of the selected features of `record` with the selected features of `other`.

    Where the two write at different numbers of hooks, the sum of each feature's rows over its hooks is compared. Reads weights only. Memory
    holds both decoders in half precision and one block of cosines. Raises `UserError` naming both dictionaries where their decoder rows
    have different lengths, or their models differ.
    """
    refuse_other_model(record, other)
    ours, theirs = _directions(models, record), _directions(models, other)
    n = len(record.selected_features)
    none = Nearest(np.zeros(n + 1, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    if ours is None or theirs is None:
        without = np.full(n, "no_decoder" if ours is None else "other_has_no_decoder")
        return _joined(none, none, without)
    if ours.shape[1] != theirs.shape[1] and _writes_at_several(models, record, other):
        summed = [_directions(models, one, summed_directions) for one in (record, other)]
        ours, theirs = (one if two is None else two for one, two in zip((ours, theirs), summed, strict=True))
    if ours.shape[1] != theirs.shape[1]:
        raise UserError(
            f"decoder rows of {record.key} ({record.output_hook or record.hook}) have {ours.shape[1]} dimensions and rows of {other.key} "
            f"({other.output_hook or other.hook}) {theirs.shape[1]}: they write into different spaces. Take {other.key} out of "
            f"`stages: {{matching: {{with: …}}}}` of {record.key}."
        )
    zero = (~(ours != 0).any(dim=1)).cpu().numpy()
    of_zeros = (~(theirs != 0).any(dim=1)).cpu().numpy()
    nearest, back = nearest_both_ways(ours, theirs, n_nearest)
    nearest, back = _without_zeros(nearest, zero, of_zeros), _without_zeros(back, of_zeros, zero)
    index, partner, cosine = one_to_one(nearest, back)
    counts = np.bincount(index, minlength=n)
    return _joined(nearest, Nearest(np.concatenate([[0], np.cumsum(counts)]), partner, cosine), np.where(zero, "zero_decoder", "unmatched"))


def _writes_at_several(models: ModelProvider, *records: DictionaryRecord) -> bool:
    """Whether features of one of the dictionaries write at several hooks."""
    found = (models.dictionary(kind=one.kind, **one.loader_fields, device="cpu") for one in records)
    return any(len(written_hooks(dictionary)) > 1 for dictionary in found)


def _directions(models: ModelProvider, record: DictionaryRecord, directions_of: Callable[..., Any] = decoder_directions):
    """Decoder directions of the selected features, None where there is no decoder; the dictionary itself is freed."""
    import torch

    if record.kind in IMPORTED_KINDS:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return directions_of(models.dictionary(kind=record.kind, **record.loader_fields, device=device), record.selected_features)


def _without_zeros(nearest: Nearest, zero: np.ndarray, of_zeros: np.ndarray) -> Nearest:
    """`nearest` without the neighbours of features whose decoder row is zeros, and without such features as neighbours: zeros have no
    direction."""
    owner = np.repeat(np.arange(len(zero)), np.diff(nearest.bounds))
    kept = ~zero[owner] & ~of_zeros[nearest.neighbour]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=len(zero)))])
    return Nearest(bounds, nearest.neighbour[kept], nearest.similarity[kept])


def _joined(nearest: Nearest, pairs: Nearest, without: np.ndarray) -> PairMatches:
    """Rows of both assignments. In each assignment, a feature without a match has one row, with its outcome from `without` [features]."""
    parts = []
    for assignment, found in ((NEAREST, nearest), (ONE_TO_ONE, pairs)):
        count = np.diff(found.bounds)
        rows = np.maximum(count, 1)
        owner, has_one = np.repeat(np.arange(len(count)), rows), np.repeat(count > 0, rows)
        rank = np.arange(len(owner)) - np.repeat(np.cumsum(rows) - rows, rows)
        matched, cosine = np.zeros(len(owner), dtype=np.int64), np.zeros(len(owner), dtype=np.float32)
        matched[has_one], cosine[has_one] = found.neighbour, found.similarity
        parts.append((np.full(len(owner), assignment), owner, rank, matched, cosine, np.where(has_one, "ok", without[owner])))
    return PairMatches(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def compare_explanations(
    lake: Lake,
    record: DictionaryRecord,
    other: DictionaryRecord,
    methods: Sequence[str],
    matches: PairMatches,
    embed: Embed,
    seed: int,
) -> list[ComparedExplanations]:
    """For each of `methods` the comparison of the two explanations of every ok match, in the order of `matches`. `embed` maps texts to rows
    of length 1.

    The control is the explanation of another explained feature of the other dictionary, drawn by (seed, feature, other dictionary). All
    matches of a feature have the same control: it shows how alike two explanations of unrelated features are.
    """
    ok = matches.outcome == "ok"
    feature, matched = matches.feature[ok], matches.matched[ok]
    purpose = f"match_control/{other.key}"
    draws = np.array([generator(seed, int(f), purpose).random() for f in record.selected_features]) if methods else np.empty(0)
    compared = []
    for method in methods:
        own = read_explained(lake, record, method)
        theirs = read_explained(lake, other, method)
        assert own is not None, f"{record.key}: explanations of {method} went away"
        compared.append(_compared(method, feature, matched, own, theirs, embed, draws[feature]))
    return compared


def _compared(
    method: str,
    feature: np.ndarray,
    matched: np.ndarray,
    own: ExplainedFeatures,
    theirs: ExplainedFeatures | None,
    embed: Embed,
    draws: np.ndarray,
) -> ComparedExplanations:
    """One method's comparison; `theirs` is None where the other dictionary has no explanations by the method."""
    n = len(feature)
    nothing = np.zeros(n, dtype=np.float32)
    if theirs is None:
        return ComparedExplanations(method, np.full(n, "not_made"), nothing, nothing, np.zeros(n, dtype=bool))
    place, here = _places(own.features, feature)
    other_place, there = _places(theirs.features, matched)
    chosen, has_control = controls(draws, matched, theirs.features)
    control_place, _ = _places(theirs.features, chosen)
    both = here & there
    has_control &= both
    texts = sorted({*own.texts, *theirs.texts})
    number = {text: i for i, text in enumerate(texts)}
    vectors = embed(texts) if texts and both.any() else np.zeros((1, 1), dtype=np.float32)
    ours, others = (np.array([number[text] for text in side.texts] + [0]) for side in (own, theirs))
    cosine = _cosines(vectors, ours[place], others[other_place], both)
    control = _cosines(vectors, ours[place], others[control_place], has_control)
    return ComparedExplanations(method, np.where(both, "ok", "not_explained"), cosine, control, has_control)


def _places(explained: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(index, found), both [features]: the index of each of `features` in `explained` (ascending), len(explained) where it is not found."""
    place = np.searchsorted(explained, features)
    here = np.append(explained, -1)[place] == features
    return np.where(here, place, len(explained)), here


def _cosines(vectors: np.ndarray, left: np.ndarray, right: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """float32 [matches]: dot products of row `left` and row `right` of `vectors` where wanted, else 0. ROWS_AT_ONCE are in memory at a
    time."""
    found = np.zeros(len(left), dtype=np.float32)
    rows = np.flatnonzero(wanted)
    for part in (rows[first : first + ROWS_AT_ONCE] for first in range(0, len(rows), ROWS_AT_ONCE)):
        found[part] = np.einsum("ij,ij->i", vectors[left[part]], vectors[right[part]])
    return found


def read_explained(lake: Lake, record: DictionaryRecord, method: str) -> ExplainedFeatures | None:
    """The features of a dictionary that one method explains, with the texts; None where a range of explanations is missing."""
    cells = [{"explanation_method": method, "dictionary": record.key, "feature_range": name} for name in FEATURE_RANGE_KEYS]
    if any(lake.manifest(EXPLANATIONS.name, cell) is None for cell in cells):
        return None
    columns = ["feature", "explanation"]
    rows = pa.concat_tables([lake.read(EXPLANATIONS.name, cell, columns=columns) for cell in cells]).sort_by("feature")
    said = rows.filter(rows.column("explanation").is_valid())
    features = np.searchsorted(record.selected_features, said.column("feature").to_numpy())
    return ExplainedFeatures(features, said.column("explanation").to_pylist())


def match_rows(
    record: DictionaryRecord, other: DictionaryRecord, matches: PairMatches, compared: Sequence[ComparedExplanations]
) -> pa.Table:
    """Rows of feature_matches, in the order of `matches`."""
    n, ok = len(matches.feature), matches.outcome == "ok"
    return pa.table(
        {
            "dictionary": constant(record.key, n), "feature": record.selected_features[matches.feature],
            "other_dictionary": constant(other.key, n), "assignment": pa.array(matches.assignment).dictionary_encode(),
            "rank": matches.rank.astype(np.uint16),
            "matched_feature": pa.array(_selected(other, matches.matched, ok), pa.uint32(), mask=~ok),
            "cosine": pa.array(matches.cosine, mask=~ok), "explanations": _lists(ok, compared),
            "outcome": pa.array(matches.outcome).dictionary_encode(),
        },
        schema=FEATURE_MATCHES.schema,
    )  # fmt: skip


def _selected(other: DictionaryRecord, matched: np.ndarray, ok: np.ndarray) -> np.ndarray:
    """uint32 [rows]: the matched feature of the other dictionary for each ok match, 0 elsewhere."""
    features = np.zeros(len(matched), dtype=np.uint32)
    features[ok] = other.selected_features[matched[ok]]
    return features


def _lists(ok: np.ndarray, compared: Sequence[ComparedExplanations]) -> pa.ListArray:
    """The list of comparisons of each row: for an ok match one comparison a method, for any other outcome an empty list."""

    def column(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(arrays, axis=1).ravel() if arrays else np.empty(0)

    outcome = column([one.outcome for one in compared])
    control = column([one.has_control for one in compared]).astype(bool)
    entries = pa.StructArray.from_arrays(
        [
            pa.array(np.tile([one.method for one in compared], int(ok.sum())) if compared else [], pa.string()),
            pa.array(column([one.cosine for one in compared]), pa.float32(), mask=outcome != "ok"),
            pa.array(column([one.control for one in compared]), pa.float32(), mask=~control),
            pa.array(outcome, pa.string()) if compared else pa.array([], pa.string()),
        ],
        fields=list(COMPARED_EXPLANATIONS),
    )
    offsets = np.concatenate([[0], np.cumsum(ok * len(compared))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), entries)
