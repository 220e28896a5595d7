"""Dictionary records: what is accepted, what is refused and how."""

import os
import re
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.config.base import UserError
from interp_assets.config.example_records import HEADS, example_record
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import RECORD_KINDS, DictionaryRecord, FeatureFile, FeatureSubset, record_file
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.planted.claims import Claim
from interp_assets.domain.planted.rules import PLANTED_RULES

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
    with pytest.raises(UserError, match=r"'no key' is not registered in .*Registered: m/09/a"):
        registry.get("no key")


def test_a_misnamed_file_says_its_right_name(tmp_path: Path) -> None:
    registry = DictionaryRegistry(tmp_path)
    registry.write(RECORD).rename(tmp_path / "other.yaml")
    assert "m__09__a.yaml" in registry.read_all()[1]["other.yaml"]


@pytest.mark.parametrize("kind", RECORD_KINDS)
def test_the_example_record_of_each_kind_is_valid(kind: str) -> None:
    text = example_record(kind)
    record = DictionaryRegistry.parse(text, "example")
    assert record.kind == kind and record.token_sample.n_tokens == 10_000_000
    assert ("sae_lens | gemma_scope" in text) == (kind == "sae_lens")


def test_every_kind_has_an_example_and_the_default_is_gemma_scope_through_sae_lens() -> None:
    assert list(HEADS) == list(RECORD_KINDS)
    assert DictionaryRegistry.parse(example_record("sae_lens"), "example").width == 16384


RULE = {
    "name": "ends", "truth": {"text": "full stops and commas", "pattern": "[.,]"}, "narrowed": {"text": "full stops", "pattern": "[.]"},
    "broadened": {"text": "punctuation", "pattern": "[.,:;]"},
}  # fmt: skip


def test_a_planted_record_is_as_wide_as_it_has_rules_and_comes_back_equal(tmp_path: Path) -> None:
    own = DictionaryRegistry.parse(yaml.safe_dump({"key": "m/planted/own", "kind": "planted", "rules": [RULE]}), "x")
    assert (own.width, own.hook, own.reads_hook) == (1, "text", False) and own.planted_rules[0].narrowed.pattern == "[.]"
    built_in = DictionaryRecord.model_validate({"key": "m/planted/all", "kind": "planted"})
    assert (built_in.width, built_in.planted_rules) == (len(PLANTED_RULES), PLANTED_RULES)
    registry = DictionaryRegistry(tmp_path)
    for record in (own, built_in):
        registry.write(record)
        assert registry.get(record.key) == record
    assert RECORD.planted_rules == () and RECORD.reads_hook


def test_a_changed_rule_changes_the_fingerprint_even_of_a_record_that_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    record = DictionaryRecord.model_validate({"key": "m/planted/all", "kind": "planted"})
    before = record.fingerprint
    changed = (replace(PLANTED_RULES[0], narrowed=Claim("the digit 1", "1")), *PLANTED_RULES[1:])
    monkeypatch.setattr("interp_assets.config.records.PLANTED_RULES", changed)
    assert record.fingerprint != before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "x"}, "kind planted has no source: its features are rules"),
        ({"k": 3, "seed": 1}, "kind planted has no k, seed"),
        ({"width": 3, "rules": [RULE]}, "width is 3, and there are 1 rules, one a feature: leave width out"),
        ({"rules": [RULE, RULE]}, "more than one rule is called ends"),
        ({"rules": []}, "rules: Tuple should have at least 1 item"),
        (
            {"rules": [{**RULE, "truth": {"text": "x", "pattern": "("}}]},
            r"rules.0.truth: the pattern '\(' of 'x' is no regular",
        ),
        ({"rules": [{**RULE, "truth": {"text": " ", "pattern": "x"}}]}, "has no text: say in words"),
        ({"rules": [{**RULE, "falsehood": 1}]}, "rules.0.falsehood"),
        ({"kind": "topk_neurons", "hook": "h", "width": 4, "k": 2, "rules": [RULE]}, "kind topk_neurons has no rules"),
    ],
)
def test_what_is_wrong_with_a_planted_record_is_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DictionaryRegistry.parse(yaml.safe_dump({"key": "m/planted/a", "kind": "planted", **fields}), "x.yaml")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "transcoder"}, "known kinds are sae_lens, .*got 'transcoder'"),
        ({"kind": "sparsify"}, r"a sparsify dictionary needs \['source'\]"),
        ({"kind": "neurons", "k": 4}, r"a neurons dictionary has no \['k'\]\. It takes \['hook', 'width'\]"),
        ({"kind": "random_topk", "k": 4, "source": "x"}, r"needs \['d_in'\] and has no \['source'\]"),
        ({"kind": "callable", "source": "m:f"}, r"needs \['d_in'\]"),
        ({"kind": "topk_neurons", "k": 4, "output_hook": "h"}, r"has no \['output_hook'\]"),
    ],
)
def test_fields_that_a_kind_lacks_or_does_not_have_are_named(fields: dict[str, object], message: str) -> None:
    text = yaml.safe_dump({"key": "m/09/a", "hook": "h", "width": 10, **fields})
    with pytest.raises(UserError, match=message):
        DictionaryRegistry.parse(text, "x.yaml")


