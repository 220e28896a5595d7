"""The input-based scorer: does the feature fire on sentences written after the explanation? (arXiv 2501.08319)

A generator writes 5 sentences that should make the feature fire and, in a question of its own, 5 sentences that should not; the subject
model is run on all of them. A sentence's value is the feature's largest activation on it, special tokens left out. Let A be the values of
the first kind, S the values of the second kind, and M the largest activation on the shown windows:

    success   1 if mean(A) > mean(S), else 0: the paper's score. Equal means are no success. Floor: see `success_by_chance`
    margin    (mean(A) - mean(S)) / M, with M the largest activation on the shown windows: "undefined" where there are none, since raw
              units of different features cannot be averaged. Floor 0
    hit_rate  share of A that is at least `hit_share` · M, "undefined" likewise. No floor: it depends on how often the feature fires
    auroc     P(A > S), ties counting half. Floor 0.5, and half of how much oftener A fires by chance, being longer

Where no sentence makes the feature fire, the explanation has failed: the outcome is "dead", with success, margin and hit rate 0 and an
AUROC of 0.5. A feature without examples is asked about too, if it has an explanation: an explanation read off the feature's weights may
tell what makes it fire.

The paper has all sentences written in one reply: small models do not get as far as the second kind. The paper names no temperature, which
leaves it to the server. Here the temperature is 0.7, since at 0 small models write the same sentence again and again. Seeds depend on the
run's seed and the feature, not on the explanation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from interp_assets.domain.bounds import ADDED_LATER, Count, PositiveCount, Share, Temperature
from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.instructions import Instructed, instructions
from interp_assets.domain.prompting.prompts import Prompt, Turn
from interp_assets.domain.scoring.shared import generated
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.metrics import UNDEFINED, Estimate, mean_difference, probability_metrics, wilson
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, Verdict

NAME: str = "input_based"
VERSION: str = "input_based/7"
MODEL: Model = "generator"
HEADLINE: str = "success"
READS: frozenset[Reads] = frozenset({"explanation"})
METRICS = ("success", "margin", "hit_rate", "auroc")
FLOORS = {"margin": 0.0, "hit_rate": None, "auroc": 0.5}
KINDS = ("activating", "silent")
SIMULATED = 2000
"""Draws by which the success of sentences that mean nothing is simulated; each is used twice."""


@dataclass(frozen=True)
class InputBasedSettings(Instructed):
    """How the scorer asks for sentences, and when a sentence counts as a hit."""

    n_sentences: PositiveCount = 5
    """Sentences of each kind that are written. Unit: sentences."""
    few_shot: Count = 1
    """Worked examples before the question. Unit: examples, 0 to 2."""
    hit_share: Share = 0.3
    """Least activation of a hit, as a share of the largest activation on the shown windows. Unit: share."""
    temperature: Temperature = 0.7
    """Temperature of the reply. Unit: temperature."""
    max_reply_tokens: PositiveCount = 300
    """Most tokens of a reply. Unit: tokens."""
    silent_instructions: Annotated[str | None, ADDED_LATER] = None
    """Instructions for sentences on which the feature should be silent, in place of the packaged ones. None means the site's file or the
    packaged instructions."""


_WORKED: tuple[tuple[str, dict[str, tuple[str, ...]]], ...] = (
    (
        "names of days of the week",
        {
            "activating": (
                "The ferry leaves on Tuesday at noon.",
                "By Friday all of the bread was gone.",
                "Shops are closed on Sunday and Monday in winter.",
                "We talked about it last Wednesday.",
                "Her exam is next Thursday, not Saturday.",
            ),
            "silent": (
                "The square root of nine is three.",
                "A recipe for soup with leeks and potatoes.",
                "Turn left after the second bridge.",
                "He painted the old door green.",
                "Prices rose by four percent.",
            ),
        },
    ),
    (
        "opening parentheses of function calls in code",
        {
            "activating": (
                "print(total)",
                "for i in range(10): run(i)",
                "result = max(len(a), len(b))",
                "close(handle); exit(0);",
                "The call open(path) returns a file.",
            ),
            "silent": (
                "x = y + 1",
                "The ferry leaves in the evening.",
                "import os",
                "Nobody had seen the letter before.",
                "while true; do",
            ),
        },
    ),
)


def plan(scorer_input: ScorerInput, settings: InputBasedSettings, run_seed: int) -> tuple[Trial, ...]:
    """Two trials: sentences that should make the feature fire, and sentences that should not; none without an explanation."""
    if scorer_input.explanation is None:
        return ()
    n, rng = settings.n_sentences, generator(run_seed, scorer_input.feature, NAME)
    trials: list[Trial] = []
    for number, kind in enumerate(KINDS):
        head: list[Turn] = [("system", _instructions(kind, settings))]
        for explanation, sentences in _WORKED[: settings.few_shot]:
            own = sentences[kind][:n]
            head.append(("user", _question(explanation, len(own))))
            head.append(("assistant", generated.written(kind, own)))
        prompt = Prompt(
            messages=(*head, ("user", _question(scorer_input.explanation, n))),
            shared_messages=len(head),
            max_reply_tokens=settings.max_reply_tokens,
            json_schema=generated.schema(kind, n),
            temperature=settings.temperature,
            seed=int(rng.integers(1 << 31)),
        )
        items = generated.items_of(kind, kind == "activating", 0, n)
        trials.append(Trial.about(scorer_input, NAME, number, prompt, items))
    return tuple(trials)


def _instructions(kind: str, settings: InputBasedSettings) -> str:
    if kind == "silent":
        return instructions("input_based_silent", settings.silent_instructions)
    return instructions("input_based", settings.instructions)


def success_by_chance(should: Sequence[float], should_not: Sequence[float], strengths: np.ndarray, rng: np.random.Generator) -> float:
    """Probability that the mean of the sentences of one kind is above the mean of the other kind, where nothing but chance makes the
    feature fire: on each sentence with its own probability.

    Where only one kind has sentences that fire, its mean is the higher one. With p and q the probabilities that a kind has any:
    p (1 - q) + p q w. For sentences of the same lengths w is 1/2; else it is simulated, each sentence that fires having one of `strengths`
    [n]. Each draw is used twice, the kinds exchanging it, so that w is 1/2 where lengths are the same.
    """
    firing = [np.asarray(chances, dtype=np.float64) for chances in (should, should_not)]
    p, q = (float(-np.expm1(np.log1p(-np.minimum(own, 1 - 1e-12)).sum())) for own in firing)
    shape = (SIMULATED, 2, max(map(len, firing)))
    fires, strong = rng.random(shape), rng.choice(strengths, shape) if len(strengths) else np.ones(shape)
    higher, both = 0.0, 0
    for first, second in ((0, 1), (1, 0)):
        one, other = (
            (strong[:, side, : len(own)] * (fires[:, side, : len(own)] < own)).mean(axis=1)
            for side, own in zip((first, second), firing, strict=True)
        )
        known = (one > 0) & (other > 0)
        higher += float(((one > other) + 0.5 * (one == other))[known].sum())
        both += int(known.sum())
    return p * (1 - q) + p * q * (higher / both if both else 0.5)


def texts(answered: AnsweredTrial) -> tuple[str, ...]:
    """The sentences in a reply, in the order of the items: see `generated.texts`."""
    return generated.texts(answered)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: InputBasedSettings) -> tuple[Verdict, ...]:
    """One verdict a sentence, with the sentence and its activation: see `generated.grade`."""
    return generated.grade(answered)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: InputBasedSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """A row for each of METRICS; positives are the sentences that should make the feature fire.

    "no_explanation" where nothing was asked, "no_answers" where nothing could be read, "one_class" with sentences of one kind only.
    A success is a single trial and has no interval; the margin has Welch's, the hit rate Wilson's, the AUROC Newcombe's.
    """
    answered = [verdict for verdict in verdicts if verdict.value is not None]
    should, should_not = (np.array([v.value for v in answered if v.truth == truth], dtype=np.float64) for truth in (True, False))
    counts = (len(should), len(should_not), len(verdicts) - len(answered))
    if not len(should) or not len(should_not):
        outcome: ScoreOutcome = "no_explanation" if not verdicts else "one_class" if answered else "no_answers"
        return tuple(
            score_row(NAME, scorer_input, metric, UNDEFINED, FLOORS.get(metric) if answered else None, counts, outcome)
            for metric in METRICS
        )
    floors = {**FLOORS, **_by_chance(scorer_input, answered, run_seed)}
    dead = not should.any() and not should_not.any()
    largest = max((max(example.activations, default=0.0) for example in scorer_input.shown), default=0.0)
    unit = largest if largest > 0 else 1.0 if dead else None  # zeros are zeros in any unit
    rng = generator(run_seed, scorer_input.feature, f"{NAME} bootstrap")
    difference, success = mean_difference(should, should_not)
    score, truth = np.concatenate([should, should_not]), np.repeat([True, False], counts[:2])
    found = {"success": success, "margin": UNDEFINED, "hit_rate": UNDEFINED}
    found["auroc"] = probability_metrics(truth, score, n_bootstrap, rng)["auroc"]
    if unit is not None:
        hits = (should > 0) & (should >= settings.hit_share * unit)
        found |= {"margin": _scaled(difference, unit), "hit_rate": wilson(int(hits.sum()), len(hits))}
    rows = [score_row(NAME, scorer_input, metric, found[metric], floors[metric], counts, "undefined") for metric in METRICS]
    return tuple(replace(row, outcome="dead") for row in rows) if dead else tuple(rows)


def _by_chance(scorer_input: ScorerInput, answered: Sequence[Verdict], run_seed: int) -> dict[str, float | None]:
    """Floors of success and AUROC: what sentences of these lengths reach that mean nothing; an AUROC of 0.5 where that is unknown."""
    should, should_not = (generated.chances([v.text or "" for v in answered if v.truth == truth], scorer_input) for truth in (True, False))
    if should is None or should_not is None:
        return {"success": None}
    rng = generator(run_seed, scorer_input.feature, f"{NAME} by chance")
    peaks = np.array([max(e.activations) for e in (*scorer_input.shown, *scorer_input.held_out) if e.kind == "activating"])
    oftener = sum(should) / len(should) - sum(should_not) / len(should_not)
    return {"success": success_by_chance(should, should_not, peaks, rng), "auroc": 0.5 + oftener / 2}


def _scaled(found: Estimate, unit: float) -> Estimate:
    """The estimate in units of `unit`."""
    return Estimate(*(None if bound is None else bound / unit for bound in (found.value, found.ci_low, found.ci_high)))


def _question(explanation: str, n: int) -> str:
    return f"Description: {explanation}\nSentences: {n}"
