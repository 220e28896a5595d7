"""The output-based scorer: which of three sets of texts did the feature make the model write? (arXiv 2501.08319)

A set holds the model's completions of a few fixed prompts with one feature made stronger, or weaker, at several KL divergences. The judge
sees the explanation, the set of this feature, and the sets of two random other features at the same divergences, in random order, and picks
a set. Score = share of the trials in which the feature's own set was picked. Floor = 1/3. The feature's own set is the same in all trials;
the trials differ in the rivals and in the place of the own set.

Fixed prompts need no contexts on which the feature fires. So features that are dead on the token sample can be scored too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from interp_assets.domain.bounds import Count
from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.instructions import Instructed, instructions
from interp_assets.domain.prompting.prompts import Turn
from interp_assets.domain.prompting.rendering import quoted
from interp_assets.domain.scoring.shared import choice
from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, TrialItem, Verdict

NAME: str = "output_based"
VERSION: str = "output_based/4"
MODEL: Model = "scorer"
HEADLINE: str = choice.METRIC
READS: frozenset[Reads] = frozenset({"explanation", "steered_sets"})

N_SETS = 3


@dataclass(frozen=True)
class OutputBasedSettings(Instructed, choice.Reasoning):
    """How the scorer asks which set of steered texts fits an explanation."""

    n_trials: Annotated[int, Ge(1), Le(16)] = 3
    """Questions of a feature (1 in the paper), each with new rivals as long as there are unused rivals. A judge that always names the same
    place scores exactly at chance where this number is a multiple of 3. Unit: questions."""
    few_shot: Count = 1
    """Worked examples before the question. Unit: examples, 0 to 2."""


Steered = tuple[float, str]
"""The KL target of a text, below 0 where the feature was made weaker, and the text."""

_WORKED: tuple[tuple[tuple[tuple[Steered, ...], ...], str, int, str], ...] = (
    (
        (
            ((1, "We built it of oak and pine, board by board"), (-1, "I think that he is right")),
            ((1, "We met on Friday and again on Monday morning"), (-1, "I think it was some time ago, in spring")),
            ((1, "We owe them four thousand, and the rent"), (-1, "I think that it will rain")),
        ),
        "names of days of the week",
        2,
        "Set 2 names Friday and Monday where the neuron was stronger, and none where it was weaker. No other set names days.",
    ),
    (
        (
            ((1, "We asked her uncle and both of his aunts"), (1, "I think my grandmother kept the letters")),
            ((1, "We sailed past the harbour with the tide"), (1, "I think that the boat is leaking")),
            ((1, "We were told to wait outside, in the rain"), (1, "I think snow will come, after this wind")),
        ),
        "words for family members",
        1,
        "Set 1 speaks of an uncle, aunts and a grandmother. Set 2 is about sailing, set 3 about the weather.",
    ),
)


def plan(scorer_input: ScorerInput, settings: OutputBasedSettings, run_seed: int) -> tuple[Trial, ...]:
    """Trials with the feature's own set and two rivals' sets; none without an explanation, an own set or two rivals.

    Rivals' sets are cut to the targets of the feature's own set. The rivals, their order and the place of the own set depend on the run's
    seed and the feature, not on the explanation. The explanation stands last, so that the prompts of all explanations of a feature share
    their beginning.
    """
    own, rivals = scorer_input.steered_set, scorer_input.rival_sets
    if scorer_input.explanation is None or own is None or not own.texts or len(rivals) < N_SETS - 1:
        return ()
    targets = {target for target, _ in own.texts}
    sets = {one.feature: [(target, text) for target, text in one.texts if target in targets] for one in (own, *rivals)}
    head: list[Turn] = [("system", instructions("output_based", settings.instructions, reply=choice.how_to_reply(settings)))]
    for worked, explanation, answer, reasons in _WORKED[: settings.few_shot]:
        head.append(("user", _question(worked, explanation)))
        head.append(("assistant", choice.worked_reply(answer, reasons, settings)))
    order: list[int] = generator(run_seed, scorer_input.feature, f"{NAME} rivals").permutation(len(rivals)).tolist()
    places = choice.even_places(settings.n_trials, N_SETS, generator(run_seed, scorer_input.feature, f"{NAME} places"))
    trials: list[Trial] = []
    for number, place in enumerate(places):
        others = [rivals[order[(number * (N_SETS - 1) + i) % len(order)]].feature for i in range(N_SETS - 1)]
        options = choice.inserted(own.feature, others, place)
        prompt = choice.asking(head, _question([sets[feature] for feature in options], scorer_input.explanation), N_SETS, settings)
        items = tuple(TrialItem(f"feature/{f}", f == own.feature, None, "own" if f == own.feature else "random") for f in options)
        trials.append(Trial.about(scorer_input, NAME, number, prompt, items))
    return tuple(trials)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: OutputBasedSettings) -> tuple[Verdict, ...]:
    """One verdict per set of every trial, whatever the replies; the feature's own set is true: see `choice.grade`."""
    return choice.grade(answered, settings.reason)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: OutputBasedSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """Accuracy: see `choice.summarise`.

    "not_steered" where steering has no set of the feature, "kl_not_met" where steering met none of the targets, "no_rivals" where fewer
    than two other features have a set.
    """
    return choice.summarise(NAME, scorer_input, verdicts, _absent(scorer_input))


def _absent(scorer_input: ScorerInput) -> ScoreOutcome:
    """Why nothing was asked."""
    if scorer_input.explanation is None:
        return "no_explanation"
    return "not_steered" if scorer_input.steered_set is None else "no_rivals" if scorer_input.steered_set.texts else "kl_not_met"


def _question(sets: Sequence[Sequence[Steered]], explanation: str) -> str:
    """The last turn: the numbered sets, each text in quotation marks on a line after how the feature was changed, then the explanation."""
    lines: list[str] = []
    for number, texts in enumerate(sets, start=1):
        lines.append(f"Set {number}:")
        lines += [f"- {'weaker' if target < 0 else 'stronger'}: {quoted(text)}" for target, text in texts]
    return "\n".join([*lines, f"Description: {explanation}"])
