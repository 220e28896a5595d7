"""The windows that features are clamped on, and the values."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from interp_assets.domain.steering.token_changes import TokenChangeSettings, clamped_windows


def rows(n: int, context: int, bos: bool = True) -> np.ndarray:
    """Token p of row r is 1000 r + p; BOS is 7."""
    tokens = 1000 * np.arange(n)[:, None] + np.arange(context)
    tokens[:, 0] = 7 if bos else tokens[:, 0]
    return tokens.astype(np.int32)


def test_windows_are_different_cells_with_bos_before_each() -> None:
    settings = TokenChangeSettings(n_windows=9, window_tokens=5)
    found = clamped_windows(rows(4, 21), 1, settings, np.random.default_rng(0))
    assert found.shape == (9, 6) and found.dtype == np.int64 and (found[:, 0] == 7).all()
    assert (np.diff(found[:, 1:], axis=1) == 1).all() and ((found[:, 1] % 1000 - 1) % 5 == 0).all()
    assert len(set(found[:, 1].tolist())) == 9 and (np.diff(found[:, 1]) > 0).all()
    assert (found == clamped_windows(rows(4, 21), 1, settings, np.random.default_rng(0))).all()
    assert (found != clamped_windows(rows(4, 21), 1, settings, np.random.default_rng(1))).any()


def test_every_cell_is_as_likely_as_another() -> None:
    settings = TokenChangeSettings(n_windows=4, window_tokens=5)
    drawn = [clamped_windows(rows(4, 21), 1, settings, np.random.default_rng(seed))[:, 1] for seed in range(400)]
    _, counts = np.unique(np.concatenate(drawn), return_counts=True)
    assert len(counts) == 16 and counts.min() > 60 and counts.max() < 140  # 100 expected, standard deviation 8.7


def test_a_small_sample_gives_all_that_it_has() -> None:
    all_of_it = clamped_windows(rows(2, 9, bos=False), 0, TokenChangeSettings(window_tokens=4), np.random.default_rng(0))
    assert all_of_it.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [1000, 1001, 1002, 1003], [1004, 1005, 1006, 1007]]
    short = clamped_windows(rows(2, 4), 1, TokenChangeSettings(), np.random.default_rng(0))
    assert short.tolist() == [[7, 1, 2, 3], [7, 1001, 1002, 1003]]


def test_strengths_are_multiples_of_the_largest_activation_or_the_same_for_all() -> None:
    assert TokenChangeSettings().strength(3.5) == 3.5 and TokenChangeSettings(of_max=2).strength(3.5) == 7
    assert TokenChangeSettings().strength(None) is None and TokenChangeSettings().strength(0.0) is None
    paper = TokenChangeSettings(absolute=10)
    assert paper.strength(3.5) == paper.strength(None) == 10


@pytest.mark.parametrize("wrong", [{"of_max": 0}, {"absolute": -10}, {"of_max": float("inf")}, {"n_windows": 0}, {"window_tokens": 0}])
def test_values_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TypeAdapter(TokenChangeSettings).validate_python(wrong)


def test_how_many_rows_go_together_shapes_no_result() -> None:
    assert TokenChangeSettings(batch_rows=1).versioned_settings == TokenChangeSettings().versioned_settings
    assert TokenChangeSettings(clamp_bos=True).versioned_settings != TokenChangeSettings().versioned_settings
