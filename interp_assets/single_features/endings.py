"""Says which explanations and scores of a run have no text or number, by outcome: a run whose replies nobody can read succeeds too."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.domain.scoring import SCORERS
from interp_assets.tables import EXPLANATIONS, SCORES
from resources.store.lake import Lake

EARLIER = ("ok", "dead", "too_few_windows", "too_few_silent_windows", "no_examples", "no_explanation")
"""Outcomes that need no line of their own: there is a text or number, or an earlier stage says why there is none."""

NAMED = 5
"""Most features named in a line."""


def lines_of_endings(lake: Lake, record: DictionaryRecord, stages: StageSettings, asked: AskedFeatures | None) -> list[str]:
    """A line for each explanation method and scorer that gave some of the `asked` features, None for all, no text or number; none where all
    have one, or where an earlier stage says why not."""
    lines = []
    for asset, table, extra, wanted in _asked_assets(stages):
        found: dict[str, list[int]] = defaultdict(list)
        n_features = 0
        for name in FEATURE_RANGE_KEYS:
            partition = {**extra, **lake_partition(RangeKey(record.key, name))}
            if lake.manifest(table, partition) is None:
                continue
            rows = lake.read(
                table, partition, columns=["feature", "outcome", *(wanted or ())], filters=[(one, "=", True) for one in wanted] or None
            )
            features = rows.column("feature").to_numpy()
            there = set(features.tolist() if asked is None else asked.among(features).tolist())
            n_features += len(there)
            for feature, outcome in zip(features.tolist(), rows.column("outcome").to_pylist(), strict=True):
                if feature in there and outcome not in EARLIER and feature not in found[outcome]:
                    found[outcome].append(feature)
        lines += [_line(asset, outcome, features, n_features, record.key) for outcome, features in sorted(found.items()) if features]
    return lines


def _asked_assets(stages: StageSettings) -> Iterator[tuple[str, str, dict[str, str], Sequence[str]]]:
    """Name, table, partition columns and columns that must be true of each asset that the settings ask for."""
    for method in stages.explanations:
        yield f"explanations/{method}", EXPLANATIONS.name, {"explanation_method": method}, ()
    for scorer in SCORERS:
        if stages.scored(scorer):
            yield f"scores/{scorer.NAME}", SCORES.name, {"scorer": scorer.NAME}, ("headline",)


def _line(asset: str, outcome: str, features: list[int], n_features: int, key: str) -> str:
    named = ", ".join(map(str, features[:NAMED])) + (f" and {len(features) - NAMED:,} more" if len(features) > NAMED else "")
    what = "an explanation" if asset.startswith("explanations/") else "a score"
    return (
        f"{asset}: {len(features):,} of {n_features:,} features lack {what}: {named} ({outcome}: see Named outcomes in docs/tables.md). "
        f"What was asked and answered: interp show {key} {features[0]} --prompts --only {asset}"
    )
