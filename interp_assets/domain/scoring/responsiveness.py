"""The responsiveness scorer: does the feature fire more on texts that hold what the explanation describes? (FADE, arXiv 2502.16994)

A judge rates the held-out windows 0, 1 or 2 against the explanation (see `rating`). AUROC is the probability that the feature's largest
activation is higher on a window rated 2 than on a window rated 0, ties counting half. The score is gini = 2 · AUROC - 1. FADE takes the
absolute value of gini. Here gini keeps its sign, so that a feature that fires on everything but what the explanation describes scores below
0. Chance is 0.

The AUROC does not depend on how many windows are rated 2, but it is taken over the held-out windows. About half of the held-out windows are
activating, and the activating windows are spread evenly over the strata of activation. This is a sample by level of activation, as in FADE,
and not a sample of the corpus. There are no rows by stratum, since strata are made of the activations that the AUROC ranks.
"""

from collections.abc import Sequence

from interp_assets.domain.scoring.shared import rating
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.scoring.shared.rating import RatingSettings
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.metrics import probability_metrics, signed_gini
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, Verdict

NAME: str = "responsiveness"
VERSION: str = "responsiveness/5"
MODEL: Model = "scorer"
HEADLINE: str = "gini"
READS: frozenset[Reads] = frozenset({"explanation"})
ResponsivenessSettings = RatingSettings


def plan(scorer_input: ScorerInput, settings: RatingSettings, run_seed: int) -> tuple[Trial, ...]:
    """Trials over all held-out windows: see `rating.plan_trials`."""
    return rating.plan_trials(NAME, scorer_input, settings, run_seed)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: RatingSettings) -> tuple[Verdict, ...]:
    """One verdict per window, with its rating as value: see `rating.grade`."""
    return rating.grade(answered)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: RatingSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """A row for gini and a row for AUROC; positives are the windows rated 2, negatives the windows rated 0.

    "one_class" when the judge gives only one of these ratings; intervals allow for ratings of one prompt that are right or
    wrong together.
    """
    truth, activation, prompts, counts = rating.clearly_or_not(verdicts)
    rng = generator(run_seed, scorer_input.feature, f"{NAME} bootstrap")
    auroc = probability_metrics(truth, activation, n_bootstrap, rng, prompts)["auroc"]
    otherwise, known = rating.lacking(scorer_input, verdicts), sum(counts[:2]) > 0
    return (
        score_row(NAME, scorer_input, "gini", signed_gini(auroc), 0.0 if known else None, counts, otherwise),
        score_row(NAME, scorer_input, "auroc", auroc, 0.5 if known else None, counts, otherwise),
    )
