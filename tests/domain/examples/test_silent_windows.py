"""Silent windows by number: compared with a list of all silent runs of the sample."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_assets.domain.examples.passages import Passages, SampleText
from interp_assets.domain.examples.silent_windows import SilentWindows, TextUnits
from interp_assets.domain.examples.windows import WindowShape

CONTEXT, ROWS = 20, 4

masks = st.lists(st.booleans(), min_size=ROWS * CONTEXT, max_size=ROWS * CONTEXT).map(np.array)


def listed(fires: np.ndarray, shape: WindowShape) -> list[tuple[int, int]]:
    """(start, length) of the silent window of each number, from the definition: each window as often as ways lead to it."""
    passages = shape.passages
    units = (
        [(row * CONTEXT + shape.first_position, CONTEXT - shape.first_position) for row in range(ROWS)]
        if passages is None
        else list(zip(passages.begin.tolist(), passages.length.tolist(), strict=True))
    )
    found: list[tuple[int, int]] = []
    size = shape.window_tokens
    for begin, n in units:
        if shape.builder == "cells":
            cells = [(first, min(size, begin + n - first)) for first in range(begin, begin + n, size)]
            found += [cell for cell in cells if not fires[cell[0] : sum(cell)].any() for _ in range(cell[1])]
        elif n <= size:
            found += [(begin, n)] * n * (not fires[begin : begin + n].any())
        else:
            for start in range(begin, begin + n - size + 1):
                ways = 1 + (start == begin) * (size // 2) + (start == begin + n - size) * (size - size // 2 - 1)
                found += [(start, size)] * ways * (not fires[start : start + size].any())
    return found


@settings(deadline=None, max_examples=80)
@given(
    masks,
    st.lists(masks, min_size=1, max_size=3),
    st.integers(2, 9),
    st.sampled_from(["centred", "cells"]),
    st.booleans(),
    st.integers(0, 1),
)
def test_every_number_is_the_silent_window_that_a_list_has(
    is_text: np.ndarray, firing: list[np.ndarray], size: int, builder: str, with_passages: bool, first_position: int
) -> None:
    passages = Passages.of(is_text.reshape(ROWS, CONTEXT), [()] * ROWS)
    shape = WindowShape(builder, size, CONTEXT, first_position, SampleText(passages) if with_passages else None)  # type: ignore[arg-type]
    units = TextUnits(shape, ROWS)
    positions = [np.flatnonzero(fires)[shape.usable(np.flatnonzero(fires))] for fires in firing]
    owner = np.repeat(np.arange(len(firing)), [len(part) for part in positions])
    silent = SilentWindows.of(units, owner, np.concatenate(positions), len(firing))
    expected = [listed(fires, shape) for fires in firing]
    assert silent.totals.tolist() == [len(windows) for windows in expected]
    backwards = list(range(len(firing)))[::-1]
    numbers = [np.arange(len(expected[i])) for i in backwards]
    found = silent.at(backwards, numbers, [np.random.default_rng(i) for i in backwards])
    begun = (found.row * CONTEXT + found.start).tolist()
    assert list(zip(begun, found.length.tolist(), strict=True)) == [window for i in backwards for window in expected[i]]
