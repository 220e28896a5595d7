"""Looks up the text of a record: fields by name, nested fields, and the message for a field that does not exist."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from resources.corpus.interface import CorpusError


def value_at(record: Mapping[str, Any], name: str, where: str) -> Any:
    """The value of the field `name`; where there is no such field and `name` has dots, the value of the nested field. None inside a null.

    Raises `CorpusError` with the nearest names.
    """
    if name in record:
        return record[name]
    value: Any = record
    for depth, part in enumerate(parts := name.split(".")):
        if value is None:
            return None
        if not isinstance(value, Mapping) or part not in value:
            names = list(value) if isinstance(value, Mapping) else []
            raise CorpusError(missing_field(where, name, [".".join([*parts[:depth], n]) for n in names] or list(record)))
        value = value[part]
    return value


def missing_field(where: str, name: str, names: Sequence[str]) -> str:
    """The message for a missing field: the names of the existing fields, with the most similar names first."""
    near = get_close_matches(name, names, n=2, cutoff=0.7)
    meant = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return f"{where} has no {name!r}; it has {', '.join(sorted(map(repr, names))) or 'no fields'}.{meant} Name one of them after '#'."
