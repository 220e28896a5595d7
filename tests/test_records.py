"""Dictionary records: what is accepted, what is refused and how."""

from pathlib import Path

import numpy as np
import pytest

from interp_assets.dictionaries import DictionaryRecord, DictionaryRegistry, FeatureSubset
from interp_assets.partitions import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.registration import EXAMPLE_RECORD
from interp_assets.settings import UserError

RECORD = DictionaryRecord(key="m/09/a", hook="blocks.9.hook_resid_post", kind="topk_neurons", width=1000, k=8)


def test_ranges_of_a_subset_hold_each_selected_feature_once() -> None:
    record = RECORD.model_copy(update={"features": FeatureSubset(count=37)})
    selected = record.selected_features
    assert len(selected) == 37 and (np.diff(selected.astype(int)) > 0).all() and selected.max() < 1000
    ranges = [record.features_of(RangeKey(record.key, r)) for r in FEATURE_RANGE_KEYS]
    assert np.array_equal(np.concatenate(ranges), selected)


def test_a_subset_is_spread_one_per_stratum() -> None:
    selected = RECORD.model_copy(update={"features": FeatureSubset(count=10)}).selected_features
    assert [int(f) // 100 for f in selected] == list(range(10))  # strata of 100 features each


def test_no_subset_selects_everything() -> None:
    assert len(RECORD.selected_features) == 1000


def test_a_feature_beyond_the_width_is_named() -> None:
    record = RECORD.model_copy(update={"features": (5, 1000)})
    with pytest.raises(UserError, match=r"selects 1000.*0 to 999"):
        _ = record.selected_features


def test_fingerprint_ignores_what_later_stages_use() -> None:
    changed = RECORD.model_copy(update={"description": "x", "stages": {"scoring": {"per_prompt": 3}}})
    assert changed.fingerprint == RECORD.fingerprint
    assert RECORD.model_copy(update={"k": 9}).fingerprint != RECORD.fingerprint


def test_written_records_come_back_equal_and_a_broken_file_hides_no_other(tmp_path: Path) -> None:
    registry = DictionaryRegistry(tmp_path)
    path = registry.write(RECORD)
    assert registry.get("m/09/a") == RECORD
    (tmp_path / "broken.yaml").write_text("key: m/09/b\nwidht: 3")
    records, broken = registry.read_all()
    assert list(records) == ["m/09/a"] and list(broken) == ["broken.yaml"]
    assert "widht" in broken["broken.yaml"]
    before = path.stat().st_mtime_ns
    registry.write(RECORD)
    assert path.stat().st_mtime_ns == before


def test_an_unregistered_dictionary_lists_what_is_registered(tmp_path: Path) -> None:
    registry = DictionaryRegistry(tmp_path)
    registry.write(RECORD)
    with pytest.raises(UserError, match="m/09/a"):
        registry.get("m/09/typo")


def test_a_misnamed_file_says_its_right_name(tmp_path: Path) -> None:
    registry = DictionaryRegistry(tmp_path)
    registry.write(RECORD).rename(tmp_path / "other.yaml")
    assert "m__09__a.yaml" in registry.read_all()[1]["other.yaml"]


def test_the_example_record_is_valid() -> None:
    record = DictionaryRegistry.parse(EXAMPLE_RECORD, "example")
    assert record.width == 16384


def test_not_yaml_is_said() -> None:
    with pytest.raises(UserError, match="not YAML"):
        DictionaryRegistry.parse("key: [", "x.yaml")
