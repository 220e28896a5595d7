from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from domain_toys import MIXED, candidates_of, digest, draw_of
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_assets.domain.examples import drawing
from interp_assets.domain.examples.drawing import WindowedSample, draw_activating
from interp_assets.domain.examples.negative_draws import build_examples, with_negatives
from interp_assets.domain.examples.role_draws import dealt, pools_of_windows, sampled_windows
from interp_assets.domain.examples.sampling import ROLES, ExampleSettings, equal_count_strata

BOS = 0


def corpus(n_rows: int, seed: int = 0, vocabulary: int = 5000) -> np.ndarray:
    rows = np.random.default_rng(seed).integers(1, vocabulary, (n_rows, 256)).astype(np.int32)
    rows[:, 0] = BOS
    return rows


def activations(n_rows: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positions = np.sort(rng.choice(n_rows * 256, n, replace=False))
    positions = positions[positions % 256 > 0]
    return positions.astype(np.uint32), rng.exponential(1.0, len(positions)).astype(np.float16) + np.float16(0.01)


@pytest.fixture(scope="module")
def full():
    rows = corpus(400)
    positions, values = activations(400, 1500)
    return rows, positions, values, build_examples(positions, values, rows, 1, ExampleSettings(), run_seed=0, feature=3)


def test_the_default_gives_forty_shown_one_hundred_held_out_and_one_hundred_silent_and_five_for_contrast(full) -> None:
    *_, found = full
    assert found.outcome == "ok"
    assert Counter((e.role, e.kind) for e in found.examples) == {
        ("shown", "activating"): 40,
        ("held_out", "activating"): 100,
        ("shown", "non_activating"): 5,
        ("held_out", "non_activating"): 100,
    }


def test_every_stratum_gives_the_same_number(full) -> None:
    *_, found = full
    strata = Counter((e.role, e.stratum) for e in found.examples if e.kind == "activating")
    assert strata == {("shown", s): 4 for s in range(10)} | {("held_out", s): 10 for s in range(10)}


def test_stratum_zero_is_the_strongest(full) -> None:
    *_, found = full
    peaks = {s: [max(e.activations) for e in found.examples if e.stratum == s] for s in range(10)}
    assert all(min(peaks[s]) >= max(peaks[s + 1]) for s in range(9))


def test_no_token_sequence_appears_twice(full) -> None:
    *_, found = full
    assert len({e.token_ids for e in found.examples}) == len({e.example_id for e in found.examples}) == 245


def test_examples_carry_the_tokens_and_activations_of_their_place(full) -> None:
    rows, positions, values, found = full
    dense = np.zeros(rows.size)
    dense[positions] = values
    for e in found.examples:
        place = slice(e.start, e.start + 32)
        assert e.start >= 1 and BOS not in e.token_ids
        assert rows[e.row, place].tolist() == list(e.token_ids)
        assert dense.reshape(rows.shape)[e.row, place].tolist() == list(e.activations)
        assert (max(e.activations) > 0) == (e.kind == "activating")


def test_the_default_builder_centres_shown_peaks_and_puts_all_others_anywhere(full) -> None:
    """A shown window around row r's only firing at 100 begins at 100 - 24: the default is "centred", as documented. Each of 31 places is as
    likely for the peaks of held-out windows."""
    rows = corpus(400)
    positions = np.arange(400) * 256 + 100
    asked = ExampleSettings(min_activating=20, n_shown=5, n_validation=5, n_held_out=300)
    found = build_examples(positions, np.linspace(1, 2, 400), rows, 1, asked, 0, 1)
    places = {role: Counter(100 - e.start for e in found.examples if e.kind == "activating" and e.role == role) for role in ROLES}
    assert set(places["shown"]) == {24}
    assert len(places["validation"]) > 2
    assert set(places["held_out"]) == set(range(1, 32)) and max(places["held_out"].values()) < 25


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(40, 200))
@settings(deadline=None, max_examples=25)
def test_peaks_at_random_places_stay_the_strongest_and_share_nothing_with_other_roles(seed: int, window: int, n: int) -> None:
    source = np.random.default_rng(seed)
    rows = source.integers(0, 30, (20, 64))
    positions, values = np.sort(source.choice(rows.size, n, replace=False)), source.integers(1, 50, n) / 10
    asked = ExampleSettings(window, 6, 12, 8, 4, "quantiles", "centred", 3, n_validation=4)
    draw, _ = draw_of(positions, values, rows, 0, asked, seed, 1)
    roles = np.repeat([0, 1, 2], [draw.n_shown, draw.n_validation, len(draw.windows) - draw.n_shown - draw.n_validation])
    strength = dict(zip(positions.tolist(), values.tolist(), strict=True))
    covered = [set(range(r * 64 + s, r * 64 + s + k)) for r, s, k in zip(draw.windows.row, draw.windows.start, draw.windows.length)]  # noqa: B905
    before = windows_before_placing(draw, positions, values)
    for tokens, row, peak, largest in zip(covered, draw.windows.row, draw.windows.peak_position, draw.windows.max_activation, strict=True):
        assert strength[row * 64 + peak] == largest == max(strength[p] for p in tokens if p in strength)
    overlapping = sum(bool(a & b) for i, a in enumerate(covered) for j, b in enumerate(covered[:i]) if roles[i] != roles[j])
    assert overlapping <= before(roles)
    assert len({tuple(rows.ravel()[sorted(tokens)]) for tokens in covered}) == len(covered)


