"""The intruder scorer: five windows with marks; the feature fires on four of them; which window is the intruder? (arXiv 2507.08473)

It reads no explanation: it tells whether a reader can see at all what a feature's windows have in common. Score = share of the trials in
which the intruder was found. Floor = 1/5.

The marks must not give the intruder away. A trial takes five activating windows of one stratum: four are shown with their own marks, and
the fifth lends its marks to a silent window, the intruder. So all five sets of marks come from activating windows of one stratum, and
neither the number of marks nor their places tell which window is the intruder.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from interp_assets.domain.bounds import Count, PositiveCount, Share
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.instructions import Instructed, instructions
from interp_assets.domain.prompting.prompts import Turn
from interp_assets.domain.prompting.rendering import marked_positions
from interp_assets.domain.prompting.window_texts import marked_window
from interp_assets.domain.scoring.fuzzing import Marks, dealt_marks
from interp_assets.domain.scoring.shared import choice
from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, TrialItem, Verdict, as_item, of_kind

NAME: str = "intruder"
VERSION: str = "intruder/4"
MODEL: Model = "scorer"
HEADLINE: str = choice.METRIC
READS: frozenset[Reads] = frozenset()

N_OPTIONS = 5


@dataclass(frozen=True)
class IntruderSettings(Instructed, choice.Reasoning):
    """How the scorer asks for intruders."""

    per_stratum: PositiveCount = 2
    """Most questions of each stratum. A stratum has one question for every five of its windows, and at least one. Unit: questions."""
    threshold: Share = 0.3
    """Tokens at or above this share of the example's maximum are marked. Unit: share."""
    few_shot: Count = 2
    """Worked examples before the question. Unit: examples, 0 to 3."""


_WORKED: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (
        (
            "the ferry leaves on <<Tuesday>> at noon",
            "closed every <<Sunday>> in winter, as before",
            "we talked about it last <<Friday>> night",
            "a recipe for <<bread>> with rye and honey",
            "she swims each <<Monday>> before work",
        ),
        4,
        "The marks in texts 1, 2, 3 and 5 stand on days of the week. In text 4 they stand on bread.",
    ),
    (
        (
            "prices rose by <<four>> percent in May",
            "a gift from my <<grandmother>>, long ago",
            "her <<uncle>> had kept all of the letters",
            "his younger <<brother>> plays the cello",
            "they visit an <<aunt>> in Lisbon",
        ),
        1,
        "Grandmother, uncle, brother and aunt are family members. In text 1 the mark stands on four, a number.",
    ),
    (
        (
            "a total of <<412>> votes were counted",
            "chapter <<7>> begins at sea",
            "turn left after the <<second>> bridge",
            "they built <<20>> houses on the hill",
            "flight <<93>> was late again",
        ),
        3,
        "412, 7, 20 and 93 are numbers written as digits. In text 3 the mark stands on second, a number in letters.",
    ),
)


@dataclass(frozen=True)
class _Draw:
    """The windows of one trial: four activating windows, the activating window that lends its marks, and the silent window that bears these
    marks."""

    stratum: int
    shown: tuple[Example, ...]
    lender: Example
    intruder: Example


