"""Search by example: a text is run through the subject model and the dictionary, and the features that it fires hardest are shown."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from interp_assets.config.records import PLANTED_KIND, DictionaryRecord
from interp_assets.explorer.columns import FeatureColumns
from interp_assets.explorer.explorer import Explorer, refused
from interp_assets.explorer.shading import shaded

MOST_TOKENS = 256
SHOWN = 40
PER_TOKEN = 3


@dataclass(frozen=True)
class FiredFeature:
    """A feature on the text: `share` is its peak as a share of its largest activation in the sample, None where that is unknown."""

    feature: int
    peak: float
    share: float | None
    density: float | None
    explanation: str | None
    html: Markup


@dataclass(frozen=True)
class ExampleView:
    """A text as tokens, the features that fire hardest on each token, and on the whole text."""

    tokens: list[tuple[str, list[tuple[int, float]]]]
    features: list[FiredFeature]
    n_fired: int
    n_dense: int
    was_cut: bool


def activations_on(explorer: Explorer, record: DictionaryRecord, text: str) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, bool]:
    """(tokens, positions, features, values, was cut) of all activations of a dictionary on a text, without BOS; positions count from its
    first token. A page that waits while the model is loaded."""
    if record.imported is not None or record.kind == PLANTED_KIND:
        refused(f"{record.key} is of kind {record.kind}: it has no weights here, so no new text can be run through it.")

    def work() -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, bool]:
        held = explorer.models.loaded
        tokenizer = explorer.models.tokenizer(record.model.source, record.model.revision)
        ids = tokenizer.encode(text)
        cut, ids = len(ids) > MOST_TOKENS, ids[:MOST_TOKENS]
        subject, dictionary = held.subject(record.model), held.dictionary(record)
        bos = [] if subject.bos_token_id is None else [subject.bos_token_id]
        rows = np.array([[*bos, *ids.tolist()]], dtype=np.int64)
        selected = np.asarray(record.selected_features, dtype=np.uint32)
        batches = list(subject.sparse_activations(rows, {record.key: dictionary}, {record.key: selected})) if len(ids) else []
        position, feature, value = (
            np.concatenate([getattr(batch, name) for batch in batches] or [np.zeros(0)]) for name in ("position", "feature", "value")
        )
        return tokenizer.tokens(ids), position.astype(np.int64) - len(bos), feature.astype(np.int64), value.astype(np.float64), cut

    what = f"{record.model.source} and {record.key} are being loaded."
    return explorer.ask(("example", record.key, text), what, work)


def fired_on(explorer: Explorer, record: DictionaryRecord, columns: FeatureColumns, text: str, density_to: float) -> ExampleView:
    """The features that a text fires hardest: by peak as a share of the feature's largest activation, denser features left out."""
    tokens, position, feature, value, cut = activations_on(explorer, record, text)
    places = np.searchsorted(columns.features, feature)
    places[places >= len(columns.features)] = 0
    known = columns.features[places] == feature if len(columns.features) else np.zeros(len(feature), dtype=bool)
    density = np.where(known, columns.numbers("density")[places], np.nan) if len(columns.features) else np.full(len(feature), np.nan)
    kept = ~(density > density_to)
    n_fired, n_dense = len(np.unique(feature)), len(np.unique(feature[~kept]))
    position, feature, value = position[kept], feature[kept], value[kept]
    return ExampleView(
        _by_token(tokens, position, feature, value), _hardest(columns, tokens, position, feature, value), n_fired, n_dense, cut
    )


def _by_token(tokens: list[str], position: np.ndarray, feature: np.ndarray, value: np.ndarray) -> list[tuple[str, list[tuple[int, float]]]]:
    found = []
    for place, token in enumerate(tokens):
        here = np.flatnonzero(position == place)
        best = here[np.argsort(-value[here], kind="stable")][:PER_TOKEN]
        found.append((token, [(int(feature[i]), float(value[i])) for i in best]))
    return found


def _hardest(
    columns: FeatureColumns, tokens: list[str], position: np.ndarray, feature: np.ndarray, value: np.ndarray
) -> list[FiredFeature]:
    found = []
    largest = columns.numbers("max_activation")
    for one in np.unique(feature).tolist():
        own = feature == one
        values = np.zeros(len(tokens))
        values[position[own]] = value[own]
        at, peak = columns.place_of(one), float(values.max())
        most = float(largest[at]) if at is not None else float("nan")
        share = None if np.isnan(most) or most <= 0 else peak / most
        density = None if at is None else float(columns.numbers("density")[at])
        found.append((one, values, peak, share, None if density is None or np.isnan(density) else density, most))
    found.sort(key=lambda row: (-(row[3] if row[3] is not None else 0.0), -row[2], row[0]))
    return [
        FiredFeature(
            one, peak, share, density, columns.title_of(one), shaded(tokens, values.tolist(), peak if np.isnan(most) else max(most, peak))
        )
        for one, values, peak, share, density, most in found[:SHOWN]
    ]