def test_not_yaml_is_said() -> None:
    with pytest.raises(UserError, match="not YAML"):
        DictionaryRegistry.parse("key: [", "x.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds nothing, not a record: `interp dictionaries --example`"),
        (b"- a list", "holds list, not a record"),
        (b"\xff\xfe", "x.yaml holds no record: it is not a text file in UTF-8"),
        (b"key: m/09/a\nhook: h\nkind: neurons\nwidth: 64\nfeatures: [3, 64]", "m/09/a: features selects 64, .* features 0 to 63"),
    ],
)
def test_a_file_that_is_no_record_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    records, broken = DictionaryRegistry(tmp_path).read_all()
    assert records == {} and re.search(message, broken["x.yaml"])


def test_a_record_is_parsed_again_only_when_its_file_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = DictionaryRegistry(tmp_path)
    registry.write(RECORD)
    (tmp_path / "broken.yaml").write_text("key: [")
    first = registry.read_all()
    parsed: list[str] = []
    parse = DictionaryRegistry.parse
    monkeypatch.setattr(registry, "parse", lambda text, where: parsed.append(where) or parse(text, where))
    assert registry.read_all() == first and parsed == []
    registry.write(RECORD.model_copy(update={"description": "other"}))
    assert registry.read_all()[0][RECORD.key].description == "other" and len(parsed) == 1
    (tmp_path / "broken.yaml").unlink()
    assert registry.read_all()[1] == {} and len(parsed) == 1


def test_stages_that_the_sites_settings_refuse_are_named_by_file(tmp_path: Path) -> None:
    registry = DictionaryRegistry(tmp_path)
    wrong = RECORD.model_copy(update={"stages": {"examples": {"n_showed": 3}}})
    refused = registry.refused({RECORD.key: wrong}, PlatformSettings())
    assert list(refused) == ["m__09__a.yaml"] and "m/09/a" in refused["m__09__a.yaml"] and "n_showed" in refused["m__09__a.yaml"]
    assert registry.refused({RECORD.key: RECORD}, PlatformSettings()) == {}


PLAIN = "hook: h\nkind: topk_neurons\nwidth: 64\nk: 4\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("description: 2024-13-45\n", "holds a value that is none: month must be"),
        (f"width: {'9' * 5000}\n", "holds a value that is none|width"),
        ("width: 1000000000000\n", "width: Input should be less than or equal to 67108864"),
        ("width: 10**12\n", "width: .*valid integer"),
        ("width: true\n", "width: .*True is no number"),
        ("token_sample: {seed: true}\n", "token_sample.seed: True is no number"),
        ("seed: -1\n", "seed: Input should be greater than or equal to 0"),
        ("token_sample: {seed: -1}\n", "token_sample.seed: Input should be greater than or equal to 0"),
        ("k: 1000000000\n", "k: Input should be less than or equal to 67108864"),
        ("width: 2\n", "k is 4: of a dictionary of width 2 at most 2 features"),
        (f"features: [{'9' * 40}]\n", "features"),
        ("features: [true]\n", "features.0: True is no number"),
        ("hook: g\n", "the key 'hook' stands twice, in lines 2 and 6"),
        ("stages: {seed: 1, seed: 2}\n", "the key 'seed' stands twice"),
        ("width: 010000\n", "010000 in line 5 begins with 0, and YAML reads it in base 8: write 10000, or put it in quotes"),
        ("features: [7, 010]\n", "010 in line 6 begins with 0, and YAML reads it in base 8: write 10,"),
        ("token_sample: {n_tokens: 10:00}\n", "10:00 in line 6 is a number in base 60 for YAML"),
        ("model: {source: a/b, revision: 0123456}\n", "0123456 in line 6 begins with 0"),
        ("stages: {examples: {<<: {n_shown: 5}, <<: {n_shown: 7}}}\n", "the key '<<' stands twice"),
        ("stages: " + "[" * 200_000 + "\n", "nested deeper"),
        ("a: &a [1]\n" + "".join(f"{y}: &{y} [{','.join([f'*{x}'] * 99)}]\n" for x, y in pairwise("abcdefgh")), "more than 500,000"),
        ("a: &a [*a]\n", "an alias in it stands for a value that contains the alias"),
    ],
)  # fmt: skip
def test_a_record_that_nobody_meant_is_refused_at_once_and_never_hides_the_others(tmp_path: Path, content: str, message: str) -> None:
    registry = DictionaryRegistry(tmp_path)
    name = content.split(":")[0]
    kept = "".join(line for line in PLAIN.splitlines(keepends=True) if name == "hook" or not line.startswith(f"{name}:"))
    (tmp_path / "m__09__bad.yaml").write_text("key: m/09/bad\n" + kept + content)
    (tmp_path / "m__09__good.yaml").write_text("key: m/09/good\n" + PLAIN)
    started = time.monotonic()
    records, broken = registry.read_all()
    assert time.monotonic() - started < 5
    assert list(records) == ["m/09/good"] and re.search(message, broken["m__09__bad.yaml"]), broken
    assert len(broken["m__09__bad.yaml"]) < 2000
    with pytest.raises(UserError):
        registry.get("m/09/bad")