def windows_before_placing(draw, positions: np.ndarray, values: np.ndarray):
    """Pairs of overlapping windows of different roles before peaks were put at random places: at the ends of rows windows are shifted."""
    whole = draw.shape.windows(positions // 64, positions % 64, values)
    start = {(r, p): (s, k) for r, p, s, k in zip(whole.row, whole.peak_position, whole.start, whole.length, strict=True)}
    own = [start[row, peak] for row, peak in zip(draw.windows.row, draw.windows.peak_position, strict=True)]
    covered = [set(range(r * 64 + s, r * 64 + s + k)) for r, (s, k) in zip(draw.windows.row, own, strict=True)]
    return lambda roles: sum(bool(a & b) for i, a in enumerate(covered) for j, b in enumerate(covered[:i]) if roles[i] != roles[j])


def test_the_result_depends_on_seed_and_feature_only(full) -> None:
    rows, positions, values, found = full
    assert build_examples(positions, values, rows, 1, ExampleSettings(), 0, 3) == found
    assert build_examples(positions, values, rows, 1, ExampleSettings(), 1, 3).examples != found.examples


def test_a_feature_that_never_fires_is_dead() -> None:
    found = build_examples(np.empty(0), np.empty(0), corpus(4), 1, ExampleSettings(), 0, 1)
    assert (found.outcome, found.examples, found.max_activation) == ("dead", (), None)


def test_firing_on_bos_only_is_dead() -> None:
    assert build_examples(np.array([0, 256]), np.ones(2), corpus(4), 1, ExampleSettings(), 0, 1).outcome == "dead"


def test_too_few_windows_is_an_outcome_with_the_count() -> None:
    found = build_examples(np.array([50, 300, 600]), np.ones(3), corpus(4), 1, ExampleSettings(), 0, 1)
    assert (found.outcome, found.n_windows, found.examples) == ("too_few_windows", 3, ())


def test_windows_with_the_same_text_count_once() -> None:
    rows = np.tile(corpus(1), (300, 1))
    found = build_examples(np.arange(300) * 256 + 100, np.ones(300), rows, 1, ExampleSettings(), 0, 1)
    assert (found.outcome, found.n_windows) == ("too_few_windows", 1)


def test_a_feature_with_few_windows_splits_them_in_proportion() -> None:
    """70 windows for 40 shown and 100 held out: 70 · 40 / 140 = 20 shown, 50 held out."""
    found = build_examples(np.arange(70) * 256 + 100, np.linspace(1, 2, 70), corpus(70), 1, ExampleSettings(min_activating=10), 0, 1)
    roles = Counter(e.role for e in found.examples if e.kind == "activating")
    assert (found.outcome, roles) == ("ok", {"shown": 20, "held_out": 50})


def test_a_feature_that_is_hardly_ever_silent_says_so() -> None:
    """It fires on every 16th token, so that no window of 32 is silent, but for 5 rows where it never fires."""
    rows = corpus(45)
    positions = np.arange(0, 40 * 256, 16) + 8
    few = ExampleSettings(n_non_activating=2000, min_activating=10)
    found = build_examples(positions, np.linspace(1, 2, len(positions)), rows, 1, few, 0, 1)
    assert found.outcome == "too_few_silent_windows"
    silent = [e for e in found.examples if e.kind == "non_activating"]
    assert {e.row for e in silent} == set(range(40, 45))
    assert 5 * 5 <= len(silent) <= 5 * 7  # 255 tokens hold seven windows at most, and windows put at random leave gaps


def test_validation_windows_are_a_third_pool_drawn_by_quantiles() -> None:
    """A thousand windows for 40 : 30 : 100, the strongest shown: validation takes three of each decile, and thirty silent windows."""
    positions, values = activations(400, 1500)
    asked = ExampleSettings(sampling="top", n_validation=30)
    found = build_examples(positions, values, corpus(400), 1, asked, 0, 3)
    drawn = Counter((e.role, e.sampling) for e in found.examples)
    assert drawn == {
        ("shown", "top"): 40, ("validation", "quantiles"): 30, ("held_out", "quantiles"): 100,
        ("shown", "random"): 5, ("validation", "random"): 30, ("held_out", "random"): 100,
    }  # fmt: skip
    strata = Counter(e.stratum for e in found.examples if (e.role, e.kind) == ("validation", "activating"))
    assert strata == {s: 3 for s in range(10)}
    assert len({e.token_ids for e in found.examples}) == 305


def test_few_windows_and_few_silent_ones_are_shared_out_in_proportion() -> None:
    """Six rows fire in each of their eight cells, two in none. 48 windows for 40 : 20 : 40 are 19, then 29 · 20/60 = 9, then 20;
    16 silent ones for 5 : 20 : 20 are 1, then 15 · 20/40 = 7, then 8."""
    positions = (np.arange(6)[:, None] * 256 + np.arange(1, 256, 32)).ravel()
    asked = ExampleSettings(n_held_out=40, n_validation=20, n_non_activating=20, min_activating=10, builder="cells")
    found = build_examples(positions, np.linspace(1, 2, 48), corpus(8), 1, asked, 0, 1)
    drawn = Counter((e.role, e.kind) for e in found.examples)
    assert [drawn[role, "activating"] for role in ROLES] == [19, 9, 20]
    assert [drawn[role, "non_activating"] for role in ROLES] == [1, 7, 8]
    assert (found.outcome, len({e.token_ids for e in found.examples})) == ("too_few_silent_windows", 64)


@pytest.mark.parametrize(
    ("sampling", "builder", "non_activating", "expected"),
    [
        ("quantiles", "centred", "random", "d0248b8406a57c35"),
        ("top", "cells", "random", "870a4f110bfcb65d"),
        ("random", "centred", MIXED, "4114298caf6e2c23"),
        ("mix", "cells", MIXED, "0983a57f7837434c"),
    ],
)
def test_two_roles_alone_give_the_same_windows(sampling: str, builder: str, non_activating: object, expected: str) -> None:
    """Pinned: with nothing for validation or contrast, a seed's windows stay as they are."""
    source = np.random.default_rng(5)
    rows = source.integers(0, 300, (60, 64))
    positions, values = np.sort(source.choice(rows.size, 700, replace=False)), source.integers(1, 4000, 700) / 1000
    asked = ExampleSettings(8, 12, 30, 24, 20, sampling, builder, 5, non_activating=non_activating, n_shown_non_activating=0)  # type: ignore[arg-type]
    candidates = candidates_of(draw_of(positions, values, rows, 1, asked, 11, 4)[0], rows, asked, 11)
    assert digest(build_examples(positions, values, rows, 1, asked, 11, 4, candidates)) == expected


def test_what_is_shown_for_contrast_changes_nothing_else_where_there_is_room(full) -> None:
    rows, positions, values, found = full
    without = build_examples(positions, values, rows, 1, ExampleSettings(n_shown_non_activating=0), 0, 3)
    assert [e for e in found.examples if (e.role, e.kind) != ("shown", "non_activating")] == list(without.examples)


@pytest.mark.parametrize("name", ["n_shown", "n_validation", "n_held_out", "n_non_activating", "n_shown_non_activating"])
def test_a_negative_count_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is a number of windows and must be 0 or more, got -1"):
        ExampleSettings(**{name: -1})  # type: ignore[arg-type]


def test_silent_share_turns_weak_activations_into_silence() -> None:
    """A neuron that is always a little active has no silent window until what is below 0.1 of its maximum counts as silence."""
    rows = corpus(60)
    values = np.full(60 * 256, 0.05)
    values[np.arange(60) * 256 + 100] = 1.0
    plain = ExampleSettings(min_activating=20, n_shown=10, n_held_out=20, n_non_activating=30)
    assert build_examples(np.arange(60 * 256), values, rows, 1, plain, 0, 1).outcome == "too_few_silent_windows"
    found = build_examples(np.arange(60 * 256), values, rows, 1, replace(plain, silent_share=0.1), 0, 1)
    assert (found.outcome, found.n_windows) == ("ok", 60)


def test_silent_windows_repeat_no_text_of_an_activating_window() -> None:
    """Rows 0–29 hold one text on which the feature fires, rows 30–59 the same text in silence: none of it can be a negative."""
    rows = np.concatenate([corpus(30, seed=1, vocabulary=3), corpus(30, seed=1, vocabulary=3), corpus(5, seed=2)])
    found = build_examples(np.arange(30) * 256 + 100, np.ones(30), rows, 1, ExampleSettings(min_activating=10), 0, 1)
    active = {e.token_ids for e in found.examples if e.kind == "activating"}
    silent = [e.token_ids for e in found.examples if e.kind == "non_activating"]
    assert len(silent) == len(set(silent)) == 105 and not active & set(silent)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 1000), st.integers(5, 300), st.integers(2, 4), st.sampled_from(["quantiles", "top", "random", "mix"]),
    st.sampled_from(["centred", "cells"]), st.integers(0, 9), st.integers(0, 6),
)  # fmt: skip
def test_no_two_roles_share_a_text(
    seed: int, n: int, vocabulary: int, sampling: str, builder: str, n_validation: int, n_shown_silent: int
) -> None:
    rows = np.random.default_rng(seed).integers(0, vocabulary, (20, 32))
    positions = np.sort(np.random.default_rng(seed).choice(640, n, replace=False))
    values = np.random.default_rng(seed + 1).exponential(1, n) + 0.1
    asked = ExampleSettings(4, 8, 12, 10, 2, sampling, builder, n_validation=n_validation, n_shown_non_activating=n_shown_silent)  # type: ignore[arg-type]
    found = build_examples(positions, values, rows, 0, asked, seed, 1)
    assert len({e.token_ids for e in found.examples}) == len(found.examples)
    if found.outcome in ("dead", "too_few_windows"):
        return
    drawn = Counter((e.role, e.kind) for e in found.examples)
    firing, silent = ([drawn[role, kind] for role in ROLES] for kind in ("activating", "non_activating"))
    assert firing[2] > 0
    assert firing == in_proportion(found.n_windows, [8, n_validation, 12])
    if found.outcome == "ok":
        assert silent == [n_shown_silent, n_validation, 10]
    else:
        assert silent == in_proportion(sum(silent), [n_shown_silent, n_validation, 10]) and sum(silent) < n_shown_silent + n_validation + 10
    assert build_examples(positions, values, rows, 0, asked, seed, 1) == found


