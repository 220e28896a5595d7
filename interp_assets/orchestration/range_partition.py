"""One feature range of one dictionary as a stage makes it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from interp_assets.config.directions import directions_of
from interp_assets.config.keys import RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings


@dataclass(frozen=True)
class RangePartition:
    """One partition to be made: its record and settings, and the data version that its content will have."""

    key: RangeKey
    record: DictionaryRecord
    settings: StageSettings
    data_version: str
    inputs: Mapping[str, str]

    @property
    def narrowed(self) -> bool:
        """Whether the partition is made for some features of its range alone."""
        return directions_of(self.record).narrowed

    @property
    def only(self) -> list[int] | None:
        """The features that the partition is made for, ascending; None where it is made for all features of its range."""
        return self.record.features_of(self.key).tolist() if self.narrowed else None


@dataclass
class PartitionReport:
    """Numbers of one finished partition, shown on its materialisation."""

    outcomes: Counter = field(default_factory=Counter)
    numbers: dict[str, Any] = field(default_factory=dict)
