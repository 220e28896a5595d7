"""The intervention scorer: does making the feature stronger make a language model likelier to name what is explained? (arXiv 2410.13928)

Every scoring prompt has two completions: clean, and with the feature steered to one KL divergence. A base model reads a prompt with one of
its completions and is asked what the passage holds an unusual amount of; the answer's likelihood is read for the explanation. Score = mean
over prompts of log p(explanation | steered text) - log p(explanation | clean text), in nats, with its standard error. An explanation that
has nothing to do with the steering scores 0. An explanation of what the clean model says, and the steered model does not say, scores below
0. The stronger a feature is made, the larger its gain. So scores are compared only at equal KL, and a feature whose target was not met has
no score.

The text is the prefix and the explanation the suffix. All questions of a run begin with the same instructions and worked examples, which a
back end computes once. An engine that caches by blocks also shares the tokens of a prompt between its two texts, and the tokens of a text
between the explanations of a feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.bounds import Count
from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.instructions import Instructed, instructions
from interp_assets.domain.prompting.prompts import Prompt, Turn
from interp_assets.domain.prompting.rendering import one_line
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.scoring.shared.likelihood import gain
from interp_assets.domain.statistics.metrics import mean_with_error
from interp_assets.domain.steering.steered_texts import SteeredRun
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, TrialItem, Verdict

NAME: str = "intervention"
VERSION: str = "intervention/2"
MODEL: Model = "base"
HEADLINE: str = "gain"
READS: frozenset[Reads] = frozenset({"explanation", "steered"})
STANDARD_ERROR = "gain_standard_error"
CLEAN = "clean"
"""Ends the id of the clean trial that belongs to a steered trial."""


@dataclass(frozen=True)
class InterventionSettings(Instructed):
    """At which divergence steered texts are read, and how the base model is asked."""

    kl_target: float = 1.0
    """The target of `steering.kl_targets` whose texts are read. Unit: nats."""
    few_shot: Count = 3
    """Worked examples before the text. Unit: examples, 0 to 3."""


_WORKED = (
    ("The ferry to the island leaves from the old harbour on Tuesday, Friday, Sunday and Wednesday night", "names of days of the week"),
    ("The square root of nine is my uncle, and her grandmother said so to his aunt", "words for family members"),
    ("After the second bridge you turn left and 412 of the 20 were 7 for 93", "numbers written as digits"),
)


def plan(scorer_input: ScorerInput, settings: InterventionSettings, run_seed: int) -> tuple[Trial, ...]:
    """Two trials for every scoring prompt; none without an explanation, or where the feature was not steered to the target.

    The trial of the clean text comes first and has no items. The trial of the steered text follows and has one item. So every item has its
    clean trial, wherever the asking stops. The order of the prompts lets the strata of activation take turns.
    """
    run = _run(scorer_input, settings)
    if scorer_input.explanation is None or run is None or not run.met:
        return ()
    head: list[Turn] = [("system", instructions("intervention_scorer", settings.instructions))]
    for passage, worked in _WORKED[: settings.few_shot]:
        head.append(("user", _question(passage)))
        head.append(("assistant", worked))
    trials: list[Trial] = []
    for text in run.texts:
        clean, steered = (
            Prompt((*head, ("user", f"{_question(text.prompt_text + rest)}\n\n")), len(head), 0, suffix=scorer_input.explanation)
            for rest in (text.clean, text.steered)
        )
        item = TrialItem(f"prompt/{text.prompt}", True, None, run.name)
        trials.append(Trial.about(scorer_input, NAME, f"{text.prompt}/{CLEAN}", clean, ()))
        trials.append(Trial.about(scorer_input, NAME, text.prompt, steered, (item,)))
    return tuple(trials)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: InterventionSettings) -> tuple[Verdict, ...]:
    """One verdict per prompt, with its gain in nats as value and the steered completion as text: see `likelihood.gain`."""
    run = _run(scorer_input, settings)
    by_id = {one.trial.trial_id: one for one in answered}
    said = {f"prompt/{text.prompt}": text.steered for text in run.texts} if run else {}
    return tuple(
        gain(one, by_id[f"{one.trial.trial_id}/{CLEAN}"], text=said[one.trial.items[0].example_id]) for one in answered if one.trial.items
    )


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: InterventionSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """The mean gain over prompts in Student's interval, then its standard error; positives are the prompts.

    "not_steered" where steering has no texts of the feature (the table of steering says why), "kl_not_met" where steering did not meet the
    target.
    """
    values = np.array([verdict.value for verdict in verdicts if verdict.value is not None], dtype=np.float64)
    counts = (len(values), 0, len(verdicts) - len(values))
    mean, error = mean_with_error(values)
    otherwise = "no_answers" if verdicts else _absent(scorer_input, settings)
    return (
        score_row(NAME, scorer_input, HEADLINE, mean, 0.0 if len(values) else None, counts, otherwise),
        score_row(NAME, scorer_input, STANDARD_ERROR, error, None, counts, "undefined" if len(values) else otherwise),
    )


def _run(scorer_input: ScorerInput, settings: InterventionSettings) -> SteeredRun | None:
    """The feature's run at the target; None if the feature was not steered."""
    return next((run for run in scorer_input.steered if run.target_kl == settings.kl_target), None)


def _absent(scorer_input: ScorerInput, settings: InterventionSettings) -> ScoreOutcome:
    """Why nothing was asked."""
    return "no_explanation" if scorer_input.explanation is None else "not_steered" if _run(scorer_input, settings) is None else "kl_not_met"


def _question(passage: str) -> str:
    return f"Passage: {one_line(passage)}\nIt holds an unusual amount of:"
