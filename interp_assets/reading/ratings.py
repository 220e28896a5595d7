"""Reads the ratings that people gave."""

from interp_assets.domain.ratings.ratings import Explained, Place, Rating
from interp_assets.tables import HUMAN_RATINGS
from resources.store.lake import Lake


def stored_ratings(lake: Lake) -> list[Rating]:
    """The ratings in the lake. Raises `LakeError` where no ratings have been read into it yet."""
    return [
        Rating(
            row["rater"], row["rater_kind"], row["dictionary"], row["feature"],
            Explained(row["explanation_id"], row["explanation"], tuple(row["explanation_methods"])), row["context"], row["scale_min"],
            row["scale_max"], row["rating"], row["seconds"], row["source"], Place("", 0),
        )
        for row in lake.read(HUMAN_RATINGS.name, {}).to_pylist()
    ]  # fmt: skip
