"""Reads users' YAML at a bounded cost: any content is read or refused quickly."""

import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

LARGEST_BYTES = 8 << 20
LARGEST_NODES = 500_000
"""Most values in a file, with repeated counting of values that aliases repeat: later steps walk through the values several times."""

DEEPEST = 60


_FastestLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BadYaml(ValueError):
    """A file without YAML, or with YAML that nobody meant. The message says what is wrong, but not in which file."""


class _Loader(_FastestLoader):
    """The safe loader, with an error for a key that occurs twice in a mapping: YAML itself takes the last key without a word."""

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
    """The text of a file. Raises `BadYaml` for a file that is not regular, too large, or no text, and OSError as `open` does."""
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
    """The value of a YAML text; None for an empty text. Raises `BadYaml` naming the problem, for any content that is no YAML."""
    try:
        _refuse_deep(text)
        content = yaml.load(text, Loader=_Loader)
        _refuse_bomb(content)
    except BadYaml:
        raise
    except yaml.YAMLError as error:
        raise BadYaml(f"it is not YAML: {error}") from None
    except Exception as error:  # a date or number for YAML but not for Python: 2024-13-45, 5,000 digits
        raise BadYaml(f"it holds a value that is none: {str(error)[:200]}. Put it in quotes if it is text") from None
    return content


def _refuse_deep(text: str) -> None:
    """Raise `BadYaml` for deep nesting: the loader is C code that calls itself, and would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise BadYaml(f"it is nested deeper than {DEEPEST} levels")


def _refuse_bomb(content: Any) -> None:
    """Raise `BadYaml` where there are too many values or too deep nesting; aliases are followed."""
    if _n_values(content, {}, 0) > LARGEST_NODES:
        raise BadYaml(f"it holds more than {LARGEST_NODES:,} values, those that aliases repeat among them")


def _n_values(value: Any, counted: dict[int, int], depth: int) -> int:
    """Number of values in a value, counting itself. `counted` has the counts of the containers seen so far, 0 for a container that holds
    itself."""
    if depth > DEEPEST:
        raise BadYaml(f"it is nested deeper than {DEEPEST} levels, aliases followed")
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) in counted:
        if not counted[id(value)]:
            raise BadYaml("an alias in it stands for a value that contains the alias")
        return counted[id(value)]
    counted[id(value)] = 0
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    counted[id(value)] = 1 + sum(_n_values(one, counted, depth + 1) for one in inner)
    return counted[id(value)]
