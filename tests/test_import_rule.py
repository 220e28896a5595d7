"""The import rule: a folder imports from the folders below it, assets meet only in the lake, and only `reading/` reads their tables."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = (
    ("cli",),
    ("explorer", "notebook"),
    ("demo",),
    ("single_features",),
    ("backfill", "definitions"),
    ("graph",),
    ("installation",),
    ("assets",),
    ("ratings", "exchange", "plotting"),
    ("measuring",),
    ("reading", "asking"),
    ("orchestration",),
    ("reporting", "alerting"),
    ("config",),
    ("tables",),
    ("domain",),
    ("resources",),
)
"""From the top down; folders of one line do not import one another."""

FORBIDDEN = {"domain": {"resources"}}
"""What a folder may not import although it stands below."""


def place_of(module: str) -> str:
    """The folder of the import rule that a module is in: `cli`, `assets/scores`, `resources` …"""
    parts = module.split(".")
    if parts[0] == "resources":
        return "resources"
    if len(parts) > 2 and parts[1] == "assets":
        return f"assets/{parts[2]}"
    return parts[1] if len(parts) > 1 else ""


def modules() -> dict[str, Path]:
    """Every module of the two packages by its dotted name."""
    files = [file for package in ("interp_assets", "resources") for file in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imported(file: Path) -> Iterator[str]:
    """Our own modules, or names in them, that a file imports anywhere, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def refusal(importer: str, target: str) -> str | None:
    """Why the folder `importer` may not import the folder `target`; None where it may."""
    if importer == target or not importer:
        return None
    mine, theirs = importer.split("/")[0], target.split("/")[0]
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    if mine not in level or theirs not in level:
        return f"{mine if mine not in level else theirs} has no place in the import rule"
    if mine == theirs == "assets":
        return "an asset reads another asset's tables through reading/, and imports nothing of the other asset"
    if theirs in FORBIDDEN.get(mine, ()):
        return f"{mine}/ is pure"
    return None if level[mine] < level[theirs] else f"{theirs}/ stands above {mine}/ or beside it"


def broken(known: dict[str, Path]) -> list[str]:
    """Every import that the rule refuses, with the reason."""
    found: list[str] = []
    for module, file in known.items():
        for name in imported(file):
            target = name if name in known else name.rpartition(".")[0]
            if target.split(".")[0] in ("interp_assets", "resources") and (why := refusal(place_of(module), place_of(target))):
                found.append(f"{module} imports {name}: {why}")
    return found


def test_every_import_goes_down() -> None:
    assert broken(modules()) == []


def test_the_rule_refuses_an_import_that_goes_up_or_across() -> None:
    assert refusal("domain", "config") and refusal("resources", "domain") and refusal("domain", "resources")
    assert refusal("assets/scores", "assets/examples") and refusal("reading", "asking") and refusal("graph", "cli")
    assert refusal("cli", "domain") is None and refusal("assets/scores", "reading") is None and refusal("demo", "backfill") is None
    assert "no place" in (refusal("utils", "domain") or "")


def test_every_asset_has_a_folder_with_its_asset() -> None:
    folders = [folder for folder in (ROOT / "interp_assets" / "assets").iterdir() if folder.is_dir() and folder.name != "__pycache__"]
    assert folders and all((folder / "asset.py").exists() for folder in folders)
