"""Silent windows of every kind: hand-made cases, and what must hold whatever the data."""

from collections import Counter

import numpy as np
import pytest
from domain_toys import MIXED, candidates_of, draw_of
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_assets.domain.examples import similar_windows
from interp_assets.domain.examples.lengths import as_long_as
from interp_assets.domain.examples.negative_draws import build_examples, with_negatives
from interp_assets.domain.examples.negatives import (
    HARD_KINDS,
    NEGATIVE_KINDS,
    TokenIndex,
    TokensOfFeature,
    are_silent,
    first_distinct,
    negative_counts,
    peak_tokens,
    token_places,
)
from interp_assets.domain.examples.passages import Passages, SampleText
from interp_assets.domain.examples.sampling import ExampleSettings
from interp_assets.domain.examples.similar_windows import similar_places, similar_to_each
from interp_assets.domain.examples.text_hashes import HashedTokens
from interp_assets.domain.examples.windows import Places, WindowShape

CELLS = WindowShape("cells", 4, 16)
CENTRED = WindowShape("centred", 4, 16)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def places(*triples: tuple[int, int, int]) -> Places:
    return Places(*(np.array(column, dtype=np.int64) for column in zip(*triples, strict=True)))


def triples(found: Places) -> list[tuple[int, int, int]]:
    return list(zip(found.row.tolist(), found.start.tolist(), found.length.tolist(), strict=True))


def test_shares_become_counts_by_largest_remainder() -> None:
    """0.5, 0.3 and 0.2 of 5 are 2.5, 1.5 and 1.0: 2 + 1 + 1, and the one left over goes to the first of the two halves."""
    shares = {"similar": 0.5, "neighbour": 0.3, "token": 0.2}
    assert negative_counts(shares, 5) == {"random": 0, "similar": 3, "neighbour": 1, "token": 1}
    assert negative_counts("token", 7) == {"random": 0, "similar": 0, "neighbour": 0, "token": 7}
    assert negative_counts({"random": 1 / 3, "token": 2 / 3}, 3) == {"random": 1, "similar": 0, "neighbour": 0, "token": 2}


@pytest.mark.parametrize("shares", [{"random": 0.5}, {"random": 1.5, "token": -0.5}, {}])
def test_shares_that_are_not_of_one_are_refused(shares: dict) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        ExampleSettings(non_activating=shares)


@given(st.lists(st.integers(0, 5), min_size=4, max_size=4).filter(any), st.integers(0, 200))
def test_counts_sum_to_the_total_and_are_within_one_of_their_share(parts: list[int], total: int) -> None:
    shares = {kind: part / sum(parts) for kind, part in zip(NEGATIVE_KINDS, parts, strict=True)}
    counts = negative_counts(shares, total)
    assert sum(counts.values()) == total
    assert all(abs(counts[kind] - shares[kind] * total) < 1 for kind in NEGATIVE_KINDS)


def test_a_window_is_silent_when_no_activation_is_inside_it() -> None:
    """Activations at row 0 position 4 and row 1 position 15, in rows of 16."""
    asked = places((0, 0, 4), (0, 1, 4), (0, 4, 1), (0, 5, 11), (1, 12, 4), (1, 11, 4))
    assert are_silent(asked, np.array([4, 31]), 16).tolist() == [True, False, False, True, False, True]


def test_first_distinct_keeps_the_order_and_drops_repeated_and_taken_text() -> None:
    rows = np.array([[1, 2, 1, 2, 3, 4, 1, 2]])
    taken = first_distinct(places((0, 4, 2)), 1, np.empty(0, np.uint64), HashedTokens.of(rows))[1]
    found, hashes = first_distinct(places((0, 1, 2), (0, 0, 2), (0, 2, 2), (0, 4, 2), (0, 5, 2)), 3, taken, HashedTokens.of(rows))
    assert triples(found) == [(0, 1, 2), (0, 0, 2), (0, 5, 2)] and len(set(hashes.tolist())) == 3


