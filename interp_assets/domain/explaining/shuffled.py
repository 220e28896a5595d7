"""The shuffled baseline: every feature gets another feature's explanation. A scorer that can be believed scores it at the floor."""

from collections.abc import Mapping, Sequence

import numpy as np

from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import Explanation

NAME: str = "shuffled"
VERSION: str = "shuffled/2"
SOURCES: tuple[str, ...] = ("max_act",)
OPTIONAL_SOURCES: tuple[str, ...] = ()
SHUFFLES: bool = True


def explain(features: Sequence[int], sources: Mapping[str, Mapping[int, Explanation]], run_seed: int) -> tuple[Explanation, ...]:
    """For each feature the text of a donor feature, and the donor's number: see `deal`."""
    return deal(NAME, VERSION, features, sources["max_act"], run_seed)


def deal(method: str, version: str, features: Sequence[int], given: Mapping[int, Explanation], run_seed: int) -> tuple[Explanation, ...]:
    """Shuffled explanations of `features` by `method`: each feature gets the text of a donor, another feature with an explanation in
    `given`.

    One random cycle goes through all features of `given` whose explanation is "ok" (Sattolo): no feature keeps its own text, and each text
    is used once. The order of the input does not matter. A feature without an explanation in `given`, and the only feature with an
    explanation, end as "no_donor".
    """
    texts = {feature: explanation.text for feature, explanation in given.items() if explanation.text is not None}
    explained = sorted(texts)
    rng = generator(run_seed, explained[0] if explained else 0, f"{method} of {len(explained)}")
    order = rng.permutation(np.array(explained, dtype=np.int64))
    donors = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True)) if len(explained) > 1 else {}

    def dealt(feature: int) -> Explanation:
        donor = donors.get(feature)
        if donor is None:
            return Explanation(feature, method, None, "no_donor", "", version)
        return Explanation(feature, method, texts[donor], "ok", "", version, donor)

    return tuple(map(dealt, features))
