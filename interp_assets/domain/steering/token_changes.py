"""Token changes, the pure part: the windows that features are clamped on, and the values they are clamped to (arXiv 2501.08319).

There a feature is clamped to 10 and to -10 on 32 windows of 32 tokens each. Features of different dictionaries have different units, so
that 10 overwhelms one and is nothing to another; here the values are the feature's own largest activation and its negative, times a factor.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from interp_assets.domain.bounds import PositiveCount, PositiveNumber, versioned_fields


@dataclass(frozen=True)
class TokenChangeSettings:
    """How features are clamped, on windows that are the same for all features of a dictionary, and how many tokens are kept."""

    of_max: PositiveNumber = 1.0
    """A feature is clamped to this many times its largest activation, and to the negative of it. Unit: largest activations of the
    feature."""
    absolute: PositiveNumber | None = None
    """Where given, every feature is clamped to plus and minus this value instead, as in the paper with 10; then features that never fire
    are clamped too. Unit: units of the dictionary."""
    n_windows: PositiveCount = 32
    """Random windows that the change of the logits is a mean over. Unit: windows."""
    window_tokens: PositiveCount = 32
    """Tokens of such a window. Unit: tokens."""
    clamp_bos: bool = False
    """Whether BOS before a window is clamped too. BOS is in no mean, and models keep values on it that no other token has."""
    n_tokens: PositiveCount = 10
    """Tokens that are kept at each end. Unit: tokens."""
    batch_rows: PositiveCount = 128
    """Most windows that go through the model together. Changes speed and memory, and no result. Unit: windows."""

    @property
    def versioned_settings(self) -> dict[str, Any]:
        """What of this can change a result; how many rows go together cannot."""
        return versioned_fields(self, without={"batch_rows"})

    def strength(self, max_activation: float | None) -> float | None:
        """The value above 0 that a feature is clamped to, and below 0 as far; None for one that never fires, unless `absolute` is given."""
        if self.absolute is not None:
            return self.absolute
        return self.of_max * max_activation if max_activation else None


def clamped_windows(token_rows: np.ndarray, first_position: int, settings: TokenChangeSettings, rng: np.random.Generator) -> np.ndarray:
    """int64 [windows, first_position + window_tokens]: random windows of different places, what their rows begin with before each.

    `token_rows` [rows, context] has rows at least. Windows are cells of the rows from `first_position` on, which is 1 where rows begin with
    BOS, else 0; drawn without replacement, in the order of the sample, all of them where there are no more than `n_windows`. Where a
    context is shorter than a window, what it has is one.
    """
    first = first_position
    length = min(settings.window_tokens, token_rows.shape[1] - first)
    assert len(token_rows) and length > 0, (token_rows.shape, first)
    cells_per_row = (token_rows.shape[1] - first) // length
    n_cells = len(token_rows) * cells_per_row
    cells = np.sort(rng.choice(n_cells, size=min(settings.n_windows, n_cells), replace=False))
    rows, starts = cells // cells_per_row, first + cells % cells_per_row * length
    places = starts[:, None] + np.arange(length)
    return np.concatenate([token_rows[rows, :first], token_rows[rows[:, None], places]], axis=1).astype(np.int64)


SIGNS = ("positive", "negative")


SIDES = ("raised", "lowered")
