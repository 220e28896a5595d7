"""Ranges of settings, in their types: whoever reads settings from a file refuses values outside a range, naming the field."""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Count = Annotated[int, Ge(0)]
PositiveCount = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Le(1)]
PositiveNumber = Annotated[float, Gt(0), Lt(float("inf"))]
PositiveShare = Annotated[float, Gt(0), Le(1)]
Temperature = Annotated[float, Ge(0), Le(2)]


ADDED_LATER = "added later"
"""Marks a settings field that came after its class: `n_draws: Annotated[PositiveCount, ADDED_LATER] = 1`.

A data version leaves the field out while it has its default, so the default must be how things were done without the field."""
