"""The pages that the suite checks, and what stands in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (
    README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", ROOT / "deploy" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)  # fmt: skip


def page(name: str) -> str:
    """The text of docs/<name>.md."""
    return (ROOT / "docs" / f"{name}.md").read_text()


def rows_behind(text: str, marker: str) -> list[list[str]]:
    """The cells of each row of the Markdown table behind `<!-- marker -->`, the two rows of its head left out."""
    behind = text.split(f"<!-- {marker} -->\n", 1)[1]
    rows = re.match(r"(\|.*\n)*", behind)
    assert rows is not None
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows.group().splitlines()[2:]]


def names_behind(text: str, marker: str) -> list[str]:
    """The first code span of each of these rows."""
    return [row[0].split("`")[1] for row in rows_behind(text, marker)]
