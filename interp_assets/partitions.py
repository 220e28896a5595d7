"""The two axes of the graph: which dictionary, and which share of its features."""

import re
from dataclasses import dataclass

import dagster as dg

N_FEATURE_RANGES = 16
"""Ranges that every dictionary is cut into. A constant, since the grid is rectangular while widths differ."""

DICTIONARIES = dg.DynamicPartitionsDefinition(name="dictionary")
FEATURE_RANGE_KEYS = tuple(f"{index:02d}of{N_FEATURE_RANGES:02d}" for index in range(N_FEATURE_RANGES))
FEATURE_RANGES = dg.StaticPartitionsDefinition(list(FEATURE_RANGE_KEYS))
DICTIONARY_BY_RANGE = dg.MultiPartitionsDefinition({"dictionary": DICTIONARIES, "feature_range": FEATURE_RANGES})

SUBJECT_POOL = "gpu_subject"
EXPLAINER_POOL = "gpu_explainer"
POOLS = (SUBJECT_POOL, EXPLAINER_POOL)
"""Dagster pools that keep two models from sharing a card; one run at a time each, see dagster.yaml."""

ON_A_CARD = {"dagster-ray/config": {"num_gpus": 1}}
"""Tags of a step that runs the subject model: where steps are Ray jobs, one card is its own. Nothing else reads them."""

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
    return key


@dataclass(frozen=True, order=True)
class RangeKey:
    """One cell of the grid: a dictionary and one of its feature ranges."""

    dictionary: str
    feature_range: str

    @classmethod
    def of(cls, partition_key: str) -> "RangeKey":
        """The cell named by a Dagster key such as `smollm2-135m/09/res-2k|03of16`."""
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
    """First and one-past-last entry of the selected features in a range: [i*W//N, (i+1)*W//N). Empty where W < N leaves none."""
    return range_index * n_selected // N_FEATURE_RANGES, (range_index + 1) * n_selected // N_FEATURE_RANGES
