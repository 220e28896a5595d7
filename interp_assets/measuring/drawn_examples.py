"""Windows drawn from the activations of a dictionary, and drawn windows as rows of the table examples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Protocol, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.config.keys import RangeKey
from interp_assets.domain.examples.capping import blocked_positions, kept_contexts
from interp_assets.domain.examples.drawing import draw_activating
from interp_assets.domain.examples.firing_shares import firing_shares
from interp_assets.domain.examples.imported_examples import SAMPLING
from interp_assets.domain.examples.negative_draws import with_negatives
from interp_assets.domain.examples.negatives import NEGATIVE_KINDS
from interp_assets.domain.examples.sampling import HELD_OUT_SAMPLING, ROLES, ExampleColumns, ExampleSettings, Kind, Sampling
from interp_assets.domain.examples.text_hashes import HashSet, in_sorted, numbers_of
from interp_assets.domain.examples.token_numbers import NO_ID
from interp_assets.measuring.hard_negatives import HardNegatives
from interp_assets.orchestration.rows import names_at
from interp_assets.reading.activations import FeatureActivations
from interp_assets.tables import EXAMPLES
from interp_assets.tables.columns import constant
from resources.store.row_groups import CODED_TEXTS


class TokenTexts(Protocol):
    """The texts of token ids: a tokenizer, or an import that knows its tokens."""

    def tokens(self, token_ids: Sequence[int] | np.ndarray, /) -> list[str]:
        """The text of each token of a run."""
        ...

    def texts(self, token_ids: Sequence[int] | np.ndarray, /) -> list[str]:
        """Each token's own text, as in the middle of a text."""
        ...

    def is_plain(self, token_ids: np.ndarray, /) -> np.ndarray:
        """Bool [n]: whether a token has the same text wherever it stands."""
        ...


