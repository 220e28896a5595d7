"""Content of a settings file or a record as an instance of its class; every violation in words, with the nearest key to a mistyped one."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from interp_assets.config.nearest import nearest_hint

MOST_SHOWN = 120
"""Characters of a wrong value that a message shows."""

UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")


def violations(cls: Any, content: Any) -> tuple[Any, list[str]]:
    """(the instance, no lines), or (None, a line for each violation)."""
    try:
        return _adapter(cls).validate_python(content), []
    except ValidationError as error:
        found = error.errors(include_url=False)
        return None, [_line(cls, one["loc"], one["type"], one["msg"], one.get("input")) for one in found]
    except (RecursionError, OverflowError) as error:
        return None, [f"  (top): it cannot be read ({type(error).__name__}: {error}); numbers and nesting have bounds"]


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    """One a class: making it takes longer than reading a record."""
    return TypeAdapter(cls)


def known_keys(cls: Any, place: Sequence[int | str]) -> list[str]:
    """The keys that a mapping at `place` may have, where `cls` is the class of the whole content; empty where the classes do not tell."""
    inside: list[Any] = [cls]
    for part in place:
        inside = [type_ for one in inside for type_ in _inner(one, part)]
    return sorted({name for one in inside for name in _fields(one)})


def shown(value: Any) -> str:
    """A value in at most MOST_SHOWN characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of too many digits, or nesting
        text = f"a {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


def _line(cls: Any, place: Sequence[int | str], kind: str, message: str, value: Any) -> str:
    where = ".".join(str(part) for part in place) or "(top)"
    if kind in UNKNOWN_KEY:
        known = known_keys(cls, place[:-1])
        hint = nearest_hint(place[-1], known) or (f"; there are {', '.join(known)}" if known else "")
        return f"  {where}: there is no such key{hint}"
    return f"  {where}: {message.removeprefix('Value error, ')} (got {shown(value)})"


def _inner(type_: Any, part: int | str) -> Iterator[Any]:
    """The classes at a key or index, or of the named member of a union."""
    for one in _members(type_):
        if part in _fields(one):
            yield from _members(_fields(one)[part])
        elif getattr(one, "__name__", None) == part:
            yield one  # pydantic names a union's member in the place of a violation
        elif isinstance(part, int) and get_origin(one) in (tuple, list):
            yield from (inner for argument in get_args(one) if argument is not ... for inner in _members(argument))
        elif get_origin(one) is dict:
            yield from _members(get_args(one)[1])


def _members(type_: Any) -> Iterator[Any]:
    """The types of a union, without annotations."""
    origin = get_origin(type_)
    if origin is Annotated:
        yield from _members(get_args(type_)[0])
    elif origin in (Union, UnionType):
        for one in get_args(type_):
            yield from _members(one)
    else:
        yield type_


def _fields(type_: Any) -> dict[Any, Any]:
    """Key -> type of a settings class or dataclass; empty for another type."""
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        return {field.alias or name: field.annotation for name, field in type_.model_fields.items()}
    if isinstance(type_, type) and is_dataclass(type_):
        hints = get_type_hints(type_, include_extras=True)
        return {field.name: hints[field.name] for field in fields(type_) if field.init}
    return {}
