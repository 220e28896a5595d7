"""Keys of dictionaries and of their feature ranges, and the features that a range covers."""

import re
from dataclasses import dataclass
from urllib.parse import quote

N_FEATURE_RANGES = 16
"""Ranges of every dictionary. The number is a constant, since Dagster's grid is rectangular and widths differ."""


FEATURE_RANGE_KEYS = tuple(f"{index:02d}of{N_FEATURE_RANGES:02d}" for index in range(N_FEATURE_RANGES))


MOST_KEY_BYTES = 255 - len("dictionary=")
"""Most bytes of a key in the name of a folder of the lake, where every sign but letters, digits and _ . - ~ takes three."""

_DICTIONARY_KEY = re.compile(r"[A-Za-z0-9_:@.-]+/[A-Za-z0-9_:@-]+/[A-Za-z0-9_:@-]+")


def check_dictionary_key(key: str) -> str:
    """Return `key` when it reads `<model>/<layer>/<name>`; raise ValueError with an example otherwise.

    Dagster does not validate dynamic partition keys, and `|` would break the two-dimensional ones.
    """
    if not _DICTIONARY_KEY.fullmatch(key):
        raise ValueError(
            f"dictionary key {key!r} is not of the form <model>/<layer>/<name> in letters, digits and _ : @ . -; "
            "a legal one is smollm2-135m/09/res-2k"
        )
    if len(quote(key, safe="")) > MOST_KEY_BYTES:
        raise ValueError(
            f"dictionary key {key[:60]!r}… has {len(key):,} characters: as a folder's name it would be longer than a disk takes"
        )
    return key


@dataclass(frozen=True, order=True)
class RangeKey:
    """A dictionary and one of its feature ranges: the key of a partition."""

    dictionary: str
    feature_range: str

    @classmethod
    def of(cls, partition_key: str) -> "RangeKey":
        """The partition named by a Dagster key such as `smollm2-135m/09/res-2k|03of16`."""
        dictionary, _, feature_range = str(partition_key).partition("|")
        if feature_range not in FEATURE_RANGE_KEYS:
            raise ValueError(
                f"partition {partition_key!r} has no feature range; expected <dictionary>|<range> with a range "
                f"from {FEATURE_RANGE_KEYS[0]} to {FEATURE_RANGE_KEYS[-1]}"
            )
        return cls(dictionary, feature_range)

    @property
    def index(self) -> int:
        """Number of the range, 0 to N_FEATURE_RANGES - 1."""
        return FEATURE_RANGE_KEYS.index(self.feature_range)

    def __str__(self) -> str:
        return f"{self.dictionary}|{self.feature_range}"


def range_bounds(range_index: int, n_selected: int) -> tuple[int, int]:
    """Bounds in the selected features of a range: the first, and one past the last: [i*W//N, (i+1)*W//N). Empty for some ranges where W <
    N."""
    return range_index * n_selected // N_FEATURE_RANGES, (range_index + 1) * n_selected // N_FEATURE_RANGES


def lake_partition(key: RangeKey) -> dict[str, str]:
    """Partition columns of a range in the lake."""
    return {"dictionary": key.dictionary, "feature_range": key.feature_range}


def range_holding(place: int, n_selected: int) -> int:
    """Number of the range that covers entry `place` of the selected features: the inverse of `range_bounds`."""
    assert 0 <= place < n_selected, (place, n_selected)
    return ((place + 1) * N_FEATURE_RANGES - 1) // n_selected