def test_the_index_knows_every_occurrence() -> None:
    rows = np.random.default_rng(1).integers(0, 9, (12, 16)).astype(np.int32)
    index = TokenIndex.of(rows, WindowShape("cells", 4, rows.shape[1], 1))
    flat = rows.ravel()
    for token in range(11):
        expected = [p for p in range(flat.size) if flat[p] == token and p % 16 >= 1]
        assert index.occurrences(token).tolist() == expected


def test_peak_tokens_are_those_with_most_activation_mass() -> None:
    """Token 5 fires twice with 1 + 2, token 7 once with 2.5, token 6 once with 0.5: shares of the two heaviest 3 and 2.5 of 5.5."""
    rows = np.array([[5, 5, 6, 7]])
    ids, shares = peak_tokens(np.array([0, 1, 2, 3]), np.array([1.0, 2.0, 0.5, 2.5]), rows, 2)
    assert ids.tolist() == [5, 7] and shares.tolist() == pytest.approx([3 / 5.5, 2.5 / 5.5])


@pytest.mark.parametrize("shape", [CELLS, CENTRED])
def test_token_windows_hold_the_token_where_a_peak_would_stand_and_are_silent(shape: WindowShape) -> None:
    """Token 9 fires in row 0; in row 1 it stands silent at position 9, in row 2 a firing follows it by one token. A window has 4
    tokens, and a peak at its second, third or fourth place."""
    rows = np.arange(48).reshape(3, 16) + 100
    rows[0, 3] = rows[1, 9] = rows[2, 8] = 9
    index = TokenIndex.of(rows, WindowShape("cells", 4, rows.shape[1]))
    found = {
        place
        for seed in range(40)
        for place in triples(token_places(np.array([9]), np.ones(1), np.array([3, 32 + 9]), index, 5, shape, np.random.default_rng(seed)))
    }
    assert found == ({(1, 8, 4)} if shape is CELLS else {(1, 6, 4), (1, 7, 4), (1, 8, 4), (2, 5, 4)})


def test_token_windows_follow_the_weights_of_their_tokens() -> None:
    """Token 1 has three quarters of the weight: of the first four windows three are its own."""
    rows = np.tile(np.arange(10, 26), (40, 1))
    rows[:20, 5], rows[20:, 5] = 1, 2
    index = TokenIndex.of(rows, WindowShape("cells", 4, rows.shape[1]))
    found = token_places(np.array([1, 2]), np.array([3, 1]), np.array([5, 20 * 16 + 5]), index, 8, CELLS, rng())
    assert Counter((found.row[:4] < 20).tolist()) == {True: 3, False: 1}


def test_few_token_windows_of_many_tokens_are_not_those_of_the_heaviest_tokens() -> None:
    """Token 0 has a fifth of the weight, forty tokens have a fiftieth each: of ten windows two hold token 0, in the mean."""
    rows = np.full((41 * 12, 4), 99)
    rows[:, 0] = np.arange(len(rows)) % 41
    shape = WindowShape("cells", 4, 4)
    index, weights, silence = TokenIndex.of(rows, shape), np.array([10.0, *[1.0] * 40]), np.empty(0, np.int64)
    drawn = [token_places(np.arange(41), weights, silence, index, 10, shape, np.random.default_rng(seed)).row[:10] for seed in range(60)]
    assert np.mean([(rows[own, 0] == 0).sum() for own in drawn]) == pytest.approx(10 * 10 / 50, abs=0.7)


