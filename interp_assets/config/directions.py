"""Directions for one run: some features of a dictionary alone, and partitions that are left as they are or made again."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import PrivateAttr

from interp_assets.config.keys import RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry


@dataclass(frozen=True)
class Directions:
    """What one run does with a dictionary.

    `features` are the features to make, None for all features. `kept` and `again` name partitions as (asset, feature range): kept
    partitions are left as they are, whatever their version; the others are made again although they are current.
    """

    features: frozenset[int] | None = None
    kept: frozenset[tuple[str, str]] = frozenset()
    again: frozenset[tuple[str, str]] = frozenset()

    @property
    def narrowed(self) -> bool:
        """Whether the run makes some features alone."""
        return self.features is not None


class DirectedRecord(DictionaryRecord):
    """A record with directions for one run. Its fingerprint is the fingerprint of the record alone."""

    _directions: Directions = PrivateAttr(default_factory=Directions)

    @classmethod
    def of(cls, record: DictionaryRecord, directions: Directions, stages: dict[str, Any] | None = None) -> "DirectedRecord":
        """The record with directions; `stages` take the place of its own stage settings where they are given."""
        values = {name: getattr(record, name) for name in type(record).model_fields}
        made = cls.model_construct(**{**values, **({} if stages is None else {"stages": stages})})
        made._directions = directions
        return made

    @property
    def directions(self) -> Directions:
        """The directions."""
        return self._directions

    def features_of(self, partition: RangeKey) -> np.ndarray:
        """uint32 [n]: the features of one range that the run makes, ascending."""
        whole = super().features_of(partition)
        chosen = self._directions.features
        return whole if chosen is None else whole[np.isin(whole, np.array(sorted(chosen), dtype=np.int64))]


class DirectedRegistry(DictionaryRegistry):
    """A registry in which some records have directions."""

    def __init__(self, registry: DictionaryRegistry, directed: Iterable[DirectedRecord]) -> None:
        super().__init__(registry.folder)
        self._directed = {record.key: record for record in directed}

    def get(self, key: str) -> DictionaryRecord:
        """The record of a key, with its directions where it has any."""
        return self._directed.get(key) or super().get(key)


def directions_of(record: DictionaryRecord) -> Directions:
    """The directions of a record; without any, all features are made, and what is current is kept."""
    return record.directions if isinstance(record, DirectedRecord) else Directions()
