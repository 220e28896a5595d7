"""Examples out of windows that another tool chose: cut to size, made distinct as text, split once, and only then sampled.

The rules are the rules of `interp_assets.domain.examples.sampling`, but another tool gave the windows and their activation bins.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from interp_assets.domain.examples.role_draws import dealt, drawn_by_role
from interp_assets.domain.examples.sampling import (
    ROLES,
    Example,
    ExampleColumns,
    ExampleSettings,
    FeatureExamples,
    Role,
    equal_count_strata,
)
from interp_assets.domain.examples.windows import PEAK_SHARE, Places, descending
from interp_assets.domain.seeds import generator

SAMPLING = "imported"


@dataclass(frozen=True)
class ImportedWindow:
    """A window of an import: `row` is its number in the import, and equal `token_ids` mean equal tokens.

    `bin_top` is the upper edge of the activation bin that the window was drawn from (infinite for the top activations), None where the tool
    gives no bins. A window without a positive activation is silent.
    """

    row: int
    token_ids: tuple[int, ...]
    activations: tuple[float, ...]
    bin_top: float | None


def imported_examples(windows: Sequence[ImportedWindow], settings: ExampleSettings, run_seed: int, feature: int) -> FeatureExamples:
    """All examples of one feature: activating, then silent examples; each kind in the order shown, validation, held out.

    A stratum is an activation bin, the strongest bin 0; without bins, strata have equal counts. Windows longer than `window_tokens` are cut
    around their peak, which stands at three quarters of windows to be shown and at a random place of other windows. Silent windows are cut
    alike, around a random token. All silent windows come from the import. Where the import has too few of them, the roles
    get silent windows in proportion, and the outcome is "too_few_silent_windows"; so it is where the import has none.
    """
    activating = [window for window in windows if max(window.activations) > 0]
    maximum = max((max(window.activations) for window in activating), default=None)
    if maximum is None:
        return FeatureExamples(feature, (), "dead", 0, None)
    length = settings.window_tokens
    whole = {window.row: window for window in activating}
    activating = _distinct([_cut(window, _start_around_peak(window, length), length) for window in activating])
    if len(activating) < max(settings.min_activating, 2):
        return FeatureExamples(feature, (), "too_few_windows", len(activating), maximum)
    peaks = np.array([max(window.activations) for _, window in activating])
    strata = _bin_strata(activating, peaks, settings.n_strata)
    settings = replace(settings, n_strata=int(strata.max()) + 1)
    own = np.zeros(len(peaks), dtype=np.int64)
    drawn, counts = drawn_by_role(own, strata, peaks, descending(peaks), settings, run_seed, [feature])
    places = generator(run_seed, feature, "places of peaks")
    taken = {window.token_ids for _, window in activating}
    examples: list[Example] = []
    for role, picked in zip(ROLES, np.split(drawn, np.cumsum(counts)[:-1]), strict=True):
        for i in cast(list[int], picked.tolist()):
            cut = activating[i] if role == "shown" else _cut_again(activating[i], whole[activating[i][1].row], length, taken, places)
            taken.add(cut[1].token_ids)
            examples.append(_example(feature, role, int(strata[i]), *cut))
    asked = [sum(settings.negative_counts_of(role).values()) for role in ROLES]
    rng = generator(run_seed, feature, "silent")
    silent = _silent(windows, taken, settings.window_tokens, sum(asked), rng)
    n_shown, n_validation, n_held_out = np.bincount(dealt(np.zeros(len(silent), dtype=np.int64), asked), minlength=len(ROLES)).tolist()
    roles: list[Role] = ["shown"] * n_shown + ["validation"] * n_validation + ["held_out"] * n_held_out
    in_order = [*silent[n_held_out:], *silent[:n_held_out]]  # so that counts of other roles do not change held-out windows
    examples += [_example(feature, role, None, *item) for role, item in zip(roles, in_order, strict=True)]
    outcome = "ok" if len(silent) == sum(asked) else "too_few_silent_windows"
    return FeatureExamples(feature, tuple(examples), outcome, len(activating), maximum)


def columns_of(item: FeatureExamples) -> ExampleColumns:
    """The imported examples of one feature as columns."""
    examples = item.examples
    activating = [example for example in examples if example.kind == "activating"]
    counts = Counter((example.role, example.kind) for example in examples)
    rows, starts, lengths = np.array([(e.row, e.start, len(e.token_ids)) for e in examples], dtype=np.int64).reshape(-1, 3).T
    return ExampleColumns(
        feature=item.feature,
        outcome=item.outcome,
        n_windows=item.n_windows,
        feature_max=item.max_activation,
        n_shown=counts["shown", "activating"],
        n_validation=counts["validation", "activating"],
        n_held_out=counts["held_out", "activating"],
        n_shown_non_activating=counts["shown", "non_activating"],
        n_validation_non_activating=counts["validation", "non_activating"],
        places=Places(rows, starts, lengths),
        strata=np.array([example.stratum for example in activating], dtype=np.int64),
        negatives=("imported",) * (len(examples) - len(activating)),
        imported=True,
        token_ids=np.array([token for example in examples for token in example.token_ids], dtype=np.int64),
        activations=np.array([value for example in examples for value in example.activations]),
        max_activation=np.array([max(example.activations) for example in examples]),
    )


_Cut = tuple[int, ImportedWindow]  # (first token of the cut in the given window, the cut)


def _start_around_peak(window: ImportedWindow, window_tokens: int) -> int:
    """First token of the cut. The peak (of equals the first) stands at three quarters of the cut, shifted at the window's ends."""
    peak = int(np.argmax(window.activations))
    return int(np.clip(peak - int(window_tokens * PEAK_SHARE), 0, max(len(window.token_ids) - window_tokens, 0)))


