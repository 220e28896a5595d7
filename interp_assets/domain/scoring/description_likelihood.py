"""The description_likelihood scorer: how likely does a language model find the description as an answer to a window?

A window is shown in a user turn that ends with "What does this text contain?". The window's value is the natural-log probability of the
description as the reply, summed over its tokens. The score is the AUROC of the values, activating windows against silent windows. Chance is
0.5. All windows are asked about one description, so that its length and its own likelihood change no order.

This is the question that a small judge can answer. Over 12 features of the demo, SmolLM2-135M-Instruct as a judge of detection told true
descriptions (0.56) from shuffled descriptions (0.57) no better than chance; by this likelihood it told 0.70 from 0.41. The back end must
give log-probabilities of a reply that is given to it; a back end that cannot is refused by name before the first question.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.window_texts import window_text
from interp_assets.domain.scoring.shared import ranking
from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import (
    AnsweredTrial,
    Model,
    Reads,
    ScorerInput,
    ScoreRow,
    Trial,
    Verdict,
    as_item,
    evenly_mixed,
    verdict_of,
)

NAME: str = "description_likelihood"
VERSION: str = "description_likelihood/1"
MODEL: Model = "scorer"
HEADLINE: str = "auroc"
READS: frozenset[Reads] = frozenset({"explanation"})
QUESTION = "What does this text contain?"


@dataclass(frozen=True)
class DescriptionLikelihoodSettings:
    """There is nothing to set: the model is the scorer of the site."""


def plan(scorer_input: ScorerInput, settings: DescriptionLikelihoodSettings, run_seed: int) -> tuple[Trial, ...]:
    """A trial of one item for every held-out window, both kinds evenly mixed; none without an explanation or without examples.

    The order depends on the run's seed and the feature, not on the explanation.
    """
    if scorer_input.explanation is None:
        return ()
    trials: list[Trial] = []
    for number, example in enumerate(evenly_mixed(scorer_input.held_out, generator(run_seed, scorer_input.feature, f"{NAME} order"))):
        turn = f"Text: {window_text(example, scorer_input.token_texts)}\n\n{QUESTION}"
        prompt = Prompt((("user", turn),), shared_messages=0, max_reply_tokens=0, suffix=scorer_input.explanation)
        trials.append(Trial.about(scorer_input, NAME, number, prompt, (as_item(example),)))
    return tuple(trials)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: DescriptionLikelihoodSettings) -> tuple[Verdict, ...]:
    """One verdict a window; `value` is the log-probability of the description in nats. "model_error" or "no_probabilities" without one."""
    return tuple(map(_graded, answered))


def _graded(answered: AnsweredTrial) -> Verdict:
    if answered.error is not None:
        return verdict_of(answered.trial, 0, "model_error")
    value = math.nan if answered.suffix_logprobs is None else math.fsum(answered.suffix_logprobs)
    if not math.isfinite(value):
        return verdict_of(answered.trial, 0, "no_probabilities")
    return verdict_of(answered.trial, 0, "answered", value=value)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: DescriptionLikelihoodSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """AUROC, average precision and the AUROC of each stratum of the log-probabilities: see `ranking.summarise`."""
    return ranking.summarise(NAME, scorer_input, verdicts, n_bootstrap, run_seed)
