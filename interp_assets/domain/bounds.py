"""Types of settings with their ranges: a reader of settings files refuses a value outside its range, and names the field."""

from collections.abc import Collection
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

LARGEST_COUNT = 10_000_000
"""Largest count where a setting has no narrower bound: far above every sensible count, and below what a slip of the keyboard gives."""

Count = Annotated[int, Ge(0), Le(LARGEST_COUNT)]
PositiveCount = Annotated[int, Ge(1), Le(LARGEST_COUNT)]
Bounded = Annotated[int, Le(LARGEST_COUNT)]
"""A whole number of at most LARGEST_COUNT; the settings class itself checks a lower bound."""

Seed = Annotated[int, Ge(0), Lt(1 << 63)]
Share = Annotated[float, Ge(0), Le(1)]
PositiveNumber = Annotated[float, Gt(0), Lt(float("inf"))]
PositiveShare = Annotated[float, Gt(0), Le(1)]
Temperature = Annotated[float, Ge(0), Le(2)]


ADDED_LATER = "added later"
"""Marks a settings field that came after its class: `n_draws: Annotated[PositiveCount, ADDED_LATER] = 1`.

A data version leaves the field out while the field has its default. So the default must stand for how things were done without the
field."""


def later_defaults(settings_class: type) -> dict[str, Any]:
    """Defaults, by name, of the fields of a dataclass that are marked ADDED_LATER."""
    hints = get_type_hints(settings_class, include_extras=True)
    later = [one for one in fields(settings_class) if ADDED_LATER in getattr(hints[one.name], "__metadata__", ())]
    return {one.name: _default_of(one) for one in later}


def versioned_fields(settings: Any, without: Collection[str]) -> dict[str, Any]:
    """The values, by name, of the fields of a settings dataclass that belong into a data version.

    Left out are the fields named in `without`, which change no result, and fields marked ADDED_LATER that have their default. Nested
    settings classes stay instances, and so keep their marks.
    """
    later = later_defaults(settings.__class__)
    values = {one.name: getattr(settings, one.name) for one in fields(settings) if one.name not in without}
    return {name: value for name, value in values.items() if name not in later or value != later[name]}


def _default_of(one: "Field[Any]") -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default