def _start_around(place: int, window: ImportedWindow, window_tokens: int, rng: np.random.Generator) -> int:
    """First token of a cut in which the token at `place` stands at a random place, but the first, shifted at the window's ends."""
    before = int(rng.integers(min(1, window_tokens - 1), window_tokens))
    return int(np.clip(place - before, 0, max(len(window.token_ids) - window_tokens, 0)))


def _cut_again(cut: _Cut, whole: ImportedWindow, window_tokens: int, taken: set[tuple[int, ...]], rng: np.random.Generator) -> _Cut:
    """The peak of `whole` at a random place of its cut; the given cut where the text of the new cut is `taken`."""
    again = _cut(whole, _start_around(int(np.argmax(whole.activations)), whole, window_tokens, rng), window_tokens)
    return cut if again[1].token_ids in taken else again


def _cut(window: ImportedWindow, start: int, window_tokens: int) -> _Cut:
    part = slice(start, start + window_tokens)
    return start, replace(window, token_ids=window.token_ids[part], activations=window.activations[part])


def _distinct(cuts: Sequence[_Cut]) -> list[_Cut]:
    """The cuts by `row`; of cuts with equal tokens only the strongest is kept, of equally strong cuts the first."""
    best: dict[tuple[int, ...], _Cut] = {}
    for cut in cuts:
        known = best.get(cut[1].token_ids)
        if known is None or max(cut[1].activations) > max(known[1].activations):
            best[cut[1].token_ids] = cut
    return sorted(best.values(), key=lambda cut: cut[1].row)


def _bin_strata(cuts: Sequence[_Cut], peaks: np.ndarray, n_strata: int) -> np.ndarray:
    """Stratum [n] of each window: the place of its bin among the feature's bins, the strongest bin 0."""
    tops = [window.bin_top for _, window in cuts]
    if any(top is None for top in tops):
        return equal_count_strata(peaks, n_strata)
    return np.unique(-np.array(tops, dtype=np.float64), return_inverse=True)[1].astype(np.int64)


def _silent(
    windows: Sequence[ImportedWindow], taken: set[tuple[int, ...]], window_tokens: int, count: int, rng: np.random.Generator
) -> list[_Cut]:
    """At most `count` of the silent windows, in random order, each cut at random; no token sequence twice or in `taken`."""
    silent = [window for window in windows if max(window.activations) <= 0]
    seen = set(taken)
    kept: list[_Cut] = []
    order: list[int] = rng.permutation(len(silent)).tolist()
    for i in order:
        place = int(rng.integers(len(silent[i].token_ids)))
        cut = _cut(silent[i], _start_around(place, silent[i], window_tokens, rng), window_tokens)
        if cut[1].token_ids not in seen and len(kept) < count:
            seen.add(cut[1].token_ids)
            kept.append(cut)
    return kept


def _example(feature: int, role: Role, stratum: int | None, start: int, window: ImportedWindow) -> Example:
    kind = "non_activating" if stratum is None else "activating"
    identity = f"{feature}/{window.row}/{start}"
    return Example(identity, feature, role, kind, SAMPLING, stratum, window.row, start, window.token_ids, window.activations)
