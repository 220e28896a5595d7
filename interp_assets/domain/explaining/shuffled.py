"""The shuffled baseline: every feature gets another feature's explanation. A scorer that means anything puts it at its floor."""

from collections.abc import Sequence

import numpy as np

from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import Explanation

NAME: str = "shuffled"
VERSION: str = "shuffled/1"


def explain(explanations: Sequence[Explanation], run_seed: int) -> tuple[Explanation, ...]:
    """One row per input, in its order, with the text and the number of a donor.

    Donors are dealt in one random cycle through the features whose explanation is "ok" (Sattolo): nobody keeps its own, and each
    text is used once. The order of the input does not matter. Features without an explanation, and a feature alone in the group,
    end as "no_donor".
    """
    texts = {explanation.feature: explanation.text for explanation in explanations if explanation.text is not None}
    assert len({explanation.feature for explanation in explanations}) == len(explanations), "one explanation per feature"
    features = sorted(texts)
    rng = generator(run_seed, features[0] if features else 0, f"{NAME} of {len(features)}")
    order = rng.permutation(np.array(features, dtype=np.int64))
    donors = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True)) if len(features) > 1 else {}
    return tuple(_dealt(explanation.feature, donors.get(explanation.feature), texts) for explanation in explanations)


def _dealt(feature: int, donor: int | None, texts: dict[int, str]) -> Explanation:
    if donor is None:
        return Explanation(feature, NAME, None, "no_donor", "", VERSION)
    return Explanation(feature, NAME, texts[donor], "ok", "", VERSION, donor)
