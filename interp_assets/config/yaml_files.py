"""Reads users' YAML at a bounded cost: any content is read or refused quickly."""

import re
import stat
from pathlib import Path
from typing import Any

import yaml

LARGEST_BYTES = 8 << 20
LARGEST_NODES = 500_000
"""Most values in a file, with repeated counting of values that aliases repeat: later steps walk through the values several times."""

DEEPEST = 60


_NUMBER_TAGS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
_FastestLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BadYaml(ValueError):
    """A file without YAML, or with YAML that nobody meant. The message says what is wrong, but not in which file."""


_OTHER_NUMBER = re.compile(r"[-+]?0[0-9_]*[0-9][0-9_]*|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
"""Plain numbers that YAML 1.1 reads as another number than the digits say: 010 in base 8 as 8, 10:30 in base 60 as 630."""


class _Loader(_FastestLoader):
    """The safe loader, with an error for what YAML takes in another sense than a reader: a key that occurs twice in a mapping, of which
    YAML takes the last without a word, and numbers in base 8 and 60."""

    def construct_document(self, node: Any) -> Any:
        _refuse_misread(node)
        return super().construct_document(node)


def _refuse_misread(root: Any) -> None:
    """Raise `BadYaml` naming the line of a repeated key or of a number in base 8 or 60. Aliases are looked into once."""
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            if node.tag in _NUMBER_TAGS and _OTHER_NUMBER.fullmatch(node.value):
                raise BadYaml(_misread_number(node))
        elif isinstance(node, yaml.MappingNode):
            _refuse_repeated(node)
            waiting += [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _refuse_repeated(mapping: Any) -> None:
    places: dict[str, int] = {}
    for node, _ in mapping.value:
        if isinstance(node, yaml.ScalarNode):
            key, line = node.value, node.start_mark.line + 1
            if key in places:
                raise BadYaml(f"the key {key[:60]!r} stands twice, in lines {places[key]} and {line}: leave one of them out")
            places[key] = line


def _misread_number(node: Any) -> str:
    digits, line = node.value[:60], node.start_mark.line + 1
    if ":" in digits:
        return f"{digits} in line {line} is a number in base 60 for YAML: write the number in full, or put it in quotes if it is text"
    plain = digits.replace("_", "").lstrip("+-0") or "0"
    return (
        f"{digits} in line {line} begins with 0, and YAML reads it in base 8: write {'-' * digits.startswith('-')}{plain}, or put it in "
        "quotes if it is text"
    )


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
