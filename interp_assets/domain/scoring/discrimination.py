"""The discrimination scorer: which explanation do these windows belong to, the feature's own explanation or a near rival's?

Detection and fuzzing compare windows under one explanation. So they cannot tell an explanation from a broader or a similar explanation that
also fits the neighbours of the feature. Here the windows are given, with marks, and explanations are compared: the feature's own
explanation stands among the explanations of up to four other features by the same method. Score = share of the trials in which the own
explanation was chosen. Floor = 1 / number of explanations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import Count, PositiveCount, Share
from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.instructions import Instructed, instructions
from interp_assets.domain.prompting.prompts import Prompt, Turn
from interp_assets.domain.prompting.rendering import marked_positions
from interp_assets.domain.prompting.window_texts import marked_window
from interp_assets.domain.scoring.shared import choice
from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, TrialItem, Verdict, of_kind

NAME: str = "discrimination"
VERSION: str = "discrimination/2"
MODEL: Model = "scorer"
HEADLINE: str = choice.METRIC
READS: frozenset[Reads] = frozenset({"explanation", "rivals"})


@dataclass(frozen=True)
class DiscriminationSettings(Instructed):
    """How the scorer asks which explanation fits windows."""

    windows_per_trial: PositiveCount = 3
    """Held-out activating windows of a question. Unit: windows."""
    n_trials: PositiveCount = 10
    """Most questions of a feature; no window is used twice. Unit: questions."""
    threshold: Share = 0.3
    """Tokens at or above this share of the example's maximum are marked. Unit: share."""
    few_shot: Count = 2
    """Worked examples before the question. Unit: examples, 0 to 2."""


_WORKED: tuple[tuple[tuple[str, ...], tuple[str, ...], int], ...] = (
    (
        ("the ferry leaves on <<Tuesday>> at noon", "closed every <<Sunday>> in winter, as before"),
        ("names of months", "words about ships and harbours", "names of days of the week", "adverbs of time"),
        3,
    ),
    (
        ("her <<uncle>> had kept all of the letters", "a gift from my <<grandmother>>, long ago", "his <<brother>> plays the cello"),
        ("words for family members", "pronouns", "words for professions"),
        1,
    ),
)


def plan(scorer_input: ScorerInput, settings: DiscriminationSettings, run_seed: int) -> tuple[Trial, ...]:
    """Trials over groups of activating windows; none without an explanation, without rivals or without activating windows.

    The groups, the order of the rivals and the place of the own explanation depend on the run's seed and the feature, not on the
    explanations.
    """
    if scorer_input.explanation is None or not scorer_input.rivals:
        return ()
    rivals = [(TrialItem(f"feature/{rival.feature}", False, None, rival.variant), rival.text) for rival in scorer_input.rivals]
    own = (TrialItem(f"feature/{scorer_input.feature}", True, None, "own"), scorer_input.explanation)
    head: list[Turn] = [("system", instructions("discrimination", settings.instructions))]
    for texts, explanations, answer in _WORKED[: settings.few_shot]:
        head.append(("user", _question(texts, explanations)))
        head.append(("assistant", f"[{answer}]"))
    groups = _groups(scorer_input, settings, run_seed)
    places = choice.even_places(len(groups), 1 + len(rivals), generator(run_seed, scorer_input.feature, f"{NAME} places"))
    trials: list[Trial] = []
    for number, (texts, place) in enumerate(zip(groups, places, strict=True)):
        order: list[int] = generator(run_seed, scorer_input.feature, f"{NAME} rivals {number}").permutation(len(rivals)).tolist()
        options = choice.inserted(own, [rivals[i] for i in order], place)
        prompt = Prompt(
            messages=(*head, ("user", _question(texts, [text for _, text in options]))),
            shared_messages=len(head),
            choices=choice.one_of(len(options)),
            max_reply_tokens=choice.MAX_REPLY_TOKENS,
        )
        items = tuple(item for item, _ in options)
        trials.append(Trial.about(scorer_input, NAME, number, prompt, items))
    return tuple(trials)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: DiscriminationSettings) -> tuple[Verdict, ...]:
    """One verdict per explanation of every trial, whatever the replies; the feature's own explanation is true: see `choice.grade`."""
    return choice.grade(answered)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: DiscriminationSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """Accuracy: see `choice.summarise`; "no_rivals" where there are activating windows and an explanation, but no rivals."""
    alone = scorer_input.explanation is not None and not scorer_input.rivals and of_kind(scorer_input.held_out, "activating")
    absent: ScoreOutcome | None = "no_rivals" if alone else None
    return choice.summarise(NAME, scorer_input, verdicts, absent)


def _groups(scorer_input: ScorerInput, settings: DiscriminationSettings, run_seed: int) -> list[list[str]]:
    """Marked texts of each trial: at most `n_trials` disjoint groups of activating windows; a single short group where no group is full."""
    windows = of_kind(scorer_input.held_out, "activating")
    size = settings.windows_per_trial
    order: list[int] = generator(run_seed, scorer_input.feature, f"{NAME} order").permutation(len(windows)).tolist()
    texts = [
        marked_window(windows[i], scorer_input.token_texts, marked_positions(windows[i].activations, settings.threshold)) for i in order
    ]
    n_groups = min(settings.n_trials, max(len(texts) // size, 1 if texts else 0))
    return [texts[number * size : (number + 1) * size] for number in range(n_groups)]


def _question(texts: Sequence[str], explanations: Sequence[str]) -> str:
    """The last turn: the texts, then the numbered explanations."""
    lines = [f"Text: {text}" for text in texts]
    return "\n".join([*lines, *(f"Description {number}: {text}" for number, text in enumerate(explanations, start=1))])
