"""Sets of steered completions: each feature's completions of a few fixed prompts, which are the same for all features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from interp_assets.config.keys import RangeKey
from interp_assets.domain.outcomes import SteeredSetOutcome
from interp_assets.domain.seeds import generator
from interp_assets.domain.steering.strengths import FixedPromptSettings, SteeringSettings, Tuned, tune
from interp_assets.tables import STEERED_SETS
from resources.subject.document_breaks import ReadableTexts
from resources.subject.interface import SubjectTokenizer
from resources.subject.steerer import Interventions, Steerer


@dataclass(frozen=True, eq=False)
class SteeredSet:
    """One feature's set: token ids `completions[t][p]` at target t after prompt p; no completions unless the outcome is "ok"."""

    feature: int
    outcome: SteeredSetOutcome
    tuned: tuple[Tuned, ...] = ()
    completions: tuple[tuple[list[int], ...], ...] = ()


def fixed_prompt_ids(settings: FixedPromptSettings, tokenizer: SubjectTokenizer, with_bos: bool) -> list[np.ndarray]:
    """Token ids of the fixed prompts, int64 [length] each, BOS first where the rows of the sample begin with it."""
    bos = [tokenizer.bos_token_id] if with_bos else []
    return [np.array([*bos, *tokenizer.encode(prompt).tolist()], dtype=np.int64) for prompt in settings.prompts]


def steered_sets(
    steerer: Steerer, features: Sequence[int], prompts: Sequence[np.ndarray], settings: SteeringSettings, run_seed: int
) -> list[SteeredSet]:
    """The set of each feature; an empty list for no features. All features go through the model together.

    Strengths are tuned on these prompts: by the mean over the prompts of the KL divergence at the last token. Every completion has its own
    random numbers, drawn by feature: a set shows several independent samples of the model's output.
    """
    if not len(features):
        return []
    fixed, n = settings.fixed, len(prompts)
    everyone, numbers = np.asarray(features, dtype=np.int64), np.arange(n)
    prepared = steerer.prepare(prompts, fixed.max_new_tokens)

    def adding(places: np.ndarray, strengths: np.ndarray) -> Interventions:
        return Interventions.adding(np.tile(numbers, len(places)), np.repeat(everyone[places], n), np.repeat(strengths, n))

    def measure(places: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        return steerer.divergences(prepared, adding(places, strengths)).reshape(-1, n).mean(1)

    tuned = tune(len(everyone), settings.on_fixed_prompts, measure)
    n_targets = len(fixed.kl_targets)
    strengths = np.array([end.strength for of_feature in tuned for end in of_feature])
    plan = adding(np.repeat(np.arange(len(everyone)), n_targets), strengths)
    shape = (n_targets * n, fixed.max_new_tokens)
    draws = np.concatenate([generator(run_seed, feature, "fixed prompts").random(shape) for feature in everyone.tolist()])
    texts = steerer.completions(prepared, plan, draws, fixed.temperature)
    rows = [tuple(texts[first : first + n]) for first in range(0, len(texts), n)]
    return [
        SteeredSet(feature, "ok", ends, tuple(rows[place * n_targets : (place + 1) * n_targets]))
        for place, (feature, ends) in enumerate(zip(everyone.tolist(), tuned, strict=True))
    ]


def set_rows(key: RangeKey, sets: Sequence[SteeredSet], settings: FixedPromptSettings, tokenizer: SubjectTokenizer) -> pa.Table:
    """Rows of the table `steered_sets`: one row for each completion, by target and prompt, or one row with the feature's outcome."""
    rows: list[dict[str, Any]] = []
    for one in sets:
        common = {"dictionary": key.dictionary, "feature_range": key.feature_range, "feature": one.feature}
        if not one.tuned:
            rows.append({**common, "outcome": one.outcome})
        for tuned, completions in zip(one.tuned, one.completions, strict=True):
            found = {
                "target_kl": tuned.target, "strength": tuned.strength, "n_steps": tuned.n_steps, "outcome": tuned.outcome,
                "realised_kl": tuned.realised_kl if np.isfinite(tuned.realised_kl) else None,
            }  # fmt: skip
            for number, (prompt, ids) in enumerate(zip(settings.prompts, completions, strict=True)):
                text = {"prompt": number, "prompt_text": prompt, "completion": ReadableTexts(tokenizer).text(ids)}
                rows.append({**common, **found, **text})
    return pa.Table.from_pylist(rows, schema=STEERED_SETS.schema)
