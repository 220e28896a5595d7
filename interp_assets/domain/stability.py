"""Scores taken again: which windows, explanations and judgements make a replicate, and what the replicates say of a site's scores.

A replicate of a feature's score has three numbers. Its *draw* is a part of the corpus: all windows, shown and held out, are drawn there, so
that no two draws share a context. Its *explanation* is written from the draw's shown windows, at a temperature and with a seed of its own:
at temperature 0 an explainer repeats itself. Its *judgement* puts the draw's held-out windows to the judge in another order, and so beside
other windows and with other marks: a judge at temperature 0 repeats itself when it is asked the same question.

That draw and explanation move scores more than the dictionary does is the finding of OpenReview HMUSKNJO6R.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from interp_assets.domain.bounds import PositiveNumber
from interp_assets.domain.examples.sampling import ExampleSettings
from interp_assets.domain.explaining import EXPLAINERS, Explainer
from interp_assets.domain.outcomes import StabilityOutcome
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.scoring import Scorer
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.intervals import Estimate
from interp_assets.domain.statistics.stability import (
    Components,
    Repeatability,
    dictionary_difference,
    features_needed,
    method_difference,
    nested_components,
    repeatability,
    windows_needed,
)
from interp_assets.domain.trials import NO_EXPLANATION

MIN_FEATURES = 8
"""Fewest features with all replicates over which anything is said."""

WRITTEN_AGAIN: tuple[Explainer, ...] = tuple(one for one in EXPLAINERS if not one.READS - {"examples"} and not one.CHOOSES)
"""The explainers that can be asked again: all that they read are windows."""


@dataclass(frozen=True)
class StabilitySettings:
    """How often scores are taken again, and of how many features."""

    n_features: Annotated[int, Ge(0), Le(1000)] = 0
    """Features, drawn at random among the features with examples, whose scores are taken again; 0 for none, which costs nothing. Of 50
    features, the interval of an ICC reaches 0.13 to 0.20 to either side. Unit: features."""
    method: str = "max_act"
    """The explanation method that is written again: max_act, max_act_cot, contrastive or pattern."""
    n_draws: Annotated[int, Ge(2), Le(16)] = 2
    """Parts of the corpus that windows are drawn from: 2 for its halves. Unit: draws."""
    n_explanations: Annotated[int, Ge(1), Le(16)] = 2
    """Explanations that are written from each draw's windows. Unit: explanations of a draw."""
    n_judgements: Annotated[int, Ge(1), Le(16)] = 2
    """Times that a language model judges each explanation. Encoders and the machine give the same score again and are asked once. Unit:
    judgements of an explanation."""
    temperature: Annotated[float, Gt(0), Le(2)] = 0.7
    """Temperature at which explanations are written again, where the explainer has none that is higher. Unit: temperature."""
    difference: PositiveNumber = 0.05
    """Difference of two mean scores that the site wants to rely on. Unit: the scorer's headline metric."""

    def draw_settings(self, examples: ExampleSettings) -> ExampleSettings:
        """How the windows of one draw are drawn: as a dictionary's are, but that a part of the corpus must hold only its part of the fewest
        activating windows."""
        return replace(examples, min_activating=-(-examples.min_activating // self.n_draws))


@dataclass(frozen=True, order=True)
class Replicate:
    """The numbers, from 0, of a replicate's draw, explanation and judgement."""

    draw: int
    explanation: int
    judgement: int


def written_again(method: str) -> Explainer:
    """The explainer named `method`, which must be one of WRITTEN_AGAIN. Raises ValueError naming them."""
    named = {explainer.NAME: explainer for explainer in WRITTEN_AGAIN}
    if method in named:
        return named[method]
    raise ValueError(
        f"stability.method is {method!r}: explanations are written again by {', '.join(named)}, which read nothing but windows"
    )


def judges_again(scorer: Scorer, scored: Sequence[str], method: str) -> bool:
    """Whether a scorer's scores are taken again, where its scores of the methods `scored` are asked for.

    They are taken again where the scorer reads nothing but windows and, if any, `method`'s explanation, and runs no subject model.
    """
    return not scorer.READS - {"explanation"} and scorer.MODEL != "generator" and (method in scored or NO_EXPLANATION in scored)


def replicates(scorer: Scorer, settings: StabilitySettings) -> list[Replicate]:
    """The replicates of a scorer, ordered: one explanation where the scorer reads none, one judgement where nobody is asked."""
    n_explanations = settings.n_explanations if "explanation" in scorer.READS else 1
    n_judgements = settings.n_judgements if scorer.MODEL in ("scorer", "base") else 1
    return [
        Replicate(draw, explanation, judgement)
        for draw in range(settings.n_draws)
        for explanation in range(n_explanations)
        for judgement in range(n_judgements)
    ]


def seed_of(run_seed: int, *numbers: int) -> int:
    """The seed of a draw, or of a draw's explanation, or of an explanation's judgement; another for each, 0 to 2⁶³ - 1."""
    name = "/".join(map(str, (run_seed, "stability", *numbers)))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1


def sampled_features(features: np.ndarray, n: int, run_seed: int) -> np.ndarray:
    """`n` of `features` [any], or all where there are fewer, drawn without replacement; ascending."""
    order = generator(run_seed, 0, "stability features").permutation(len(features))
    return np.sort(features[order[:n]])


def contexts_of(draw: int, n_draws: int, n_contexts: int) -> slice:
    """The contexts of the sample that a draw's windows come from: neighbouring contexts, so that two draws share one document at most."""
    return slice(draw * n_contexts // n_draws, (draw + 1) * n_contexts // n_draws)


def again(prompts: Sequence[Prompt], temperature: float, seed: int) -> tuple[Prompt, ...]:
    """The prompts with a seed of their own, at this temperature or at their own where that is higher. To the reply store, prompts with
    another seed are other questions."""
    return tuple(
        replace(prompt, temperature=max(prompt.temperature, temperature), seed=(seed + place) % (1 << 31))
        for place, prompt in enumerate(prompts)
    )


@dataclass(frozen=True)
class Finding:
    """What the replicates say of one scorer's scores.

    `n_features` have all replicates, `n_incomplete` lack some. `n_windows` is the mean number of windows of a judgement. `n_compared` is
    the number of features over which the dictionary's means are taken, and `difference` the difference that the site wants to rely on.
    `components` and `repeated` are None below MIN_FEATURES.
    """

    scorer: str
    metric: str
    method: str
    judge: str
    n_features: int
    n_incomplete: int
    n_windows: float
    n_compared: int
    difference: float
    components: Components | None
    repeated: Repeatability | None

    @property
    def between_dictionaries(self) -> float | None:
        """The smallest difference of two dictionaries' means that the scores carry."""
        return None if self.components is None else dictionary_difference(self.components, self.n_compared)

    @property
    def between_methods(self) -> float | None:
        """The smallest difference of two methods' means on the same features that the scores carry."""
        return None if self.components is None else method_difference(self.components, self.n_compared)

    @property
    def outcome(self) -> StabilityOutcome:
        """Whether the site's scores carry `difference`, and between what."""
        if self.between_dictionaries is None or self.between_methods is None:
            return "too_few_features"
        if self.between_dictionaries <= self.difference:
            return "carries"
        return "methods_only" if self.between_methods <= self.difference else "carries_not"

    def features(self, of_methods: bool) -> int | None:
        """Features that carry `difference` between two methods, or between two dictionaries."""
        one = self.components
        return None if one is None else features_needed(one.noise if of_methods else one.total, self.difference)

    def windows(self, of_methods: bool) -> int | None:
        """Windows of a feature that carry `difference` over `n_compared` features; None where no number does, or nothing is known."""
        one = self.components
        if one is None:
            return None
        return windows_needed(one.noise if of_methods else one.total, one.draw, self.n_windows, self.difference, self.n_compared)


def finding(scorer: Scorer, method: str, judge: str, scores: np.ndarray, n_windows: float, n_compared: int, difference: float) -> Finding:
    """The finding on `scores` [features, draws, explanations, judgements], NaN where a replicate has no score."""
    complete = np.isfinite(scores).all(axis=(1, 2, 3))
    n_features = int(complete.sum())
    enough = n_features >= MIN_FEATURES
    return Finding(
        scorer.NAME, scorer.HEADLINE, method, judge, n_features, len(scores) - n_features, n_windows, n_compared, difference,
        nested_components(scores[complete]) if enough else None, repeatability(scores[complete]) if enough else None,
    )  # fmt: skip


def in_words(found: Finding) -> str:
    """What a finding means for a reader of the scores: some sentences."""
    who = f"{found.scorer}{f', answered by {found.judge},' if found.judge else ''}"
    if found.components is None or found.repeated is None:
        return f"Of {who} {found.n_features} features have scores of every replicate, and {MIN_FEATURES} are needed: nothing is known."
    explained = found.method != NO_EXPLANATION
    parts = [
        ("the draw's", found.components.draw),
        ("the explanation's", found.components.explanation),
        ("the judge's", found.components.judgement),
    ]
    icc = found.repeated.icc
    told = f"{who} over {found.n_features} features taken again (mean {found.metric.replace('_', ' ')} {found.components.mean:.2f}): "
    if icc.value is None:
        told += "no score varies, so that nothing can be told apart."
    else:
        shares = [f"{share / found.components.total:.0%} {whose}" for whose, share in parts if explained or whose != "the explanation's"]
        told += f"{icc.value:.0%} of the variance of a score is the feature's (ICC {_interval(icc)}), {', '.join(shares)}."
        told += _ranks(found.repeated)
    return f"{told} {_differences(found)} {_needs(found)}".rstrip()


def _ranks(found: Repeatability) -> str:
    if found.rank_correlation is None:
        return ""
    return (
        f" Features are ranked alike with a Spearman correlation of {found.rank_correlation:.2f}, and {found.top_overlap:.0%} of the top "
        f"tenth is there again (by chance {found.top_chance:.0%})."
    )


def _differences(found: Finding) -> str:
    dictionaries, methods = found.between_dictionaries, found.between_methods
    return (
        f"Means over {found.n_compared:,} features carry a difference of {dictionaries:.3f} between two dictionaries, and of {methods:.3f} "
        "between two methods on the same features."
    )


def _needs(found: Finding) -> str:
    """What it takes to carry the wanted difference, where the scores do not."""
    needs: list[str] = []
    for name, reached, of_methods in (("dictionaries", found.between_dictionaries, False), ("methods", found.between_methods, True)):
        if reached is None or reached <= found.difference:
            continue
        windows = found.windows(of_methods)
        more = "no number of windows would do" if windows is None else f"or {windows:,} windows a feature instead of {found.n_windows:.0f}"
        needs.append(f"{found.difference:g} between {name} needs {found.features(of_methods):,} features; {more}.")
    return " ".join(needs)


def _interval(found: Estimate) -> str:
    bounds = "" if found.ci_low is None or found.ci_high is None else f" [{found.ci_low:.2f}, {found.ci_high:.2f}]"
    return f"{found.value:.2f}{bounds}"