def test_explainers_see_the_heaviest_tokens_and_scorers_the_tokens_of_peaks() -> None:
    """Token 1 has most of the mass, and three of four scored windows peak on token 2, one on token 3."""
    rows = np.tile(np.arange(10, 26), (60, 1))
    for token in (1, 2, 3):
        rows[20 * token - 20 : 20 * token, 5] = token
    positions = np.array([5, 20 * 16 + 5, 21 * 16 + 5, 22 * 16 + 5, 40 * 16 + 5])
    tokens = TokensOfFeature.of(positions, np.array([9.0, 1, 1, 1, 1]), positions[1:], rows, 1)
    found = tokens.places(positions, TokenIndex.of(rows, WindowShape("cells", 4, 16)), 2, 4, CELLS, rng())
    assert (found.row[:6] // 20 + 1).tolist()[:2] == [1, 1] and Counter((found.row[2:6] // 20 + 1).tolist()) == {2: 3, 3: 1}


def test_windows_of_a_feature_that_is_seldom_silent_are_as_long_as_its_activating_windows() -> None:
    """Documents of 32 and of 8 tokens, by turns, 800 of each; on one token of twelve the feature fires. A window of 32 tokens is silent
    once in sixteen times, a window of 8 every other time: drawn at random, most silent windows would be short."""
    source = np.random.default_rng(4)
    rows = source.integers(0, 5000, (800, 40))
    text = SampleText(Passages.of(np.ones(rows.shape, dtype=bool), [[0, 32]] * len(rows)))
    positions = np.flatnonzero(source.random(rows.size) < 1 / 12)
    asked = ExampleSettings(32, 10, 60, 40, 20, builder="cells", n_shown_non_activating=0)
    found = build_examples(positions, np.ones(len(positions)), rows, 0, asked, 0, 1, text=text)
    short = {
        kind: np.mean([len(e.token_ids) == 8 for e in found.examples if (e.role, e.kind) == ("held_out", kind)])
        for kind in ("activating", "non_activating")
    }
    assert found.outcome == "ok" and short["non_activating"] == pytest.approx(short["activating"], abs=0.025) and short["activating"] > 0.2


def test_where_long_windows_are_never_silent_no_short_windows_stand_in_for_them() -> None:
    rows = np.random.default_rng(4).integers(0, 5000, (200, 40))
    text = SampleText(Passages.of(np.ones(rows.shape, dtype=bool), [[0, 32]] * len(rows)))
    positions = np.sort(np.concatenate([np.arange(200) * 40 + 9, np.arange(0, 200, 3) * 40 + 35]))
    asked = ExampleSettings(32, 10, 60, 40, 20, builder="cells", n_shown_non_activating=0)
    found = build_examples(positions, np.ones(len(positions)), rows, 0, asked, 0, 1, text=text)
    assert found.outcome == "too_few_silent_windows" and not [e for e in found.examples if e.kind == "non_activating"]


@pytest.mark.parametrize(
    ("lengths", "like", "count", "expected"),
    [
        ([8, 8, 32, 8, 32, 32], [32, 32, 8, 32], 4, [0, 2, 4, 5]),  # three of four are long
        ([8, 8, 32, 8, 8], [32, 32, 8, 32], 4, [2]),  # one long window: a third of a short one, which is none
        ([8, 8, 8, 8], [32, 8], 4, []),
        ([8, 32, 32], [], 2, [0, 1]),  # any lengths
        ([32] * 40, [32] * 19 + [8], 20, list(range(19))),  # rare lengths may be missing
        ([], [32], 3, []),
        ([32, 8], [32], 0, []),
    ],
)
def test_candidates_of_given_lengths(lengths: list[int], like: list[int], count: int, expected: list[int]) -> None:
    found = as_long_as(np.array(lengths, dtype=np.int64), np.array(like, dtype=np.int64), count, 32)
    assert found.tolist() == expected


def test_similar_windows_are_the_nearest_silent_cells() -> None:
    """Cells 0..7 of two rows point ever further from the query; the feature fires in cell 1."""
    angle = np.linspace(0, 1.4, 8)
    embeddings = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float16)
    found = similar_places(embeddings[:1].astype(np.float32), [np.array([1])], embeddings, 1, CELLS)[0]
    assert triples(found) == [(0, 0, 4), (0, 8, 4), (0, 12, 4), (1, 0, 4)]  # four candidates for a window: cells 0, 2, 3, 4


