"""Tables of explanations: written here, read from files, and as vectors."""

from typing import get_args

import pyarrow as pa

from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.tables.columns import (
    BY_RANGE,
    DICTIONARY,
    EXPLANATION_METHOD,
    FEATURE,
    FEATURE_RANGE,
    KEY,
    OUTCOME,
    Table,
    column,
    later_column,
)

FURTHER_DEAL = pa.struct([("donor_feature", pa.uint32()), ("explanation", pa.string())])

IMPORTED_EXPLANATIONS = Table(
    "imported_explanations", "one feature's explanation as a file states it", ("explanation_method", "dictionary"),
    ("dictionary", "explanation_method", "feature"),
    pa.schema([
        DICTIONARY,
        column("explanation_method", KEY, "human | imported"),
        FEATURE,
        column("explanation", pa.string(), "text"),
        column("author", pa.string(), "who wrote it, person or method and model; null where the file does not say", True),
        column("source", pa.string(), "file and line; in brackets, what the row itself names as its source"),
    ]),
    written_by="interp import explanations",
)  # fmt: skip
IMPORTED_SUCCESSES = Table(
    "imported_successes", "one method's description of a feature in another tool's results, and whether it succeeded", ("dictionary",),
    ("dictionary", "explanation_method", "feature"),
    pa.schema([
        DICTIONARY,
        column("explanation_method", KEY, "as the results name it"),
        FEATURE,
        column("explanation", pa.string(), "text"),
        column("input_success", pa.bool_(), "does the feature fire on what is described; null where the results do not say", True),
        column("output_success", pa.bool_(), "is its effect on the model's outputs told by it; null where they do not say", True),
        column("source", pa.string(), "file and line"),
    ]),
    written_by="interp import output-centric",
)  # fmt: skip
EXPLANATIONS = Table(
    "explanations", "one feature's explanation by one method", ("explanation_method", *BY_RANGE),
    ("dictionary", "feature", "explanation_method"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE, EXPLANATION_METHOD, OUTCOME,
        column("explanation", pa.string(), "text; null unless the outcome is ok", True),
        column("raw_reply", pa.string(), "what the explainer said; null when it was not asked", True),
        column("replies", pa.list_(pa.string()), "content addresses of the replies it was read out of; none when not asked or in vain"),
        column("donor_feature", pa.uint32(), "feature whose explanation this is (shuffled baselines, planted_false); null otherwise", True),
        column("model", KEY, "explainer; empty when none was asked"),
        column("prompt_version", KEY, "version of the method's prompt"),
        later_column("label", pa.string(), "the explanation in 1 to 6 words; null without one, and in rows from before labels"),
        later_column("further_deals", pa.list_(FURTHER_DEAL), "texts of later deals of a shuffled baseline; null where there is one deal"),
    ]),
    written_by="explanations/<method>",
    outcomes=get_args(ExplanationOutcome),
    row_group_rows=8_192,
)  # fmt: skip
EXPLANATION_EMBEDDINGS = Table(
    "explanation_embeddings", "one explanation of a feature as a vector", ("dictionary",), ("dictionary", "feature", "explanation_id"),
    pa.schema([
        DICTIONARY, FEATURE,
        column("explanation_method", KEY, "first method that wrote the text; baselines alone are not embedded"),
        column("explanation_id", pa.string(), "content address of dictionary, feature and text; says nothing of the method"),
        column("encoder", KEY, "sentence encoder and its revision"),
        column("vector", pa.list_(pa.float16()), "sentence embedding of the text, of length 1"),
    ]),
    written_by="interp embed",
)  # fmt: skip
