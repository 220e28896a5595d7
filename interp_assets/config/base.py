"""Closed settings classes, their validation with clear errors, and the fingerprint of their values."""

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from interp_assets.config.validation import violations
from interp_assets.domain.bounds import ADDED_LATER, later_defaults

NAMED_ERRORS = 20
"""Most errors of a file that a message names; further errors are counted."""


class Closed(BaseModel):
    """A settings class: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class UserError(ValueError):
    """A mistake of the user. The message names the thing, its value, what was allowed and the next step."""


def validated(cls: type, content: Any, where: str) -> Any:
    """`content` as an instance of `cls`; every violation becomes one line of a `UserError`."""
    found, lines = violations(cls, content)
    if not lines:
        lines = [f"  {place}: {value} is no number (write 1 or 0, or leave it out)" for place, value in _truths_as_numbers(content, found)]
    if lines:
        more = [f"  and {len(lines) - NAMED_ERRORS:,} more"] if len(lines) > NAMED_ERRORS else []
        raise UserError(f"{where} is not valid:\n" + "\n".join(lines[:NAMED_ERRORS] + more))
    return found


def _truths_as_numbers(content: Any, result: Any, place: str = "") -> Iterator[tuple[str, bool]]:
    """(place, value) of each true or false in `content` that became a number in `result`, the instance made of `content`."""
    if isinstance(content, bool) and isinstance(result, int | float) and not isinstance(result, bool):
        yield place or "(top)", content
    elif isinstance(content, dict):
        names = {f.alias or name: name for name, f in type(result).model_fields.items()} if isinstance(result, BaseModel) else {}
        for key, value in content.items():
            made = result.get(key) if isinstance(result, dict) else getattr(result, names.get(key, str(key)), None)
            yield from _truths_as_numbers(value, made, f"{place}.{key}" if place else str(key))
    elif isinstance(content, list | tuple) and isinstance(result, list | tuple) and len(content) == len(result):
        for number, (value, made) in enumerate(zip(content, result, strict=True)):
            yield from _truths_as_numbers(value, made, f"{place}.{number}")


def merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """`base` with `overrides` laid over it, nested mappings merged key by key."""
    result = dict(base)
    for key, value in overrides.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def fingerprint(*parts: Any) -> str:
    """16 hex digits that change when any of `parts` (settings, strings, numbers, lists) changes.

    A settings field marked ADDED_LATER is left out while it has its default, so that a new field makes nothing stale.
    """
    content = json.dumps([_versioned_content(part) for part in parts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _versioned_content(part: Any) -> Any:
    """`part` as JSON values, without fields that are marked ADDED_LATER and have their default."""
    return _without_neutral_fields(part, _adapter(type(part)).dump_python(part, mode="json"))


@functools.lru_cache(maxsize=128)
def _adapter(kind: type) -> TypeAdapter[Any]:
    """The adapter of a type. Making one takes a hundred times as long as using it."""
    return TypeAdapter(kind)


def _without_neutral_fields(value: Any, dumped: Any) -> Any:
    """`dumped`, the JSON values of `value`, without the neutral fields of the settings classes in it."""
    if isinstance(value, BaseModel):
        defaults = {
            name: f.get_default(call_default_factory=True) for name, f in type(value).model_fields.items() if ADDED_LATER in f.metadata
        }
    elif is_dataclass(value):
        defaults = later_defaults(type(value))
    elif isinstance(value, dict) and isinstance(dumped, dict):
        return {key: _without_neutral_fields(one, content) for (key, content), one in zip(dumped.items(), value.values(), strict=True)}
    elif isinstance(value, list | tuple) and isinstance(dumped, list):
        return [_without_neutral_fields(one, content) for one, content in zip(value, dumped, strict=True)]
    else:
        return dumped
    named = {name: getattr(value, name) for name in dumped}
    neutral = {name for name, default in defaults.items() if named.get(name, default) == default}
    return {name: _without_neutral_fields(named[name], content) for name, content in dumped.items() if name not in neutral}