def test_strata_differ_in_size_by_at_most_one() -> None:
    strata = equal_count_strata(np.array([5.0, 1.0, 4.0, 2.0, 3.0, 0.5, 0.4]), 3)
    assert strata.tolist() == [0, 1, 0, 1, 0, 2, 2]  # ranks 0 3 1 4 … cut at 7·k/3


def in_proportion(n: int, counts: list[int]) -> list[int]:
    """What three roles get of n windows: shown its share rounded down, validation its share of the rest, and no more than asked for."""
    shown = n * counts[0] // sum(counts)
    validation = (n - shown) * counts[1] // (counts[1] + counts[2])
    return [min(got, asked) for got, asked in zip((shown, validation, n - shown - validation), counts, strict=True)]


@given(st.integers(2, 400), st.integers(1, 50), st.integers(0, 60), st.integers(1, 120))
def test_the_split_is_a_partition_in_proportion(n: int, n_shown: int, n_validation: int, n_held_out: int) -> None:
    strata = equal_count_strata(np.arange(n)[::-1].astype(float), 10)
    counts = [n_shown, n_validation, n_held_out]
    pool_of = pools_of_windows(np.zeros(n, dtype=np.int64), strata, counts, [np.random.default_rng(n)])
    pools = [np.flatnonzero(pool_of == i) for i in range(3)]
    assert sorted(i for pool in pools for i in pool.tolist()) == list(range(n))
    assert [min(len(pool), count) for pool, count in zip(pools, counts, strict=True)] == in_proportion(n, counts)
    if n >= sum(counts):
        assert all(len(pool) >= count for pool, count in zip(pools, counts, strict=True))
    for stratum in range(10):
        size = int((strata == stratum).sum())
        shares = [size * count / sum(counts) for count in counts]
        assert all(abs((strata[pool] == stratum).sum() - share) < 2 for pool, share in zip(pools, shares, strict=True))


