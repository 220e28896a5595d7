"""A feature's card in words: the lines and cells that the terminal and notebooks share."""

from collections.abc import Sequence

from interp_assets.domain.features.feature_statistics import HISTOGRAM_EDGES
from interp_assets.domain.prompting.rendering import visible
from interp_assets.single_features.card import FeatureCard, Row


def summary_lines(card: FeatureCard) -> list[str]:
    """How often the feature fires, how strongly, and on what; what is not made yet."""
    lines = []
    if card.statistics is not None and card.statistics["max_activation"] is None:
        lines.append(f"never fires on {card.statistics['n_tokens']:,} tokens")
    elif card.statistics is not None:
        one = card.statistics
        top = "  ".join(f"{visible(token['token'])!r}" for token in one["top_tokens"][:5])
        lines.append(
            f"fires on {one['token_density']:.3%} of {one['n_tokens']:,} tokens, max {one['max_activation']:.3g}, "
            f"mean {one['mean_activation']:.3g}; most on {top}"
        )
    outcome = card.examples_outcome
    if outcome is not None and outcome["outcome"] != "ok":
        lines.append(f"examples: {outcome['outcome']}: {outcome['message']}")
    if not card.explanations:
        lines.append(f"no explanations yet: interp run {card.dictionary} --features {card.feature}")
    return lines


def held_bins(histogram: Sequence[int]) -> tuple[float, float, Sequence[int]]:
    """The bins of the stored histogram from the first to the last that holds a token, with the edges of the whole."""
    held = [place for place, count in enumerate(histogram) if count]
    if not held:
        return 0.0, 0.0, ()
    return float(HISTOGRAM_EDGES[held[0]]), float(HISTOGRAM_EDGES[held[-1] + 1]), histogram[held[0] : held[-1] + 1]


def score_cell(row: Row | None) -> str:
    """A score with its interval, its outcome, or nothing where there is no row."""
    if row is None:
        return ""
    if row["value"] is None:
        return str(row["outcome"])
    interval = "" if row["ci_low"] is None else f" [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
    return f"{row['value']:.2f}{interval}"