def test_each_shown_window_has_its_own_similar_windows() -> None:
    """Shown windows lie in cells 0 and 7, which point apart: their nearest silent cells come in turn, not the cells between them."""
    angle = np.linspace(0, 1.4, 8)
    embeddings = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float16)
    (found, none) = similar_to_each([np.array([0, 7]), np.empty(0, np.int64)], [np.array([0, 7])] * 2, embeddings, 2, CELLS)
    assert triples(found)[:4] == [(0, 4, 4), (1, 8, 4), (0, 8, 4), (1, 4, 4)] and not len(none)


@settings(deadline=None)
@given(st.integers(0, 100), st.integers(1, 70), st.integers(1, 20))
def test_blocks_of_cells_change_nothing(seed: int, block_cells: int, looked_at_first: int) -> None:
    """Against all cells in one order, in which many scores are equal: the smaller cell comes first."""
    source = np.random.default_rng(seed)
    embeddings = source.integers(-3, 4, (180, 3)).astype(np.float32)
    queries, active = embeddings[:2], [np.unique(source.integers(0, 180, n)) for n in (5, 170)]
    shape = WindowShape("centred", 6, 16)  # the last cell of a row has four tokens: no candidate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similar_windows, "LOOKED_AT_FIRST", looked_at_first)
        found = similar_places(queries, active, embeddings, 2, shape, block_cells)
    scores = queries @ embeddings.T
    for i in range(2):
        allowed = [c for c in range(180) if c not in active[i] and c % 3 < 2]
        best = sorted(allowed, key=lambda c: (-float(scores[i, c]), c))[:8]
        assert (found[i].row * 3 + found[i].start // 6).tolist() == best


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 1000), st.integers(5, 120), st.integers(2, 40), st.sampled_from(["centred", "cells"]), st.integers(0, 1),
    st.sampled_from([MIXED, "similar", "neighbour", "token", "random"]),
)  # fmt: skip
def test_negatives_of_every_kind_are_silent_and_repeat_no_text(
    seed: int, n: int, vocabulary: int, builder: str, first_position: int, non_activating: object
) -> None:
    rows = np.random.default_rng(seed).integers(0, vocabulary, (20, 32))
    positions = np.sort(np.random.default_rng(seed).choice(640, n, replace=False))
    values = np.random.default_rng(seed + 1).exponential(1, n) + 0.1
    asked = ExampleSettings(
        6, 4, 6, 12, 2, "quantiles", builder, 3, non_activating=non_activating, n_validation=3, n_shown_non_activating=2  # type: ignore[arg-type]
    )  # fmt: skip
    draw, _ = draw_of(positions, values, rows, first_position, asked, seed, 1)
    if draw.outcome != "ok":
        return
    candidates = candidates_of(draw, rows, asked, seed)
    assert asked.negative_counts_of("held_out") == negative_counts(asked.non_activating, 12)
    found = build_examples(positions, values, rows, first_position, asked, seed, 1, candidates)
    assert found == build_examples(positions, values, rows, first_position, asked, seed, 1, candidates_of(draw, rows, asked, seed))
    active = {e.token_ids for e in found.examples if e.kind == "activating"}
    silent = [e for e in found.examples if e.kind == "non_activating"]
    assert not active & {e.token_ids for e in silent} and len({e.token_ids for e in silent}) == len(silent)
    for e in silent:
        inside = range(e.row * 32 + e.start, e.row * 32 + e.start + len(e.token_ids))
        assert not set(inside) & set(positions.tolist()) and e.start >= first_position and set(e.activations) == {0.0}
    counts = Counter(e.sampling for e in silent)
    assert all(counts[kind] <= asked.negative_counts[kind] for kind in HARD_KINDS)
    held_out = Counter(e.sampling for e in silent if e.role == "held_out")
    missing = sum(asked.negative_counts_of("held_out")[kind] - held_out[kind] for kind in HARD_KINDS)
    assert found.outcome != "ok" or (Counter(e.role for e in silent) == {"shown": 2, "validation": 3, "held_out": 12})
    assert found.outcome != "ok" or found.n_filled == missing


