"""Questions to the sentence encoder: cosines of texts."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from interp_assets.domain.prompting.prompts import Comparison


def cosines(embed: Callable[[Sequence[str]], np.ndarray], comparisons: Sequence[Comparison]) -> Iterator[tuple[tuple[float, ...], ...]]:
    """Cosines [queries][texts] of each comparison; each distinct text is embedded once. `embed` gives rows of length 1."""
    texts = list(dict.fromkeys(text for one in comparisons for text in (*one.queries, *one.texts)))
    if not texts:
        return
    place = {text: number for number, text in enumerate(texts)}
    vectors = embed(texts)
    for one in comparisons:
        queries, others = (vectors[[place[text] for text in side]] for side in (one.queries, one.texts))
        yield tuple(tuple(row) for row in (queries.astype(np.float64) @ others.astype(np.float64).T).tolist())
