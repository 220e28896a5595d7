"""The candidates explainer: several explanations from different examples; the explanation that best tells validation windows apart is kept.

Every candidate is asked for as in max_act, at a temperature above 0, from a random part of the shown examples. The sentence encoder
compares each candidate with the validation windows, as the embedding scorer compares explanations with windows, and the candidate with the
best AUROC is kept. No explainer is shown validation windows and no scorer scores on them: so no candidate is chosen by the windows it is
scored on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, cast

import numpy as np

from interp_assets.domain.bounds import ADDED_LATER, PositiveCount, PositiveShare, Temperature
from interp_assets.domain.explaining import max_act
from interp_assets.domain.explaining.max_act import MaxActSettings
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply, Reads, read_explanation
from interp_assets.domain.outcomes import ExplanationOutcome
from interp_assets.domain.prompting.prompts import Comparison, Prompt
from interp_assets.domain.prompting.rendering import plain_text, token_strings
from interp_assets.domain.prompting.similarity import query
from interp_assets.domain.seeds import generator
from interp_assets.domain.trials import Explanation

NAME: str = "candidates"
VERSION: str = "candidates/3"
READS: frozenset[Reads] = frozenset({"examples"})
CHOOSES: bool = True


@dataclass(frozen=True)
class CandidatesSettings(MaxActSettings):
    """The settings of max_act, at a temperature, for several explanations; the best explanation is kept."""

    temperature: Temperature = 0.7
    """Temperature of the replies. Unit: temperature."""
    n_candidates: PositiveCount = 5
    """Explanations that are asked for. Unit: explanations of a feature."""
    shown_share: PositiveShare = 0.5
    """Share of the shown examples that each explanation is made from. Unit: share."""
    instruction: Annotated[str, ADDED_LATER] = ""
    """Stands before an explanation for the sentence encoder, where it was trained with an instruction for queries. Empty for none."""


def plan(explainer_input: ExplainerInput, settings: CandidatesSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """A prompt for each candidate; "no_examples" without shown examples, "no_validation" unless there are validation windows of both kinds.

    The examples of a candidate, at least one, are drawn without replacement and keep their order. Each prompt has a seed of its own, so
    that two prompts with the same examples still differ.
    """
    if not explainer_input.shown:
        return "no_examples"
    if len({example.kind for example in explainer_input.validation}) < 2:
        return "no_validation"
    shown = explainer_input.shown[: settings.n_shown]
    n = min(len(shown), max(1, round(settings.shown_share * len(shown))))
    rng = generator(run_seed, explainer_input.feature, NAME)
    first_seed = int(rng.integers(2**31 - settings.n_candidates))
    prompts: list[Prompt] = []
    for number in range(settings.n_candidates):
        drawn: list[int] = np.sort(rng.choice(len(shown), size=n, replace=False)).tolist()
        prompts.append(replace(max_act.prompt(explainer_input, [shown[i] for i in drawn], settings), seed=first_seed + number))
    return tuple(prompts)


def compare(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: CandidatesSettings) -> Comparison | None:
    """The distinct explanations against the validation windows; None with fewer than two explanations, or where a reply is missing."""
    read = _read(explainer_input, replies)
    texts = _distinct(read)
    if len(texts) < 2 or _is_incomplete(read):
        return None
    windows = (plain_text(token_strings(example.token_ids, explainer_input.token_texts)) for example in explainer_input.validation)
    return Comparison(tuple(query(text, settings.instruction) for text in texts), tuple(windows))


def choose(
    explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: CandidatesSettings, cosines: Sequence[Sequence[float]]
) -> Explanation:
    """The candidate whose cosines have the best AUROC, activating windows against silent windows; of equals the first candidate."""
    # Takes half a second to import, and carries no complete types.
    from sklearn.metrics import roc_auc_score  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    read = _read(explainer_input, replies)
    truth = np.array([example.kind == "activating" for example in explainer_input.validation], dtype=bool)
    aurocs = {text: cast(float, roc_auc_score(truth, row)) for text, row in zip(_distinct(read), cosines, strict=True)}
    return _kept(explainer_input, read, max(aurocs, key=aurocs.__getitem__), aurocs)


def grade(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply], settings: CandidatesSettings) -> Explanation:
    """The result without a choice: the only explanation among the replies or, without an explanation, the outcome of the first reply.

    Where a reply is missing the outcome is "model_error", so that the choice is made once all replies have come.
    """
    read = _read(explainer_input, replies)
    if _is_incomplete(read):
        return _kept(explainer_input, read, None, {})
    texts = _distinct(read)
    assert len(texts) < 2, "there is a choice to be made"
    return _kept(explainer_input, read, texts[0] if texts else None, {})


def _read(explainer_input: ExplainerInput, replies: Sequence[ExplainerReply]) -> list[Explanation]:
    """The explanation, or outcome, in each reply."""
    return [read_explanation(NAME, VERSION, explainer_input, [reply]) for reply in replies]


def _is_incomplete(read: Sequence[Explanation]) -> bool:
    return any(candidate.outcome == "model_error" for candidate in read)


def _distinct(read: Sequence[Explanation]) -> list[str]:
    """The texts that were read, each once, in order."""
    return list(dict.fromkeys(candidate.text for candidate in read if candidate.text is not None))


def _kept(explainer_input: ExplainerInput, read: Sequence[Explanation], text: str | None, aurocs: dict[str, float]) -> Explanation:
    """The explanation kept, or the outcome where `text` is None, with JSON of all candidates as its reply.

    {"chosen": number of the candidate kept, counted from 0, or null, "candidates": [{"outcome", "explanation" or null, "auroc" or null,
    "reply"}]} with candidates in the order asked.
    """
    candidates = [
        {
            "outcome": candidate.outcome,
            "explanation": candidate.text,
            "auroc": None if candidate.text is None or candidate.text not in aurocs else round(aurocs[candidate.text], 6),
            "reply": candidate.raw_reply,
        }
        for candidate in read
    ]
    chosen = None if text is None else [candidate.text for candidate in read].index(text)
    raw = json.dumps({"chosen": chosen, "candidates": candidates}, ensure_ascii=False)
    without = "model_error" if _is_incomplete(read) else read[0].outcome
    return Explanation(explainer_input.feature, NAME, text, without if text is None else "ok", raw, VERSION)
