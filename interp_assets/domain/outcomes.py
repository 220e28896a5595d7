"""The named outcomes: how each feature, question or score ended. docs/tables.md has the cause and the cure of every outcome.

The field `outcomes` of a table's entry in interp_assets/tables/ lists the outcomes that the table may hold.
"""

from typing import Final, Literal

NeighbourOutcome = Literal["ok", "no_decoder", "alone", "silent"]
EmbeddingsOutcome = Literal["ok", "not_asked"]
ProjectionOutcome = Literal["ok", "no_decoder", "no_logits", "zero_decoder"]
TokenChangeOutcome = Literal["ok", "dead", "no_decoder", "zero_decoder", "overflow"]
PromptsOutcome = Literal["ok", "dead", "too_few_contexts"]
SearchOutcome = Literal["ok", "not_reached", "not_monotone", "not_converged"]
SteeredSetOutcome = Literal[SearchOutcome, "no_decoder", "zero_decoder"]
SteeringOutcome = Literal[SearchOutcome, PromptsOutcome, "no_decoder", "zero_decoder"]
ExamplesOutcome = Literal["ok", "dead", "too_few_windows", "too_few_silent_windows"]
MatchOutcome = Literal["ok", "unmatched", "zero_decoder", "no_decoder", "other_has_no_decoder"]
ExplanationOutcome = Literal[
    "ok", "no_examples", "no_contrast", "no_projection", "no_changes", "no_steering", "not_single_token", "no_validation", "no_parts",
    "no_donor", "not_imported", "not_planted", "unparsable", "empty", "bad_pattern", "no_match", "not_selective", "model_error", "failed",
]  # fmt: skip
TrialOutcome = Literal["answered", "model_error", "stopped_early", "not_asked"]
VerdictOutcome = Literal["answered", "unparsable", "truncated", "copied", "no_probabilities", "model_error", "failed"]
ScoreOutcome = Literal[
    "ok", "no_explanation", "not_matchable", "no_examples", "no_rivals", "not_steered", "kl_not_met", "no_answers", "one_class",
    "undefined", "dead", "failed",
]  # fmt: skip
ValidityOutcome = Literal["passes", "fails", "cannot_tell"]
RepeatedOutcome = Literal[
    "ok", "dead", "too_few_windows", "no_activations", "no_explanation", "not_matchable", "no_examples", "no_answers", "one_class",
    "undefined", "failed",
]  # fmt: skip
StabilityOutcome = Literal["carries", "methods_only", "carries_not", "too_few_features"]
RatedOutcome = Literal["ok", "too_few_contexts", "baseline", "not_scored"]
CorrelationOutcome = Literal["ok", "too_few_features", "constant", "one_group", "one_rater", "no_reliability"]
PairOutcome = Literal["ok", "too_few_features", "constant"]
AgreementOutcome = Literal["ok", "one_rater", "constant", "too_few_features"]

FAILED: Final = "failed"
"""Outcome of a feature, question or score on which a method's own code raised: a defect. The log has the error; everything else goes on."""