def test_numbers_that_mean_what_they_say_and_merged_keys_are_read(tmp_path: Path) -> None:
    text = (
        "key: m/09/a\nhook: h\nkind: neurons\nwidth: 0x40\nfeatures: [0, 08, 1_0]\ntoken_sample: {seed: -0}\n"
        "stages:\n  examples: {one: &a {<<: {x: 0.5}, x: 00.25}}\n  harvest: {<<: *a}\n"
    )
    record = DictionaryRegistry.parse(text, "here")
    assert (record.width, record.features, record.stages["harvest"]) == (64, (0, 8, 10), {"x": 0.25})


def test_on_a_disk_without_capitals_no_record_replaces_another(tmp_path: Path) -> None:
    registry = DictionaryRegistry(tmp_path)
    registry.write(DictionaryRecord(key="m/09/a", hook="h", kind="neurons", width=8))
    registry.path_of("m/09/a").rename(registry.path_of("m/09/A"))  # the one file that such a disk has for both keys
    before = registry.path_of("m/09/A").read_text()
    with pytest.raises(UserError, match="holds the record of m/09/a, and would be lost to m/09/A"):
        registry.write(DictionaryRecord(key="m/09/A", hook="h", kind="neurons", width=8))
    assert registry.path_of("m/09/A").read_text() == before


def test_what_is_no_file_is_named_and_waits_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m__09__pipe.yaml")
    (tmp_path / "m__09__folder.yaml").mkdir()
    (tmp_path / "m__09__link.yaml").symlink_to("nowhere")
    (tmp_path / "m__09__good.yaml").write_text("key: m/09/good\n" + PLAIN)
    records, broken = DictionaryRegistry(tmp_path).read_all()
    assert list(records) == ["m/09/good"] and len(broken) == 3
    assert "no regular file" in broken["m__09__pipe.yaml"]


SIMILAR_KEYS = (
    "a__b/c/d",
    "a/b__c/d",
    "a/b/c__d",
    "a_/b/c",
    "a/_b/c",
    "a/b_/c",
    "a/b/_c",
    "a/b/c",
    "a_b/c/d",
    "a___b/c/d",
    "_/_/_",
    "__/_/_",
)


def test_no_two_keys_share_a_file(tmp_path: Path) -> None:
    registry = DictionaryRegistry(tmp_path)
    assert len({registry.path_of(key) for key in SIMILAR_KEYS}) == len(SIMILAR_KEYS)
    for key in SIMILAR_KEYS:
        registry.write(DictionaryRecord(key=key, hook="h", kind="neurons", width=8))
    records, broken = registry.read_all()
    assert sorted(records) == sorted(SIMILAR_KEYS) and not broken
    assert all(registry.get(key).key == key for key in SIMILAR_KEYS)
    assert registry.path_of("smollm2-135m/09/res-2k").name == "smollm2-135m__09__res-2k.yaml"


@given(st.lists(st.text("a_-", min_size=1, max_size=4), min_size=6, max_size=6))
def test_names_of_files_are_one_to_one(parts: list[str]) -> None:
    one, other = "/".join(parts[:3]), "/".join(parts[3:])
    assert (record_file(one) == record_file(other)) == (one == other)


