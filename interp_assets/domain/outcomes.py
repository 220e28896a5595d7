"""The named outcomes of explanations, verdicts and scores."""

from typing import Final, Literal

ExplanationOutcome = Literal[
    "ok", "no_examples", "no_contrast", "no_projection", "no_changes", "no_steering", "not_single_token", "no_validation", "no_parts",
    "no_donor", "not_imported", "not_planted", "unparsable", "empty", "model_error", "failed",
]  # fmt: skip


VerdictOutcome = Literal["answered", "unparsable", "truncated", "no_probabilities", "model_error", "failed"]


ScoreOutcome = Literal[
    "ok", "no_explanation", "no_examples", "no_rivals", "not_steered", "kl_not_met", "no_answers", "one_class", "undefined", "dead",
    "failed",
]  # fmt: skip


FAILED: Final = "failed"
"""Outcome of what a method's own code could not cope with, anywhere: a defect, told in the log; everything else goes on."""
