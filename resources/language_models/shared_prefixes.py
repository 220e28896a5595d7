"""How much of each prompt stands at the beginning of an earlier prompt: the most that a prefix cache can serve. Pure."""

from collections.abc import Sequence

from resources.language_models.interface import Request

NEW_TURN = "\x1e"


def prompt_text(request: Request) -> str:
    """All that a model reads of a request before it writes: the turns in order, then the suffix."""
    return NEW_TURN.join([*(f"{message.role} {message.content}" for message in request.messages), request.suffix])


def shareable_shares(texts: Sequence[str]) -> list[float]:
    """For each text the share of its characters that stand at the beginning of one earlier text. Unit: share, 0 to 1; 0 for the first text.

    Σ share · length is the most characters that a prefix cache of any size can save when the texts come in this order.
    """
    order = sorted(range(len(texts)), key=texts.__getitem__)
    end = len(texts)  # stands before the first and after the last text
    left, right = [end] * (end + 1), [end] * (end + 1)
    for one, next_one in zip([end, *order], [*order, end], strict=True):
        right[one], left[next_one] = next_one, one
    shares = [0.0] * len(texts)
    # Without all later texts, the neighbours in sorted order are the earlier texts with the longest common beginnings.
    for place in range(len(texts) - 1, -1, -1):
        longest = max((_common(texts[place], texts[other]) for other in (left[place], right[place]) if other != end), default=0)
        shares[place] = longest / max(len(texts[place]), 1)
        right[left[place]], left[right[place]] = right[place], left[place]
    return shares


def _common(one: str, other: str) -> int:
    """Number of characters that two texts begin with together."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # halving compares long pieces at once
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
