"""Features that a condition over the harvest chooses, and ranges without any selected feature."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest
from installation import KEY, Installation

from interp_assets.backfill.plan import ranges_with_features
from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.graph.assembly import ASSETS
from interp_assets.reading.whole_features import whole_features
from interp_assets.tables import TABLES

STAGES = ("examples", "explanations/max_act", "scores/detection")
BY_RANGE = [table for table in TABLES if table.partition_columns[-2:] == ("dictionary", "feature_range") and table.name != "ledger"]


def run(installation: Installation, ranges: tuple[str, ...], *names: str, assets: Sequence[dg.AssetsDefinition] = ASSETS) -> Any:
    """Materialise stages of some consecutive ranges, as a backfill of these ranges does."""
    span = {"start": f"{KEY}|{ranges[0]}", "end": f"{KEY}|{ranges[-1]}"}
    tags = {f"dagster/asset_partition_range_{end}": key for end, key in span.items()}
    selected = [asset for asset in assets if "/".join(asset.key.path) in names]
    return dg.materialize(assets, selection=selected, instance=installation.instance, resources=installation.resources, tags=tags)


def features_in(installation: Installation, table: str) -> list[int]:
    """The distinct features in a table of the lake."""
    lake = installation.home.lake
    parts = [lake.read(table, manifest.partition, ["feature"]).column(0).to_pylist() for manifest in lake.manifests(table)]
    return sorted(set().union(*parts))


def complete(installation: Installation, table: str) -> set[str]:
    """The ranges of a table that are complete."""
    return {manifest.partition["feature_range"] for manifest in installation.home.lake.manifests(table)}


def test_the_run_of_one_feature_completes_all_ranges(installation: Installation) -> None:
    stages = {**installation.record().stages, "explanations": ["max_act"], "scores": {"detection": "all"}}
    record = installation.record(features=(3,), stages=stages)
    installation.register(record)
    installation.run("token_sample", "activation_shards")
    held = ranges_with_features(installation.home.lake, record)
    assert held == ("15of16",)
    assert run(installation, held, *STAGES).success
    made = ("examples", "feature_examples", "explanations", "scores", "trials", "verdicts")
    assert {table: complete(installation, table) for table in made} == {table: set(FEATURE_RANGE_KEYS) for table in made}
    assert features_in(installation, "explanations") == features_in(installation, "examples") == [3]
    for name in STAGES:
        shown = installation.instance.get_materialized_partitions(dg.AssetKey(name.split("/")))
        assert shown == {f"{KEY}|{one}" for one in FEATURE_RANGE_KEYS}
    assert not [name for name in installation.stale(record) if name.split()[0] in STAGES]
    asked = installation.models.asked
    assert run(installation, FEATURE_RANGE_KEYS, *STAGES).success and installation.models.asked == asked > 0


def test_a_condition_chooses_among_the_harvested_features(installation: Installation) -> None:
    stages = {**installation.record().stages, "explanations": ["max_act", "shuffled"]}
    whole = installation.record(stages=stages)
    record = installation.record(stages=stages, features={"where": "token_density > 0.15 AND feature % 2 = 0"})
    assert record.fingerprint == whole.fingerprint  # the harvest does not depend on it
    installation.register(record)
    assert ranges_with_features(installation.home.lake, record) == FEATURE_RANGE_KEYS
    installation.run("token_sample", "activation_shards")
    statistics = installation.home.warehouse.query("SELECT feature, token_density FROM feature_statistics").rows.to_pylist()
    expected = sorted(row["feature"] for row in statistics if row["token_density"] > 0.15 and row["feature"] % 2 == 0)
    assert len(statistics) == 64 and 2 < len(expected) < 30
    held = ranges_with_features(installation.home.lake, record)
    assert 0 < len(held) < 16 and held == tuple(FEATURE_RANGE_KEYS[n] for n in sorted({feature // 4 for feature in expected}))
    installation.run("vocabulary_projections", "examples", "explanations/max_act", "explanations/shuffled")
    for table in ("feature_examples", "explanations", "vocabulary_projections"):
        assert features_in(installation, table) == expected and complete(installation, table) == set(FEATURE_RANGE_KEYS)
    lake = installation.home.lake
    assert whole_features(lake, record).features.tolist() == expected, "an export holds the chosen features alone"
    assert whole_features(lake, record, AskedFeatures.of(range(expected[2]))).features.tolist() == expected[:2]
    with pytest.raises(UserError, match="does not select feature 1; it selects "):
        whole_features(lake, record, AskedFeatures.of(1))
    before = {str(m.partition): m.file_crc32 for m in lake.manifests("activations")}
    asked = installation.models.asked

    # Another condition: the harvest stays, and only ranges whose features change are made again.
    narrower = installation.record(
        stages=stages, features={"where": f"token_density > 0.15 AND feature % 2 = 0 AND feature <> {expected[0]}"}
    )
    installation.register(narrower)
    stale = [name for name in installation.stale(narrower) if name.startswith(("activation_shards", "examples"))]
    assert stale == [f"examples {KEY}|{FEATURE_RANGE_KEYS[expected[0] // 4]}"]
    installation.run("activation_shards")
    installation.run("examples", "explanations/max_act", "explanations/shuffled")
    assert features_in(installation, "explanations") == expected[1:] and installation.models.asked == asked
    assert {str(m.partition): m.file_crc32 for m in lake.manifests("activations")} == before


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (
            "density > 1",
            r'"density" not found .*columns are feature, n_tokens, firing_count, token_density, context_count',
        ),
        ("token_density", "is a value of type double, and no condition"),
        ("random() < 0.1", r"has random, whose value is another at every look; for a draw write \{count: 200, seed: 0\}"),
        ("feature IN (SELECT column0 FROM read_csv('/etc/passwd'))", "file system operations are disabled"),
        ("true); DROP TABLE statistics; SELECT (true", "is more than one condition"),
        ("feature IN (SELECT 1 FROM '/etc/passwd')", "is no condition"),
        ("", "at least 1 character"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_record(installation: Installation, where: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        installation.record(features={"where": where})
