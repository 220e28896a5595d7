"""The tables of docs/dictionaries.md that say which formats load: made from files of every format. To write them anew:

PYTHONPATH=.:tests/resources:tests/resources/dictionaries python tests/resources/dictionaries/coverage_table.py

Files of the trained demo SAE are written in every layout that can hold it, loaded, and run on the model's own activations: L0 and
variance explained. Where sae-lens has the class, it writes the files, and its own `encode` is the reference. Answers of sparsify,
dictionary_learning and circuit-tracer are kept (fixtures/make_references.py), as their packages are not among ours.
"""

import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from release_files import LAYOUTS, WITHOUT_RELEASE, loader_of
from trained_files import CASES, Case, Trained, trained

from resources.dictionaries import load_dictionary, read_hooks, self_check, side_by_side, written_hooks
from resources.dictionaries.temporal import AtTokens

PAGE = Path(__file__).parents[3] / "docs" / "dictionaries.md"
LEAST = 1e-7
"""Differences below this are rounding of float32."""


@dataclass(frozen=True)
class Covered:
    """A format as it was found: `error` is the largest difference from the reference, as a share of the largest activation."""

    case: Case
    error: float
    l0: float
    fvu: float | None

    @property
    def tolerance(self) -> str:
        """The smallest of 1e-7, 1e-6, … that `error` is within."""
        power = next(power for power in range(-7, 2) if self.error <= 10**power)
        return f"1e{power}"


def covered(case: Case, source: Trained, folder: Path) -> Covered:
    """The case's files written, loaded, compared and checked."""
    made = case.make(folder, source)
    dictionary = load_dictionary(case.kind, **made.record)
    values = source.values
    x, y = (side_by_side(hooks, values) for hooks in (read_hooks(dictionary), written_hooks(dictionary)))
    checked: Any = AtTokens(dictionary, x[None], torch.ones(1, len(x), dtype=torch.bool)) if made.whole_contexts else dictionary
    found = self_check(checked, x, y, values)
    compared = made.compared if made.compared is not None else (dictionary, x, made.answer(x))
    ours, given, expected = compared
    encoded = ours.encode(given)
    dense = torch.zeros_like(expected).index_put_((encoded.token, encoded.feature), encoded.value)
    return Covered(case, float((dense - expected).abs().max() / expected.abs().max()), found.l0, found.fvu)


def all_covered(source: Trained) -> list[Covered]:
    """Every case."""
    with tempfile.TemporaryDirectory() as root, torch.no_grad():
        return [covered(case, source, Path(root) / str(number)) for number, case in enumerate(CASES)]


def coverage_rows(found: list[Covered]) -> str:
    """The table of formats."""
    lines = ["| kind | format | reference | equal to | L0 | variance explained |", "|---|---|---|---|---|---|"]
    for one in found:
        explained = "—" if one.fvu is None else f"{1 - one.fvu:.2f}"
        lines.append(f"| `{one.case.kind}` | {one.case.what} | {one.case.reference} | {one.tolerance} | {one.l0:.0f} | {explained} |")
    return "\n".join(lines)


def loader_rows() -> str:
    """The table of SAELens's release loaders."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    used = Counter(loader_of(release) for release in get_pretrained_saes_directory())
    lines = ["| loader | releases | what | loads |", "|---|---|---|---|"]
    for layout in LAYOUTS:
        lines.append(
            f"| `{layout.loader}` | {used[layout.loader]} | {layout.what} | {f'yes; {layout.remark}' if layout.remark else 'yes'} |"
        )
    lines += [f"| `{name}` | 0 | — | {remark} |" for name, remark in WITHOUT_RELEASE.items()]
    return "\n".join(lines)


def with_table(page: str, name: str, rows: str) -> str:
    """The page with another table behind the mark <!-- name -->."""
    mark = f"<!-- {name} -->\n"
    assert mark in page, f"{PAGE} has no mark {mark!r}"
    before, after = page.split(mark)
    rest = after[re.match(r"(?:\|[^\n]*\n)*", after).end() :]  # type: ignore[union-attr]
    return f"{before}{mark}{rows}\n{rest}"


def table_of(page: str, name: str) -> list[list[str]]:
    """The cells of the table behind a mark, without its head."""
    found = re.search(rf"<!-- {name} -->\n((?:\|[^\n]*\n)+)", page)
    assert found is not None, name
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()[2:]]


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    text = with_table(text, "loaders", loader_rows())
    text = with_table(text, "coverage", coverage_rows(all_covered(trained())))
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
