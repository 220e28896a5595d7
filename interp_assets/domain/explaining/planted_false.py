"""The false explanation of a planted feature: the true explanation of another planted feature.

A scorer that can be believed scores the false explanation below the true explanation.
"""

from collections.abc import Mapping, Sequence

from interp_assets.domain.explaining.shuffled import deal
from interp_assets.domain.trials import Explanation

NAME: str = "planted_false"
VERSION: str = "planted_false/1"
SOURCES: tuple[str, ...] = ("planted_true",)
OPTIONAL_SOURCES: tuple[str, ...] = ()
SHUFFLES: bool = True


def explain(features: Sequence[int], sources: Mapping[str, Mapping[int, Explanation]], run_seed: int) -> tuple[Explanation, ...]:
    """For each feature the true explanation of another feature, with that feature's number: see `shuffled.deal`."""
    return deal(NAME, VERSION, features, sources["planted_true"], run_seed)
