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

    def __str__(self) -> str:
        eta = "unknown" if self.eta_seconds is None else f"{self.eta_seconds:,.0f} s"
        rate = f"{self.rate:,.0f}" if self.rate >= 100 else f"{self.rate:.1f}"
        return f"{self.done:,}/{self.total:,}, {rate}/s, ETA {eta}"
