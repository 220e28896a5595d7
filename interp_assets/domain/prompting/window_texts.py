"""Windows as judges and explainers see them: plain or with marks, with an ellipsis where a window begins or ends inside a word.

A window keeps its line breaks. Where its line would pass for a line of the prompt, such as `Text 2: …`, the break before it is written ↵.
Control tokens in a window's text are broken up where a chat is made of a prompt, by each back end.
"""

import re
from collections.abc import Sequence

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.rendering import ELLIPSIS, TokenTexts, mark_tokens, plain_text, token_strings

_LABEL = re.compile(r"[\r\n]+(?=[ \t]{0,8}(?:(?:Text|Set|Description) ?\d{0,4}|Passage|Strengths|Next token):)")
"""The line breaks before a label of prompts."""


def window_text(example: Example, token_texts: TokenTexts) -> str:
    """The window's text, without outer whitespace."""
    return _with_ellipses(example, plain_text(token_strings(example.token_ids, token_texts)))


def marked_window(example: Example, token_texts: TokenTexts, marked: Sequence[bool]) -> str:
    """The window's text with marked tokens between << and >>: see `mark_tokens`."""
    return _with_ellipses(example, mark_tokens(token_strings(example.token_ids, token_texts), marked))


def _with_ellipses(example: Example, text: str) -> str:
    return f"{ELLIPSIS * example.begins_in_word}{_LABEL.sub('↵', text)}{ELLIPSIS * example.ends_in_word}"