def test_what_a_kind_lacks_is_filled_with_random_windows_and_counted() -> None:
    rows = np.random.default_rng(0).integers(0, 5000, (60, 64))
    positions, values = np.arange(60) * 64 + 30, np.linspace(1, 2, 60)
    asked = ExampleSettings(8, 5, 10, 10, 10, non_activating={"neighbour": 0.6, "random": 0.4}, n_shown_non_activating=0)
    draw, sample = draw_of(positions, values, rows, 0, asked, 0, 1)
    (found,) = with_negatives([draw], [{"neighbour": places((3, 50, 8), (9, 40, 8))}], sample, asked, 0)
    assert (found.outcome, found.n_filled, Counter(found.negatives)) == ("ok", 4, {"neighbour": 2, "random": 8})
    assert triples(found.places)[found.n_activating :][:2] == [(3, 50, 8), (9, 40, 8)]


@pytest.mark.parametrize(
    ("non_activating", "asked", "expected"),
    [
        ("random", None, "random"),
        ("token", None, "token"),
        ({"random": 0.5, "token": 0.3, "neighbour": 0.2}, None, "neighbour"),
        ({"token": 0.5, "similar": 0.5, "neighbour": 0.0}, None, "similar"),
        ({"token": 1.0, "neighbour": 0.0}, None, "token"),
        ("random", "similar", "similar"),
        ("similar", "random", "random"),
    ],
)
def test_what_is_shown_for_contrast_is_the_hardest_kind_asked_for_or_the_one_named(
    non_activating: object, asked: object, expected: str
) -> None:
    found = ExampleSettings(non_activating=non_activating, shown_non_activating=asked, n_shown_non_activating=4)  # type: ignore[arg-type]
    assert found.shown_negative_kind == expected
    assert found.negative_counts_of("shown") == {kind: 4 * (kind == expected) for kind in NEGATIVE_KINDS}
    assert found.asks_for(expected)  # type: ignore[arg-type]
    assert not ExampleSettings(shown_non_activating="similar", n_shown_non_activating=0).asks_for("similar")


def test_the_best_of_a_kind_are_shown_and_the_next_are_dealt_out() -> None:
    """Nine candidates, best first, for 2 shown, 2 validation and 4 held out: 1 and 2, then every third of the next six, then the others."""
    rows = np.random.default_rng(0).integers(0, 5000, (60, 64))
    positions, values = np.arange(60) * 64 + 30, np.linspace(1, 2, 60)
    offered = {"similar": places(*((row, 45, 8) for row in range(9)))}
    asked = ExampleSettings(8, 5, 10, 4, 10, non_activating="similar", n_validation=2, n_shown_non_activating=2)
    draw, sample = draw_of(positions, values, rows, 0, asked, 0, 1)
    (found,) = with_negatives([draw], [offered], sample, asked, 0)
    assert (found.outcome, found.n_filled, found.negatives) == ("ok", 0, ("similar",) * 8)
    silent = [row for row, _, _ in triples(found.places)[found.n_activating :]]
    assert silent == [0, 1, 4, 7, 2, 3, 5, 6]
    assert [found.roles.count(role) for role in ("shown", "validation", "held_out")] == [5 + 2, 2 + 2, 10 + 4]
    assert found.negatives_of("validation") == ("similar",) * 2


def test_a_kind_that_runs_out_is_shown_first_and_random_windows_stand_in_for_the_rest() -> None:
    rows = np.random.default_rng(0).integers(0, 5000, (60, 64))
    positions, values = np.arange(60) * 64 + 30, np.linspace(1, 2, 60)
    offered = {"token": places((3, 50, 8), (9, 40, 8), (9, 50, 8))}
    asked = ExampleSettings(8, 5, 10, 4, 10, non_activating="token", n_validation=2, n_shown_non_activating=2)
    draw, sample = draw_of(positions, values, rows, 0, asked, 0, 1)
    (found,) = with_negatives([draw], [offered], sample, asked, 0)
    assert [found.negatives_of(role) for role in ("shown", "validation", "held_out")] == [
        ("token",) * 2, ("random",) * 2, ("token", *("random",) * 3),
    ]  # fmt: skip
    assert (found.outcome, found.n_filled) == ("ok", 3)
