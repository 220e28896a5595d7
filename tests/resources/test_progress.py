"""Progress in words: rates and times that people can read at a glance."""

import pytest

from resources.progress import Progress, time_in_words


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (51_200.4, "51,200/s"),
        (99.96, "100.0/s"),
        (2.25, "2.2/s"),
        (0.5, "0.5/s"),
        (0.031, "1.9/min"),
        (0.0004, "0.024/min"),
        (0.0, "0.0/s"),
    ],
)
def test_a_slow_rate_is_not_zero(rate: float, said: str) -> None:
    assert Progress(1, 40, 0, rate, None).speed == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119.4, "119 s"), (120, "2 min"), (531, "9 min"), (3599, "1 h 0 min"), (15_301, "4 h 15 min"), (9e6, "2,500 h 0 min")],
)
def test_time_left_in_words(seconds: float, said: str) -> None:
    assert time_in_words(seconds) == said


def test_the_time_left_is_unknown_before_the_first_unit() -> None:
    assert str(Progress(0, 2_000, 0, 0.0, None)) == "0/2,000, 0.0/s, ETA unknown"
    assert str(Progress(500, 2_000, 0, 1.0, 1_500.0)) == "500/2,000, 1.0/s, ETA 25 min"
