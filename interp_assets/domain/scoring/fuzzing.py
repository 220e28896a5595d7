"""The fuzzing scorer: in which of these windows does the description fit the marked tokens? (arXiv 2410.13928)

Marks must not give the answer away: each negative carries the marks of a positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from interp_assets.domain.bounds import Share
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.instructions import instructions
from interp_assets.domain.prompting.rendering import marked_positions, over_characters, token_strings
from interp_assets.domain.prompting.window_texts import marked_window
from interp_assets.domain.scoring.shared import classifier, estimated
from interp_assets.domain.scoring.shared.classifier import ClassifierSettings, WorkedExample
from interp_assets.domain.scoring.shared.estimated import are_sampled
from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, TrialItem, Verdict, of_kind

NAME: str = "fuzzing"
VERSION: str = "fuzzing/7"
MODEL: Model = "scorer"
HEADLINE: str = "balanced_accuracy"
READS: frozenset[Reads] = frozenset({"explanation"})

Marks = tuple[bool, ...]
Negatives = Literal["random", "active"]


@dataclass(frozen=True)
class FuzzingSettings(ClassifierSettings):
    """How fuzzing marks and asks."""

    threshold: Share = 0.3
    """Tokens at or above this share of the example's maximum are marked. Unit: share."""
    negatives: Negatives = "random"
    """`random`: negatives are marks on silent windows. `active`: negatives are marks on silent tokens of activating windows."""


_WORKED = (
    WorkedExample(
        "names of days of the week",
        (
            "the ferry leaves on <<Tuesday>> at noon",
            "closed every Sunday in <<winter>>, as before",
            "a recipe for <<bread with>> rye and honey",
            "we talked about it last <<Friday>> night",
        ),
        (1, 0, 0, 1),
    ),
    WorkedExample(
        "words for family members",
        (
            "the <<square>> root of a negative number",
            "her uncle had <<kept>> all of the letters",
            "return the first item <<of the>> list",
            "a gift from my <<grandmother>>, long ago",
            "prices rose by <<four>> percent in May",
        ),
        (0, 0, 0, 1, 0),
    ),
    WorkedExample(
        "numbers written as digits",
        ("a total of <<412>> votes", "chapter <<7>> begins at sea", "they built <<20>> houses"),
        (1, 1, 1),
    ),
)


def plan(scorer_input: ScorerInput, settings: FuzzingSettings, run_seed: int) -> tuple[Trial, ...]:
    """Trials over activating examples with their own marks, and over negatives with misplaced marks: see `marked_examples`.

    None without an explanation or without examples.
    """
    return plan_some(scorer_input, items(scorer_input, settings, run_seed), settings, run_seed)


def items(scorer_input: ScorerInput, settings: FuzzingSettings, run_seed: int) -> list[tuple[TrialItem, str]]:
    """Every item of `marked_examples`, with the text that the judge reads."""
    return [
        (item, marked_window(example, scorer_input.token_texts, mask))
        for item, example, mask in marked_examples(scorer_input, settings.threshold, settings.negatives, run_seed)
    ]


def plan_some(
    scorer_input: ScorerInput, items: Sequence[tuple[TrialItem, str]], settings: FuzzingSettings, run_seed: int
) -> tuple[Trial, ...]:
    """Trials over some of the items."""
    return classifier.plan_trials(NAME, instructions("fuzzing", settings.instructions), _WORKED, scorer_input, items, settings, run_seed)


