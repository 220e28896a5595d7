"""Features as a person asks for them: `0-99,205`, a number, or a list of numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord

MOST_DIGITS = 18


@dataclass(frozen=True)
class AskedFeatures:
    """Features that were `named` one by one, and `intervals` of features (first, last), with both ends.

    A named feature must be there. An interval stands for the features in it that are there: a dictionary may treat a subset.
    """

    named: tuple[int, ...] = ()
    intervals: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The features of a list such as 0-99,205. Raises `UserError` for any other text."""
        named, intervals = list[int](), list[tuple[int, int]]()
        for part in text.split(","):
            first, mark, last = part.strip().partition("-")
            numbers = [first, last] if mark else [first]
            if any(not (one.isascii() and one.isdecimal() and len(one) <= MOST_DIGITS) for one in numbers) or int(first) > int(numbers[-1]):
                raise UserError(
                    f"--features {_shortened(text)} is not a list of features and intervals at {_shortened(part)}; write it as 0-99,205"
                )
            if mark:
                intervals.append((int(first), int(last)))
            else:
                named.append(int(first))
        return cls(tuple(named), tuple(intervals))

    @classmethod
    def of(cls, features: "int | str | Iterable[int]") -> Self:
        """A feature, features that are named one by one, a `range` of step 1, which is an interval, or a text such as "0-99,205".

        Raises `UserError` for what is no feature, such as 4.5.
        """
        if isinstance(features, str):
            return cls.parse(features)
        if (listed := getattr(features, "tolist", None)) is not None:  # arrays, series, and tensors, whose elements are tensors
            features = listed()
        if isinstance(features, range) and features.step == 1:
            return cls((), ((features.start, features.stop - 1),) if features else ())
        return cls(tuple(map(_feature, features)) if isinstance(features, Iterable) else (_feature(features),))

    def among(self, known: np.ndarray) -> np.ndarray:
        """The features of `known` (ascending) that are asked for, ascending."""
        asked = np.isin(known, np.asarray(self.named, dtype=np.int64))
        for first, last in self.intervals:
            asked |= (known >= first) & (known <= last)
        return known[asked]

    def absent(self, known: np.ndarray) -> list[int]:
        """The named features that are not in `known`, ascending."""
        return np.setdiff1d(np.asarray(self.named, dtype=np.int64), known).tolist()

    def __str__(self) -> str:
        """As `parse` reads it."""
        return ",".join([*map(str, self.named), *(f"{first}-{last}" for first, last in self.intervals)])


def parse_features(text: str | None) -> AskedFeatures | None:
    """The features that an option asks for; None where the option is left out. Raises `UserError` for a text that is no list."""
    return None if text is None else AskedFeatures.parse(text)


def selected_among(record: DictionaryRecord, selected: np.ndarray, asked: AskedFeatures | None) -> np.ndarray:
    """uint32 [n], ascending: the features of `selected` that are asked for; all of them where `asked` is None.

    Raises `UserError` for a named feature that is not selected, and where none of the features is.
    """
    if asked is None:
        return selected
    holds = f"it selects {len(selected):,} of {record.width:,} features" + (
        f", between {selected[0]} and {selected[-1]}" if len(selected) else ""
    )
    if missing := asked.absent(selected):
        others = f" and {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise UserError(f"dictionary {record.key} does not select feature {missing[0]}{others}; {holds}")
    chosen = asked.among(selected)
    if not len(chosen):
        raise UserError(f"dictionary {record.key} selects none of these features ({_shortened(str(asked))}); {holds}")
    return chosen


def _feature(value: object) -> int:
    """A whole number from 0, also of numpy, or a float of such a value, as frames have it."""
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**MOST_DIGITS:
        raise UserError(f"{_shortened(str(value))} is no feature: features are whole numbers from 0")
    return number


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
