"""How far an export is, said every few seconds: features done, rate, and the time that is left."""

import time
from collections.abc import Callable

EVERY_SECONDS = 5.0


class Progress:
    """Counts features up to `total`, and says so at most once in EVERY_SECONDS; nothing for an export that ends before."""

    def __init__(self, total: int, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._say, self._clock = total, say, clock
        self._done, self._began = 0, clock()
        self._said = self._began

    def add(self, n: int) -> None:
        """Count `n` more features."""
        self._done += n
        now = self._clock()
        if now - self._said < EVERY_SECONDS or self._done >= self._total:
            return
        self._said = now
        rate = self._done / (now - self._began)
        left = (self._total - self._done) / rate
        self._say(f"{self._done:,} of {self._total:,} features, {rate:,.0f} a second, {_span(left)} left")


def size_text(n_bytes: int) -> str:
    """Bytes as people read them: 812 B, 3.4 MB."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    power = min((len(str(n_bytes)) - 1) // 3, 4)
    return f"{n_bytes / 1000**power:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
