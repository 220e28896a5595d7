"""The price of tokens: the price table, and the price of a number of tokens."""

from functools import cache
from pathlib import Path

import yaml

PRICES_FILE = Path(__file__).with_name("prices.yaml")


@cache
def prices() -> dict[str, dict[str, float]]:
    """US dollars per million tokens by model and kind (prompt, cached, completion)."""
    return yaml.safe_load(PRICES_FILE.read_text()) or {}


def price_usd(model: str, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float | None:
    """Price of these tokens; None for a model without a price. `cached_tokens` of the prompt's tokens are counted at the cached price."""
    price = prices().get(model)
    if price is None:
        return None
    fresh = prompt_tokens - cached_tokens
    return (fresh * price["prompt"] + cached_tokens * price["cached"] + completion_tokens * price["completion"]) / 1e6
