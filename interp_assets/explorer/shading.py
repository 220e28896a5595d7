"""Tokens as a page shows them: text on one line, how deep each is shaded, and the number behind the shade."""

from collections.abc import Sequence
from html import escape

from markupsafe import Markup
from markupsafe import escape as escaped

from interp_assets.domain.prompting.rendering import over_characters, visible

LEVELS = 20
"""Depths of shade, besides none: classes s1 to s20 of the stylesheet, since the policy allows no styles in a page."""


def level_of(value: float, largest: float) -> int:
    """The depth of a value's shade; 0 for no value above 0, and at least 1 above that."""
    if not value > 0 or not largest > 0:
        return 0
    return max(1, min(LEVELS, round(LEVELS * value / largest)))


def shaded(tokens: Sequence[str], values: Sequence[float], largest: float, whole: bool = False) -> Markup:
    """HTML of a run of tokens, the deepest shade at `largest`. Tokens of one character share the largest of their values; tokens without a
    shade are plain text. `whole` is for long texts: lines end where the text's lines end."""
    values = over_characters(tokens, values)
    pieces: list[str] = []
    for token, value in zip(tokens, values, strict=True):
        level = level_of(value, largest)
        text = escape(visible(token))
        if whole:
            text = text.replace("↵", "↵\n")
        if not level:
            pieces.append(text)
        elif text:
            pieces.append(f'<span class="t s{level}" data-v="{number(value)}">{text}</span>')
    return Markup("".join(pieces))


def token_text(token: str) -> str:
    """A token by itself: one of nothing but white space shows how much of it."""
    text = visible(token)
    return text if text.replace("↵", "").strip() else text.replace(" ", "␣")


def number(value: float | None, digits: int = 3) -> str:
    """A number with at most so many digits that count, whole numbers below a million in full; "–" where there is none."""
    if value is None or value != value:
        return "–"
    if value and not 1e-4 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return (f"{float(mantissa):g}e{int(exponent)}" if exponent else mantissa).replace("-", "−")
    text = f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"
    return text.replace("-", "−")


def score_text(value: float | None) -> str:
    """A score with two digits behind the point, so that a column of scores stands straight; "–" where there is none."""
    return "–" if value is None or value != value else f"{value:.2f}".replace("-", "−")


def count(value: float | None) -> str:
    """A whole number with separators; "–" where there is none."""
    return "–" if value is None or value != value else f"{int(value):,}"


def share(value: float | None) -> str:
    """A share as a percentage, small shares with enough digits; "–" where there is none."""
    if value is None or value != value:
        return "–"
    percent = 100 * value
    return f"{percent:.3g} %" if percent < 99.95 else f"{percent:.0f} %"


def code(text: str) -> Markup:
    """A sentence with what stands between backticks as code."""
    parts = [str(escaped(part)) if place % 2 == 0 else f"<code>{escaped(part)}</code>" for place, part in enumerate(text.split("`"))]
    return Markup("".join(parts))