def marked_examples(
    scorer_input: ScorerInput, threshold: float, kind_of_negatives: Negatives, run_seed: int
) -> list[tuple[TrialItem, Example, Marks]]:
    """Each item with its window and the marks on its tokens: activating examples with their own marks, then negatives with misplaced marks.

    With "active" negatives, windows that have no room for misplaced marks are left out of both classes, so that both classes have equal
    numbers of marks. The draw depends on the run's seed and the feature, not on the explanation.
    """
    activating = of_kind(scorer_input.held_out, "activating")
    marks = [marked_positions(example.activations, threshold) for example in activating]
    rng = generator(run_seed, scorer_input.feature, f"{NAME} marks")
    if kind_of_negatives == "active":
        shown = [over_characters(token_strings(example.token_ids, scorer_input.token_texts), example.activations) for example in activating]
        moved = [moved_marks(activations, own, rng) for activations, own in zip(shown, marks, strict=True)]
        negatives = [(example, mask) for example, mask in zip(activating, moved, strict=True) if mask is not None]
        positives = [(example, own) for example, own, mask in zip(activating, marks, moved, strict=True) if mask is not None]
    else:
        silent = of_kind(scorer_input.held_out, "non_activating")
        positives = list(zip(activating, marks, strict=True))
        negatives = list(zip(silent, dealt_marks(marks, [len(example.token_ids) for example in silent], rng), strict=True))
    items: list[tuple[TrialItem, Example, Marks]] = []
    for truth, group in ((True, positives), (False, negatives)):
        for example, mask in group:
            variant = "activating" if truth else "active" if example.kind == "activating" else example.sampling
            peak = float(max(example.activations, default=0.0))
            item = TrialItem(example.example_id, truth, example.stratum if truth else None, variant, peak)
            items.append((item, example, mask))
    return items


def dealt_marks(marks: Sequence[Marks], lengths: Sequence[int], rng: np.random.Generator) -> list[Marks]:
    """Marks for silent windows of these lengths: the marks of the positives, shuffled, each used once before any is used again.

    So the number of marks, their grouping and their places have the distribution of the positives' marks, and a judge of marks alone cannot
    do better than chance. A window gets marks of a positive of equal length where there is one, else of a positive of the nearest length,
    moved to where they fit. Without positives nothing is marked.
    """
    decks: dict[int, list[Marks]] = {}
    dealt: list[Marks] = []
    for length in lengths:
        if not decks.get(length):
            nearest = min((abs(len(mask) - length) for mask in marks), default=0)
            fitting = [_fitted(mask, length) for mask in marks if abs(len(mask) - length) == nearest]
            decks[length] = [fitting[i] for i in rng.permutation(len(fitting))] or [(False,) * length]
        dealt.append(decks[length].pop())
    return dealt


def moved_marks(activations: Sequence[float], own: Marks, rng: np.random.Generator) -> Marks | None:
    """As many marks as `own`, on silent tokens of the same window; None where the window has too few silent tokens.

    All marks are turned around the window by one random step after which they touch no activation, and which cuts no run of marks at the
    window's ends: this keeps their grouping. Only where no such step exists, silent tokens are drawn one by one.
    """
    active = np.array(activations) > 0
    mask = np.array(own)
    turned = np.stack([np.roll(mask, step) for step in range(len(mask))])
    cut = turned[:, 0] & turned[:, -1] & ~(mask[0] & mask[-1])
    clean = np.flatnonzero(~(turned & active).any(axis=1) & ~cut)
    if len(clean):
        return tuple(turned[rng.choice(clean)].tolist())
    silent = np.flatnonzero(~active)
    if len(silent) < mask.sum():
        return None
    drawn = np.zeros(len(mask), dtype=bool)
    drawn[rng.choice(silent, size=int(mask.sum()), replace=False)] = True
    return tuple(drawn.tolist())


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: FuzzingSettings) -> tuple[Verdict, ...]:
    """One verdict per item, whatever the replies: see `classifier.grade`."""
    return classifier.grade(answered)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: FuzzingSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """Score rows of one explanation: see `classifier.summarise`, and `estimated.summarise` for verdicts on some of the windows."""
    if are_sampled(verdicts):
        return estimated.summarise(NAME, scorer_input, verdicts, n_bootstrap, run_seed)
    return classifier.summarise(NAME, scorer_input, verdicts, n_bootstrap, run_seed)


def _fitted(mask: Marks, length: int) -> Marks:
    """The mask on a window of `length` tokens: the marks keep their place in proportion; marks that reach too far are cut off."""
    if len(mask) == length or not any(mask):
        return (mask + (False,) * length)[:length]
    first, last = mask.index(True), len(mask) - 1 - mask[::-1].index(True)
    span = min(last + 1 - first, length)
    free = len(mask) - (last + 1 - first)
    lead = round(first / free * (length - span)) if free else 0
    return (False,) * lead + mask[first : first + span] + (False,) * (length - lead - span)
