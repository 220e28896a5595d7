"""Reads the nearest features of features."""

from collections.abc import Sequence

from interp_assets.tables import FEATURE_NEIGHBOURS
from resources.store.lake import Lake

DECODER_COSINE, CO_OCCURRENCE = "decoder_cosine", "co_occurrence"


def read_neighbours(lake: Lake, dictionary: str, features: Sequence[int]) -> dict[int, list[int]]:
    """Each feature's neighbours, nearest first: by decoder cosine where the dictionary has a decoder, else by co-occurrence."""
    columns = ["feature", "measure", "rank", "neighbour", "outcome"]
    wanted = [("feature", "in", [int(feature) for feature in features])]
    rows = lake.read(FEATURE_NEIGHBOURS.name, {"dictionary": dictionary}, columns=columns, filters=wanted).to_pylist()
    found: dict[str, dict[int, list[int]]] = {measure: {int(f): [] for f in features} for measure in (DECODER_COSINE, CO_OCCURRENCE)}
    for row in sorted((row for row in rows if row["outcome"] == "ok"), key=lambda row: row["rank"]):
        found[row["measure"]][row["feature"]].append(row["neighbour"])
    return {feature: near or found[CO_OCCURRENCE][feature] for feature, near in found[DECODER_COSINE].items()}
