"""Ranges of one dictionary in several runs, as Dagster makes them of a selection with gaps: every range is made, and once."""

from collections.abc import Sequence

import dagster as dg
import pytest
from installation import KEY, STAGES, Installation

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.graph.assembly import RANGE_STAGES
from interp_assets.orchestration.waiting import WAITS_FOR

MADE = ("examples", "explanations/max_act", "explanations/shuffled", "scores/detection")
OTHER = "fake/01/neurons"
FEATURES = (0, 3, 12, 15)
"""One in each of the ranges 03, 07, 11 and 15 of 16; all other ranges are empty."""


def made(instance: dg.DagsterInstance, asset: str, key: str = KEY) -> list[str]:
    """The ranges of a dictionary that Dagster counts as made."""
    return sorted(p.split("|")[1] for p in instance.get_materialized_partitions(dg.AssetKey(asset.split("/"))) if p.startswith(key))


def scored(installation: Installation, key: str = KEY) -> set[int]:
    """The features of a dictionary that have rows in the table of scores."""
    found: set[int] = set()
    for name in made(installation.instance, "scores/detection", key):
        partition = {"scorer": "detection", **lake_partition(RangeKey(key, name))}
        found |= set(installation.home.lake.read("scores", partition, columns=["feature"]).column(0).to_pylist())
    return found


def skipped(result: dg.ExecuteInProcessResult) -> list[str]:
    """The steps that a run left out."""
    return sorted(event.step_key or "" for event in result.all_events if event.event_type_value == "STEP_SKIPPED")


def prepared(installation: Installation, *keys: str, features: Sequence[int] = FEATURES) -> None:
    """Dictionaries with their samples and activations."""
    for key in keys:
        installation.register(installation.record(key, features=tuple(features)))
        installation.run("token_sample", "activation_shards", "feature_neighbours", "window_embeddings", key=key)


def test_a_run_without_the_other_ranges_waits_and_the_last_run_makes_what_it_left(installation: Installation) -> None:
    prepared(installation, KEY)
    first = installation.run(*MADE, ranges=(0, 3))
    assert first.success and skipped(first) == ["scores__detection"], "what comes after a range that waits is left out, and nothing fails"
    assert made(installation.instance, "explanations/shuffled") == [], "a range that waits does not count as made"
    (note, *_) = installation.instance.fetch_observations(dg.AssetKey(["scores", "detection"]), limit=1).records
    seen = note.asset_observation
    assert seen is not None and "explanations/shuffled" in str(seen.metadata[WAITS_FOR].value)

    second = installation.run(*MADE, ranges=(5, 15))
    assert second.success and skipped(second) == []
    for asset in MADE:
        assert made(installation.instance, asset) == list(FEATURE_RANGE_KEYS), asset
    assert scored(installation) == set(FEATURES)
    stages = [stage for stage in RANGE_STAGES if stage.asset in MADE]
    assert not [one for one in installation.stale(installation.home.registry.get(KEY), stages) if one.startswith(MADE)]

    place = {"explanation_method": "shuffled", **lake_partition(RangeKey(KEY, "03of16"))}
    before = installation.home.lake.require("explanations", place)
    installation.register(installation.record(features=FEATURES, stages={**STAGES, "seed": 7}))
    installation.run("explanations/shuffled", ranges=(5, 15))
    after = installation.home.lake.require("explanations", place)
    assert after.data_version == before.data_version, "ranges that were made since are not made again unasked"


@pytest.mark.slow
def test_what_another_dictionary_lost_in_a_shared_run_is_made_too(installation: Installation) -> None:
    prepared(installation, KEY, OTHER)
    installation.run("examples", "explanations/max_act", key=OTHER)
    shared = installation.run(*MADE, ranges=(4, 15), last_key=OTHER)
    assert shared.success and made(installation.instance, "scores/detection") == []
    ranges = list(FEATURE_RANGE_KEYS)
    in_hand = [name for name in ranges if name != "03of16"]
    assert made(installation.instance, "explanations/shuffled", OTHER) == in_hand, "no input is missing there"
    assert made(installation.instance, "scores/detection", OTHER) == [], "Dagster leaves out the later stages of the whole run"
    installation.run(*MADE, ranges=(0, 3))
    assert made(installation.instance, "scores/detection") == ranges and scored(installation) == set(FEATURES)
    assert made(installation.instance, "scores/detection", OTHER) == ranges[4:] and scored(installation, OTHER) == set(FEATURES[1:])


def test_a_range_without_its_own_inputs_fails_and_says_which(installation: Installation) -> None:
    prepared(installation, KEY)
    alone = installation.run("explanations/shuffled", ranges=(0, 3), raise_on_error=False)
    assert not alone.success
    (failure,) = alone.get_step_failure_events()
    assert "explanations" in str(failure.step_failure_data.error)
