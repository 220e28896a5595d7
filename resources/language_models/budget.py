"""The budget of a run: bounds on tokens and dollars, and the spending so far."""

from collections.abc import Callable
from dataclasses import dataclass

from resources.language_models.interface import Reply
from resources.language_models.ledger import PRICES_FILE, price_usd


@dataclass(frozen=True)
class Budget:
    """The most that may be spent: tokens (prompt and completion, also cached tokens) and US dollars by `prices.yaml`. None: no bound."""

    tokens: int | None = None
    usd: float | None = None


class BudgetExhausted(RuntimeError):
    """The budget was reached. Replies so far are kept: the same call with a larger budget asks only the remaining questions."""


@dataclass
class Spending:
    """The spending so far under a budget; several calls of `ask_all` may share it."""

    budget: Budget = Budget()
    tokens: int = 0
    usd: float = 0.0
    near_share: float = 1.0
    """Share of a bound at which `on_near` is called, once."""
    on_near: Callable[[str], None] | None = None
    """Gets a sentence with the numbers."""

    def add(self, model: str, reply: Reply) -> None:
        """Count one reply of `model`. Counts below 0 are counted as 0, so no reply gives anything back."""
        prompt, completion = max(0, reply.prompt_tokens), max(0, reply.completion_tokens)
        self.tokens += prompt + completion
        self.usd += price_usd(model, prompt, min(max(0, reply.cached_tokens), prompt), completion) or 0.0
        if self.on_near is not None and (reached := self._reached(self.near_share)):
            on_near, self.on_near = self.on_near, None
            on_near(f"{self.near_share:.0%} of {reached}")

    def refuse_unpriced(self, model: str) -> None:
        """Raise ValueError where dollars are bounded and `model` has no price: the bound could never be reached."""
        if self.budget.usd is not None and price_usd(model, 0, 0, 0) is None:
            raise ValueError(
                f"a budget of ${self.budget.usd:g} needs a price for {model!r}: add it to {PRICES_FILE}, or give a budget in tokens."
            )

    def exhausted(self) -> str | None:
        """The bound that has been reached, in words with the numbers; None while no bound has been reached."""
        return self._reached(1.0)

    def _reached(self, share: float) -> str | None:
        """The bound of which so large a share is spent, in words with the numbers."""
        if self.budget.tokens is not None and self.tokens >= share * self.budget.tokens:
            return f"the budget of {self.budget.tokens:,} tokens is spent ({self.tokens:,})"
        if self.budget.usd is not None and self.usd >= share * self.budget.usd:
            return f"the budget of ${self.budget.usd:,.2f} is spent (${self.usd:,.4f})"
        return None
