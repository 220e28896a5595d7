"""The purity scorer: does the feature fire on what the explanation describes, and on nothing else? (FADE, arXiv 2502.16994)

A judge rates the held-out windows 0, 1 or 2 against the explanation (see `rating`). Windows are ranked by the feature's largest activation.
The score is the average precision, Σ precision · Δrecall over the distinct activations; windows rated 2 are the positives, windows rated 0
the negatives. FADE reverses the ranking where the AUROC is below 0.5. Here the ranking is kept, so that a feature that fires on everything
but what the explanation describes scores below its floor.

The floor is the expected average precision of these activations where the ratings are dealt out at random. It rises with the share of 2
among them, which is the held-out windows' own: about half of them are activating, far more than in the corpus, so purities are to be
compared at like floors, and not with those of FADE.
"""

from collections.abc import Sequence

from interp_assets.domain.scoring.shared import rating
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.scoring.shared.rating import RatingSettings
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.metrics import floors, probability_metrics, wilson
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, Verdict

NAME: str = "purity"
VERSION: str = "purity/5"
MODEL: Model = "scorer"
HEADLINE: str = "average_precision"
READS: frozenset[Reads] = frozenset({"explanation"})
STRATUM_METRIC = "precision@stratum"
PuritySettings = RatingSettings


def plan(scorer_input: ScorerInput, settings: RatingSettings, run_seed: int) -> tuple[Trial, ...]:
    """Trials over all held-out windows: see `rating.plan_trials`."""
    return rating.plan_trials(NAME, scorer_input, settings, run_seed)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: RatingSettings) -> tuple[Verdict, ...]:
    """One verdict per window, with its rating as value: see `rating.grade`."""
    return rating.grade(answered)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: RatingSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """A row for average precision, then a row for each stratum: the share rated 2 of its windows rated 2 or 0.

    Positives are the windows rated 2, negatives those rated 0. "one_class" when the judge gives only one of these ratings, for a stratum
    "undefined" when it gives neither. The interval allows for ratings of one prompt that are right or wrong
    together, those of strata are Wilson's. Strata have no floor.
    """
    truth, activation, prompts, counts = rating.clearly_or_not(verdicts)
    rng = generator(run_seed, scorer_input.feature, f"{NAME} bootstrap")
    found = probability_metrics(truth, activation, n_bootstrap, rng, prompts)[HEADLINE]
    floor = floors(*counts[:2], activation)[HEADLINE]
    rows = [score_row(NAME, scorer_input, HEADLINE, found, floor, counts, rating.lacking(scorer_input, verdicts))]
    for stratum in sorted({verdict.stratum for verdict in verdicts if verdict.stratum is not None}):
        asked = [verdict for verdict in verdicts if verdict.stratum == stratum]
        own = rating.clearly_or_not(asked)[-1]
        otherwise = "no_answers" if own[2] == len(asked) else "undefined"
        rows.append(score_row(NAME, scorer_input, STRATUM_METRIC, wilson(own[0], own[0] + own[1]), None, own, otherwise, stratum))
    return tuple(rows)
