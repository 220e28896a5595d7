"""The progress of long work."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units (questions, tokens), of which `kept` existed before. `rate` is units a second of the present work;
    `eta_seconds` is None before the first unit."""

    done: int
    total: int
    kept: int
    rate: float
    eta_seconds: float | None

    @property
    def speed(self) -> str:
        """The rate in words: units a second, or a minute where a unit takes longer than two seconds."""
        if self.rate >= 100:
            return f"{self.rate:,.0f}/s"
        return f"{self.rate:.1f}/s" if self.rate >= 0.5 or not self.rate else f"{60 * self.rate:.2g}/min"

    @property
    def time_left(self) -> str:
        """The time left in words."""
        return "unknown" if self.eta_seconds is None else time_in_words(self.eta_seconds)

    def __str__(self) -> str:
        return f"{self.done:,}/{self.total:,}, {self.speed}, ETA {self.time_left}"


def time_in_words(seconds: float) -> str:
    """`45 s`, `12 min` or `4 h 15 min`."""
    if seconds < 120:
        return f"{seconds:,.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"
