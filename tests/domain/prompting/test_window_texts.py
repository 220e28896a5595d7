"""An ellipsis stands where a window cuts a word, outside the marks."""

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.window_texts import marked_window, window_text

TEXTS = {1: "UC", 2: "ENT", 3: "IO"}


def example(begins: bool, ends: bool) -> Example:
    return Example("1/0/0", 1, "held_out", "activating", "quantiles", 0, 0, 0, (1, 2, 3), (1.0, 0.0, 0.0), begins, ends)


def test_an_ellipsis_says_that_a_word_is_cut() -> None:
    assert window_text(example(True, False), TEXTS) == "…UCENTIO"
    assert window_text(example(False, False), TEXTS) == "UCENTIO"
    assert marked_window(example(True, True), TEXTS, (True, False, False)) == "…<<UC>>ENTIO…"
