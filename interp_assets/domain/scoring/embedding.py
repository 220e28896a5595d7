"""The embedding scorer: is the explanation nearer in meaning to windows on which the feature fires? (arXiv 2410.13928)

A sentence encoder embeds every held-out window and the explanation. A window's value is the cosine of its
embedding with the explanation's embedding. The score is the AUROC of the values, activating windows against silent windows. Chance is 0.5.
No language model is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from interp_assets.domain.bounds import ADDED_LATER
from interp_assets.domain.prompting.prompts import Comparison
from interp_assets.domain.prompting.rendering import plain_text, token_strings
from interp_assets.domain.prompting.similarity import query
from interp_assets.domain.scoring.shared import ranking
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, Verdict, as_item

NAME: str = "embedding"
VERSION: str = "embedding/3"
MODEL: Model = "encoder"
HEADLINE: str = "auroc"
READS: frozenset[Reads] = frozenset({"explanation"})


@dataclass(frozen=True)
class EmbeddingSettings:
    """How an explanation is embedded; the encoder itself is a setting of the site."""

    instruction: Annotated[str, ADDED_LATER] = ""
    """Stands before the explanation, for encoders that were trained with an instruction for queries. Empty for none."""


def plan(scorer_input: ScorerInput, settings: EmbeddingSettings, run_seed: int) -> tuple[Trial, ...]:
    """One trial over all held-out windows in their order; none without an explanation or without windows."""
    if scorer_input.explanation is None or not scorer_input.held_out:
        return ()
    texts = tuple(plain_text(token_strings(example.token_ids, scorer_input.token_texts)) for example in scorer_input.held_out)
    items = tuple(as_item(example) for example in scorer_input.held_out)
    question = Comparison((query(scorer_input.explanation, settings.instruction),), texts)
    return (Trial.about(scorer_input, NAME, 0, question, items),)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: EmbeddingSettings) -> tuple[Verdict, ...]:
    """One verdict a window, with the cosine as its value: see `ranking.graded`."""
    return tuple(v for one in answered for v in ranking.graded(one, None if one.cosines is None else one.cosines[0]))


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: EmbeddingSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """AUROC, average precision and the AUROC of each stratum of the cosines: see `ranking.summarise`."""
    return ranking.summarise(NAME, scorer_input, verdicts, n_bootstrap, run_seed)
