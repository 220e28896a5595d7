"""Token changes, the pure part: the windows on which features are clamped, and the values to which they are clamped (arXiv 2501.08319).

The paper clamps a feature to 10 and to -10 on 32 windows of 32 tokens each. Features of different dictionaries have different units: 10 is
far too much for one feature and next to nothing for another. So the values here are the feature's own largest activation, and its negative,
times a factor.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from interp_assets.domain.bounds import PositiveCount, PositiveNumber, versioned_fields


@dataclass(frozen=True)
class TokenChangeSettings:
    """How features are clamped, and how many tokens are kept. All features of a dictionary are clamped on the same windows."""

    of_max: PositiveNumber = 1.0
    """A feature is clamped to this many times its largest activation, and to the negative of that value. Unit: largest activations of the
    feature."""
    absolute: PositiveNumber | None = None
    """Where given, every feature is clamped to plus and minus this value instead, dead features too; the paper takes 10. Unit: units of the
    dictionary."""
    n_windows: PositiveCount = 32
    """Random windows over which the change of the logits is averaged. Unit: windows."""
    window_tokens: PositiveCount = 32
    """Tokens of such a random window. Unit: tokens."""
    clamp_bos: bool = False
    """Whether BOS before a window is clamped too. BOS counts in no mean, and models keep values on BOS that no other token has."""
    n_tokens: PositiveCount = 10
    """Tokens kept of each kind: the tokens whose logits rise most, and the tokens whose logits fall most. Unit: tokens."""
    batch_rows: PositiveCount = 128
    """Most windows that go through the model together. Changes speed and memory, and no result. Unit: windows."""

    @property
    def versioned_settings(self) -> dict[str, Any]:
        """The settings that can change a result: all but `batch_rows`."""
        return versioned_fields(self, without={"batch_rows"})

    def strength(self, max_activation: float | None) -> float | None:
        """The strength > 0 of a feature: it is clamped to plus and minus this value. None for a dead feature, unless `absolute` is
        given."""
        if self.absolute is not None:
            return self.absolute
        return self.of_max * max_activation if max_activation else None


def clamped_windows(token_rows: np.ndarray, first_position: int, settings: TokenChangeSettings, rng: np.random.Generator) -> np.ndarray:
    """int64 [windows, first_position + window_tokens]: random windows, each after the first `first_position` tokens of its row.

    `token_rows` [rows, context] has at least one row. Windows are cells of the rows from `first_position` on. `first_position` is 1 where
    rows begin with BOS, else 0. Cells are drawn without replacement and come in the order of the sample; all cells are taken where there
    are at most `n_windows`. Where a context is shorter than a window, the whole context is a window.
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
