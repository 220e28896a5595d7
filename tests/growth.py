"""How the time of a piece of work grows with its input, measured so that a busy machine does not change the answer."""

import time
from collections.abc import Callable

LINEAR_FACTOR = 8.0
"""Work on four times the input may take so many times the CPU time: linear work takes 4, quadratic work takes 16."""

ROUNDS = 12
SLOWEST_SECONDS = 2.0
MOST_SECONDS = 10.0
"""After so long no further turn is taken."""
FASTEST_SECONDS = 0.002
"""CPU time below which a measurement of the small input is noise: it counts as this."""


def assert_linear(work: Callable[[int], object], n: int, slowest_seconds: float = SLOWEST_SECONDS) -> None:
    """Fail where `work(4 * n)` takes LINEAR_FACTOR times the CPU time of `work(n)` or more, or `slowest_seconds` on the clock.

    Each is the least of up to ROUNDS turns, taken in alternation: other work on the machine only ever adds time. `n` should be so large
    that quadratic work on it would take clearly more than FASTEST_SECONDS.
    """
    small, large, waited = float("inf"), float("inf"), float("inf")
    began = time.perf_counter()
    for _ in range(ROUNDS):
        cpu, clock = _seconds(work, n)
        assert clock < MOST_SECONDS, f"{n} take {clock:.2f} s"
        small = min(small, cpu)
        cpu, clock = _seconds(work, 4 * n)
        large, waited = min(large, cpu), min(waited, clock)
        if waited < slowest_seconds and large < LINEAR_FACTOR * max(small, FASTEST_SECONDS):
            return
        if time.perf_counter() - began > MOST_SECONDS:
            break
    assert waited < slowest_seconds, f"{4 * n} take {waited:.2f} s, and may take {slowest_seconds:g} s"
    assert large < LINEAR_FACTOR * max(small, FASTEST_SECONDS), f"{n} take {small:.4f} s of CPU time and {4 * n} take {large:.4f} s"


def fastest(work: Callable[[], object], rounds: int = 5) -> float:
    """CPU seconds of `work`, the least of `rounds` turns."""
    return min(_seconds(lambda _: work(), 0)[0] for _ in range(rounds))


def _seconds(work: Callable[[int], object], n: int) -> tuple[float, float]:
    """CPU seconds of this process, and seconds on the clock, that `work(n)` takes."""
    cpu, clock = time.process_time(), time.perf_counter()
    work(n)
    return time.process_time() - cpu, time.perf_counter() - clock
