"""The surprisal scorer: do windows on which the feature fires surprise a language model less once it has read the explanation?
(arXiv 2410.13928)

For every held-out window x a base model gives log p(x | explanation) and log p(x | pseudo-explanation): the sum of the natural-log
probabilities of the window's tokens after a prompt that ends with the description. The window's value is

    v(x) = log p(x | explanation) - log p(x | pseudo-explanation)

The score is the AUROC of v, activating windows against silent windows. The pseudo-explanation is one vague description for all features and
methods. So the questions with the pseudo-explanation, half of all, are asked once a feature, however many explanations the feature has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import Count
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.instructions import Instructed, instructions
from interp_assets.domain.prompting.prompts import Prompt, Turn
from interp_assets.domain.prompting.rendering import TokenTexts, plain_text, token_strings
from interp_assets.domain.scoring.shared import ranking
from interp_assets.domain.scoring.shared.likelihood import gain
from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, Verdict, as_item, evenly_mixed

NAME: str = "surprisal"
VERSION: str = "surprisal/3"
MODEL: Model = "base"
HEADLINE: str = "auroc"
READS: frozenset[Reads] = frozenset({"explanation"})

PSEUDO_EXPLANATION = "texts of all kinds, with nothing in common"
PSEUDO = "pseudo"
"""Ends the id of the trial under the pseudo-explanation that belongs to a trial under the explanation."""


@dataclass(frozen=True)
class SurprisalSettings(Instructed):
    """How the scorer asks for likelihoods."""

    few_shot: Count = 8
    """Worked examples before the text. Unit: examples, 0 to 8."""


_WORKED = (
    ("names of days of the week", "the ferry leaves on Tuesday at noon, and from October also on Friday night, when the island"),
    ("words for family members", "and her uncle had kept all of the letters in a drawer, together with those from his grandmother"),
    ("numbers written as digits", "by a total of 412 votes to 397. The 20 towns that were asked again in"),
    ("opening parentheses of function calls in code", "total = sum(prices)\nprint(round(total, 2))\nif len(names) > 3:\n    save("),
    ('past participles followed by "by"', "the pump was replaced by an electric one, designed by two students and paid for by the town"),
    ("texts about cooking", "until the onions are soft. Add the leeks and a little stock, cover the pan and simmer for ten"),
    ('the word "not" and its contractions', "it isn't that they did not want to come; they couldn't, and nobody had told them not to"),
    ("endings of sentences", "was closed. They went home. It rained all night. In the morning the road was gone. Nobody"),
)


def plan(scorer_input: ScorerInput, settings: SurprisalSettings, run_seed: int) -> tuple[Trial, ...]:
    """Two trials for every held-out window, both kinds evenly mixed; none without an explanation or without examples.

    The trial under the pseudo-explanation comes first and has no items. The trial under the explanation follows and has one item. So every
    item has its pseudo-explanation's trial, wherever the asking stops. The order depends on the run's seed and the feature, not on the
    explanation.
    """
    if scorer_input.explanation is None:
        return ()
    messages = [_messages(explanation, settings) for explanation in (PSEUDO_EXPLANATION, scorer_input.explanation)]
    trials: list[Trial] = []
    for number, example in enumerate(evenly_mixed(scorer_input.held_out, generator(run_seed, scorer_input.feature, f"{NAME} order"))):
        text = _text(example, scorer_input.token_texts)
        pseudo, own = (Prompt(turns, len(turns), 0, suffix=text) for turns in messages)
        trials.append(Trial.about(scorer_input, NAME, f"{number}/{PSEUDO}", pseudo, ()))
        trials.append(Trial.about(scorer_input, NAME, number, own, (as_item(example),)))
    return tuple(trials)


def _messages(explanation: str, settings: SurprisalSettings) -> tuple[Turn, ...]:
    """The turns before a window. A base model reads the turns joined by empty lines, and the window directly after the last turn."""
    turns: list[Turn] = [("system", instructions("surprisal", settings.instructions))]
    for worked, text in _WORKED[: settings.few_shot]:
        turns.append(("user", _described(worked)))
        turns.append(("assistant", text))
    turns.append(("user", f"{_described(explanation)}\n\n"))
    return tuple(turns)


def _described(explanation: str) -> str:
    return f"Description: {explanation}\nText:"


def _text(example: Example, token_texts: TokenTexts) -> str:
    """The window as plain text.

    A window of whitespace alone keeps its whitespace. An empty window becomes a space, since an empty text cannot be asked about.
    """
    tokens = token_strings(example.token_ids, token_texts)
    return plain_text(tokens) or "".join(tokens) or " "


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: SurprisalSettings) -> tuple[Verdict, ...]:
    """One verdict per window; `value` is v in nats. "model_error" or "no_probabilities" if one of its two trials ended so."""
    by_id = {one.trial.trial_id: one for one in answered}
    return tuple(gain(one, by_id[f"{one.trial.trial_id}/{PSEUDO}"]) for one in answered if one.trial.items)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: SurprisalSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """AUROC, average precision and the AUROC of each stratum of v: see `ranking.summarise`."""
    return ranking.summarise(NAME, scorer_input, verdicts, n_bootstrap, run_seed)
