"""The ensemble_concat explainer: the finished explanations of several methods, joined (arXiv 2501.08319). No model is asked.

The paper joins the explanations of three methods. Here token_change is joined only where the dictionary has it.
"""

from collections.abc import Mapping, Sequence

from interp_assets.domain.trials import Explanation

NAME: str = "ensemble_concat"
VERSION: str = "ensemble_concat/1"
SOURCES: tuple[str, ...] = ("max_act", "vocab_proj")
OPTIONAL_SOURCES: tuple[str, ...] = ("token_change",)
SHUFFLES: bool = False


def explain(features: Sequence[int], sources: Mapping[str, Mapping[int, Explanation]], run_seed: int) -> tuple[Explanation, ...]:
    """For each feature the texts of its methods, joined by semicolons, in the order of SOURCES and OPTIONAL_SOURCES; equal texts once.

    A single text is taken as it is. A feature without texts ends as "no_parts".
    """
    methods = [method for method in (*SOURCES, *OPTIONAL_SOURCES) if method in sources]
    return tuple(_joined(feature, [sources[method][feature].text for method in methods]) for feature in features)


def _joined(feature: int, texts: Sequence[str | None]) -> Explanation:
    joined = "; ".join(dict.fromkeys(text for text in texts if text is not None))
    return Explanation(feature, NAME, joined or None, "ok" if joined else "no_parts", "", VERSION)
