"""Which explanations people are asked to rate: spread over methods and over the scorers' ranks, or by the importance of features.

A correlation needs explanations of all qualities, and a uniform draw holds few very good and very bad explanations. The choice must not
favour a scorer either.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from interp_assets.domain.statistics.metrics import mean_ranks

N_QUANTILES = 5
Item = TypeVar("Item")


@dataclass(frozen=True)
class Candidate:
    """An explanation that could be rated: its headline score by each scorer, and its feature's importance (None where unknown)."""

    dictionary: str
    feature: int
    explanation_id: str
    text: str
    method: str
    scores: Mapping[str, float]
    importance: float | None = None


def stratified(candidates: Sequence[Candidate], n: int, rng: np.random.Generator) -> list[Candidate]:
    """n candidates (or all, where there are fewer), in equal numbers, as far as possible, from each stratum of dictionary, method and score
    quantile.

    A candidate has a relative rank among the candidates of its dictionary for each scorer; the quantile is taken of the mean of these
    ranks. Candidates without any score are a stratum of their own. Within a stratum the draw is uniform, but features that were not chosen
    yet come first: a further feature tells more than a further explanation of a chosen feature.
    """
    strata: dict[tuple[str, str, int], list[Candidate]] = defaultdict(list)
    for candidate, quantile in zip(candidates, score_quantiles(candidates), strict=True):
        strata[candidate.dictionary, candidate.method, -1 if quantile is None else quantile].append(candidate)
    return _in_turn([_shuffled(strata[key], rng) for key in sorted(strata)], n, rng)


def by_importance(candidates: Sequence[Candidate], n: int, rng: np.random.Generator) -> list[Candidate]:
    """n candidates (or all), in equal numbers, as far as possible, of each dictionary and method.

    Candidates are drawn without replacement with odds proportional to their importance, by importance-weighted exponential keys (Efraimidis
    and Spirakis, 2006). Candidates with importance 0 or None come last.
    """
    strata: dict[tuple[str, str], list[tuple[float, Candidate]]] = defaultdict(list)
    for candidate, draw in zip(candidates, rng.exponential(size=len(candidates)), strict=True):
        key = draw / candidate.importance if candidate.importance else float("inf")
        strata[candidate.dictionary, candidate.method].append((key, candidate))
    ordered = [[candidate for _, candidate in sorted(strata[key], key=lambda pair: pair[0])] for key in sorted(strata)]
    return _in_turn(ordered, n, rng)


def score_quantiles(candidates: Sequence[Candidate]) -> list[int | None]:
    """The quantile of each candidate, 0 = lowest of N_QUANTILES; None for a candidate without scores."""
    places: list[list[float]] = [[] for _ in candidates]
    by_scorer: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, candidate in enumerate(candidates):
        for scorer in candidate.scores:
            by_scorer[candidate.dictionary, scorer].append(number)
    for (_, scorer), numbers in sorted(by_scorer.items()):
        ranks = mean_ranks(np.array([candidates[number].scores[scorer] for number in numbers]))
        for number, rank in zip(numbers, ranks, strict=True):
            places[number].append((rank - 0.5) / len(numbers))
    means = np.array([np.mean(place) for place in places if place])
    of_means = iter(np.minimum((mean_ranks(means) - 0.5) / max(len(means), 1) * N_QUANTILES, N_QUANTILES - 1).astype(int).tolist())
    return [next(of_means) if place else None for place in places]


def spread(strata: Sequence[int], n: int, rng: np.random.Generator) -> list[int]:
    """Indices of n items (or all), in equal numbers, as far as possible, of each stratum. `strata` has the stratum of each item.

    The indices stand in random order, in rounds that take one item of each stratum.
    """
    by_stratum: dict[int, list[int]] = defaultdict(list)
    for number, stratum in enumerate(strata):
        by_stratum[stratum].append(number)
    queues = [_shuffled(by_stratum[stratum], rng) for stratum in sorted(by_stratum)]
    order = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in _shuffled(queues, rng) if turn < len(queue)]
    return order[:n]


def _in_turn(strata: Sequence[list[Candidate]], n: int, rng: np.random.Generator) -> list[Candidate]:
    """n candidates, in rounds that take one of each stratum; the order of the strata is drawn anew in each round.

    A stratum gives its first candidate whose feature was not chosen yet, else its first candidate.
    """
    left, chosen = [list(stratum) for stratum in strata], list[Candidate]()
    seen: set[tuple[str, int]] = set()
    while len(chosen) < n and any(left):
        for stratum in _shuffled(left, rng):
            if stratum and len(chosen) < n:
                fresh = next((i for i, one in enumerate(stratum) if (one.dictionary, one.feature) not in seen), 0)
                chosen.append(stratum.pop(fresh))
                seen.add((chosen[-1].dictionary, chosen[-1].feature))
    return chosen


def _shuffled(items: Sequence[Item], rng: np.random.Generator) -> list[Item]:
    return [items[i] for i in rng.permutation(len(items))]