def test_items_are_dealt_in_turn() -> None:
    """1 : 1 : 2 of eight: every fourth to the first; of the six left the third and the sixth to the second (1/3); the rest to the last."""
    one = np.zeros(8, dtype=np.int64)
    assert dealt(one, [1, 1, 2]).tolist() == [2, 2, 1, 0, 2, 2, 1, 0]
    assert dealt(one[:4], [2, 0, 2]).tolist() == [2, 0, 2, 0]
    assert dealt(one[:3], [0, 0, 0]).tolist() == [2, 2, 2] and dealt(one[:0], [1, 2]).tolist() == []
    assert dealt(np.array([0, 0, 0, 3, 3]), [1, 2]).tolist() == [1, 1, 0, 1, 1]  # each feature's items are counted from 0


def test_sampling_methods() -> None:
    strength = np.arange(100)[::-1].astype(float)  # window 0 is the strongest
    strata = equal_count_strata(strength, 10)
    pool = np.arange(0, 100, 2)  # five of each stratum

    def draw(sampling: str, count: int) -> list[int]:
        owner, rngs = np.zeros(100, dtype=np.int64), [np.random.default_rng(1)]
        return sampled_windows(pool, owner, strata, strength, count, sampling, ExampleSettings(), rngs).tolist()  # type: ignore[arg-type]

    assert draw("top", 4) == [0, 2, 4, 6]
    assert Counter(strata[draw("quantiles", 20)].tolist()) == {s: 2 for s in range(10)}
    mixed = draw("mix", 20)
    assert mixed[:4] == [0, 2, 4, 6] and len(set(mixed)) == 20  # a fifth of 20 from the top
    assert set(draw("random", 50)) == set(pool.tolist()) == set(draw("quantiles", 80))
    assert draw("random", 10) != draw("quantiles", 10)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 1000), st.lists(st.integers(0, 250), min_size=1, max_size=5), st.sampled_from(["centred", "cells"]),
    st.sampled_from([0.0, 0.3]), st.sampled_from([np.float16, np.float64]), st.integers(1, 400),
)  # fmt: skip
def test_a_feature_has_the_same_examples_whichever_features_are_drawn_with_it(
    seed: int, counts: list[int], builder: str, silent_share: float, dtype: type, together: int
) -> None:
    source = np.random.default_rng(seed)
    rows = source.integers(0, 40, (24, 32))
    asked = ExampleSettings(5, 4, 12, 9, 6, "quantiles", builder, 3, silent_share=silent_share, n_validation=3, n_shown_non_activating=2)  # type: ignore[arg-type]
    activations = [
        (10 * i, np.sort(source.choice(rows.size, n, replace=False)), source.choice([0.5, 1.0, 2.0, 4.0], n).astype(dtype))
        for i, n in enumerate(counts)
    ]
    sample = WindowedSample.of(rows, asked.shape(32, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "DRAWN_TOGETHER", together)
        draws = draw_activating(activations, sample, asked, seed)
        found = with_negatives(draws, [{}] * len(draws), sample, asked, seed)
    for columns, (feature, positions, values) in zip(found, activations, strict=True):
        alone = build_examples(positions, values, rows, 1, asked, seed, feature)
        assert (columns.outcome, columns.n_windows, columns.feature_max) == (alone.outcome, alone.n_windows, alone.max_activation)
        assert columns.examples("quantiles") == alone.examples
