"""Reads explanations: by each method, of one range or of a whole dictionary, and imported explanations."""

from collections.abc import Mapping
from typing import Any

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.explaining.labels import label_of
from interp_assets.domain.ratings.ratings import Explained, explanation_id
from interp_assets.domain.trials import Explanation, FurtherDeal
from interp_assets.tables import EXPLANATIONS, IMPORTED_EXPLANATIONS
from resources.store.lake import Lake


def label_in(row: Mapping[str, Any]) -> str | None:
    """The label of a row of the table explanations; of a row written before there were labels, by the rule that makes them."""
    return row.get("label") or label_of(row["explanation"], row.get("raw_reply") or "")


def read_all_explanations(lake: Lake, dictionary: str, method: str) -> dict[int, Explanation]:
    """Explanations of a dictionary by one method, over all ranges, by feature."""
    found: dict[int, Explanation] = {}
    for name in FEATURE_RANGE_KEYS:
        found |= read_explanations(lake, RangeKey(dictionary, name), method)
    return found


def read_explanations(lake: Lake, key: RangeKey, method: str) -> dict[int, Explanation]:
    """Explanations of a range by one method, by feature."""
    rows = lake.read(EXPLANATIONS.name, {"explanation_method": method, **lake_partition(key)}).to_pylist()
    return {
        row["feature"]: Explanation(
            feature=row["feature"], method=method, text=row["explanation"], outcome=row["outcome"], raw_reply=row["raw_reply"] or "",
            prompt_version=row["prompt_version"], donor_feature=row["donor_feature"],
            further_deals=tuple(FurtherDeal(**deal) for deal in row.get("further_deals") or ()),
        )
        for row in rows
    }  # fmt: skip


def explanations_of_range(lake: Lake, key: RangeKey, first_key: str) -> dict[int, tuple[Explained, ...]]:
    """The distinct explanations by any method of each feature of a range, in the order of METHODS; empty where there are none.

    Their ids are made of `first_key`, the first key of the dictionary, so that they outlast a new name.
    """
    texts: dict[int, dict[str, list[str]]] = {}
    for method in METHODS:
        partition = {"explanation_method": method, **lake_partition(key)}
        if lake.manifest(EXPLANATIONS.name, partition) is None:
            continue
        for row in lake.read(EXPLANATIONS.name, partition, columns=["feature", "explanation"]).to_pylist():
            if row["explanation"] is not None:
                texts.setdefault(row["feature"], {}).setdefault(row["explanation"], []).append(method)
    return {
        feature: tuple(Explained(explanation_id(first_key, feature, text), text, tuple(methods)) for text, methods in own.items())
        for feature, own in texts.items()
    }


def read_imported(lake: Lake, dictionary: str, method: str) -> dict[int, str]:
    """The imported explanations of a dictionary by feature, ascending; empty when none were imported. `method` is one of
    IMPORTED_METHODS."""
    if lake.manifest(IMPORTED_EXPLANATIONS.name, _partition(dictionary, method)) is None:
        return {}
    rows = lake.read(IMPORTED_EXPLANATIONS.name, _partition(dictionary, method), columns=["feature", "explanation"]).to_pylist()
    return {row["feature"]: row["explanation"] for row in rows}


def _partition(dictionary: str, method: str) -> dict[str, str]:
    return {"explanation_method": method, "dictionary": dictionary}