def plan(scorer_input: ScorerInput, settings: IntruderSettings, run_seed: int) -> tuple[Trial, ...]:
    """Trials of all strata in random order; none with fewer than five activating windows or without a silent window."""
    draws = _drawn(scorer_input, settings, run_seed)
    head: list[Turn] = [("system", instructions("intruder", settings.instructions, reply=choice.how_to_reply(settings)))]
    for texts, answer, reasons in _WORKED[: settings.few_shot]:
        head.append(("user", _numbered(texts)))
        head.append(("assistant", choice.worked_reply(answer, reasons, settings)))
    places = choice.even_places(len(draws), N_OPTIONS, generator(run_seed, scorer_input.feature, f"{NAME} places"))
    trials: list[Trial] = []
    for number, (draw, place) in enumerate(zip(draws, places, strict=True)):
        own = [
            _asked(scorer_input, example, marked_positions(example.activations, settings.threshold), draw.stratum) for example in draw.shown
        ]
        lent = marked_positions(draw.lender.activations, settings.threshold)
        (marks,) = dealt_marks([lent], [len(draw.intruder.token_ids)], generator(run_seed, scorer_input.feature, f"{NAME} marks"))
        options = choice.inserted(_asked(scorer_input, draw.intruder, marks, draw.stratum), own, place)
        prompt = choice.asking(head, _numbered([text for _, text in options]), N_OPTIONS, settings)
        items = tuple(item for item, _ in options)
        trials.append(Trial.about(scorer_input, NAME, number, prompt, items))
    return tuple(trials)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: IntruderSettings) -> tuple[Verdict, ...]:
    """One verdict per window of every trial, whatever the replies; the intruder is true: see `choice.grade`."""
    return choice.grade(answered, settings.reason)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: IntruderSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """Accuracy over all trials, then over the trials of each stratum: see `choice.summarise`."""
    return choice.summarise(NAME, scorer_input, verdicts)


def _asked(scorer_input: ScorerInput, example: Example, marks: Marks, stratum: int) -> tuple[TrialItem, str]:
    """A window as an item, with its marked text. An activating window keeps its own stratum; the intruder gets the trial's stratum."""
    silent = example.kind == "non_activating"
    item = as_item(example, truth=silent)
    text = marked_window(example, scorer_input.token_texts, marks)
    return (replace(item, stratum=stratum) if silent else item), text


def _drawn(scorer_input: ScorerInput, settings: IntruderSettings, run_seed: int) -> list[_Draw]:
    """The windows of every trial, the strata mixed.

    A stratum's trials use each of its windows at most once. A stratum with fewer than five windows uses all its windows, and takes the
    missing windows from the nearest strata (of two equally near strata from the stronger first). Windows that were used least are taken
    first, in random order otherwise.

    The intruder is any silent window that was used least. So its length says nothing: were it chosen by the length of the lender, "long"
    would be an answer wherever few silent windows are short. The lender is the window of its stratum whose length is nearest to the
    intruder's, of equally near windows a window that was used least.
    """
    rng = generator(run_seed, scorer_input.feature, f"{NAME} windows")
    activating, silent = (_shuffled(of_kind(scorer_input.held_out, kind), rng) for kind in ("activating", "non_activating"))
    if len(activating) < N_OPTIONS or not silent:
        return []
    used: Counter[str] = Counter()
    draws: list[_Draw] = []
    for stratum, n_windows in sorted(Counter(_stratum(example) for example in activating).items()):
        for _ in range(min(settings.per_stratum, max(1, n_windows // N_OPTIONS))):
            near = sorted(activating, key=lambda e: (abs(_stratum(e) - stratum), _stratum(e), used[e.example_id]))
            *shown, fifth = _shuffled(near[:N_OPTIONS], rng)
            intruder = min(silent, key=lambda e: used[e.example_id])
            lenders = [e for e in activating if e.stratum == fifth.stratum and e not in shown]
            length = len(intruder.token_ids)
            lender = min(lenders, key=lambda e: (abs(len(e.token_ids) - length), used[e.example_id], e is not fifth))
            used.update(example.example_id for example in (*shown, lender, intruder))
            draws.append(_Draw(stratum, tuple(shown), lender, intruder))
    return _shuffled(draws, rng)


def _stratum(example: Example) -> int:
    """The stratum of an activating window."""
    assert example.stratum is not None, example.example_id
    return example.stratum


def _shuffled(things: Sequence[choice.Thing], rng: np.random.Generator) -> list[choice.Thing]:
    return [things[i] for i in rng.permutation(len(things))]


def _numbered(texts: Sequence[str]) -> str:
    return "\n".join(f"Text {number}: {text}" for number, text in enumerate(texts, start=1))
