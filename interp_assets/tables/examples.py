"""Tables of the windows that explainers and scorers see, and of the vectors by which similar silent windows are found."""

from typing import get_args

import pyarrow as pa

from interp_assets.domain.outcomes import EmbeddingsOutcome, ExamplesOutcome
from interp_assets.tables.columns import BY_RANGE, DICTIONARY, FEATURE, FEATURE_RANGE, KEY, OUTCOME, Table, column, later_column

WINDOW_EMBEDDINGS = Table(
    "window_embeddings", "one cell of a context as a vector", ("embeddings",), ("embeddings", "cell"),
    pa.schema([
        column("embeddings", KEY, "content address: token sample, window length and sentence encoder"),
        column("cell", pa.uint32(), "row * cells per row + cell of the row, cut every window_tokens from the first token after BOS"),
        column("vector", pa.list_(pa.float16()), "sentence embedding of the cell's text, of length 1"),
    ]),
    written_by="window_embeddings",
)  # fmt: skip
DICTIONARY_EMBEDDINGS = Table(
    "dictionary_embeddings", "one dictionary: which window embeddings its examples use, or why none", ("dictionary",), ("dictionary",),
    pa.schema([
        DICTIONARY,
        column("sample", KEY, "content address of the token sample"),
        column("embeddings", KEY, "content address of the embeddings; null unless the outcome is ok", True),
        column("encoder", pa.string(), "sentence encoder and its revision; null unless the outcome is ok", True),
        column("window_tokens", pa.uint32(), "tokens per cell"),
        column("n_cells", pa.uint32(), "cells embedded"),
        OUTCOME,
    ]),
    written_by="window_embeddings",
    outcomes=get_args(EmbeddingsOutcome),
)  # fmt: skip
FEATURE_EXAMPLES = Table(
    "feature_examples", "one feature: how its examples were drawn, or why there are none", BY_RANGE, ("dictionary", "feature"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE, OUTCOME,
        column("n_windows", pa.uint32(), "activating windows found"),
        column("n_shown", pa.uint32(), "activating windows shown to explainers"),
        column("n_shown_non_activating", pa.uint32(), "silent windows shown to explainers, for contrast"),
        column("n_validation", pa.uint32(), "activating windows for choosing among candidate explanations"),
        column("n_validation_non_activating", pa.uint32(), "silent windows for choosing among candidate explanations"),
        column("n_held_out", pa.uint32(), "activating windows held out for scorers"),
        column("n_non_activating", pa.uint32(), "silent windows held out for scorers, of these kinds:"),
        column("n_random", pa.uint32(), "silent windows from anywhere"),
        column("n_similar", pa.uint32(), "silent windows nearest in meaning to the shown examples"),
        column("n_neighbour", pa.uint32(), "silent windows on which a neighbouring feature fires"),
        column("n_token", pa.uint32(), "silent windows around tokens on which the feature peaks elsewhere"),
        column("n_filled_with_random", pa.uint32(), "of n_random, those that stand in for another kind that was asked for"),
        column("message", pa.string(), "what was needed and what there was; empty when nothing is missing"),
        later_column("firing_share", pa.float32(), "share of the sample's windows, cut side by side, on which the feature fires"),
        later_column(
            "start_shares", pa.list_(pa.float32()), "share of contexts on whose first quarter, half and whole window the feature fires"
        ),
    ]),
    written_by="examples",
    outcomes=get_args(ExamplesOutcome),
    row_group_rows=8_192,
)  # fmt: skip
EXAMPLES = Table(
    "examples", "one window of a context with a feature's activations on it", BY_RANGE, ("dictionary", "feature", "example_id"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE,
        column("example_id", pa.string(), "content address within the dictionary"),
        column("role", KEY, "shown | validation | held_out"),
        column("kind", KEY, "activating | non_activating"),
        column("sampling", KEY, "quantiles | top | random | mix; silent: random | similar | neighbour | token; or imported"),
        column("stratum", pa.int8(), "stratum of peak activation, 0 = strongest; null for silent windows", True),
        column("row", pa.uint32(), "context of the token sample; number of the window in an import"),
        column("start", pa.uint32(), "first position of the window in its context"),
        column("token_ids", pa.list_(pa.int32()), "token ids; -1 where the text of an imported token is no single token"),
        column("tokens", pa.list_(pa.string()), "text of each token here; a character of several tokens stands at the first of them"),
        column("begins_in_word", pa.bool_(), "whether the window begins inside a word"),
        column("ends_in_word", pa.bool_(), "whether it ends inside one"),
        column("activations", pa.list_(pa.float32()), "activation of the feature on each token"),
        column("max_activation", pa.float32(), "largest of them"),
    ]),
    written_by="examples",
    row_group_rows=8_192,
)  # fmt: skip
