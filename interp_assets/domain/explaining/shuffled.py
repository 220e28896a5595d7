"""The shuffled baselines: every feature gets another feature's explanation by the same method. A scorer that can be believed scores such an
explanation at the floor.

Texts are shuffled within one explanation method, since methods write texts of different length, breadth and form. Explanations of `max_act`
are shuffled as `shuffled`, explanations of any other method as `shuffled_<method>`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from interp_assets.domain.bounds import ADDED_LATER
from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import Explanation, FurtherDeal

PREFIX = "shuffled"
"""Begins the name of every shuffled baseline, and of no other method."""
LAST_VERSION = {"shuffled": 2}
"""Version of the deal by baseline; 1 for a baseline that is not named here."""


@dataclass(frozen=True)
class ShuffledSettings:
    """How often explanations are dealt out, for all shuffled baselines."""

    deals: Annotated[int, Ge(1), Le(100), ADDED_LATER] = 1
    """Deals of each baseline: a feature gets the explanations of so many other features, each is judged on its own, and the feature's score
    is their mean. Unit: deals, 1 to 100."""


class Shuffled:
    """Another feature's explanation by one method."""

    def __init__(self, source: str) -> None:
        self.NAME = baseline_of(source)
        self.VERSION = f"{self.NAME}/{LAST_VERSION.get(self.NAME, 1)}"
        self.SOURCES: tuple[str, ...] = (source,)
        self.OPTIONAL_SOURCES: tuple[str, ...] = ()
        self.SHUFFLES: bool = True
        self.__doc__ = f"Another feature's explanation by {source}: the baseline of {source}, which a scorer should score at the floor."

    def explain(
        self, features: Sequence[int], sources: Mapping[str, Mapping[int, Explanation]], run_seed: int, deals: int = 1
    ) -> tuple[Explanation, ...]:
        """For each feature the texts of `deals` donor features, and the donors' numbers: see `deal`."""
        return deal(self.NAME, self.VERSION, features, sources[self.SOURCES[0]], run_seed, deals)


def baseline_of(method: str) -> str:
    """The name of the baseline that shuffles the explanations of a method."""
    return PREFIX if method == "max_act" else f"{PREFIX}_{method}"


def deal(
    method: str, version: str, features: Sequence[int], given: Mapping[int, Explanation], run_seed: int, deals: int = 1
) -> tuple[Explanation, ...]:
    """Shuffled explanations of `features` by `method`: each feature gets the texts of `deals` donors, other features with an explanation in
    `given`.

    One random cycle goes through all features of `given` whose explanation is "ok" (Sattolo). The donors of a feature are the features
    before it in the cycle: no feature keeps its own text, no feature gets a text twice, and in each deal each text is used once. So the
    first deal is the same however many deals there are. There are fewer deals where there are not so many other features. The order of the
    input does not matter. A feature without an explanation in `given`, and the only feature with an explanation, end as "no_donor".
    """
    texts = {feature: explanation.text for feature, explanation in given.items() if explanation.text is not None}
    explained = sorted(texts)
    rng = generator(run_seed, explained[0] if explained else 0, f"{method} of {len(explained)}")
    order: list[int] = rng.permutation(np.array(explained, dtype=np.int64)).tolist()
    place = {feature: number for number, feature in enumerate(order)}

    def dealt(feature: int) -> Explanation:
        if feature not in place or len(order) < 2:
            return Explanation(feature, method, None, "no_donor", "", version)
        first, *others = (order[place[feature] - step] for step in range(1, min(deals, len(order) - 1) + 1))
        further = tuple(FurtherDeal(donor, texts[donor]) for donor in others)
        return Explanation(feature, method, texts[first], "ok", "", version, first, further)

    return tuple(map(dealt, features))