def test_the_file_that_an_earlier_release_named_is_still_found_and_kept(tmp_path: Path) -> None:
    registry = DictionaryRegistry(tmp_path)
    earlier = tmp_path / "a__b__c__d.yaml"
    earlier.write_text("key: a__b/c/d\n" + PLAIN)
    assert registry.get("a__b/c/d").width == 64 and registry.keys() == ["a__b/c/d"]
    registry.write(DictionaryRecord(key="a/b__c/d", hook="h", kind="neurons", width=8))
    assert registry.keys() == ["a/b__c/d", "a__b/c/d"] and registry.get("a__b/c/d").width == 64
    registry.write(registry.get("a__b/c/d").model_copy(update={"width": 65}))
    assert registry.path_of("a__b/c/d") == earlier and registry.get("a__b/c/d").width == 65


def test_features_from_a_file_are_the_features_and_their_numbers_the_version(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("# chosen by hand\n404, 17\n\n17 3   # again\n")
    record = DictionaryRegistry.parse(yaml.safe_dump({**RECORD.model_dump(exclude_defaults=True), "features": {"file": str(file)}}), "x")
    assert record.selected_features.tolist() == [3, 17, 404] and record.n_selected == 3
    assert record.fingerprint == RECORD.model_copy(update={"features": (3, 17, 404)}).fingerprint
    before = record.source_inputs
    assert list(before) == [f"features {file}"]
    file.write_text("[3, 17, 404]")
    assert record.source_inputs == before
    file.write_text("3 17 405")
    assert record.selected_features.tolist() == [3, 17, 405] and record.source_inputs != before
    assert record.fingerprint == RECORD.model_copy(update={"features": (3, 17, 405)}).fingerprint
    registry = DictionaryRegistry(tmp_path)
    registry.write(record)
    assert registry.get(record.key) == record


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("17\n1000\n", "line 2: '1000' is no feature of a dictionary of width 1000; allowed are whole numbers from 0 to 999"),
        ("-1", "line 1: '-1' is no feature"),
        ("3.5", "line 1: '3.5' is no feature"),
        ("seven", "line 1: 'seven' is no feature"),
        ("9" * 5000, "line 1: '9{40}' is no feature"),
        ("\u0663", "is no feature"),
        ("# nothing\n", "lists no features. Write one"),
        (b"\xff\xfe", "not a text file in UTF-8"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_of_features_that_lists_none_is_named(tmp_path: Path, content: str | bytes | None, message: str) -> None:
    file = tmp_path / "ids.txt"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    record = RECORD.model_copy(update={"features": FeatureFile(file=str(file))})
    with pytest.raises(UserError, match=f"dictionary m/09/a: features.file .*{message}"):
        _ = record.selected_features


def test_a_relative_file_of_features_is_found_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids.txt").write_text("7")
    record = RECORD.model_copy(update={"features": FeatureFile(file="ids.txt")}).with_absolute_paths()
    monkeypatch.chdir("/")
    assert record.selected_features.tolist() == [7] and RECORD.with_absolute_paths() == RECORD


@pytest.mark.parametrize("kind", RECORD_KINDS)
def test_every_example_record_says_the_three_ways_to_select_features(kind: str) -> None:
    text = example_record(kind)
    for way in ("{count: 200}", "[0, 3]", "{file: ids.txt}"):
        (line,) = (line for line in text.splitlines() if line.startswith(f"# features: {way}"))
        record = yaml.safe_load(text) | yaml.safe_load(line.removeprefix("# "))
        assert DictionaryRegistry.parse(yaml.safe_dump(record), "example").features is not None


def test_reads_and_writes_of_a_cross_layer_dictionary() -> None:
    fields = {"key": "m/7/clt", "kind": "gemma_scope", "source": "google/gemma-scope-2-1b-pt/clt/width_262k_l0_big", "width": 100}
    reads = ("blocks.7.mlp.hook_in", "blocks.8.mlp.hook_in")
    record = DictionaryRecord(**fields, reads=reads, writes=("blocks.9.hook_mlp_out",))  # type: ignore[arg-type]
    assert record.hook == reads[0] and record.loader_fields["reads"] == reads
    assert DictionaryRecord.model_validate(record.model_dump()) == record  # hook and reads both, as the registry writes them
    plain = DictionaryRecord(**fields, hook=reads[0])  # type: ignore[arg-type]
    assert plain.fingerprint != record.fingerprint and "reads" not in plain.loader_fields
    with pytest.raises(ValueError, match="reads begins with blocks"):
        DictionaryRecord(**fields, hook="blocks.1.mlp.hook_in", reads=reads)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave output_hook out"):
        DictionaryRecord(**fields, hook=reads[0], output_hook="blocks.9.hook_mlp_out", writes=("blocks.9.hook_mlp_out",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"has no \['writes'\]"):
        DictionaryRecord(**{**fields, "kind": "neurons", "source": None}, hook=reads[0], writes=("blocks.9.hook_mlp_out",))  # type: ignore[arg-type]
