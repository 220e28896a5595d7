"""Windows as judges and explainers see them: plain or with marks, with an ellipsis where a window begins or ends inside a word."""

from collections.abc import Sequence

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.rendering import ELLIPSIS, TokenTexts, mark_tokens, plain_text, token_strings


def window_text(example: Example, token_texts: TokenTexts) -> str:
    """The window's text, without outer whitespace."""
    return _with_ellipses(example, plain_text(token_strings(example.token_ids, token_texts)))


def marked_window(example: Example, token_texts: TokenTexts, marked: Sequence[bool]) -> str:
    """The window's text with marked tokens between << and >>: see `mark_tokens`."""
    return _with_ellipses(example, mark_tokens(token_strings(example.token_ids, token_texts), marked))


def _with_ellipses(example: Example, text: str) -> str:
    return f"{ELLIPSIS * example.begins_in_word}{text}{ELLIPSIS * example.ends_in_word}"
