"""Tables of what a feature is beside its activations: its neighbours, its matches in other dictionaries, and its effect on the model."""

from typing import get_args

import pyarrow as pa

from interp_assets.domain.outcomes import (
    MatchOutcome,
    NeighbourOutcome,
    ProjectionOutcome,
    SteeredSetOutcome,
    SteeringOutcome,
    TokenChangeOutcome,
)
from interp_assets.tables.columns import BY_RANGE, DICTIONARY, FEATURE, FEATURE_RANGE, KEY, OUTCOME, Table, column

TRIED = pa.struct([("strength", pa.float64()), ("kl", pa.float64())])
SHIFTED_TOKEN = pa.struct(
    [("token_id", pa.int32()), ("token", pa.string()), ("clean_logprob", pa.float32()), ("steered_logprob", pa.float32())]
)
INTERVENTION = column("intervention", KEY, "strength (added to the feature) | zero_ablation; null where the feature was not steered", True)
TARGET_KL = column("target_kl", pa.float64(), "nats, with the sign of the strength; null for zero_ablation", True)
COMPARED_EXPLANATIONS = pa.struct(
    [("explanation_method", pa.string()), ("cosine", pa.float32()), ("control_cosine", pa.float32()), ("outcome", pa.string())]
)

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
