"""The files that a callable is made of: its own file, the modules beside it that it imports, and the files of weights that it names.

/data/probes.py     import directions                        -> /data/directions.py
                    np.load("/data/verbs.npy")               -> /data/verbs.npy
my_lab/probes.py    from my_lab.shared.norms import scaled   -> my_lab/__init__.py, my_lab/shared/__init__.py, my_lab/shared/norms.py

The code is read, not run. Modules of other folders are left out, and so is a file whose name the code puts together.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

DATA_ENDINGS = (".json", ".yaml", ".yml", ".safetensors", ".pt", ".pth", ".bin", ".npz", ".npy", ".h5")
MOST_FILES = 500
LONGEST_PATH = 1_000


def callable_files(file: Path) -> list[Path]:
    """The files, the callable's own first; of modules beyond MOST_FILES no further imports are followed."""
    top = _package_root(file)
    found: dict[Path, None] = {file: None}
    waiting = [file]
    while waiting and len(found) < MOST_FILES:
        at = waiting.pop(0)
        tree = _parsed(at)
        if tree is None:
            continue
        for node in ast.walk(tree):
            for module in _imported(node, at, top):
                if module not in found:
                    found[module] = None
                    waiting.append(module)
            named = _named_file(node, at)
            if named is not None:
                found.setdefault(named)
    return list(found)


def _package_root(file: Path) -> Path:
    """The folder from which the module's whole name is imported."""
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


def _parsed(file: Path) -> ast.AST | None:
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # whoever imports it says what is wrong
        return None


def _imported(node: ast.AST, at: Path, top: Path) -> Iterator[Path]:
    """Files of modules that an import names, below the module's own folder or the folder of its package."""
    if isinstance(node, ast.Import):
        names, roots = [alias.name for alias in node.names], [at.parent, top]
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        names = [*([module] if module else []), *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)]
        roots = [at.parents[node.level - 1]] if 0 < node.level <= len(at.parents) else [at.parent, top]
    else:
        return
    for name in names:
        parts = name.split(".")
        for root in dict.fromkeys(roots):
            for depth in range(1, len(parts) + 1):
                place = root.joinpath(*parts[:depth])
                yield from (one for one in (place / "__init__.py", place.with_name(f"{place.name}.py")) if one.is_file())


def _named_file(node: ast.AST, at: Path) -> Path | None:
    """The file of weights that a text in the code names, by its whole path or from the module's folder."""
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(DATA_ENDINGS)):
        return None
    if len(node.value) > LONGEST_PATH or "\0" in node.value:
        return None
    place = at.parent / Path(node.value).expanduser()
    return place if place.is_file() else None
