"""Says which features have no examples, and why: nothing is explained or scored of them."""

from collections import defaultdict

from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.tables import FEATURE_EXAMPLES
from resources.store.lake import Lake

REASONS = {
    "dead": "fire nowhere in the token sample; a larger token_sample.n_tokens may hold some",
    "too_few_windows": "have fewer activating windows than examples.min_activating; raise token_sample.n_tokens, or lower min_activating",
    "too_few_silent_windows": "have too few silent windows; raise token_sample.n_tokens, or set examples.silent_share",
}
"""The reason of each outcome, and a cure, by the names of settings."""

NAMED = 5
"""Most features named in a line."""


def lines_without_examples(lake: Lake, record: DictionaryRecord, asked: AskedFeatures | None) -> list[str]:
    """A line for each reason why some of the `asked` features, None for all, have no examples; none where all have examples."""
    found: dict[str, list[int]] = defaultdict(list)
    for name in FEATURE_RANGE_KEYS:
        partition = lake_partition(RangeKey(record.key, name))
        if lake.manifest(FEATURE_EXAMPLES.name, partition) is None:
            continue
        rows = lake.read(FEATURE_EXAMPLES.name, partition, columns=["feature", "outcome"])
        features, outcomes = rows.column("feature").to_numpy(), rows.column("outcome").to_pylist()
        wanted = None if asked is None else set(asked.among(features).tolist())
        for feature, outcome in zip(features.tolist(), outcomes, strict=True):
            if outcome != "ok" and (wanted is None or feature in wanted):
                found[outcome].append(feature)
    return [_line(outcome, features) for outcome, features in sorted(found.items())]


def _line(outcome: str, features: list[int]) -> str:
    named = ", ".join(map(str, features[:NAMED])) + (f" and {len(features) - NAMED:,} more" if len(features) > NAMED else "")
    return f"without examples, so without explanations and scores: {named} ({outcome}: {REASONS.get(outcome, outcome)})"
