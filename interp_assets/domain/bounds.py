"""Ranges of settings, in their types: what reads settings from a file refuses values outside them, naming the field."""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Count = Annotated[int, Ge(0)]
PositiveCount = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Le(1)]
PositiveNumber = Annotated[float, Gt(0), Lt(float("inf"))]
PositiveShare = Annotated[float, Gt(0), Le(1)]
Temperature = Annotated[float, Ge(0), Le(2)]
