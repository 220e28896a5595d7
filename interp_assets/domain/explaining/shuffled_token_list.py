"""Another feature's token list: the shuffled baseline for the scorer `matcher`, which reads no explanations in plain words."""

from collections.abc import Mapping, Sequence

from interp_assets.domain.explaining.shuffled import deal
from interp_assets.domain.trials import Explanation

NAME: str = "shuffled_token_list"
VERSION: str = "shuffled_token_list/1"
SOURCES: tuple[str, ...] = ("token_list",)
OPTIONAL_SOURCES: tuple[str, ...] = ()
SHUFFLES: bool = True


def explain(features: Sequence[int], sources: Mapping[str, Mapping[int, Explanation]], run_seed: int) -> tuple[Explanation, ...]:
    """For each feature the token list of a donor feature, and the donor's number: see `shuffled.deal`."""
    return deal(NAME, VERSION, features, sources["token_list"], run_seed)
