"""What a person writes where a view's name or SQL is asked for: `scores`, ` Scores;` or `SELECT …`."""

import re
from collections.abc import Collection


def view_named(text: str, views: Collection[str]) -> str | None:
    """The one of `views` that a text names, in any case and with blanks or a semicolon around it; None for any other text."""
    name = text.strip().removesuffix(";").strip().lower()
    return name if name in views else None


def is_one_word(text: str) -> bool:
    """Whether a text can be a name alone and no SQL: nothing in it parts two words, as a blank, a tab, a line's end or a bracket does."""
    return re.search(r"[\s(;]", text.strip()) is None
