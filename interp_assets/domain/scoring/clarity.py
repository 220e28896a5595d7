"""The clarity scorer: does the feature tell texts that express the explanation from natural texts? (FADE, arXiv 2502.16994)

A generator writes texts that contain what the explanation describes; the subject model is run on these texts. AUROC is the probability that
the feature's largest activation is higher on a generated text than on a natural text, ties counting half. The score is gini = 2 · AUROC -
1. FADE takes the absolute value of gini. Here gini keeps its sign, so that a feature that is quieter on the generated texts than on natural
texts scores below 0. Chance is about 0.

Natural texts are the held-out windows. About half of the held-out windows are activating, but only a share q of the windows of the corpus
(`ScorerInput.firing_share`). So each kind gets its weight in the corpus:

    AUROC = (1 - q) · P(text > silent window) + q · P(text > activating window)

Where q is unknown, q = 0: the texts are compared with silent windows alone, and the score is a little too high for features that fire
often.

A text that is written twice counts once, as in FADE. A feature's largest activation grows with the length of a text, so the prompt asks for
texts about as short as a window. The floor knows the lengths of the texts that were written, and that texts stand
behind BOS: with p the probability that the feature fires on as many first tokens of a context, texts that mean nothing reach an AUROC of
1/2 + (mean p - q) / 2.

FADE leaves the temperature to the server. Here the temperature is 0.7, so that questions that differ in their seed alone bring different
texts. Seeds depend on the run's seed and the feature, not on the explanation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp_assets.domain.bounds import Count, PositiveCount, Temperature
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.instructions import Instructed, instructions
from interp_assets.domain.prompting.prompts import Prompt, Turn
from interp_assets.domain.scoring.shared import generated
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.metrics import UNDEFINED, Estimate, mixed_auroc, signed_gini
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, Verdict, of_kind

NAME: str = "clarity"
VERSION: str = "clarity/6"
MODEL: Model = "generator"
HEADLINE: str = "gini"
READS: frozenset[Reads] = frozenset({"explanation"})
STRATUM_METRIC = "auroc@stratum"
KIND = "text"


@dataclass(frozen=True)
class ClaritySettings(Instructed):
    """How the scorer asks for texts."""

    n_texts: PositiveCount = 10
    """Texts that are written. Unit: texts."""
    per_prompt: PositiveCount = 5
    """Most texts that one question asks for. Unit: texts."""
    few_shot: Count = 1
    """Worked examples before the question. Unit: examples, 0 to 2."""
    temperature: Temperature = 0.7
    """Temperature of the reply. Unit: temperature."""
    max_reply_tokens: PositiveCount = 400
    """Most tokens of a reply. Unit: tokens."""


_WORKED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "names of days of the week",
        (
            "The ferry leaves on Tuesday at noon.",
            "see you friday!!",
            "Opening hours: Monday to Saturday, 9 to 5.",
            "It was a Wednesday, and raining, when the letter came.",
            "Sunday, bloody Sunday",
        ),
    ),
    (
        "opening parentheses of function calls in code",
        (
            "print(total)",
            "for (let i = 0; i < n; i++) draw(i);",
            "Call open(path) before you read.",
            "x = max(len(a), len(b))",
            "def run(): return start(now())",
        ),
    ),
)


def plan(scorer_input: ScorerInput, settings: ClaritySettings, run_seed: int) -> tuple[Trial, ...]:
    """Trials of at most `per_prompt` texts each; none without an explanation, or where natural texts of a needed kind are missing."""
    if scorer_input.explanation is None or not _comparable(scorer_input):
        return ()
    head: list[Turn] = [("system", instructions("clarity", settings.instructions))]
    for explanation, worked in _WORKED[: settings.few_shot]:
        own = worked[: settings.per_prompt]
        head.append(("user", _question(explanation, len(own))))
        head.append(("assistant", generated.written(KIND, own)))
    rng = generator(run_seed, scorer_input.feature, NAME)
    trials: list[Trial] = []
    for number, first in enumerate(range(0, settings.n_texts, settings.per_prompt)):
        n = min(settings.per_prompt, settings.n_texts - first)
        prompt = Prompt(
            messages=(*head, ("user", _question(scorer_input.explanation, n))),
            shared_messages=len(head),
            max_reply_tokens=settings.max_reply_tokens,
            json_schema=generated.schema(KIND, n),
            temperature=settings.temperature,
            seed=int(rng.integers(1 << 31)),
        )
        trials.append(Trial.about(scorer_input, NAME, number, prompt, generated.items_of(KIND, True, first, n)))
    return tuple(trials)


def texts(answered: AnsweredTrial) -> tuple[str, ...]:
    """The texts in a reply, in the order of the items: see `generated.texts`."""
    return generated.texts(answered)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: ClaritySettings) -> tuple[Verdict, ...]:
    """One verdict a text, with the text and its activation: see `generated.grade`."""
    return generated.grade(answered)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: ClaritySettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """A row for gini and a row for AUROC, then a row for each stratum with the AUROC against the activating windows of the stratum.

    Positives are the distinct texts, negatives the windows that the texts are compared with. Without verdicts the rows end as "one_class"
    where windows of a needed kind are missing, else as `scorer_input.absent`. With no text answered they end as "no_answers". Intervals
    resample texts and windows. Against activating windows a text that means nothing wins half of the times that it fires; without a known
    firing share a stratum has no floor.
    """
    answered = [verdict for verdict in verdicts if verdict.value is not None]
    values = np.array(list({verdict.text: verdict.value for verdict in answered}.values()), dtype=np.float64)
    unanswered = len(verdicts) - len(answered)
    incomparable = scorer_input.explanation is not None and bool(scorer_input.held_out) and not _comparable(scorer_input)
    otherwise: ScoreOutcome = "no_answers" if verdicts else "one_class" if incomparable else scorer_input.absent
    rng = generator(run_seed, scorer_input.feature, f"{NAME} bootstrap")
    groups = [(weight, _largest(examples)) for weight, examples in _natural(scorer_input)]
    auroc = mixed_auroc(values, groups, n_bootstrap, rng) if verdicts else UNDEFINED
    counts = (len(values), sum(len(group) for weight, group in groups if weight > 0), unanswered)
    share, written = scorer_input.firing_share or 0.0, list({verdict.text or "": None for verdict in answered})
    chance = generated.mean_chance(written, scorer_input)
    by_chance = share if chance is None else chance

    def row(metric: str, found: Estimate, floor: float | None, counts: tuple[int, int, int], stratum: int | None = None) -> ScoreRow:
        return score_row(NAME, scorer_input, metric, found, floor if verdicts else None, counts, otherwise, stratum)

    rows = [row("gini", signed_gini(auroc), by_chance - share, counts), row("auroc", auroc, 0.5 + (by_chance - share) / 2, counts)]
    activating = of_kind(scorer_input.held_out, "activating") if verdicts else ()
    for stratum in sorted({example.stratum for example in activating if example.stratum is not None}):
        own = _largest([example for example in activating if example.stratum == stratum])
        found = mixed_auroc(values, [(1.0, own)], n_bootstrap, rng)
        floor = None if scorer_input.firing_share is None else by_chance / 2
        rows.append(row(STRATUM_METRIC, found, floor, (len(values), len(own), unanswered), stratum))
    return tuple(rows)


def _natural(scorer_input: ScorerInput) -> list[tuple[float, tuple[Example, ...]]]:
    """(weight, windows) of the silent held-out windows, then of the activating held-out windows."""
    q = scorer_input.firing_share or 0.0
    return [(1 - q, of_kind(scorer_input.held_out, "non_activating")), (q, of_kind(scorer_input.held_out, "activating"))]


def _comparable(scorer_input: ScorerInput) -> bool:
    """Whether there are windows of every kind with a weight above 0."""
    return all(windows for weight, windows in _natural(scorer_input) if weight > 0)


def _largest(examples: Sequence[Example]) -> np.ndarray:
    """The feature's largest activation on each window, float64 [n]."""
    return np.array([max(example.activations, default=0.0) for example in examples], dtype=np.float64)


def _question(explanation: str, n: int) -> str:
    return f"Description: {explanation}\nTexts: {n}"
