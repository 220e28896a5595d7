"""Reads the tables examples and feature_examples of one range as the domain's own types."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa

from interp_assets.config.keys import RangeKey, lake_partition
from interp_assets.domain.examples.firing_shares import FiringShares
from interp_assets.domain.examples.sampling import Example, Kind, Role
from interp_assets.domain.examples.token_numbers import TokenNumbers
from interp_assets.domain.outcomes import ExamplesOutcome
from interp_assets.tables import EXAMPLES, FEATURE_EXAMPLES
from resources.store.lake import Lake

BATCH_ROWS = 1024
"""Examples in memory at once while they are read: the examples of a few features."""


@dataclass(frozen=True)
class StoredExamples:
    """One feature's examples as stored; `outcome`, `n_windows` (activating windows found) and `firing` are columns of feature_examples.

    `token_texts` is the text of every token id in the examples. A token that has no id in the subject's vocabulary, or another text here
    than its id has elsewhere, has a negative number, one for each text; these are of this feature alone.
    """

    feature: int
    outcome: ExamplesOutcome
    n_windows: int
    examples: tuple[Example, ...]
    token_texts: dict[int, str]
    firing: FiringShares | None = None

    def firing_share(self, n_windows: int) -> float | None:
        """The share of the sample's windows on which the feature fires; None for imported examples.

        Of examples that were made before their table had the share, it is the share of `n_windows` that were found, 0 for imported ones.
        """
        if self.firing is not None:
            return self.firing.of_windows
        return min(self.n_windows / n_windows, 1.0) if n_windows else None

    @property
    def start_shares(self) -> tuple[float, ...]:
        """The shares of contexts on whose first tokens the feature fires; empty where unknown."""
        return self.firing.of_starts if self.firing else ()

    @property
    def shown(self) -> tuple[Example, ...]:
        """Activating examples that explainers see, in the order written: strongest first."""
        return self._of("shown", ("activating",))

    @property
    def shown_non_activating(self) -> tuple[Example, ...]:
        """Silent examples that explainers may see, as a contrast."""
        return self._of("shown", ("non_activating",))

    @property
    def validation(self) -> tuple[Example, ...]:
        """Examples for choosing among candidate explanations, activating then silent."""
        return self._of("validation", ("activating", "non_activating"))

    @property
    def held_out(self) -> tuple[Example, ...]:
        """Examples that scorers use, activating then silent."""
        return self._of("held_out", ("activating", "non_activating"))

    def _of(self, role: Role, kinds: tuple[Kind, ...]) -> tuple[Example, ...]:
        return tuple(example for example in self.examples if example.role == role and example.kind in kinds)


def read_examples(lake: Lake, key: RangeKey, only: Sequence[int] | None = None) -> Iterator[StoredExamples]:
    """The stored examples of every feature of a range, ascending; a feature without examples has its outcome and no examples.

    With `only` the examples of these features alone are read. Memory holds the examples of a few features. Raises as `Lake.read` does, when
    the first feature is asked for.
    """
    wanted = None if only is None else [("feature", "in", list(only))]
    columns = ["feature", "outcome", "n_windows", "firing_share", "start_shares"]
    counted = lake.read(FEATURE_EXAMPLES.name, lake_partition(key), columns=columns, filters=wanted).to_pylist()
    batches: Iterable[pa.RecordBatch] = (
        lake.batches(EXAMPLES.name, lake_partition(key), batch_rows=BATCH_ROWS)
        if wanted is None
        else lake.read(EXAMPLES.name, lake_partition(key), filters=wanted).to_batches(BATCH_ROWS)
    )
    by_feature = groupby((row for batch in batches for row in batch.to_pylist()), key=lambda row: row["feature"])
    feature, rows = next(by_feature, (None, ()))
    for found in sorted(counted, key=lambda row: row["feature"]):
        here = found["feature"] == feature
        yield examples_of_feature(found, rows if here else ())
        if here:
            feature, rows = next(by_feature, (None, ()))
    assert feature is None, f"{key}: the examples of feature {feature} are out of order, or the feature has no row in feature_examples"


def examples_of_feature(found: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> StoredExamples:
    """The stored examples of one feature, out of its row of feature_examples and its rows of examples in their order."""
    numbers = TokenNumbers()
    examples = _examples(rows, numbers)
    share, starts = found.get("firing_share"), found.get("start_shares")
    firing = None if share is None or starts is None else FiringShares(share, tuple(starts))
    return StoredExamples(found["feature"], found["outcome"], found["n_windows"], examples, numbers.texts, firing)


def _examples(rows: Iterable[Mapping[str, Any]], numbers: TokenNumbers) -> tuple[Example, ...]:
    """Rows of the table examples as records."""
    return tuple(
        Example(
            example_id=row["example_id"], feature=row["feature"], role=row["role"], kind=row["kind"], sampling=row["sampling"],
            stratum=row["stratum"], row=row["row"], start=row["start"], token_ids=numbers.numbered(row["token_ids"], row["tokens"]),
            activations=tuple(row["activations"]), begins_in_word=row["begins_in_word"], ends_in_word=row["ends_in_word"],
        )
        for row in rows
    )  # fmt: skip
