"""The example embedding scorer: are windows on which the feature fires like one another in meaning? (arXiv 2507.08473)

It reads no explanation, and so tells how well any explanation of a text's subject could do. A sentence encoder embeds exemplars and
queries. A query's value is its mean cosine with the positive exemplars less its mean cosine with the negative exemplars. The score is the
AUROC of the values, activating queries against silent queries. Chance is 0.5.

No exemplar is a query. Positive exemplars are drawn among the shown windows; no held-out window repeats the text of a shown window.
Negative exemplars are drawn among the silent held-out windows; the silent windows that are left are queries. At most half of the silent
windows are taken, so that small sets keep some as queries. There are as many positive as negative exemplars, so that both means are over
equally many cosines. All draws depend on the run's seed and the feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.bounds import PositiveCount
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.prompts import Comparison
from interp_assets.domain.prompting.rendering import plain_text, token_strings
from interp_assets.domain.scoring.shared import ranking
from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, Verdict, as_item, of_kind

NAME: str = "example_embedding"
VERSION: str = "example_embedding/2"
MODEL: Model = "encoder"
HEADLINE: str = "auroc"
READS: frozenset[Reads] = frozenset()


@dataclass(frozen=True)
class ExampleEmbeddingSettings:
    """How many windows every query is compared with."""

    n_exemplars: PositiveCount = 10
    """Most positive windows, and as many negative windows, that every query is compared with. Unit: windows."""


def plan(scorer_input: ScorerInput, settings: ExampleEmbeddingSettings, run_seed: int) -> tuple[Trial, ...]:
    """One trial over the held-out windows that are no exemplars, in their order.

    The comparison has the texts of the held-out windows as queries and the texts of the exemplars, first positive, then as many negative
    exemplars. None without an activating held-out window, without an activating shown window, or with fewer than two silent windows.
    """
    shown, silent = of_kind(scorer_input.shown, "activating"), of_kind(scorer_input.held_out, "non_activating")
    n = min(settings.n_exemplars, len(shown), len(silent) // 2)
    if n < 1 or len(silent) == len(scorer_input.held_out):
        return ()
    rng = generator(run_seed, scorer_input.feature, f"{NAME} exemplars")
    positive, negative = (_drawn(group, n, rng.permutation(len(group)).tolist()) for group in (shown, silent))
    taken = {example.example_id for example in negative}
    queries = [example for example in scorer_input.held_out if example.example_id not in taken]
    question = Comparison(_texts(queries, scorer_input), _texts([*positive, *negative], scorer_input))
    items = tuple(as_item(example) for example in queries)
    return (Trial.about(scorer_input, NAME, 0, question, items),)


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: ExampleEmbeddingSettings) -> tuple[Verdict, ...]:
    """One verdict a query, with the difference of its mean cosines as its value: see `ranking.graded`."""
    return tuple(v for one in answered for v in ranking.graded(one, None if one.cosines is None else _differences(one.cosines)))


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: ExampleEmbeddingSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """AUROC, average precision and the AUROC of each stratum of the differences: see `ranking.summarise`."""
    return ranking.summarise(NAME, scorer_input, verdicts, n_bootstrap, run_seed)


def _differences(cosines: Sequence[Sequence[float]]) -> list[float]:
    """Mean of the first half of each row [exemplars] less the mean of its second half."""
    half = len(cosines[0]) // 2
    return [(sum(row[:half]) - sum(row[half:])) / half for row in cosines]


def _drawn(group: Sequence[Example], n: int, order: Sequence[int]) -> list[Example]:
    """The n windows of the group that come first in `order`, a random order, in the order of the group."""
    return [group[i] for i in sorted(order[:n])]


def _texts(examples: Sequence[Example], scorer_input: ScorerInput) -> tuple[str, ...]:
    return tuple(plain_text(token_strings(example.token_ids, scorer_input.token_texts)) for example in examples)
