"""Windows drawn from the activations of a dictionary, and drawn windows as rows of the table examples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.config.keys import RangeKey
from interp_assets.domain.examples.capping import blocked_positions, kept_contexts
from interp_assets.domain.examples.drawing import draw_activating
from interp_assets.domain.examples.firing_shares import firing_shares_of_each
from interp_assets.domain.examples.imported_examples import SAMPLING
from interp_assets.domain.examples.negative_draws import with_negatives
from interp_assets.domain.examples.negatives import NEGATIVE_KINDS
from interp_assets.domain.examples.sampling import HELD_OUT_SAMPLING, ROLES, ExampleColumns, ExampleSettings, Kind, Sampling
from interp_assets.domain.examples.token_numbers import NO_ID
from interp_assets.measuring.hard_negatives import HardNegatives
from interp_assets.measuring.texts_of_windows import WindowTexts
from interp_assets.orchestration.rows import names_at
from interp_assets.reading.activations import FeatureActivations
from interp_assets.tables import EXAMPLES
from interp_assets.tables.columns import constant
from resources.store.row_groups import CODED_TEXTS


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
    firing = firing_shares_of_each(
        [draw.positions for draw in drawn], n_usable, shape.context_tokens, shape.first_position, settings.window_tokens
    )
    draws = [draw if kept is None else draw.with_blocked(blocked_positions(kept, shape)) for draw, kept in zip(drawn, usable, strict=True)]
    found = with_negatives(draws, source.of(draws, seed), sample, settings, seed)
    return [replace(columns, firing=shares) for columns, shares in zip(found, firing, strict=True)]


_TOKENS = EXAMPLES.schema.get_field_index("tokens")
_SCHEMA = EXAMPLES.schema.set(_TOKENS, EXAMPLES.schema.field(_TOKENS).with_type(CODED_TEXTS))
"""The schema of the table examples, texts of tokens as codes: a file of examples is then written without a look at each text."""

SAMPLINGS = (*get_args(Sampling), *NEGATIVE_KINDS, SAMPLING)
"""Every value of the column `sampling`, each once."""

_PLACES = {name: place for place, name in enumerate(dict.fromkeys(SAMPLINGS))}


def example_rows(key: RangeKey, sampling: Sampling, found: Sequence[ExampleColumns], texts: WindowTexts) -> pa.Table:
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
    """The features with a token sequence that has two of the roles shown, validation and held out; [] where all is as it should be."""
    lengths = np.concatenate([np.empty(0, dtype=np.int64), *(columns.places.length for columns in found)])
    token_ids = np.concatenate([np.empty(0, dtype=np.int32), *(columns.token_ids for columns in found)])
    owner = np.repeat(np.arange(len(found)), [len(columns.places) for columns in found])
    text = owner * max(len(owner), 1) + _numbers_of_texts(token_ids, lengths)
    role = _roles(found)
    order = np.argsort(text, kind="stable")
    wrong = (np.diff(text[order]) == 0) & (np.diff(role[order]) != 0)
    return sorted({found[i].feature for i in owner[order[1:][wrong]].tolist()})


def _numbers_of_texts(token_ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """int32 [windows], below the number of windows: equal numbers for equal token sequences, compared byte by byte. `token_ids` holds
    windows of these lengths end to end."""
    ends = np.concatenate([[0], np.cumsum(lengths)]) * token_ids.itemsize
    bounds, tokens = pa.py_buffer(ends.astype(np.int64)), pa.py_buffer(np.ascontiguousarray(token_ids))
    return pa.Array.from_buffers(pa.large_binary(), len(lengths), [None, bounds, tokens]).dictionary_encode().indices.to_numpy()
