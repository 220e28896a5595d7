"""One Arrow schema per table: grain, keys, units. Everything that the platform knows is in these tables.

A table's folder in the lake is `<name>/<partition column>=<value>/…/part-0.parquet`; the partition columns are columns of the file too.
"""

from dataclasses import dataclass
from typing import get_args

import numpy as np
import pyarrow as pa

from interp_assets.domain.outcomes import (
    AgreementOutcome,
    CorrelationOutcome,
    EmbeddingsOutcome,
    ExamplesOutcome,
    ExplanationOutcome,
    MatchOutcome,
    NeighbourOutcome,
    PairOutcome,
    ProjectionOutcome,
    RatedOutcome,
    RepeatedOutcome,
    ScoreOutcome,
    StabilityOutcome,
    SteeredSetOutcome,
    SteeringOutcome,
    TokenChangeOutcome,
    TrialOutcome,
    ValidityOutcome,
    VerdictOutcome,
)
from resources.store.later_columns import LATER_COLUMN

SCHEMA_VERSION = 9
"""Version of all the schemas below. A lake of another version is refused, with what to do."""

HISTOGRAM_NOTE = "counts per log-spaced bin of interp_assets.domain.features.feature_statistics"


def column(name: str, type_: pa.DataType, unit: str, nullable: bool = False) -> pa.Field:
    """An Arrow field whose metadata says its unit or meaning."""
    return pa.field(name, type_, nullable=nullable, metadata={"unit": unit})


def later_column(name: str, type_: pa.DataType, unit: str) -> pa.Field:
    """A nullable column that came to its table after the schema version: partitions written before it are read as if it were null."""
    return pa.field(name, type_, nullable=True, metadata={"unit": unit, LATER_COLUMN: "yes"})


@dataclass(frozen=True)
class Table:
    """A table of the lake: `grain` says what one row is; `partition_columns` name its folders; `keys` identify a row.

    `written_by` names the asset that writes it, or assets between commas, or a command where no asset does. `outcomes` are the values that
    its column `outcome` may have; none where it has no such column. `row_group_rows` bounds a row group of its files, so that one feature,
    or one context, is read with little around it: about 1 MB, a few range requests on an object store.
    """

    name: str
    grain: str
    partition_columns: tuple[str, ...]
    keys: tuple[str, ...]
    schema: pa.Schema
    written_by: str
    outcomes: tuple[str, ...] = ()
    row_group_rows: int | None = None


KEY = pa.dictionary(pa.int32(), pa.string())


