"""YAML as users write it, read at a bounded cost: whatever is in a file, it is read or refused in a moment."""

import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

LARGEST_BYTES = 8 << 20
LARGEST_NODES = 500_000
"""Values in a file, those that aliases repeat counted each time: what is made of them is walked through several times."""

DEEPEST = 60


_FastestLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BadYaml(ValueError):
    """A file that holds no YAML, or YAML that nobody meant; the message says what is wrong, and not in which file."""


class _Loader(_FastestLoader):
    """The safe loader, for which a key that stands twice in a mapping is an error: YAML takes the last and says nothing."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        places: dict[Hashable, int] = {}
        for key_node, _ in getattr(node, "value", ()):
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge":
                key, line = key_node.value, key_node.start_mark.line + 1
                if key in places:
                    raise BadYaml(f"the key {key[:60]!r} stands twice, in lines {places[key]} and {line}: leave one of them out")
                places[key] = line
        return super().construct_mapping(node, deep=deep)


def read_text_file(path: Path) -> str:
    """The text of a file. Raises `BadYaml` for what is no regular file, too large, or no text, and OSError as `open` does."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BadYaml("it is no regular file")
    if status.st_size > LARGEST_BYTES:
        raise BadYaml(f"it has {status.st_size:,} bytes; allowed are {LARGEST_BYTES:,}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadYaml(f"it is not a text file in UTF-8: {error}") from None


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; None for an empty one. Raises `BadYaml` with what is wrong, whatever is in it."""
    try:
        _refuse_deep(text)
        content = yaml.load(text, Loader=_Loader)
        _refuse_bomb(content)
    except BadYaml:
        raise
    except yaml.YAMLError as error:
        raise BadYaml(f"it is not YAML: {error}") from None
    except Exception as error:  # what YAML takes for a date or number and Python does not: 2024-13-45, 5,000 digits
        raise BadYaml(f"it holds a value that is none: {str(error)[:200]}. Put it in quotes if it is text") from None
    return content


def _refuse_deep(text: str) -> None:
    """Raise `BadYaml` for nesting that the loader, which is C and calls itself, would end the process on."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise BadYaml(f"it is nested deeper than {DEEPEST} levels")


def _refuse_bomb(content: Any) -> None:
    """Raise `BadYaml` where the values are too many or too deep, aliases followed."""
    if _n_values(content, {}, 0) > LARGEST_NODES:
        raise BadYaml(f"it holds more than {LARGEST_NODES:,} values, those that aliases repeat among them")


def _n_values(value: Any, counted: dict[int, int], depth: int) -> int:
    """Number of values in a value, itself among them. `counted` holds those of the containers seen so far; 0 for one that holds itself."""
    if depth > DEEPEST:
        raise BadYaml(f"it is nested deeper than {DEEPEST} levels, aliases followed")
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) in counted:
        if not counted[id(value)]:
            raise BadYaml("an alias in it stands for what it is part of")
        return counted[id(value)]
    counted[id(value)] = 0
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    counted[id(value)] = 1 + sum(_n_values(one, counted, depth + 1) for one in inner)
    return counted[id(value)]
