"""Shares of windows and of beginnings of contexts on which a feature fires, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.examples.firing_shares import START_PARTS, WORTH, at_a_start, by_chance, firing_shares, firing_shares_of_each
from interp_assets.domain.scoring.shared.generated import chances
from interp_assets.domain.trials import ScorerInput


def test_windows_and_beginnings_are_counted_once_each() -> None:
    """Contexts of 16 tokens, BOS first, windows of 4: places 1, 2 and 17 are in two windows and on the first tokens of two contexts."""
    found = firing_shares(np.array([1, 2, 17, 30]), n_contexts=2, context_tokens=16, first_position=1, window_tokens=4)
    assert found.of_windows == 3 / 8
    by_chance = 1 - (1 - 3 / 8) ** np.array([0.25, 0.5, 1.0])
    assert found.of_starts == pytest.approx((2 + WORTH * by_chance) / (2 + WORTH))


def test_a_feature_that_never_fires_and_one_that_fires_everywhere() -> None:
    assert firing_shares(np.empty(0, dtype=np.int64), 100, 16, 1, 4).of_windows == 0.0
    assert firing_shares(np.empty(0, dtype=np.int64), 100, 16, 1, 4).of_starts == (0.0, 0.0, 0.0)
    everywhere = firing_shares(np.arange(1600), 100, 16, 0, 4)
    assert everywhere.of_windows == 1.0 and everywhere.of_starts == (1.0, 1.0, 1.0)
    assert at_a_start(1.0, everywhere.of_starts, 0.1) > 0.99


def test_activations_of_a_part_of_the_contexts_are_a_share_of_this_part() -> None:
    """Half of the contexts are known: the feature fires on a quarter of their windows."""
    positions = np.array([row * 16 + place for row in range(0, 100, 2) for place in (4, 5)])
    assert firing_shares(positions, 50, 16, 0, 4).of_windows == pytest.approx(0.25)


@given(st.lists(st.lists(st.integers(0, 10 * 16 - 1), unique=True).map(sorted), max_size=6), st.integers(0, 1), st.integers(1, 20))
def test_features_that_are_counted_together_have_the_shares_that_each_has_by_itself(
    features: list[list[int]], first_position: int, window_tokens: int
) -> None:
    """10 contexts of 16 tokens, against sets of windows and of contexts."""
    positions = [np.array(own, dtype=np.int64) for own in features]
    found = firing_shares_of_each(positions, [10] * len(features), 16, first_position, window_tokens)
    for own, shares in zip(features, found, strict=True):
        assert shares.of_windows == min(len({place // window_tokens for place in own}) * window_tokens / 160, 1.0)
        for part, share in zip(START_PARTS, shares.of_starts, strict=True):
            contexts = {place // 16 for place in own if 0 <= place % 16 - first_position < part * window_tokens}
            assert share == (len(contexts) + WORTH * by_chance(shares.of_windows, part)) / (10 + WORTH)


FIRES = np.random.default_rng(0).random((20_000, 128)) < 0.01
FIRES[:, 0] = np.random.default_rng(1).random(20_000) < 0.5
"""A feature that fires on the first token of half of the contexts, and elsewhere on one token of a hundred."""
SHARES = firing_shares(np.flatnonzero(FIRES), 20_000, 128, 0, 32)


@pytest.mark.parametrize("length", [0.25, 0.6, 1.0, 3.0])
def test_a_text_that_means_nothing_fires_as_often_as_the_beginning_of_a_context(length: float) -> None:
    observed = FIRES[:, : round(length * 32)].any(axis=1).mean()
    assert at_a_start(SHARES.of_windows, SHARES.of_starts, length) == pytest.approx(observed, abs=0.05 if length > 1 else 0.01)


def test_the_chance_of_a_text_knows_where_the_text_stands() -> None:
    text = ScorerInput(7, "max_act", "x", (), (), (), SHARES.of_windows, SHARES.of_starts)
    (chance,) = chances(["of one window"], text) or ()
    assert chance == pytest.approx(FIRES[:, :32].any(axis=1).mean(), abs=0.01)
    (elsewhere,) = chances(["of one window"], replace(text, start_shares=())) or ()
    assert elsewhere == pytest.approx(SHARES.of_windows) and elsewhere < 0.4 < chance
