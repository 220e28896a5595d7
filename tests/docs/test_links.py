"""Every link and anchor of the pages leads somewhere, and every path that they name is there."""

import re
from collections import Counter
from pathlib import Path

import pytest
from documentation import PAGES, README, ROOT

LINK = re.compile(r"\[(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*\]\(([^)\s]+)\)")
NAMED_PATH = re.compile(r"`((?:interp_assets|resources|tests|docs|deploy|benchmarks|sql)/[\w./-]*\w)`")


def prose(text: str) -> str:
    """The text without blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub gives them: a repeated one has -1, -2, … behind it."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(text), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(slug if not seen[slug] else f"{slug}-{seen[slug]}")
        seen[slug] += 1
    return found


def broken_links(path: Path, text: str) -> list[str]:
    """The links of a page at `path` that lead nowhere."""
    broken = []
    for target in LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if (there != path and not there.exists()) or (anchor and anchor not in anchors(text if there == path else there.read_text())):
            broken.append(target)
    return broken


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_and_named_path_resolves(path: Path) -> None:
    text = path.read_text()
    assert broken_links(path, text) == []
    assert [name for name in NAMED_PATH.findall(prose(text)) if not (ROOT / name).exists()] == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = "# A head, with `code`\n[good](README.md) [same](#a-head-with-code) [gone](docs/no.md)\n[bad](#a-head) [web](https://x.org/#y)\n"
    assert broken_links(README.parent / "page.md", text) == ["docs/no.md", "#a-head"]


def test_every_page_is_in_the_readme() -> None:
    linked = {(README.parent / target.partition("#")[0]).resolve() for target in LINK.findall(README.read_text())}
    assert [str(path.relative_to(ROOT)) for path in PAGES if path not in linked and path != README] == []


def test_the_readme_is_at_most_200_lines() -> None:
    assert len(README.read_text().splitlines()) <= 200
