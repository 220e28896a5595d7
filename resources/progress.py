"""How far long work is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units (questions, tokens); `kept` of `total` were there already. `rate` is units a second of the work being
    done now; `eta_seconds` is None before the first unit."""

    done: int
    total: int
    kept: int
    rate: float
    eta_seconds: float | None

    def __str__(self) -> str:
        eta = "unknown" if self.eta_seconds is None else f"{self.eta_seconds:,.0f} s"
        rate = f"{self.rate:,.0f}" if self.rate >= 100 else f"{self.rate:.1f}"
        return f"{self.done:,}/{self.total:,}, {rate}/s, ETA {eta}"
