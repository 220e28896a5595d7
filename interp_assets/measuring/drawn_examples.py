"""Windows drawn from the activations of a dictionary, and drawn windows as rows of the table examples."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from interp_assets.config.keys import RangeKey
from interp_assets.domain.examples.capping import blocked_positions, kept_contexts
from interp_assets.domain.examples.sampling import ExampleColumns, ExampleSettings, Sampling, draw_activating, with_negatives
from interp_assets.domain.examples.token_numbers import NO_ID
from interp_assets.measuring.hard_negatives import HardNegatives
from interp_assets.reading.activations import FeatureActivations
from interp_assets.tables import EXAMPLES, constant


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
    tokens, shape = source.sample.tokens, source.shape
    draws = []
    for feature, (positions, values) in block:
        usable = kept_contexts(harvest_seed, feature, kept_shares[feature], len(tokens))
        if contexts is not None:
            usable[: contexts.start], usable[contexts.stop :] = False, False
            here = usable[positions // shape.context_tokens]
            positions, values = positions[here], values[here]
        draw = draw_activating(positions, values, tokens, shape.first_position, settings, seed, feature, shape.text)
        draws.append(draw if usable.all() else draw.with_blocked(blocked_positions(usable, shape)))
    return [with_negatives(draw, found, tokens, settings, seed) for draw, found in zip(draws, source.of(draws, seed), strict=True)]


def example_rows(key: RangeKey, sampling: Sampling, found: Sequence[ExampleColumns], texts: TokenTexts) -> pa.Table:
    """The examples of some features of a range as rows of the table examples, built column by column."""
    labels = [label for columns in found for label in columns.labels(sampling)]
    roles, kinds, samplings = zip(*labels, strict=True) if labels else ((), (), ())
    counts = [len(columns.places) for columns in found]
    lengths = np.concatenate([columns.places.length for columns in found])
    strata = [stratum for columns in found for stratum in [*columns.strata.tolist(), *[None] * len(columns.negatives)]]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    begun, broken = zip(*(columns.cut_words for columns in found), strict=True)
    token_ids = np.concatenate([columns.token_ids for columns in found])
    activations = np.concatenate([columns.activations for columns in found]).astype(np.float32)
    return pa.table(
        {
            "dictionary": constant(key.dictionary, len(labels)),
            "feature_range": constant(key.feature_range, len(labels)),
            "feature": np.repeat(np.array([columns.feature for columns in found], dtype=np.uint32), counts),
            "example_id": [name for columns in found for name in columns.example_ids],
            "role": _encoded(roles), "kind": _encoded(kinds), "sampling": _encoded(samplings), "stratum": pa.array(strata, pa.int8()),
            "row": np.concatenate([columns.places.row for columns in found]).astype(np.uint32),
            "start": np.concatenate([columns.places.start for columns in found]).astype(np.uint32),
            "token_ids": pa.ListArray.from_arrays(offsets, pa.array(np.maximum(token_ids, NO_ID).astype(np.int32))),
            "tokens": pa.ListArray.from_arrays(offsets, window_texts(token_ids, lengths, texts)),
            "begins_in_word": np.concatenate(begun), "ends_in_word": np.concatenate(broken),
            "activations": pa.ListArray.from_arrays(offsets, pa.array(activations)),
            "max_activation": np.concatenate([columns.max_activation for columns in found]).astype(np.float32),
        },
        schema=EXAMPLES.schema,
    )  # fmt: skip


def window_texts(token_ids: np.ndarray, lengths: np.ndarray, texts: TokenTexts) -> pa.Array:
    """The text of each token in its window. `token_ids` holds windows of these lengths, all above 0, end to end.

    Each distinct token is looked up once; only windows with a token whose text depends on its neighbours are read token by token.
    """
    distinct, place = np.unique(token_ids, return_inverse=True)
    found = texts.texts(distinct)
    codes = place.astype(np.int32)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    extra: dict[str, int] = {}

    def code_of(text: str) -> int:
        if text not in extra:
            extra[text] = len(found)
            found.append(text)
        return extra[text]

    firsts, first_place = np.unique(token_ids[starts], return_inverse=True)
    codes[starts] = np.array([code_of(texts.tokens([token_id])[0]) for token_id in firsts.tolist()], dtype=np.int32)[first_place]
    entangled = ~texts.is_plain(distinct)
    for window in np.flatnonzero(np.add.reduceat(entangled[place], starts)) if len(starts) else ():
        span = slice(starts[window], ends[window])
        codes[span] = [code_of(text) for text in texts.tokens(token_ids[span])]
    return pa.array(found, pa.string()).take(pa.array(codes))


def _encoded(texts: Sequence[str]) -> pa.DictionaryArray:
    return pa.array(texts, pa.string()).dictionary_encode()