def draw_examples(
    source: HardNegatives,
    block: Sequence[tuple[int, FeatureActivations]],
    kept_shares: Mapping[int, float],
    settings: ExampleSettings,
    harvest_seed: int,
    seed: int,
    contexts: slice | None = None,
) -> list[ExampleColumns]:
    """The examples of some features, given with their activations, in order.

    A feature whose activations were capped has its windows in the share of the contexts that was kept; `harvest_seed` says in which.
    With `contexts` all windows lie in these contexts of the sample. `seed` is the seed of every draw.
    """
    sample, shape = source.windowed, source.shape
    n_rows = len(source.sample.tokens)
    chosen: list[tuple[int, np.ndarray, np.ndarray]] = []
    usable: list[np.ndarray | None] = []  # None: all contexts
    for feature, (positions, values) in block:
        kept = None
        if contexts is not None or kept_shares[feature] < 1:
            kept = kept_contexts(harvest_seed, feature, kept_shares[feature], n_rows)
        if contexts is not None and kept is not None:
            kept[: contexts.start], kept[contexts.stop :] = False, False
            here = kept[positions // shape.context_tokens]
            positions, values = positions[here], values[here]
        chosen.append((feature, positions, values))
        usable.append(None if kept is None or kept.all() else kept)
    drawn = draw_activating(chosen, sample, settings, seed)
    n_usable = [n_rows if kept is None else int(np.count_nonzero(kept)) for kept in usable]
    firing = [
        firing_shares(draw.positions, n, shape.context_tokens, shape.first_position, settings.window_tokens)
        for draw, n in zip(drawn, n_usable, strict=True)
    ]
    draws = [draw if kept is None else draw.with_blocked(blocked_positions(kept, shape)) for draw, kept in zip(drawn, usable, strict=True)]
    found = with_negatives(draws, source.of(draws, seed), sample, settings, seed)
    return [replace(columns, firing=shares) for columns, shares in zip(found, firing, strict=True)]


_TOKENS = EXAMPLES.schema.get_field_index("tokens")
_SCHEMA = EXAMPLES.schema.set(_TOKENS, EXAMPLES.schema.field(_TOKENS).with_type(CODED_TEXTS))
"""The schema of the table examples, texts of tokens as codes: a file of examples is then written without a look at each text."""

SAMPLINGS = (*get_args(Sampling), *NEGATIVE_KINDS, SAMPLING)
"""Every value of the column `sampling`, each once."""

_PLACES = {name: place for place, name in enumerate(dict.fromkeys(SAMPLINGS))}


def example_rows(key: RangeKey, sampling: Sampling, found: Sequence[ExampleColumns], texts: "WindowTexts") -> pa.Table:
    """The examples of some features of a range as rows of the table examples, built column by column."""
    counts = [len(columns.places) for columns in found]
    lengths = np.concatenate([columns.places.length for columns in found])
    features = np.repeat(np.array([columns.feature for columns in found], dtype=np.uint32), counts)
    row, start = (np.concatenate([getattr(columns.places, name) for columns in found]).astype(np.uint32) for name in ("row", "start"))
    strata = np.concatenate([part for columns in found for part in (columns.strata, np.zeros(len(columns.negatives), dtype=np.int64))])
    n_activating = [n for columns in found for n in (columns.n_activating, len(columns.negatives))]
    is_silent = np.repeat(np.tile([False, True], len(found)), n_activating)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    begun, broken = zip(*(columns.cut_words for columns in found), strict=True)
    token_ids = np.concatenate([columns.token_ids for columns in found])
    activations = np.concatenate([columns.activations for columns in found]).astype(np.float32)
    names = [pa.array(part).cast(pa.string()) for part in (features, row, start)]
    return pa.table(
        {
            "dictionary": constant(key.dictionary, len(row)),
            "feature_range": constant(key.feature_range, len(row)),
            "feature": features,
            "example_id": pc.binary_join_element_wise(*names, "/"),
            "role": names_at(_roles(found), ROLES), "kind": names_at(is_silent, get_args(Kind)),
            "sampling": names_at(_samplings(found, sampling), tuple(_PLACES)),
            "stratum": pa.array(strata.astype(np.int8), mask=is_silent),
            "row": row, "start": start,
            "token_ids": pa.ListArray.from_arrays(offsets, pa.array(np.maximum(token_ids, NO_ID).astype(np.int32))),
            "tokens": pa.ListArray.from_arrays(offsets, texts.of(token_ids, lengths)),
            "begins_in_word": np.concatenate(begun), "ends_in_word": np.concatenate(broken),
            "activations": pa.ListArray.from_arrays(offsets, pa.array(activations)),
            "max_activation": np.concatenate([columns.max_activation for columns in found]).astype(np.float32),
        },
        schema=_SCHEMA,
    )  # fmt: skip


def _roles(found: Sequence[ExampleColumns]) -> np.ndarray:
    """The place in ROLES of the role of every example."""
    return np.repeat(np.tile(np.arange(len(ROLES)), 2 * len(found)), [n for columns in found for n in columns.counts])


def _samplings(found: Sequence[ExampleColumns], sampling: Sampling) -> np.ndarray:
    """The place in `_PLACES` of the sampling of every example."""
    parts: list[np.ndarray] = []
    for columns in found:
        shown, later = (SAMPLING, SAMPLING) if columns.imported else (sampling, HELD_OUT_SAMPLING)
        activating = np.repeat([_PLACES[shown], _PLACES[later]], [columns.n_shown, columns.n_activating - columns.n_shown])
        parts += [activating, np.fromiter(map(_PLACES.__getitem__, columns.negatives), dtype=np.int64)]
    return np.concatenate(parts)


def features_with_a_text_in_two_roles(found: Sequence[ExampleColumns]) -> list[int]:
    """The features with a token sequence that has two of the roles shown, validation and held out; [] where all is as it should be.

    Texts are compared token by token where a sum over their tokens, weighted by place, is equal.
    """
    if not found:
        return []
    lengths = np.concatenate([columns.places.length for columns in found])
    token_ids = np.concatenate([columns.token_ids for columns in found])
    if not len(lengths):
        return []
    starts = np.cumsum(lengths) - lengths
    weights = numbers_of(np.arange(int(lengths.max())))
    weighted = (token_ids.astype(np.int64) + 1).view(np.uint64) * weights.take(np.arange(len(token_ids)) - np.repeat(starts, lengths))
    owner = np.repeat(np.arange(len(found)), [len(columns.places) for columns in found])
    sums = np.add.reduceat(weighted, starts) + numbers_of(owner)
    is_first = HashSet.of(sums).is_first
    role, roles = _roles(found), dict[tuple[int, bytes], int]()
    wrong: set[int] = set()
    for window in np.flatnonzero(in_sorted(sums, np.sort(sums[~is_first]))).tolist():
        text = token_ids[starts[window] : starts[window] + lengths[window]].tobytes()
        if roles.setdefault((int(owner[window]), text), int(role[window])) != role[window]:
            wrong.add(found[int(owner[window])].feature)
    return sorted(wrong)


class WindowTexts:
    """The text of each token in its window, by a tokenizer or an import. Several threads may ask at the same time.

    Each distinct token is looked up once; only windows with a token whose text depends on its neighbours are read token by token.
    """

    def __init__(self, texts: TokenTexts) -> None:
        self._texts = texts
        self._lock = Lock()
        self._found: dict[str, int] = {}
        self._as_array = pa.array([], pa.string())
        self._lowest = 0
        self._inside, self._first = (np.empty(0, dtype=np.int32) for _ in range(2))
        self._entangled = np.empty(0, dtype=bool)

    def of(self, token_ids: np.ndarray, lengths: np.ndarray) -> pa.DictionaryArray:
        """The text of each token, dictionary-encoded. `token_ids` holds windows of these lengths, all above 0, end to end."""
        if not len(token_ids):
            return pa.array([], pa.string()).dictionary_encode()
        ends = np.cumsum(lengths)
        starts = ends - lengths
        with self._lock:
            self._learn(token_ids, starts)
            place = token_ids - self._lowest
            inside, first, entangled = self._inside, self._first, self._entangled
        codes = inside.take(place)
        codes[starts] = first.take(place[starts])
        is_entangled = entangled.take(place)
        mixed = np.flatnonzero(np.logical_or.reduceat(is_entangled, starts)) if is_entangled.any() else ()
        with self._lock:
            for window in mixed:
                span = slice(starts[window], ends[window])
                codes[span] = [self._code(text) for text in self._texts.tokens(token_ids[span])]
            if len(self._as_array) < len(self._found):
                self._as_array = pa.array(list(self._found), pa.string())
            texts = self._as_array
        return pa.DictionaryArray.from_arrays(pa.array(codes), texts)

    def _code(self, text: str) -> int:
        return self._found.setdefault(text, len(self._found))

    def _learn(self, token_ids: np.ndarray, starts: np.ndarray) -> None:
        """Look up tokens that have not come before, inside a window or first in it."""
        low, high = int(token_ids.min()), int(token_ids.max())
        below, above = max(self._lowest - low, 0), max(high + 1 - self._lowest - len(self._inside), 0)
        if below or above:
            # New arrays: another thread may be reading the present ones.
            self._inside, self._first = (np.pad(codes, (below, above), constant_values=-1) for codes in (self._inside, self._first))
            self._entangled = np.pad(self._entangled, (below, above))
            self._lowest -= below
        place = token_ids - self._lowest
        new = _distinct(place[self._inside.take(place) < 0], len(self._inside)) + self._lowest
        if len(new):
            self._inside, self._entangled = self._inside.copy(), self._entangled.copy()
            self._inside[new - self._lowest] = [self._code(text) for text in self._texts.texts(new)]
            self._entangled[new - self._lowest] = ~self._texts.is_plain(new)
        place = place[starts]
        new = _distinct(place[self._first.take(place) < 0], len(self._first)) + self._lowest
        if len(new):
            self._first = self._first.copy()
            self._first[new - self._lowest] = [self._code(self._texts.tokens([token_id])[0]) for token_id in new.tolist()]


def _distinct(places: np.ndarray, n: int) -> np.ndarray:
    """int64: the distinct numbers, all below n, ascending."""
    present = np.zeros(n, dtype=bool)
    present[places] = True
    return np.flatnonzero(present)