def constant(text: str, n: int) -> pa.DictionaryArray:
    """A KEY column of `n` rows that all say `text`."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int32)), pa.array([text]))


DICTIONARY = column("dictionary", KEY, "key: model, layer and name, separated by slashes")
FEATURE_RANGE = column("feature_range", KEY, "range i of N")
FEATURE = column("feature", pa.uint32(), "index in the dictionary")
OUTCOME = column("outcome", KEY, "named outcome; 'ok' when all is well")
EXPLANATION_METHOD = column("explanation_method", KEY, "explainer that wrote the explanation")
SCORER = column("scorer", KEY, "scorer")
BY_RANGE = ("dictionary", "feature_range")
TRIED = pa.struct([("strength", pa.float64()), ("kl", pa.float64())])
SHIFTED_TOKEN = pa.struct(
    [("token_id", pa.int32()), ("token", pa.string()), ("clean_logprob", pa.float32()), ("steered_logprob", pa.float32())]
)
INTERVENTION = column("intervention", KEY, "strength (added to the feature) | zero_ablation; null where the feature was not steered", True)
TARGET_KL = column("target_kl", pa.float64(), "nats, with the sign of the strength; null for zero_ablation", True)
COMPARED_EXPLANATIONS = pa.struct(
    [("explanation_method", pa.string()), ("cosine", pa.float32()), ("control_cosine", pa.float32()), ("outcome", pa.string())]
)
FURTHER_DEAL = pa.struct([("donor_feature", pa.uint32()), ("explanation", pa.string())])
DEALT_SCORE = pa.struct([("donor_feature", pa.uint32()), ("value", pa.float64())])
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
FEATURE_NEIGHBOURS = Table(
    "feature_neighbours", "one of a feature's nearest features by one measure, or why it has none", ("dictionary",),
    ("dictionary", "feature", "measure", "rank"),
    pa.schema([
        DICTIONARY, FEATURE,
        column("measure", KEY, "decoder_cosine | co_occurrence (Jaccard index of the token positions fired on)"),
        column("rank", pa.uint16(), "place among the feature's neighbours, 0 = nearest"),
        column("neighbour", pa.uint32(), "index in the dictionary; null unless the outcome is ok", True),
        column("similarity", pa.float32(), "cosine or Jaccard index; null unless the outcome is ok", True),
        column("n_positions", pa.uint64(), "token positions that were compared; null for decoder_cosine", True),
        OUTCOME,
    ]),
    written_by="feature_neighbours",
    outcomes=get_args(NeighbourOutcome),
)  # fmt: skip
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
VOCABULARY_PROJECTIONS = Table(
    "vocabulary_projections", "one token that a feature's output direction promotes or suppresses, or why there is none", BY_RANGE,
    ("dictionary", "feature", "side", "rank"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE,
        column("side", KEY, "promoted | suppressed; null unless the outcome is ok, as are the next four", True),
        column("rank", pa.uint16(), "place among the tokens of the side, 0 = strongest", True),
        column("token_id", pa.int32(), "id in the model's vocabulary; special and reserved tokens are left out", True),
        column("token", pa.string(), "its text", True),
        column("logit", pa.float32(), "of the decoder row, normalised as the settings say, times the unembedding; not softcapped", True),
        column("outcome", KEY, "ok | no_decoder | no_logits (no linear map leads from the decoder to the residual stream) | zero_decoder"),
    ]),
    written_by="vocabulary_projections",
    outcomes=get_args(ProjectionOutcome),
    row_group_rows=16_384,
)  # fmt: skip
TOKEN_CHANGES = Table(
    "token_changes", "one token whose logit a feature raises or lowers while it is clamped, or why there is none", BY_RANGE,
    ("dictionary", "feature", "sign", "side", "rank"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE,
        column("sign", KEY, "positive | negative, the sign of the strength; null unless the outcome is ok, as are the next seven", True),
        column("side", KEY, "raised | lowered", True),
        column("rank", pa.uint16(), "place among the tokens of the side, 0 = most", True),
        column("token_id", pa.int32(), "id in the model's vocabulary; special and reserved tokens are left out", True),
        column("token", pa.string(), "its text", True),
        column("change", pa.float32(), "of its logit from the clean model's, mean over n_positions", True),
        column("strength", pa.float64(), "what the feature is clamped to, units of the dictionary", True),
        column("n_positions", pa.uint32(), "token positions, BOS not counted", True),
        column("outcome", KEY, "ok | dead (no activation to take the strength from) | no_decoder | zero_decoder | overflow"),
    ]),
    written_by="token_changes",
    outcomes=get_args(TokenChangeOutcome),
    row_group_rows=16_384,
)  # fmt: skip
STEERING = Table(
    "steering", "one feature at one target KL divergence, or ablated, or why it was not steered", BY_RANGE,
    ("dictionary", "feature", "intervention", "target_kl"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE, INTERVENTION, TARGET_KL,
        column("strength", pa.float64(), "tuned, units of the dictionary: the one tried that came nearest; null for zero_ablation", True),
        column("realised_kl", pa.float64(), "KL(clean || steered) of the next token, nats, mean over prompts; null where infinite", True),
        column("n_steps", pa.uint16(), "strengths that were tried for this target; null for zero_ablation", True),
        column("tried", pa.list_(TRIED), "all strengths tried with this sign, by size, and the KL of each; null for zero_ablation", True),
        column("n_contexts", pa.uint32(), "distinct activating contexts that the prompts were drawn from"),
        column("n_prompts", pa.uint32(), "prompts that the KL is a mean over; 0 where the feature was not steered"),
        column("outcome", KEY, "ok | not_reached | not_monotone | not_converged | dead | too_few_contexts | no_decoder | zero_decoder"),
    ]),
    written_by="steering",
    outcomes=get_args(SteeringOutcome),
)  # fmt: skip
STEERED_TEXTS = Table(
    "steered_texts", "one prompt of one feature and intervention, and how it goes on, clean and steered", BY_RANGE,
    ("dictionary", "feature", "intervention", "target_kl", "prompt"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE, INTERVENTION, TARGET_KL,
        column("prompt", pa.uint16(), "number of the feature's prompt, the same for all interventions"),
        column("role", KEY, "explainer | scoring"),
        column("row", pa.uint32(), "context of the token sample"),
        column("start", pa.uint32(), "first position of the prompt in it, BOS not counted"),
        column("prompt_token_ids", pa.list_(pa.int32()), "tokens up to the first that fires, BOS first where rows begin with it"),
        column("prompt_text", pa.string(), "their text, without BOS"),
        column("clean_completion", pa.string(), "what the model went on to say, sampled; the same for all interventions"),
        column("steered_completion", pa.string(), "what it said steered from the last prompt token on, with the same random numbers"),
        column("raised_tokens", pa.list_(SHIFTED_TOKEN), "next tokens whose probability rose most, most first; log-probabilities in nats"),
        column("lowered_tokens", pa.list_(SHIFTED_TOKEN), "next tokens whose probability fell most, most first"),
    ]),
    written_by="steering",
    row_group_rows=2_048,
)  # fmt: skip
STEERED_SETS = Table(
    "steered_sets", "one completion of a fixed prompt by one feature at one target KL divergence, or why there is none", BY_RANGE,
    ("dictionary", "feature", "target_kl", "prompt"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE,
        column("target_kl", pa.float64(), "nats, with the sign of the strength; null where the feature was not steered, as the next", True),
        column("prompt", pa.uint16(), "number of the fixed prompt, the same for all features", True),
        column("prompt_text", pa.string(), "the prompt", True),
        column("strength", pa.float64(), "tuned on the fixed prompts, units of the dictionary: the one that came nearest", True),
        column("realised_kl", pa.float64(), "KL(clean || steered) of the next token, nats, mean over prompts; null where infinite", True),
        column("n_steps", pa.uint16(), "strengths that were tried for this target", True),
        column("completion", pa.string(), "what the model said steered from the last prompt token on, sampled", True),
        column("outcome", KEY, "ok | not_reached | not_monotone | not_converged | no_decoder | zero_decoder"),
    ]),
    written_by="steering",
    outcomes=get_args(SteeredSetOutcome),
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
    row_group_rows=4_096,
)  # fmt: skip
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
FEATURE_MATCHES = Table(
    "feature_matches", "one feature and the one of another dictionary that writes most alike, or why there is none", ("dictionary",),
    ("dictionary", "feature", "other_dictionary", "assignment", "rank"),
    pa.schema([
        DICTIONARY, FEATURE,
        column("other_dictionary", KEY, "dictionary that the match is of"),
        column("assignment", KEY, "nearest (by cosine, whatever else is near it) | one_to_one (of largest total cosine)"),
        column("rank", pa.uint16(), "place among the feature's nearest, 0 = nearest; 0 for one_to_one"),
        column("matched_feature", pa.uint32(), "index in the other dictionary; null unless the outcome is ok", True),
        column("cosine", pa.float32(), "of the two decoder rows; null unless the outcome is ok", True),
        column(
            "explanations", pa.list_(COMPARED_EXPLANATIONS),
            "by each method that both dictionaries ask for: cosine of the two explanations' sentence embeddings, and with that of a random "
            "feature of the other dictionary as the second; ok | not_explained (one of the two) | not_made (in the other dictionary)",
        ),
        column("outcome", KEY, "ok | unmatched | zero_decoder | no_decoder | other_has_no_decoder"),
    ]),
    written_by="feature_matches",
    outcomes=get_args(MatchOutcome),
)  # fmt: skip
TRIALS = Table(
    "trials", "one question put to a scorer model", ("scorer", *BY_RANGE), ("dictionary", "trial"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE, EXPLANATION_METHOD, SCORER,
        column("trial", pa.string(), "name within the dictionary"),
        column("reply", pa.string(), "content address of the reply; null when none came", True),
        column(
            "outcome", KEY,
            "answered | model_error | stopped_early (the score was known well enough before it was asked) | not_asked (the windows that an "
            "estimate leaves out, in one row)",
        ),
        column("example_ids", pa.list_(pa.string()), "items in the order asked; none where the question only serves other trials"),
        column("truths", pa.list_(pa.bool_()), "the hidden answer key"),
        column("reply_text", pa.string(), "what the model said; empty where it only measured"),
        column("error", pa.string(), "why none came; null otherwise", True),
        column("prompt_tokens", pa.uint32(), "tokens"),
        column("cached_tokens", pa.uint32(), "tokens of the prompt served from a shared prefix"),
        column("completion_tokens", pa.uint32(), "tokens"),
        column("model", KEY, "who answered; empty when nobody was asked"),
        column("prompt_version", KEY, "version of the scorer's prompt"),
    ]),
    written_by="scores/<scorer>",
    outcomes=get_args(TrialOutcome),
    row_group_rows=8_192,
)  # fmt: skip
VERDICTS = Table(
    "verdicts", "one graded answer: one window of one trial", ("scorer", *BY_RANGE), ("dictionary", "trial", "item"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE, EXPLANATION_METHOD, SCORER,
        column("trial", pa.string(), "name within the dictionary"),
        column("item", pa.uint16(), "place in the trial"),
        column("example_id", pa.string(), "window; for scorers that judge something else, what it is"),
        column("truth", pa.bool_(), "does the feature fire here (on the marks, for fuzzing); or should it; or is it the one to find"),
        column("prediction", pa.bool_(), "the judge's answer; null when it gave none", True),
        column("probability", pa.float64(), "probability of yes; null when the back end has none", True),
        column("stratum", pa.int8(), "stratum of peak activation, 0 = strongest; null for silent windows", True),
        column("variant", KEY, "kind of positive or negative"),
        column("outcome", KEY, "answered | unparsable | truncated | copied | no_probabilities | model_error | failed (on the answers)"),
        column("value", pa.float64(), "what the scorer measured: cosine, log-likelihood ratio, rating; null where it decides", True),
        column("values", pa.list_(pa.float32()), "what it measured on each token: simulated activations; null elsewhere", True),
        column("activation", pa.float64(), "largest activation of the feature on the item; null where unknown", True),
        column("text", pa.string(), "the item itself, where it is no window of the examples; null elsewhere", True),
        later_column("weight", pa.uint32(), "windows for which the window stands; null where every window is asked about"),
        later_column("predicted", pa.float64(), "predicted yes, which decides the stratum; null where every window is asked about"),
    ]),
    written_by="scores/<scorer>",
    outcomes=get_args(VerdictOutcome),
    row_group_rows=16_384,
)  # fmt: skip
SCORES = Table(
    "scores", "one metric of one scorer for one feature's explanation", ("scorer", *BY_RANGE),
    ("dictionary", "feature", "explanation_method", "scorer", "metric", "stratum"),
    pa.schema([
        DICTIONARY, FEATURE_RANGE, FEATURE, EXPLANATION_METHOD, SCORER,
        column("metric", KEY, "what is measured: see the scorer; …@stratum for one stratum of activating windows, …@0.33 for a KL target"),
        column("headline", pa.bool_(), "is it the metric that stands for the scorer"),
        column("stratum", pa.int8(), "stratum of …@stratum, 0 = strongest; null otherwise", True),
        column("value", pa.float64(), "point value; null unless the outcome is ok", True),
        column("ci_low", pa.float64(), "2.5 % bound; null where no honest interval is known", True),
        column("ci_high", pa.float64(), "97.5 % bound", True),
        column("floor", pa.float64(), "what a judge that reads nothing reaches", True),
        column("n_positive", pa.uint32(), "positive windows answered"),
        column("n_negative", pa.uint32(), "negative windows answered"),
        column("n_unanswered", pa.uint32(), "windows asked about and not answered"),
        OUTCOME,
        later_column("deals", pa.list_(DEALT_SCORE), "scores by deal of a shuffled baseline, whose mean is value; null for one deal"),
        later_column("asked_share", pa.float64(), "share of the windows asked about where the value is an estimate; null where all were"),
        later_column("sampling_error", pa.float64(), "standard error of an estimate of what all windows would give; null elsewhere"),
    ]),
    written_by="scores/<scorer>",
    outcomes=get_args(ScoreOutcome),
    row_group_rows=4_096,
)  # fmt: skip
LEDGER = Table(
    "ledger", "one question that a stage put to a model, and what its reply cost", ("asset", *BY_RANGE),
    ("asset", "dictionary", "feature_range", "question"),
    pa.schema([
        column("asset", KEY, "asset that asked"),
        DICTIONARY, FEATURE_RANGE,
        column("question", pa.uint32(), "place among the questions of the range"),
        FEATURE, EXPLANATION_METHOD,
        column("model", KEY, "model asked"),
        column("reply", pa.string(), "content address of the reply; null when none came", True),
        column("source", KEY, "model: asked in this run | store: in an earlier one | repeated: equal to another question of the run"),
        column("prompt_tokens", pa.uint32(), "tokens; like all costs those of the first asking, and 0 where the question is repeated"),
        column("cached_tokens", pa.uint32(), "tokens of the prompt served from a shared prefix"),
        column("completion_tokens", pa.uint32(), "tokens"),
        column("seconds", pa.float64(), "wall seconds attributed"),
        column("price_usd", pa.float64(), "by the price table; null for a model without a price", True),
        later_column("shareable_tokens", pa.uint32(), "tokens of the prompt that an earlier prompt of the batch begins with"),
    ]),
    written_by="explanations/<method>, scores/<scorer>, score_stability",
    row_group_rows=16_384,
)  # fmt: skip
REPEATED_SCORES = Table(
    "repeated_scores", "one scorer's headline score of one feature, taken once more", ("dictionary",),
    ("dictionary", "feature", "scorer", "draw", "writing", "judgement"),
    pa.schema([
        DICTIONARY, FEATURE, SCORER, EXPLANATION_METHOD,
        column("draw", pa.uint8(), "part of the corpus that its windows are drawn from, from 0"),
        column("writing", pa.uint8(), "number of the explanation among those written from these windows, from 0"),
        column("judgement", pa.uint8(), "number of the judgement of this explanation, from 0"),
        column("metric", KEY, "the scorer's headline metric"),
        column("explanation", pa.string(), "what was judged; null where there is none", True),
        column("value", pa.float64(), "point value; null unless the outcome is ok", True),
        column("n_positive", pa.uint32(), "positive windows answered"),
        column("n_negative", pa.uint32(), "negative windows answered"),
        column("n_unanswered", pa.uint32(), "windows asked about and not answered"),
        OUTCOME,
    ]),
    written_by="score_stability",
    outcomes=get_args(RepeatedOutcome),
)  # fmt: skip
SCORE_VARIANCES = Table(
    "score_variances", "what moves one scorer's scores in one dictionary, and which differences they carry", ("dictionary",),
    ("dictionary", "scorer"),
    pa.schema([
        DICTIONARY, SCORER, EXPLANATION_METHOD,
        column("metric", KEY, "the scorer's headline metric"),
        column("judge", pa.string(), "who answered the scorer; empty where nobody was asked"),
        column("n_features", pa.uint32(), "features with a score of every replicate, which all that follows is over"),
        column("n_incomplete", pa.uint32(), "features that lack a score of some replicate"),
        column("n_draws", pa.uint8(), "parts of the corpus"),
        column("n_explanations", pa.uint8(), "explanations of a draw"),
        column("n_judgements", pa.uint8(), "judgements of an explanation"),
        column("n_windows", pa.float64(), "windows of a judgement, mean; null where none was judged", True),
        column("mean", pa.float64(), "mean score; null for too_few_features, like what follows", True),
        column("variance_feature", pa.float64(), "variance between features, in the metric's unit squared", True),
        column("variance_draw", pa.float64(), "variance between draws of a feature", True),
        column("variance_explanation", pa.float64(), "variance between explanations of a draw", True),
        column("variance_judge", pa.float64(), "variance between judgements of an explanation", True),
        column("icc", pa.float64(), "ICC(1): share of the variance of one score that is the feature's; null where nothing varies", True),
        column("icc_low", pa.float64(), "2.5 % bound", True),
        column("icc_high", pa.float64(), "97.5 % bound", True),
        column("rank_correlation", pa.float64(), "Spearman correlation of two scores of the same features from two draws, mean", True),
        column("top_overlap", pa.float64(), "share of the top tenth that is in the top tenth of another draw, mean", True),
        column("top_chance", pa.float64(), "the same by chance", True),
        column("shift", pa.float64(), "mean score in the last part of the corpus less that in the first", True),
        column("shift_low", pa.float64(), "2.5 % bound, Student's over features", True),
        column("shift_high", pa.float64(), "97.5 % bound", True),
        column("n_compared", pa.uint32(), "features with examples, over which the dictionary's mean scores are taken"),
        column("between_dictionaries", pa.float64(), "difference of two dictionaries' means that is seen 4 times in 5", True),
        column("between_methods", pa.float64(), "the same of two methods on the same features", True),
        column("difference", pa.float64(), "difference that the site wants to rely on"),
        column("features_for_dictionaries", pa.uint64(), "features of each dictionary that carry it", True),
        column("features_for_methods", pa.uint64(), "features that carry it between two methods", True),
        column("windows_for_dictionaries", pa.uint64(), "windows a feature that carry it over n_compared; null where no number does", True),
        column("windows_for_methods", pa.uint64(), "the same between two methods", True),
        column("in_words", pa.string(), "all of this in some sentences"),
        column("outcome", KEY, "carries | methods_only | carries_not: the difference | too_few_features"),
    ]),
    written_by="score_stability",
    outcomes=get_args(StabilityOutcome),
)  # fmt: skip
SCORER_VALIDITY = Table(
    "scorer_validity", "how one metric of a scorer moves from the true explanations of planted features to perturbed ones", ("dictionary",),
    ("dictionary", "scorer", "metric", "perturbation"),
    pa.schema([
        DICTIONARY, SCORER,
        column("metric", KEY, "what is measured: see the scorer"),
        column("headline", pa.bool_(), "is it the metric that stands for the scorer"),
        column("perturbation", KEY, "false (another feature's explanation) | narrowed (labels are missing) | broadened (labels are extra)"),
        column("judge", pa.string(), "who answered the scorer; several between commas"),
        column("n_features", pa.uint32(), "planted features with a value of both explanations, which all that follows is over"),
        column("n_undefined", pa.uint32(), "features with a value of one of them"),
        column("mean_true", pa.float64(), "mean over features under the true explanation; null without features, like what follows", True),
        column("mean_perturbed", pa.float64(), "mean under the perturbed one", True),
        column("median_true", pa.float64(), "median under the true explanation", True),
        column("median_perturbed", pa.float64(), "median under the perturbed one", True),
        column("difference", pa.float64(), "mean of true - perturbed: above 0 where the score moves the right way", True),
        column("ci_low", pa.float64(), "2.5 % bound of the difference, Student's over features", True),
        column("ci_high", pa.float64(), "97.5 % bound", True),
        column("share_right", pa.float64(), "share of features whose score falls", True),
        column("p_value", pa.float64(), "that of Student's paired test of no difference", True),
        column("p_adjusted", pa.float64(), "after Holm over all headlines, or all other metrics; null below 8 features", True),
        column("outcome", KEY, "passes | fails | cannot_tell: see domain/planted/validity.py"),
    ]),
    written_by="scorer_validity",
    outcomes=get_args(ValidityOutcome),
)  # fmt: skip

EXPLANATION_ID = column("explanation_id", pa.string(), "content address of dictionary, feature and text; says nothing of the method")
EXPLANATION_METHODS = column("explanation_methods", pa.list_(pa.string()), "methods that wrote just this text of the feature")
RATER_KIND = column("rater_kind", KEY, "human | generated (by a model or a script; never counted as people)")
N_FEATURES = column("n_features", pa.uint32(), "features that these are of: what bootstraps draw")
HUMAN_RATINGS = Table(
    "human_ratings", "one rating of one explanation by one rater", (), ("rater", "dictionary", "feature", "explanation_id", "context"),
    pa.schema([
        column("rater", KEY, "who rated: a name or code"),
        RATER_KIND, DICTIONARY, FEATURE, EXPLANATION_ID,
        column("explanation", pa.string(), "text"),
        EXPLANATION_METHODS,
        column("context", pa.string(), "window that was rated; null where the explanation was rated as a whole", True),
        column("scale_min", pa.float64(), "lowest value of the scale"),
        column("scale_max", pa.float64(), "highest value of the scale"),
        column("rating", pa.float64(), "as the rater gave it, scale_min to scale_max"),
        column("normalised", pa.float64(), "(rating - scale_min) / (scale_max - scale_min), 0 to 1"),
        column("seconds", pa.float64(), "seconds it took; null where the file does not say", True),
        column("source", pa.string(), "file and line; in brackets, what the row itself names as its source"),
    ]),
    written_by="human_ratings",
)  # fmt: skip
REJECTED_RATINGS = Table(
    "rejected_ratings", "one thing wrong with a row of a rating file", (), ("file", "line", "column"),
    pa.schema([
        column("file", pa.string(), "file in the folder of ratings"),
        column("line", pa.uint32(), "its line, of a JSON object the entry; 0 where the whole file is meant"),
        column("column", pa.string(), "column; row or file where it is not one"),
        column("value", pa.string(), "what stands there"),
        column("allowed", pa.string(), "what may stand there"),
    ]),
    written_by="human_ratings",
)  # fmt: skip
RATED_EXPLANATIONS = Table(
    "rated_explanations", "one rated explanation with the mean of its ratings", (), ("dictionary", "feature", "explanation_id"),
    pa.schema([
        DICTIONARY, FEATURE, EXPLANATION_ID,
        column("explanation", pa.string(), "text"),
        EXPLANATION_METHODS, RATER_KIND,
        column("rating", pa.float64(), "mean normalised rating, 0 to 1: over raters, then contexts; null for too_few_contexts", True),
        column("n_ratings", pa.uint32(), "ratings that it is the mean of"),
        column("n_raters", pa.uint32(), "raters"),
        column("n_contexts", pa.uint32(), "contexts; 0 where the explanation was rated as a whole"),
        column("outcome", KEY, "ok | too_few_contexts | baseline (shuffled or constant: left out of correlations) | not_scored"),
    ]),
    written_by="human_correlation_report",
    outcomes=get_args(RatedOutcome),
)  # fmt: skip
HUMAN_CORRELATIONS = Table(
    "human_correlations", "one correlation of one scorer with the mean ratings", (), ("scope", "scope_value", "scorer", "statistic"),
    pa.schema([
        RATER_KIND,
        column("scope", KEY, "all | layer | dictionary"),
        column("scope_value", pa.string(), "which layer (model and layer) or dictionary; empty for all"),
        SCORER,
        column("statistic", KEY, "spearman[_corrected_for_attenuation | _partial_layer | _partial_dictionary] | pearson | kendall_tau_b"),
        column("value", pa.float64(), "point value, -1 to 1 (corrected ones may exceed 1); null unless the outcome is ok", True),
        column("ci_low", pa.float64(), "2.5 % bound, bootstrap over features", True),
        column("ci_high", pa.float64(), "97.5 % bound", True),
        column("n_explanations", pa.uint32(), "rated explanations that the scorer scored"),
        N_FEATURES,
        column("smallest_detectable", pa.float64(), "Spearman correlation that so many features show with probability 0.8", True),
        column("place_low", pa.uint16(), "best place among scorers that the pairs leave open, 1 = nearest to people; scope all only", True),
        column("place_high", pa.uint16(), "worst such place", True),
        column("outcome", KEY, "ok | too_few_features | constant | one_group | one_rater | no_reliability"),
    ]),
    written_by="human_correlation_report",
    outcomes=get_args(CorrelationOutcome),
)  # fmt: skip
SCORER_PAIRS = Table(
    "scorer_pairs", "two scorers on the rated explanations that both scored", (), ("scorer", "other"),
    pa.schema([
        RATER_KIND, SCORER,
        column("other", KEY, "the other scorer"),
        column("spearman", pa.float64(), "of their scores with each other; null unless the outcome is ok", True),
        column("spearman_ci_low", pa.float64(), "2.5 % bound, bootstrap over features", True),
        column("spearman_ci_high", pa.float64(), "97.5 % bound", True),
        column("difference", pa.float64(), "Spearman of scorer with the ratings less that of other; null unless the outcome is ok", True),
        column("ci_low", pa.float64(), "2.5 % bound of the difference, paired bootstrap over features", True),
        column("ci_high", pa.float64(), "97.5 % bound", True),
        column("p", pa.float64(), "two-sided bootstrap p value of no difference", True),
        column("p_adjusted", pa.float64(), "after Holm over all pairs", True),
        column("differ", pa.bool_(), "is p_adjusted below 0.05"),
        column("smallest_detectable", pa.float64(), "difference that this study shows with probability 0.8", True),
        column("n_explanations", pa.uint32(), "rated explanations that both scored"),
        N_FEATURES,
        column("outcome", KEY, "ok | too_few_features | constant"),
    ]),
    written_by="human_correlation_report",
    outcomes=get_args(PairOutcome),
)  # fmt: skip
RATER_AGREEMENT = Table(
    "rater_agreement", "one measure of how far raters agree", (), ("measure", "rater"),
    pa.schema([
        RATER_KIND,
        column("measure", KEY, "krippendorff_alpha_ordinal | krippendorff_alpha_interval | spearman_with_the_others"),
        column("rater", pa.string(), "rater, for spearman_with_the_others; null otherwise", True),
        column("value", pa.float64(), "point value; null unless the outcome is ok", True),
        column("ci_low", pa.float64(), "2.5 % bound, bootstrap over features", True),
        column("ci_high", pa.float64(), "97.5 % bound", True),
        column("n_raters", pa.uint32(), "raters"),
        column("n_explanations", pa.uint32(), "explanations that at least two of them rated"),
        column("n_values", pa.uint32(), "raters' means of these explanations"),
        column("outcome", KEY, "ok | one_rater | constant | too_few_features"),
    ]),
    written_by="human_correlation_report",
    outcomes=get_args(AgreementOutcome),
)  # fmt: skip

TABLES = (
    TOKEN_SAMPLES,
    DOCUMENTS,
    DICTIONARY_SAMPLES,
    ACTIVATIONS,
    FEATURE_STATISTICS,
    FEATURE_NEIGHBOURS,
    WINDOW_EMBEDDINGS,
    DICTIONARY_EMBEDDINGS,
    VOCABULARY_PROJECTIONS,
    TOKEN_CHANGES,
    STEERING,
    STEERED_TEXTS,
    STEERED_SETS,
    FEATURE_EXAMPLES,
    EXAMPLES,
    IMPORTED_EXPLANATIONS,
    IMPORTED_SUCCESSES,
    EXPLANATIONS,
    EXPLANATION_EMBEDDINGS,
    FEATURE_MATCHES,
    TRIALS,
    VERDICTS,
    SCORES,
    LEDGER,
    REPEATED_SCORES,
    SCORE_VARIANCES,
    SCORER_VALIDITY,
    HUMAN_RATINGS,
    REJECTED_RATINGS,
    RATED_EXPLANATIONS,
    HUMAN_CORRELATIONS,
    SCORER_PAIRS,
    RATER_AGREEMENT,
)
