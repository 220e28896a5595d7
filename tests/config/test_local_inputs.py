"""The content of local files is part of what a result depends on; what is not local, and what is gone, is not asked for."""

import os
from pathlib import Path

import pytest

from interp_assets.config.local_inputs import corpus_contents, folder_content, source_content
from interp_assets.config.records import DictionaryRecord, TokenSampleSettings
from interp_assets.config.settings import LanguageModelSettings, SentenceEncoderSettings
from interp_assets.orchestration.stage import changed_inputs
from interp_assets.orchestration.versions import sample_version
from interp_assets.tables import DICTIONARY_SAMPLES, SCHEMA_VERSION
from resources.dictionaries.callable_files import callable_files
from resources.store import input_content
from resources.store.input_content import GONE, InputContents
from resources.store.lake import Lake


def settle(path: Path, seconds_ago: int = 10) -> None:
    """Make the file's times those of some time ago."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns - seconds_ago * 10**9, status.st_mtime_ns - seconds_ago * 10**9))


def callable_record(file: Path) -> DictionaryRecord:
    return DictionaryRecord(key="m/09/a", hook="h", kind="callable", source=f"{file}:verbs", width=8, d_in=4)


@pytest.mark.parametrize("kind", ["callable", "sae_lens"])
def test_a_source_that_changes_in_place_is_another_version(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "probe.py"
    file.write_text("THRESHOLD = 0.05\n")
    fields = {"key": "m/09/a", "hook": "h", "width": 8}
    record = callable_record(file) if kind == "callable" else DictionaryRecord(**fields, kind=kind, source=str(tmp_path))
    first = record.fingerprint
    assert record.fingerprint == first and list(record.source_inputs) == [f"source {record.source}"]
    status = file.stat()
    file.write_text("THRESHOLD = 0.20\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # of the same size and time, as a copy that keeps times leaves it
    changed = record.fingerprint
    assert changed != first
    (tmp_path / "notes.md").write_text("a note decides nothing")
    assert record.fingerprint == changed
    file.write_text("THRESHOLD = 0.05\n")
    assert record.fingerprint == first


@pytest.mark.parametrize("changed", ["helper.py", "shared/norms.py", "deeper.py", "verbs.npy"])
def test_what_a_callable_imports_and_loads_from_beside_it_is_part_of_its_version(tmp_path: Path, changed: str) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "probe.py").write_text("import os, helper\nfrom shared import norms\nLOADED = f'{os.getcwd()}', 'verbs.npy'\n")
    (tmp_path / "helper.py").write_text("def f():\n    from deeper import g\n")
    for name in ("shared/norms.py", "deeper.py", "unused.py", "verbs.npy"):
        (tmp_path / name).write_text("x = 1\n")
    record = callable_record(tmp_path / "probe.py")
    first = record.fingerprint
    (tmp_path / "unused.py").write_text("x = 2\n")
    assert record.fingerprint == first
    (tmp_path / changed).write_text((tmp_path / changed).read_text() + "x = 2\n")
    assert record.fingerprint != first


def test_a_callable_without_neighbours_has_the_version_that_its_file_gives(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text("import torch\nfrom . import nothing\nNAME = '/nowhere/w.pt'\n")
    alone = InputContents().of(tmp_path, [tmp_path / "probe.py"])
    assert source_content("callable", f"{tmp_path}/probe.py:verbs") == alone
    (tmp_path / "broken.py").write_text("def (:\n")
    assert source_content("callable", f"{tmp_path}/broken.py:verbs") == InputContents().of(tmp_path, [tmp_path / "broken.py"])


def test_a_package_of_callables_is_known_by_the_modules_that_are_imported(tmp_path: Path) -> None:
    package = tmp_path / "lab" / "probes"
    package.mkdir(parents=True)
    for name in ("lab/__init__.py", "lab/scale.py", "lab/probes/__init__.py", "lab/probes/near.py"):
        (tmp_path / name).write_text("")
    (package / "verbs.py").write_text("from ..scale import one\nfrom .near import two\nimport lab.probes\n")
    names = {file.relative_to(tmp_path).as_posix() for file in callable_files(package / "verbs.py")}
    assert names == {"lab/__init__.py", "lab/scale.py", "lab/probes/__init__.py", "lab/probes/near.py", "lab/probes/verbs.py"}


def test_a_changed_added_or_renamed_corpus_file_is_another_sample(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("some text")
    record = DictionaryRecord(
        key="m/09/a", hook="h", kind="neurons", width=8, token_sample=TokenSampleSettings(corpus=(f"text:{tmp_path}/*.txt", "sotu"))
    )
    versions = {sample_version(record, "r")}
    assert sample_version(record, "r") in versions and list(record.corpus_contents) == [f"text:{tmp_path}/*.txt"]
    for change in (lambda: (tmp_path / "a.txt").write_text("some next"), lambda: (tmp_path / "c.txt").write_text(""),
                   lambda: (tmp_path / "a.txt").rename(tmp_path / "d.txt")):  # fmt: skip
        change()
        versions.add(sample_version(record, "r"))
    assert len(versions) == 4
    (tmp_path / "ignored.md").write_text("not named by the glob")
    assert sample_version(record, "r") in versions


def test_hub_embedded_and_demo_inputs_have_the_versions_that_they_had() -> None:
    assert source_content("sae_lens", "demo:smollm2-135m-09-res-2k") is None
    assert source_content("sae_lens", "release/sae_id") is None and source_content("sparsify", "owner/repository/folder") is None
    assert source_content("neurons", None) is None and corpus_contents(("sotu", "hf:owner/name#text", "delphi:abc")) == {}
    assert folder_content("embedded:smollm2-135m-instruct") is None and folder_content("owner/model") is None
    settings = LanguageModelSettings()
    assert set(settings.versioned_settings) == {"backend", "model", "revision", "options"}
    assert SentenceEncoderSettings().versioned_settings == SentenceEncoderSettings()


def test_a_model_in_a_folder_is_known_by_its_content_and_a_server_not_by_its_address(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    model, encoder = LanguageModelSettings(model=str(tmp_path)), SentenceEncoderSettings(source=str(tmp_path))
    first = model.versioned_settings, encoder.versioned_settings
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert model.versioned_settings != first[0] and encoder.versioned_settings != first[1]
    one, other = (
        LanguageModelSettings(backend="openai", model="m", options={"base_url": url}) for url in ("http://a:1/v1", "http://b:2/v1")
    )
    assert one.versioned_settings == other.versioned_settings
    named = LanguageModelSettings(backend="openai", model="m", options={"identity": "ours"})
    assert named.versioned_settings != one.versioned_settings


def test_a_file_is_hashed_again_only_when_it_has_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, place = tmp_path / "a.bin", tmp_path / "cache" / "hashes.json"
    file.write_text("one")
    monkeypatch.setattr(input_content, "SETTLED_NS", -1)
    hashed: list[object] = []
    digest = input_content.hashlib.file_digest
    monkeypatch.setattr(input_content.hashlib, "file_digest", lambda *a: hashed.append(a) or digest(*a))
    first = InputContents(lambda: place).of_file(file)
    assert InputContents(lambda: place).of_file(file) == first and len(hashed) == 1
    file.write_text("two")
    assert InputContents(lambda: place).of_file(file) != first and len(hashed) == 2
    place.write_text("{ damaged")
    assert InputContents(lambda: place).of_file(file) != first and len(hashed) == 3
    assert InputContents(lambda: Path("/dev/null/nowhere")).of_file(file) != first


def test_what_is_gone_keeps_the_content_that_it_was_last_seen_with(tmp_path: Path) -> None:
    contents = InputContents()
    (tmp_path / "a").write_text("x")
    there = contents.of(tmp_path, [tmp_path / "a"])
    assert contents.of(tmp_path, []) == there and contents.of(tmp_path / "never", []) == GONE


def test_changed_inputs_are_named_with_the_asset_that_was_made_from_them(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    record = DictionaryRecord(
        key="m/09/a", hook="h", kind="neurons", width=8, token_sample=TokenSampleSettings(corpus=(f"text:{tmp_path}/a.txt",))
    )
    lake = Lake(str(tmp_path / "lake"), SCHEMA_VERSION)
    partition, rows = {"dictionary": record.key}, DICTIONARY_SAMPLES.schema.empty_table()
    assert changed_inputs(lake, record) == []
    lake.write(DICTIONARY_SAMPLES.name, partition, DICTIONARY_SAMPLES.schema, rows, "v1")
    assert "input not recorded" in changed_inputs(lake, record)[0]
    lake.write(DICTIONARY_SAMPLES.name, partition, DICTIONARY_SAMPLES.schema, rows, "v1", record.corpus_inputs)
    assert changed_inputs(lake, record) == []
    (tmp_path / "a.txt").write_text("y")
    (line,) = changed_inputs(lake, record)
    assert line.startswith(f"input changed: corpus text:{tmp_path}/a.txt of m/09/a") and "token_sample was made from" in line
