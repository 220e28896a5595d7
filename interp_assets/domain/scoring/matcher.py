"""The matcher: detection and fuzzing without a judge, for explanations that a machine can match with a window.

It reads token lists (explainer `token_list`) and patterns (explainer `pattern`), whoever wrote them; an explanation in plain words ends as
"not_matchable". Every held-out window is asked about twice:

    detection   does the explanation speak of any token of the window? Its value is the number of such tokens
    fuzzing     does it speak of any marked token? Windows and marks are fuzzing's own. Its value is the share of the marked tokens

The metrics of detection have their usual names; the metrics of fuzzing begin with "fuzzing_". AUROC and average precision rank windows by
their values. The floor of a balanced accuracy is 0.5, as for a judge. Nothing is drawn but the marks, so that windows are independent.

The value of a judged explanation is its lead over the token list's score here: see the view `leaderboard`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.bounds import Share
from interp_assets.domain.machine_readable import readable
from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.prompts import Matching
from interp_assets.domain.prompting.rendering import token_strings
from interp_assets.domain.scoring.fuzzing import Marks, Negatives, marked_examples
from interp_assets.domain.scoring.shared.classifier import METRICS, score_row, stratum_rows
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.metrics import UNDEFINED, Estimate, floors, prediction_metrics, probability_metrics
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, TrialItem, Verdict, as_item, verdict_of

NAME: str = "matcher"
VERSION: str = "matcher/2"
MODEL: Model = "machine"
HEADLINE: str = "balanced_accuracy"
READS: frozenset[Reads] = frozenset({"explanation"})
PARTS = {"detection": "", "fuzzing": "fuzzing_"}
"""The two parts, each with the beginning of its metrics' names."""


@dataclass(frozen=True)
class MatcherSettings:
    """How tokens are marked for the part that is like fuzzing; the defaults are fuzzing's."""

    threshold: Share = 0.3
    """Tokens at or above this share of the example's maximum are marked. Unit: share."""
    negatives: Negatives = "random"
    """`random`: negatives are marks on silent windows. `active`: negatives are marks on silent tokens of activating windows."""


def plan(scorer_input: ScorerInput, settings: MatcherSettings, run_seed: int) -> tuple[Trial, ...]:
    """One trial a part, over all held-out windows; none without examples, and without an explanation that a machine can match."""
    if scorer_input.explanation is None or not scorer_input.held_out or readable(scorer_input.explanation) is None:
        return ()
    plain = [(as_item(example), example, None) for example in scorer_input.held_out]
    marked = marked_examples(scorer_input, settings.threshold, settings.negatives, run_seed)
    trials: list[Trial] = []
    for part, items in (("detection", plain), ("fuzzing", marked)):
        if items:
            windows = tuple(token_strings(example.token_ids, scorer_input.token_texts) for _, example, _ in items)
            marks = None if part == "detection" else tuple(mask or () for _, _, mask in items)
            trials.append(_trial(part, scorer_input, windows, marks, tuple(item for item, _, _ in items)))
    return tuple(trials)


def _trial(
    part: str,
    scorer_input: ScorerInput,
    windows: tuple[tuple[str, ...], ...],
    marks: tuple[Marks, ...] | None,
    items: tuple[TrialItem, ...],
) -> Trial:
    question = Matching(scorer_input.explanation or "", windows, marks)
    return Trial.about(scorer_input, NAME, part, question, items)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: MatcherSettings) -> tuple[Verdict, ...]:
    """One verdict a window and part: its value, and yes where the value is above 0."""
    verdicts: list[Verdict] = []
    for one in answered:
        question = one.trial.question
        assert isinstance(question, Matching) and one.matches is not None, one.trial.trial_id
        for number, matched in enumerate(one.matches):
            value = float(sum(matched))
            if question.marks is not None:
                mask = question.marks[number]
                value = sum(hit and on for hit, on in zip(matched, mask, strict=True)) / max(sum(mask), 1)
            verdicts.append(verdict_of(one.trial, number, "answered", prediction=value > 0, value=value))
    return tuple(verdicts)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: MatcherSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """A row for each metric of a yes-or-no scorer and part, then recall by stratum of the part like detection.

    Without verdicts the rows end as "not_matchable" where there is an explanation, else as `ScorerInput.absent`; with windows of one kind
    as "one_class" where both are needed; precision without a match as "undefined".
    """
    absent: ScoreOutcome = "not_matchable" if scorer_input.explanation is not None and scorer_input.held_out else scorer_input.absent
    rows: list[ScoreRow] = []
    for part, prefix in PARTS.items():
        own = [verdict for verdict in verdicts if verdict.trial_id.endswith(f"/{part}")]
        truth = np.array([verdict.truth for verdict in own], dtype=bool)
        value = np.array([verdict.value for verdict in own], dtype=np.float64)
        n_positive, n_negative = int(truth.sum()), int((~truth).sum())
        found: dict[str, Estimate] = {}
        if own:
            rng = generator(run_seed, scorer_input.feature, f"{NAME} {part} bootstrap")
            found = prediction_metrics(truth, value > 0, n_bootstrap, rng) | probability_metrics(truth, value, n_bootstrap, rng)
        floor = floors(n_positive, n_negative, value)
        for metric in METRICS:
            needs_both = metric not in ("precision", "recall", "f1")
            one_class = (needs_both and n_negative == 0) or (metric != "precision" and n_positive == 0)
            otherwise: ScoreOutcome = absent if not own else "one_class" if one_class else "undefined"
            counts = (n_positive, n_negative, 0)
            estimate = found.get(metric, UNDEFINED)
            rows.append(score_row(NAME, scorer_input, prefix + metric, estimate, floor[metric], counts, otherwise))
    return (*rows, *stratum_rows(NAME, scorer_input, [verdict for verdict in verdicts if verdict.trial_id.endswith("/detection")]))
