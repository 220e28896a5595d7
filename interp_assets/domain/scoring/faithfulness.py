"""The faithfulness scorer: does the model say more of what is explained once the feature is changed? (FADE, arXiv 2502.16994)

A judge rates the model's completions of the scoring prompts 0, 1 or 2 against the explanation (see `rating`): the clean completions, and
the completions under each intervention whose KL target was met. The judge does not see the prompts, on which the feature fires anyway. Let
c be the share of clean texts rated 2, and s the share of an intervention's texts rated 2. The rise of the intervention is (s - c) / (1 -
c), the part of the headroom that is gained; where s is below c, the rise is s - c. The score is the largest rise over the interventions.

FADE compares with the ablated feature and counts a fall as 0. Here the comparison is with the clean model, and a fall keeps its sign. The
largest of several rises is above 0 by luck alone, so the floor is not 0. The floor is the mean of the largest rise when the ratings of each
prompt's texts, clean and steered, are shuffled at random.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.rendering import one_line
from interp_assets.domain.scoring.shared import rating
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.scoring.shared.rating import RatingSettings
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.intervals import UNDEFINED, Estimate, of_two_rates
from interp_assets.domain.steering.steered_texts import SteeredRun
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, TrialItem, Verdict

NAME: str = "faithfulness"
VERSION: str = "faithfulness/4"
MODEL: Model = "scorer"
HEADLINE: str = "rise"
READS: frozenset[Reads] = frozenset({"explanation", "steered"})
CLEAN = "clean"
FaithfulnessSettings = RatingSettings


def plan(scorer_input: ScorerInput, settings: RatingSettings, run_seed: int) -> tuple[Trial, ...]:
    """Trials over all texts, mixed: for each prompt its clean text, and a text for each intervention that met its target.

    None without an explanation, or where the feature was not steered. The order does not depend on the explanation.
    """
    return rating.plan_texts(NAME, scorer_input, list(_texts(scorer_input).items()), settings, run_seed)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: RatingSettings) -> tuple[Verdict, ...]:
    """One verdict per text, with its rating as value and the text itself: see `rating.grade`. Texts of interventions are true."""
    texts = {item.example_id: text for item, text in _texts(scorer_input).items()}
    return tuple(replace(v, text=texts[v.example_id]) if v.outcome == "answered" else v for v in rating.grade(answered))


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: RatingSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """A row for the largest rise, then a row for each intervention, "rise@0.33" or "rise@zero_ablation".

    Positives are rated texts of interventions, negatives rated clean ones. Intervals of an intervention are of a function of two rates (see
    `intervals.of_two_rates`). The largest rise lies between the highest of their lower bounds, each taken as one of several, and the
    highest of their upper bounds, however much of it is luck: where nothing has an effect, the interval holds 0.
    "not_steered" where steering has no texts of the feature, "kl_not_met" where it met no target, "undefined" where clean texts, or those
    of an intervention, have no ratings.
    """
    names = [CLEAN, *(run.name for run in _met(scorer_input))]
    clear = _clear(verdicts, names)
    n_rated = (~np.isnan(clear)).sum(axis=0)
    n_asked = np.array([sum(verdict.variant == name for verdict in verdicts) for name in names])
    if not verdicts:
        return (score_row(NAME, scorer_input, HEADLINE, UNDEFINED, None, (0, 0, 0), _absent(scorer_input)),)
    rng = generator(run_seed, scorer_input.feature, f"{NAME} bootstrap")
    dealt = _rises(*_counts(rng.permuted(np.broadcast_to(clear, (n_bootstrap, *clear.shape)), axis=2)))

    def row(metric: str, known: Estimate, by_luck: np.ndarray, places: Sequence[int]) -> ScoreRow:
        counts = (int(n_rated[places].sum()), int(n_rated[0]), int((n_asked - n_rated)[[0, *places]].sum()))
        lucky = by_luck[~np.isnan(by_luck)]
        otherwise: ScoreOutcome = "undefined" if any(counts[:2]) else "no_answers"
        return score_row(
            NAME, scorer_input, metric, known, float(lucky.mean()) if len(lucky) and known.value is not None else None, counts, otherwise
        )

    rows = [row(HEADLINE, _largest_rise(clear), np.fmax.reduce(dealt, axis=-1), range(1, len(names)))]
    for place, name in enumerate(names[1:]):
        rows.append(row(f"{HEADLINE}@{name}", _rise(clear, place + 1, 1), dealt[:, place], [place + 1]))
    return tuple(rows)


def _largest_rise(clear: np.ndarray) -> Estimate:
    """The largest of the rises in ratings [prompts, 1 + interventions], with its interval; undefined where no rise is defined."""
    places = range(1, clear.shape[1])
    alone, of_several = ([_rise(clear, place, n) for place in places] for n in (1, clear.shape[1] - 1))
    values = [rise.value for rise in alone if rise.value is not None]
    if not values:
        return UNDEFINED
    lows = [rise.ci_low for rise in of_several if rise.ci_low is not None]
    highs = [rise.ci_high for rise in alone if rise.ci_high is not None]
    return Estimate(max(values), max(lows), max(highs))


def _rise(clear: np.ndarray, place: int, n_several: int) -> Estimate:
    """The rise of the intervention at `place` with an interval that is one of `n_several` which all hold with 95 % (Bonferroni)."""
    clean, steered = (column[~np.isnan(column)] for column in (clear[:, 0], clear[:, place]))
    first, second = ((int(column.sum()), len(column)) for column in (steered, clean))
    return of_two_rates(lambda s, c: float(_rises(np.array([[c, s]]), np.ones((1, 2)))[0, 0]), first, second, several=n_several)


def _met(scorer_input: ScorerInput) -> tuple[SteeredRun, ...]:
    """The interventions that met their target."""
    return tuple(run for run in scorer_input.steered if run.met)


def _texts(scorer_input: ScorerInput) -> dict[TrialItem, str]:
    """The completions, each on one line, by item: the clean texts, then the texts of each intervention."""
    runs = _met(scorer_input)
    found = {TrialItem(f"{text.prompt}/{CLEAN}", False, None, CLEAN): one_line(text.clean) for run in runs[:1] for text in run.texts}
    for run in runs:
        found |= {TrialItem(f"{text.prompt}/{run.name}", True, None, run.name): one_line(text.steered) for text in run.texts}
    return found


def _absent(scorer_input: ScorerInput) -> ScoreOutcome:
    """Why nothing was asked."""
    return "no_explanation" if scorer_input.explanation is None else "kl_not_met" if scorer_input.steered else "not_steered"


def _clear(verdicts: Sequence[Verdict], names: Sequence[str]) -> np.ndarray:
    """float64 [prompts, names]: 1 where the text was rated 2, 0 where it was rated lower, NaN where it has no rating."""
    prompts = {prompt: place for place, prompt in enumerate(dict.fromkeys(verdict.example_id.split("/")[0] for verdict in verdicts))}
    clear = np.full((len(prompts), len(names)), np.nan)
    for verdict in verdicts:
        if verdict.value is not None:
            clear[prompts[verdict.example_id.split("/")[0]], names.index(verdict.variant)] = verdict.value == 2
    return clear


def _counts(clear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(numbers of texts rated 2, numbers of texts rated), both [replicates, kinds], from ratings [replicates, prompts, kinds]."""
    return np.nansum(clear, axis=1), (~np.isnan(clear)).sum(axis=1)


def _rises(clear: np.ndarray, rated: np.ndarray) -> np.ndarray:
    """Rises [replicates, interventions] from counts [replicates, 1 + interventions], clean texts first; NaN where no text was rated."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = clear / rated
        change = share[:, 1:] - share[:, :1]
        return np.where(change > 0, change / (1 - share[:, :1]), change)
