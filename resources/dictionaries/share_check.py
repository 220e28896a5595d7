"""The check of features that write a share of a value, where the features that write the rest are not on this machine."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHIFTS, DEVIATIONS = 20, 4
LEAST_TOKENS = 64
"""Fewest tokens for a comparison with the values of other tokens."""


@dataclass(frozen=True)
class Agreement:
    """Pearson correlation over tokens and dimensions of a share with the value on the same token, and the correlation that chance reaches:
    the mean and DEVIATIONS standard deviations of the correlations with other tokens' values (the tokens moved on by SHIFTS distances)."""

    same_tokens: float
    by_chance: float

    def told(self) -> str:
        return f"what these features write correlates {self.same_tokens:.2f} with the value (by chance up to {self.by_chance:.2f})"


def agreement(
    reads: Sequence[str], writes: Sequence[str], widths: Sequence[int], share: "torch.Tensor", value: "torch.Tensor"
) -> Agreement | None:
    """The agreement of a share with the value, both Tensor[tokens, sum of widths], at the hooks in layers that are read.

    In their own layer features write the most; at hooks of later layers a right dictionary may agree little. None where no hook of `writes`
    is in a layer of `reads`, for too few tokens, and for a share or a value that is the same on all tokens.
    """
    layers = {_layer(hook) for hook in reads} - {None}
    own = [place for place, hook in enumerate(writes) if _layer(hook) in layers]
    if not own or len(share) < LEAST_TOKENS:
        return None
    import torch

    shares, values = (torch.cat([x.split(tuple(widths), dim=1)[place] for place in own], dim=1).float() for x in (share, value))
    shares, values = shares - shares.mean(0), values - values.mean(0)
    scale = float(shares.norm() * values.norm())
    if not scale:
        return None
    distances = {len(share) * number // (SHIFTS + 1) for number in range(1, SHIFTS + 1)}
    others = torch.tensor([float((shares * values.roll(distance, 0)).sum()) / scale for distance in distances])
    chance = float(others.mean() + DEVIATIONS * others.std())
    return Agreement(float((shares * values).sum()) / scale, chance)


def _layer(hook: str) -> str | None:
    found = re.search(r"(?:^|\.)(\d+)(?=[.:]|$)", hook)
    return found[1] if found else None
