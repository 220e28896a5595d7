"""Steering, the pure part: which prompts a feature is steered on, and the search for the strengths that reach given KL divergences.

Prompts and targets are taken from arXiv 2410.13928. Prompts: 40 activating contexts of 64 tokens, each cut right after the first token on
which the feature fires. Targets: KL(clean ‖ steered) of the next token, mean over the prompts, of 0.1, 0.33, 1 and 3 nats.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from interp_assets.domain.bounds import Bounded, versioned_fields
from interp_assets.domain.examples.passages import Passages, SampleText
from interp_assets.domain.examples.sampling import equal_count_strata
from interp_assets.domain.examples.text_hashes import hashes_of_runs
from interp_assets.domain.examples.windows import WindowShape
from interp_assets.domain.outcomes import PromptsOutcome, SearchOutcome

PromptRole = Literal["explainer", "scoring"]

NOISE_KL = 1e-6
"""Divergences below this many nats are rounding errors of float32 log-probabilities."""

FIRST_LOG10_STRENGTH = 0.5
"""log10 of the first strength of a search for which no strength has been tried."""


@dataclass(frozen=True)
class FixedPromptSettings:
    """Prompts that every feature is steered on, dead features too. The defaults are the defaults of arXiv 2501.08319."""

    prompts: tuple[str, ...] = ("The explanation is simple:", "I think", "We")
    """The prompts; `[]` for none."""
    kl_targets: tuple[float, ...] = (0.25, 0.5, -0.25, -0.5)
    """KL divergences, with the sign of the strength. The completions of all prompts at all targets make one set. Unit: nats."""
    max_new_tokens: Bounded = 25
    """Most tokens of a completion; the end of the text ends it earlier. Unit: tokens."""
    temperature: float = 0.75
    """Temperature of the completions. Unit: temperature, above 0."""

    def __post_init__(self) -> None:
        if not all(prompt.strip() for prompt in self.prompts) or len(set(self.prompts)) < len(self.prompts):
            raise ValueError(f"steering.fixed.prompts must be distinct texts, none of them empty, or [] for none, got {list(self.prompts)}")
        _refuse_targets("steering.fixed.kl_targets", self.kl_targets)
        if self.prompts and not self.kl_targets:
            raise ValueError("steering.fixed.kl_targets is empty: give at least one target, or set prompts to [] for no fixed prompts")
        if self.max_new_tokens < 1 or not self.temperature > 0:
            limits = f"max_new_tokens {self.max_new_tokens}, temperature {self.temperature}"
            raise ValueError(f"steering.fixed needs max_new_tokens of 1 or more and a temperature above 0, got {limits}")


@dataclass(frozen=True)
class SteeringSettings:
    """How features are steered; no feature is steered unless `enabled`."""

    enabled: bool = False
    """Whether features are steered."""
    kl_targets: tuple[float, ...] = (0.1, 0.33, 1.0, 3.0)
    """KL divergences of the next token to steer to. The sign is the sign of the strength: -0.5 asks for a negative strength that moves
    the next token by 0.5 nats. Unit: nats."""
    tolerance: float = 0.1
    """Largest distance from a target, as a share of the target, at which the target counts as met. Unit: share of the target."""
    max_steps: Bounded = 10
    """Most strengths that are tried for a target. Unit: strengths."""
    min_log10_strength: float = -3.0
    """Smallest strength of the search, as a power of ten. Unit: log10 of units of the dictionary."""
    max_log10_strength: float = 4.0
    """Largest strength of the search, as a power of ten. Unit: log10 of units of the dictionary."""
    zero_ablation: bool = True
    """Whether each feature is also clamped to 0 once."""
    context_tokens: Bounded = 64
    """Tokens of a context; prompts are cut from contexts. Unit: tokens."""
    n_strata: Bounded = 5
    """Strata, by largest activation, from which contexts are drawn evenly. Unit: strata."""
    n_explainer_prompts: Bounded = 10
    """Prompts for the explainer. Unit: prompts of a feature."""
    n_scoring_prompts: Bounded = 30
    """Prompts for scorers. Unit: prompts of a feature."""
    max_new_tokens: Bounded = 8
    """Most tokens of a completion; the end of the text ends it earlier. Unit: tokens."""
    temperature: float = 1.0
    """Temperature of the completions. Unit: temperature, above 0."""
    n_shift_tokens: Bounded = 10
    """Next tokens kept of each kind: the tokens whose probability rose most, and the tokens whose probability fell most. Unit: tokens."""
    batch_rows: Bounded = 128
    """Most sequences that go through the model together. Changes speed and memory, and no result. Unit: sequences."""
    fixed: FixedPromptSettings = field(default_factory=FixedPromptSettings)
    """Prompts that all features share, in addition to prompts from the feature's own contexts."""

    def __post_init__(self) -> None:
        for name in ("max_steps", "context_tokens", "n_strata", "n_prompts", "max_new_tokens", "n_shift_tokens", "batch_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"steering.{name} must be 1 or more, got {getattr(self, name)}")
        if min(self.n_explainer_prompts, self.n_scoring_prompts) < 0:
            counts = f"n_explainer_prompts {self.n_explainer_prompts}, n_scoring_prompts {self.n_scoring_prompts}"
            raise ValueError(f"steering.n_explainer_prompts and steering.n_scoring_prompts must be 0 or more, got {counts}")
        _refuse_targets("steering.kl_targets", self.kl_targets)
        if not self.kl_targets and not self.zero_ablation:
            raise ValueError("steering has nothing to do: give steering.kl_targets, or set steering.zero_ablation to true")
        if not 0 < self.tolerance < 1 or not self.temperature > 0:
            raise ValueError(f"tolerance must be in (0, 1) and temperature above 0, got {self.tolerance} and {self.temperature}")
        if not self.min_log10_strength < self.max_log10_strength:
            raise ValueError(f"min_log10_strength {self.min_log10_strength} must be below max_log10_strength {self.max_log10_strength}")

    @property
    def n_prompts(self) -> int:
        """Prompts of both roles together."""
        return self.n_explainer_prompts + self.n_scoring_prompts

    @property
    def on_fixed_prompts(self) -> "SteeringSettings":
        """These settings with the KL targets of the fixed prompts, for the search on the fixed prompts."""
        return replace(self, kl_targets=self.fixed.kl_targets)

    @property
    def versioned_settings(self) -> dict[str, Any]:
        """The settings that can change a result: all but `batch_rows`."""
        return versioned_fields(self, without={"batch_rows"})


def _refuse_targets(name: str, targets: Sequence[float]) -> None:
    """Raise ValueError unless the targets are distinct numbers other than 0."""
    if not all(math.isfinite(target) and target for target in targets) or len(set(targets)) < len(targets):
        raise ValueError(f"{name} must be distinct numbers of nats other than 0, got {list(targets)}")


@dataclass(frozen=True, eq=False)
class SteeringPrompts:
    """The prompts of one feature; none unless the outcome is "ok".

    `rows` and `starts`, int64 [n], say where each context stands. `token_ids` are the prompts. A prompt is the first `first_token` tokens
    of its row (BOS, where rows begin with BOS), then the context up to and with the first token on which the feature fires. The first
    `n_explainer` prompts are for the explainer. `n_contexts` counts the distinct prompts that the prompts were drawn from.
    """

    outcome: PromptsOutcome
    n_contexts: int
    rows: np.ndarray
    starts: np.ndarray
    token_ids: tuple[np.ndarray, ...]
    first_token: int
    n_explainer: int

    @property
    def roles(self) -> list[PromptRole]:
        """Role of each prompt."""
        return ["explainer" if i < self.n_explainer else "scoring" for i in range(len(self.token_ids))]


def steering_prompts(
    positions: np.ndarray,
    values: np.ndarray,
    token_rows: np.ndarray,
    settings: SteeringSettings,
    rng: np.random.Generator,
    first_position: int = 0,
    silent_share: float = 0.0,
    passages: Passages | None = None,
) -> SteeringPrompts:
    """The prompts of one feature, drawn evenly from the strata of its contexts by largest activation, in both roles alike.

    `positions` [n] ascending, row · context + position in the row; `values` [n] > 0; `token_rows` [rows, context]. Values below
    `silent_share` of the largest value count as silence. Contexts are the cells of `settings.context_tokens` tokens of each row from
    `first_position` on, or of each passage where `passages` are given. `first_position` is 1 where rows begin with BOS, else 0. BOS stands
    before every prompt, as it did when the activations were taken. Prompts equal as token sequences count once, with the strongest of their
    contexts. A feature with fewer than `settings.n_prompts` distinct prompts ends as "too_few_contexts", a feature that never fires as
    "dead".
    """
    shape = WindowShape(
        "cells", settings.context_tokens, token_rows.shape[1], first_position, None if passages is None else SampleText(passages)
    )
    positions, values = np.asarray(positions, dtype=np.int64), np.asarray(values, dtype=np.float64)
    usable = (values > 0) & shape.usable(positions)
    if not usable.any():
        return _no_prompts("dead", 0)
    usable &= values >= silent_share * values[usable].max()
    positions, values = positions[usable], values[usable]
    windows = shape.windows(positions // shape.context_tokens, positions % shape.context_tokens, values)
    first = positions[np.searchsorted(positions, windows.row * shape.context_tokens + windows.start)] % shape.context_tokens
    begin = windows.row * shape.context_tokens + windows.start
    hashes = hashes_of_runs(token_rows, begin, first - windows.start + 1)
    strongest_first = np.argsort(-windows.max_activation, kind="stable")
    distinct = strongest_first[np.sort(np.unique(hashes[strongest_first], return_index=True)[1])]
    if len(distinct) < settings.n_prompts:
        return _no_prompts("too_few_contexts", len(distinct))
    strata = equal_count_strata(windows.max_activation[distinct], settings.n_strata)
    chosen = distinct[_in_turns(strata, settings.n_prompts, rng)]
    rows, starts = windows.row[chosen], windows.start[chosen]
    token_ids = tuple(
        np.concatenate([token_rows[row, :first_position], token_rows[row, start : end + 1]])
        for row, start, end in zip(rows.tolist(), starts.tolist(), first[chosen].tolist(), strict=True)
    )
    return SteeringPrompts("ok", len(distinct), rows, starts, token_ids, first_position, settings.n_explainer_prompts)


def _no_prompts(outcome: PromptsOutcome, n_contexts: int) -> SteeringPrompts:
    nowhere = np.empty(0, dtype=np.int64)
    return SteeringPrompts(outcome, n_contexts, nowhere, nowhere, (), 0, 0)


def _in_turns(strata: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """int64 [n]: n <= len(strata) places. The strata take turns: in its turn a stratum gives one of its places at random, while it has
    any."""
    shuffled = rng.permutation(len(strata))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    counts = np.bincount(strata)
    turn = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
    return by_stratum[np.lexsort((strata[by_stratum], turn))][:n]


@dataclass(frozen=True)
class Tried:
    """A strength that was tried and its divergence: mean KL(clean ‖ steered) in nats, infinite where the model overflowed."""

    strength: float
    kl: float


@dataclass(frozen=True)
class Tuned:
    """The end of a search. Whatever the outcome, `strength` is the tried strength whose divergence is nearest to the target, by ratio.

    "not_reached": the target is not between the divergences of the least and the greatest strength allowed. "not_monotone": the steps ran
    out, and the divergence falls somewhere as the strength grows. "not_converged": the steps ran out, and the divergence never falls.
    `n_steps` counts the strengths that the search for this target asked for. `tried` holds, by absolute strength, all tried strengths with
    the target's sign, also strengths tried for other targets.
    """

    target: float
    strength: float
    realised_kl: float
    n_steps: int
    outcome: SearchOutcome
    tried: tuple[Tried, ...]

    @property
    def monotone(self) -> bool:
        """Whether the divergence never falls as the strength grows."""
        return is_monotone(self.tried)


@dataclass(frozen=True)
class StrengthSearch:
    """The search for the strength at which the divergence is |target|, on log10 of the absolute strength."""

    target: float
    settings: SteeringSettings

    def next(self, tried: Sequence[Tried]) -> float | None:
        """The strength to try next, with the target's sign; None when the search has ended. `tried` are the strengths of this sign so far.

        Until the target is bracketed, strengths are extrapolated: from two outermost strengths along their own slope, from one along KL ∝
        strength², the law of small strengths. Once it is bracketed, strengths are interpolated log-log, or the bracket is halved in log10
        where the last two tries fell on one side of the target.
        """
        if self.outcome(tried) is not None:
            return None
        points = _points(tried)
        wanted = math.log10(abs(self.target))
        if not points:
            return self._signed(FIRST_LOG10_STRENGTH)
        above = next((i for i, (_, kl) in enumerate(points) if kl > abs(self.target)), len(points))
        if above == len(points):
            return self._signed(_extrapolated(points[:-3:-1], wanted))
        if above == 0:
            return self._signed(_extrapolated(points[:2], wanted))
        (low, low_kl), (high, high_kl) = points[above - 1 : above + 1]
        same_side = len(tried) > 1 and (tried[-1].kl > abs(self.target)) == (tried[-2].kl > abs(self.target))
        if same_side or low_kl < NOISE_KL or math.isinf(high_kl):
            return self._signed((low + high) / 2)
        share = (wanted - math.log10(low_kl)) / (math.log10(high_kl) - math.log10(low_kl))
        return self._signed(low + (high - low) * min(max(share, 0.02), 0.98))

    def outcome(self, tried: Sequence[Tried]) -> SearchOutcome | None:
        """How the search has ended: "ok" or "not_reached"; None while it goes on."""
        if any(self._met(one) for one in tried):
            return "ok"
        points = _points(tried)
        if points and points[0][0] <= self.settings.min_log10_strength + 1e-9 and points[0][1] > abs(self.target):
            return "not_reached"
        at_the_end = points and points[-1][0] >= self.settings.max_log10_strength - 1e-9
        return "not_reached" if at_the_end and max(kl for _, kl in points) < abs(self.target) else None

    def tuned(self, tried: Sequence[Tried], n_steps: int) -> Tuned:
        """The end of the search after `n_steps` steps: by its outcome, or because the steps ran out."""
        assert tried, f"no strength was tried for {self.target} nats"
        outcome = self.outcome(tried) or ("not_converged" if is_monotone(tried) else "not_monotone")
        candidates = [one for one in tried if self._met(one)] or tried
        nearest = min(candidates, key=lambda one: abs(math.log10(max(one.kl, 1e-30) / abs(self.target))))
        ordered = tuple(sorted(tried, key=lambda one: abs(one.strength)))
        return Tuned(self.target, nearest.strength, nearest.kl, n_steps, outcome, ordered)

    def _met(self, one: Tried) -> bool:
        return abs(one.kl / abs(self.target) - 1) <= self.settings.tolerance

    def _signed(self, log10_strength: float) -> float:
        clipped = min(max(log10_strength, self.settings.min_log10_strength), self.settings.max_log10_strength)
        return math.copysign(10.0**clipped, self.target)


def tune(n_features: int, settings: SteeringSettings, measure: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> list[tuple[Tuned, ...]]:
    """For each feature the ends of the searches for `settings.kl_targets`; all searches of all features run side by side.

    `measure` is given places int64 [n] of features, below `n_features`, and strengths float64 [n], and returns divergences float64 [n] >=
    0. A round measures the next strengths of all searches; there are at most `settings.max_steps` rounds. All searches of one feature and
    sign share their tried strengths. No features or no targets: nothing is measured.
    """
    searches = [(place, StrengthSearch(target, settings)) for place in range(n_features) for target in settings.kl_targets]
    tried: dict[tuple[int, bool], list[Tried]] = {(place, sign): [] for place in range(n_features) for sign in (False, True)}
    steps = dict.fromkeys(range(len(searches)), 0)
    for _ in range(settings.max_steps):
        wanted: dict[tuple[int, float], None] = {}
        for number, (place, search) in enumerate(searches):
            strength = search.next(tried[place, search.target < 0])
            if strength is not None:
                steps[number] += 1
                wanted[place, strength] = None
        if not wanted:
            break
        places, strengths = np.array([place for place, _ in wanted], dtype=np.int64), np.array([strength for _, strength in wanted])
        for (place, strength), kl in zip(wanted, measure(places, strengths).tolist(), strict=True):
            tried[place, strength < 0].append(Tried(strength, kl))
    ends = [search.tuned(tried[place, search.target < 0], steps[number]) for number, (place, search) in enumerate(searches)]
    n_targets = len(settings.kl_targets)
    return [tuple(ends[place * n_targets : (place + 1) * n_targets]) for place in range(n_features)]


def is_monotone(tried: Sequence[Tried]) -> bool:
    """Whether the divergence never falls as the absolute strength grows; rounding errors and falls of 1 % do not count."""
    kls = [kl for _, kl in _points(tried)]
    return all(later >= 0.99 * kl - NOISE_KL for kl, later in pairwise(kls))


def _points(tried: Sequence[Tried]) -> list[tuple[float, float]]:
    """(log10 of the absolute strength, divergence) of each tried strength, by absolute strength."""
    return sorted((math.log10(abs(one.strength)), one.kl) for one in tried)


def _extrapolated(points: Sequence[tuple[float, float]], wanted: float) -> float:
    """log10 of a strength further out than all tried strengths, on the way to the divergence wanted.

    `points` are the one or two outermost tried strengths, the outermost first, both on one side of the divergence wanted. `wanted` is the
    log10 of this divergence. The step is lengthened by a twentieth, to bracket the target, and is 0.1 to 2 in log10 of the strength.
    """
    (outermost, kl), *inner = points
    outwards = 1.0 if kl <= 10**wanted else -1.0
    if kl < NOISE_KL or math.isinf(kl):
        return outermost + 1.5 * outwards
    slope = 2.0
    if inner and NOISE_KL <= inner[0][1] < math.inf:
        slope = (math.log10(kl) - math.log10(inner[0][1])) / (outermost - inner[0][0])
    step = 1.05 * abs(wanted - math.log10(kl)) / min(max(slope, 0.25), 4.0)
    return outermost + outwards * min(max(step, 0.1), 2.0)
