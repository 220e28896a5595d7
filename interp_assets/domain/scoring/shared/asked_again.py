"""The trials of a scorer that was asked about some windows, planned again from the windows that stand in the table `trials`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from interp_assets.domain.scoring.shared.classifier import item_order
from interp_assets.domain.trials import ScorerInput, Trial

if TYPE_CHECKING:
    from interp_assets.domain.scoring import SampledScorer

NOT_ASKED = "not_asked"


def sampled_items(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, bool]] | None:
    """(window, truth) of each item asked about in the order asked, from the rows of `trials` of one scorer input in any order.

    None where no window was left out, so that the scorer's own plan has the questions.
    """
    if all(row["outcome"] != NOT_ASKED for row in rows):
        return None
    asked = sorted((row for row in rows if row["outcome"] != NOT_ASKED), key=lambda row: int(row["trial"].rsplit("/", 1)[1]))
    return [pair for row in asked for pair in zip(row["example_ids"], row["truths"], strict=True)]


def asked_again(
    scorer: "SampledScorer", scorer_input: ScorerInput, asked: Sequence[tuple[str, bool]], settings: Any, run_seed: int
) -> tuple[Trial, ...]:
    """The trials about `asked`, as they were asked; none where the scorer input has other windows today."""
    items = {(item.example_id, item.truth): (item, text) for item, text in scorer.items(scorer_input, settings, run_seed)}
    if not items.keys() >= set(asked):
        return ()
    order = item_order(scorer.NAME, run_seed, scorer_input.feature, len(asked))
    placed = dict(zip(order, asked, strict=True))
    return scorer.plan_some(scorer_input, [items[placed[place]] for place in range(len(asked))], settings, run_seed)
