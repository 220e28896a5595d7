"""Prompts by hand-made contexts, and the search for strengths on divergence curves with known answers."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from interp_assets.domain.seeds import generator
from interp_assets.domain.steering.strengths import SteeringSettings, StrengthSearch, Tried, Tuned, is_monotone, steering_prompts, tune

SETTINGS = SteeringSettings()
SMALL = SteeringSettings(context_tokens=4, n_strata=2, n_explainer_prompts=2, n_scoring_prompts=2)
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "quadratic": lambda s: s**2,
    "quadratic, then linear": lambda s: s**2 / (1 + s),
    "saturating": lambda s: 5 * (1 - np.exp(-(s**2) / 5)),
    "sudden": lambda s: 10 / (1 + s**-4.0),
    "logistic in log s": lambda s: 8 / (1 + np.exp(-6 * np.log10(s))),
}


def tuned_on(curve: Callable[[np.ndarray], np.ndarray], settings: SteeringSettings = SETTINGS) -> tuple[Tuned, ...]:
    (found,) = tune(1, settings, lambda _places, strengths: curve(np.abs(strengths)))
    return found


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("log10_scale", [-2.0, -1.3, -0.4, 0.0, 0.7, 1.6, 2.1])
def test_every_target_within_range_is_met_within_a_tenth_in_ten_steps(name: str, log10_scale: float) -> None:
    curve = CURVES[name]
    for found in tuned_on(lambda s: curve(s * 10**log10_scale)):
        assert found.outcome == "ok" and found.n_steps <= 10
        assert found.realised_kl == pytest.approx(found.target, rel=0.1)
        assert found.realised_kl == curve(np.array(found.strength * 10**log10_scale)), "the divergence is of this very strength"
        assert found.monotone and [abs(t.strength) for t in found.tried] == sorted(abs(t.strength) for t in found.tried)


def test_a_quadratic_divergence_is_met_as_soon_as_it_is_bracketed() -> None:
    """The first try is 10^0.5, where s² / 1000 is 0.01. Half of log10(1 / 0.01), lengthened by a twentieth, leads to 10^1.55 and so to
    1.26, which is too much; the interpolation of a straight line then hits 1.
    """
    (found,) = tuned_on(lambda s: s**2 / 1000, SteeringSettings(kl_targets=(1.0,)))
    assert [round(math.log10(t.strength), 4) for t in found.tried] == [0.5, 1.5, 1.55]
    assert (found.n_steps, found.outcome) == (3, "ok") and found.realised_kl == pytest.approx(1.0)


def test_targets_of_one_feature_share_what_they_try() -> None:
    measured = []

    def measure(places: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        measured.append(list(zip(places.tolist(), strengths.tolist(), strict=True)))
        return np.abs(strengths) ** 2

    found = tune(2, SETTINGS, measure)
    assert measured[0] == [(0, 10**0.5), (1, 10**0.5)], "one first strength a feature, not one a target"
    assert len(found) == 2 and found[0] == found[1]
    assert all(len(set(round_)) == len(round_) for round_ in measured)
    assert tune(0, SETTINGS, measure) == []


def test_targets_out_of_reach_end_at_the_ends_of_the_range_and_say_so() -> None:
    small, large = SteeringSettings(kl_targets=(0.33, 3.0)), SteeringSettings(kl_targets=(0.1,))
    met, missed = tuned_on(lambda s: 2 * (1 - np.exp(-(s**2))), small)
    assert (met.outcome, missed.outcome) == ("ok", "not_reached")
    assert missed.realised_kl == pytest.approx(2.0, rel=1e-3) and missed.n_steps <= 10
    assert max(t.strength for t in missed.tried) == pytest.approx(10**4)
    (least,) = tuned_on(lambda s: np.full_like(s, 0.5), large)
    assert (least.outcome, least.realised_kl) == ("not_reached", 0.5)
    assert min(t.strength for t in least.tried) == pytest.approx(10**-3)
    (nothing,) = tuned_on(np.zeros_like, large)
    assert (nothing.outcome, nothing.realised_kl) == ("not_reached", 0.0) and nothing.n_steps <= 10


def test_a_search_out_of_steps_tells_a_falling_curve_from_a_slow_one() -> None:
    (jumping,) = tuned_on(lambda s: np.where(s < 2.0, 0.01, 50.0), SteeringSettings(kl_targets=(1.0,)))
    assert (jumping.outcome, jumping.n_steps) == ("not_converged", 10)

    def falls(s: np.ndarray) -> np.ndarray:
        """Divergences that jump over 1 and fall on both sides of the jump, so that no step lands near it."""
        return np.where(s < 2.0, 0.5 * (1 - s / 8), 5 + 20 / s)

    (falling,) = tuned_on(falls, SteeringSettings(kl_targets=(1.0,)))
    assert (falling.outcome, falling.n_steps, falling.monotone) == ("not_monotone", 10, False)
    # A curve that falls only beyond the target does not stand in its way.
    (met,) = tuned_on(lambda s: np.where(s < 10, s**2 / 4, 0.9), SteeringSettings(kl_targets=(2.0,)))
    assert met.outcome == "ok" and met.strength == pytest.approx(8**0.5, rel=0.06)


def test_overflow_counts_as_too_strong() -> None:
    for found in tuned_on(lambda s: np.where(s > 1, np.inf, s**2 * 4)):
        assert found.outcome == "ok" and found.strength < 1


def test_negative_targets_get_negative_strengths_of_the_same_size_on_a_symmetric_curve() -> None:
    both = tuned_on(lambda s: s**2 / (1 + s), SteeringSettings(kl_targets=(0.25, 0.5, -0.25, -0.5)))
    assert [found.strength for found in both[2:]] == [-found.strength for found in both[:2]]
    assert [found.realised_kl for found in both[2:]] == [found.realised_kl for found in both[:2]]
    assert all(found.strength * found.target > 0 and all(t.strength * found.target > 0 for t in found.tried) for found in both)


def test_one_search_step_by_step() -> None:
    search = StrengthSearch(1.0, SETTINGS)
    tried = [Tried(10.0, 0.01)]
    assert math.log10(search.next(tried) or 0) == pytest.approx(1 + 1.05)  # KL ∝ s²: one decade more, lengthened by a twentieth
    tried.append(Tried(1000.0, 100.0))
    assert search.next(tried) == pytest.approx(100.0)  # between 10^-2 at 10 and 10^2 at 1000, halfway in both logs
    tried.append(Tried(100.0, 5.0))
    assert search.next(tried) == pytest.approx(10**1.5)  # two running above: halved
    tried.append(Tried(10**1.5, 1.05))
    assert search.next(tried) is None and search.outcome(tried) == "ok"
    assert is_monotone(tried) and not is_monotone([*tried, Tried(50.0, 0.5)])
    assert is_monotone([Tried(1.0, 2e-7), Tried(2.0, 1e-7)]), "below a millionth of a nat is noise"


def rows_of(*texts: str) -> np.ndarray:
    return np.array([[ord(letter) for letter in text] for text in texts])


def test_prompts_end_with_the_first_token_that_fires_and_begin_with_bos() -> None:
    """Contexts are the cells of four tokens behind the BOS, "^": two a row."""
    rows = rows_of("^abcdefgh", "^ijklmnop", "^abcxxxxx", "^qrstuvwx")
    firing = {"c": 1.0, "d": 5.0, "e": 2.0, "l": 3.0, "m": 4.0, "n": 0.5, "w": 9.0, "^": 7.0}
    flat = rows.ravel()
    positions = np.array([i for i, token in enumerate(flat) if chr(token) in firing and not (chr(token) == "w" and i < 27)])
    values = np.array([firing[chr(flat[i])] for i in positions])
    found = steering_prompts(positions, values, rows, SMALL, np.random.default_rng(0), first_position=1)
    # Active cells: abcd, efgh, ijkl, mnop, uvwx and abcx; the last gives "^abc" like the first, which is stronger.
    assert (found.outcome, found.n_contexts, found.n_explainer, found.first_token) == ("ok", 5, 2, 1)
    texts = ["".join(map(chr, ids)) for ids in found.token_ids]
    assert set(texts) <= {"^abc", "^e", "^ijkl", "^m", "^uvw"} and len(set(texts)) == 4
    assert found.roles == ["explainer", "explainer", "scoring", "scoring"]
    for row, start, ids in zip(found.rows.tolist(), found.starts.tolist(), found.token_ids, strict=True):
        assert rows[row, start : start + len(ids) - 1].tolist() == ids[1:].tolist()
        assert (row, start) != (2, 1)
    # Largest activations 9 (uvw), 5 (abc), 4 (m) | 3 (ijkl), 2 (e): each role has one prompt of either half.
    halves = ["strong" if text in ("^uvw", "^abc", "^m") else "weak" for text in texts]
    assert Counter(halves[:2]) == Counter(halves[2:]) == {"strong": 1, "weak": 1}


def test_weak_activations_are_silence_where_that_is_asked_for() -> None:
    rows = rows_of("abcd", "efgh", "ijkl", "mnop")
    positions, values = np.array([0, 2, 5, 8, 15]), np.array([0.1, 9.0, 8.0, 7.0, 6.0])
    loud = steering_prompts(positions, values, rows, SMALL, np.random.default_rng(0), silent_share=0.5)
    assert sorted("".join(map(chr, ids)) for ids in loud.token_ids) == ["abc", "ef", "i", "mnop"]
    all_ = steering_prompts(positions, values, rows, SMALL, np.random.default_rng(0))
    assert sorted("".join(map(chr, ids)) for ids in all_.token_ids) == ["a", "ef", "i", "mnop"]


def test_features_without_enough_contexts_have_an_outcome_and_no_prompts() -> None:
    rows = rows_of("abcd", "efgh", "abcd", "abcd")
    dead = steering_prompts(np.array([]), np.array([]), rows, SMALL, np.random.default_rng(0))
    only_bos = steering_prompts(np.array([0, 4]), np.array([1.0, 1.0]), rows, SMALL, np.random.default_rng(0), first_position=1)
    few = steering_prompts(np.array([1, 5, 9, 13]), np.ones(4), rows, SMALL, np.random.default_rng(0))
    assert [(p.outcome, p.n_contexts, p.token_ids) for p in (dead, only_bos)] == [("dead", 0, ())] * 2
    assert (few.outcome, few.n_contexts, len(few.rows)) == ("too_few_contexts", 2, 0)


def test_forty_prompts_come_evenly_from_the_quintiles_and_by_the_generator_alone() -> None:
    source = np.random.default_rng(1)
    rows = source.integers(0, 1000, size=(200, 64))
    positions = np.arange(200) * 64 + source.integers(0, 64, 200)
    values = source.permutation(200) + 1.0
    found = steering_prompts(positions, values, rows, SETTINGS, generator(0, 7, "steering prompts"))
    quintile = (200 - values[found.rows].astype(int)) // 40
    assert Counter(quintile[:10].tolist()) == dict.fromkeys(range(5), 2)
    assert Counter(quintile[10:].tolist()) == dict.fromkeys(range(5), 6)
    again, other = (steering_prompts(positions, values, rows, SETTINGS, generator(0, n, "steering prompts")) for n in (7, 8))
    assert found.rows.tolist() == again.rows.tolist() != other.rows.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl_targets": (0.0,)}, r"distinct numbers of nats other than 0, got \[0\.0\]"),
        ({"kl_targets": (1.0, 1.0)}, "distinct"),
        ({"kl_targets": (), "zero_ablation": False}, "nothing to do"),
        ({"max_steps": 0}, r"steering\.max_steps must be 1 or more, got 0"),
        ({"n_explainer_prompts": -1}, "n_explainer_prompts -1"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"min_log10_strength": 5.0}, "must be below max_log10_strength"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SteeringSettings(**changes)  # type: ignore[arg-type]


def test_how_many_rows_go_together_shapes_no_result() -> None:
    assert SteeringSettings(batch_rows=7).versioned_settings == SETTINGS.versioned_settings
    assert SteeringSettings(temperature=0.5).versioned_settings != SETTINGS.versioned_settings
