"""The constant baseline: one vague sentence for every feature. A scorer that can be believed scores it at the floor."""

from collections.abc import Mapping, Sequence

from interp_assets.domain.trials import Explanation

NAME: str = "constant"
VERSION: str = "constant/1"
SOURCES: tuple[str, ...] = ()
OPTIONAL_SOURCES: tuple[str, ...] = ()
SHUFFLES: bool = False

TEXT = "words and phrases in ordinary text"


def explain(features: Sequence[int], sources: Mapping[str, Mapping[int, Explanation]], run_seed: int) -> tuple[Explanation, ...]:
    """TEXT for each feature, dead features too."""
    return tuple(Explanation(feature, NAME, TEXT, "ok", "", VERSION) for feature in features)
