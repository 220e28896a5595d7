"""Every text of the pages has the contrast of WCAG 2.2 AA, 4.5 to 1, in both themes; edges of fields and marks of charts have 3 to 1."""

import re

import pytest

from interp_assets.explorer.requests import HERE
from interp_assets.explorer.shading import LEVELS

CSS = (HERE / "static" / "style.css").read_text()
RULES = {
    "light": r":root \{(.*?)\}",
    "dark": r':root\[data-theme="dark"\] \{(.*?)\}',
    "print": r"@media print \{\s*:root:root:root \{(.*?)\}",
}
TEXTS = ("ink", "muted", "accent", "good", "bad")


def colours(theme: str) -> dict[str, str]:
    """The variables of a theme; what it leaves out is as in light."""
    found: dict[str, str] = {}
    for one in dict.fromkeys(("light", theme)):
        rule = re.search(RULES[one], CSS, re.DOTALL)
        assert rule is not None, one
        found |= dict(re.findall(r"--([a-z]+): ([^;]+);", rule[1]))
    found["shaded"] = found["ink"] if found["shaded"] == "var(--ink)" else found["shaded"]
    return found


def channels(colour: str) -> list[float]:
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    return [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]


def contrast(one: list[float], other: list[float]) -> float:
    """The contrast ratio of WCAG 2.2 of two colours, channels from 0 to 1."""

    def luminance(colour: list[float]) -> float:
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_the_guideline_does() -> None:
    assert contrast([0, 0, 0], [1, 1, 1]) == pytest.approx(21)
    assert contrast(channels("#777"), channels("#ffffff")) == pytest.approx(
        4.48, abs=0.01
    )  # the guideline's own example of just too little


@pytest.mark.parametrize("theme", RULES)
def test_texts_can_be_read(theme: str) -> None:
    found = colours(theme)
    grounds = ("paper", "raised") if theme == "print" else ("paper", "raised", "mark")
    faint = {(text, ground): contrast(channels(found[text]), channels(found[ground])) for text in TEXTS for ground in grounds}
    assert {pair: ratio for pair, ratio in faint.items() if ratio < 4.5} == {}
    assert (
        contrast(channels(found["edge"]), channels(found["paper"])) >= 3
        and contrast(channels(found["heat"]), channels(found["paper"])) >= 3
    )
    assert "color: var(--faint)" not in CSS.replace("border-color", ""), "no text is written in the colour of lines"


@pytest.mark.parametrize("theme", RULES)
def test_a_shaded_token_can_be_read_at_every_depth(theme: str) -> None:
    found = colours(theme)
    heat, paper, depth = channels(found["heat"]), channels(found["paper"]), float(found["depth"])
    shares = dict(re.findall(r"\.s(\d+) \{ --a: (\d+)%; \}", CSS))
    assert len(shares) == LEVELS
    ratios = []
    for share in shares.values():
        part = depth * int(share) / 100
        ground = [part * hot + (1 - part) * cold for hot, cold in zip(heat, paper, strict=True)]
        ratios.append(contrast(channels(found["shaded"]), ground))
    assert min(ratios) >= 4.5 and ratios == sorted(ratios, reverse=True)


def test_print_leaves_the_head_of_the_page_out_and_not_the_bars_of_charts() -> None:
    hidden = re.search(r"@media print.*?\n  ([^{}\n]+) \{ display: none; \}", CSS, re.DOTALL)
    assert hidden is not None and "header.bar" in hidden[1].split(", ") and ".bar" not in hidden[1].split(", ")
