"""Tables of what the subject model was given, and of what each feature did on it."""

import pyarrow as pa

from interp_assets.tables.columns import BY_RANGE, DICTIONARY, FEATURE, FEATURE_RANGE, KEY, Table, column

HISTOGRAM_NOTE = "counts per log-spaced bin of interp_assets.domain.features.feature_statistics"
TOP_TOKEN = pa.struct([("token_id", pa.int32()), ("token", pa.string()), ("mass", pa.float64())])

TOKEN_SAMPLES = Table(
    "token_samples", "one context: a row of tokens given to the subject model", ("sample",), ("sample", "row"),
    pa.schema([
        column("sample", KEY, "content address of the sample"),
        column("row", pa.uint32(), "context number"),
        column("token_ids", pa.list_(pa.int32()), "token ids, [context_tokens]"),
        column("document_ids", pa.list_(pa.uint32()), "documents in this context, in order"),
        column("document_starts", pa.list_(pa.uint32()), "first position of each of these documents in this context"),
        column("passage_starts", pa.list_(pa.uint32()), "first position of each run of text of one document"),
        column("passage_lengths", pa.list_(pa.uint32()), "tokens of each of these; only on them do activations count"),
    ]),
    written_by="token_sample",
    row_group_rows=512,
)  # fmt: skip
DOCUMENTS = Table(
    "documents", "one document read into a token sample", ("sample",), ("sample", "document_id"),
    pa.schema([
        column("sample", KEY, "content address of the sample"),
        column("document_id", pa.uint32(), "number in reading order"),
        column("source", KEY, "corpus"),
        column("title", pa.string(), "title or file"),
        column("characters", pa.uint32(), "characters"),
    ]),
    written_by="token_sample",
)  # fmt: skip
DICTIONARY_SAMPLES = Table(
    "dictionary_samples", "one dictionary: which token sample it is harvested on", ("dictionary",), ("dictionary",),
    pa.schema([
        DICTIONARY,
        column("sample", KEY, "content address of the sample"),
        column("n_rows", pa.uint32(), "contexts"),
        column("context_tokens", pa.uint32(), "tokens per context"),
    ]),
    written_by="token_sample",
)  # fmt: skip
ACTIVATIONS = Table(
    "activations", "one non-zero activation", BY_RANGE, ("dictionary", "feature", "position"),
    pa.schema([
        DICTIONARY, FEATURE,
        column("position", pa.uint32(), "token of the sample: row * context_tokens + position in the row"),
        column("value", pa.float16(), "activation, units of the dictionary"),
    ]),
    written_by="activation_shards",
)  # fmt: skip
FEATURE_STATISTICS = Table(
    "feature_statistics", "one feature: exact statistics over the whole token sample", BY_RANGE, ("dictionary", "feature"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE,
        column("sample", KEY, "token sample"),
        column("n_tokens", pa.uint64(), "tokens counted (special tokens excluded)"),
        column("firing_count", pa.uint64(), "tokens on which the feature fires"),
        column("token_density", pa.float64(), "share of tokens"),
        column("context_count", pa.uint64(), "contexts in which it fires at least once"),
        column("context_density", pa.float64(), "share of contexts in which it fires at least once"),
        column("mean_activation", pa.float64(), "mean over firing tokens; null when it never fires", True),
        column("max_activation", pa.float64(), "maximum; null when it never fires", True),
        column("histogram", pa.list_(pa.uint64()), HISTOGRAM_NOTE),
        column("top_tokens", pa.list_(TOP_TOKEN), "tokens by activation mass, most first"),
        column("top_token_share", pa.float64(), "share of the activation mass on the first of them; null when it never fires", True),
        column("kept_contexts_share", pa.float64(), "share of contexts whose activations are kept, 1 unless capped: see domain/capping.py"),
    ]),
    written_by="activation_shards",
    row_group_rows=2_048,
)  # fmt: skip
