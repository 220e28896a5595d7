"""What a record names on the hub is pinned to a commit when it is registered, and read at that commit from then on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord
from interp_assets.installation import registration
from interp_assets.installation.home import Home
from interp_assets.installation.registration import register_record
from interp_assets.orchestration.versions import sample_version
from resources.dictionaries import KINDS, DictionaryError, load_dictionary

FIRST, SECOND = "1" * 40, "2" * 40
HOOK, SOURCE, CORPUS = "blocks.1.hook_resid_post", "owner/scope/layer_1", "hf:owner/texts:en#text@train"
RECORD = {"key": "tiny/01/x", "model": {"source": "owner/model"}, "hook": HOOK, "kind": "gemma_scope", "source": SOURCE, "width": 6}
SAMPLE = {"corpus": ["sotu", CORPUS], "n_tokens": 320}


def put(cache: Path, folder: str, commit: str, main: bool = True) -> Path:
    """A commit of a repository in the cache, which is main from now on."""
    snapshot = cache / folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    if main:
        (cache / folder / "refs").mkdir(exist_ok=True)
        (cache / folder / "refs" / "main").write_text(commit)
    return snapshot


def put_scope(cache: Path, commit: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    shapes = {"W_enc": (4, 6), "b_enc": (6,), "W_dec": (6, 4), "b_dec": (4,), "threshold": (6,)}
    folder = put(cache, "models--owner--scope", commit) / "layer_1"
    folder.mkdir()
    np.savez(folder / "params.npz", **{name: draw.random(shape, dtype=np.float32) for name, shape in shapes.items()})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, with one commit of each repository; no request leaves this machine."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    put_scope(tmp_path / "hub", FIRST, 1)
    put(tmp_path / "hub", "models--owner--model", FIRST)
    put(tmp_path / "hub", "datasets--owner--texts", FIRST)
    return tmp_path / "hub"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home without Dagster."""
    monkeypatch.setenv("INTERP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registration, "add_record", lambda home, record: home.registry.write(record))
    return Home.from_environment()


def register(home: Home, said: list[str] | None = None, **changes: Any) -> DictionaryRecord:
    """The record as the registry holds it after registration without a check."""
    record = {**RECORD, "token_sample": SAMPLE, **changes}
    say = (lambda _: None) if said is None else said.append
    register_record(home, yaml.safe_dump(record), "my.yaml", check=False, say=say)
    return home.registry.get("tiny/01/x")


def test_model_dictionary_and_corpus_are_pinned_and_said(cache: Path, home: Home) -> None:
    said: list[str] = []
    record = register(home, said)
    assert (record.revision, record.model.revision, record.token_sample.revisions) == (FIRST, FIRST, {CORPUS: FIRST})
    assert said == [f"{name}: commit {FIRST[:12]} is written into the record" for name in ("owner/scope", "owner/model", "owner/texts")]


def test_a_pinned_dictionary_stays_what_it_was_after_a_push(cache: Path, home: Home) -> None:
    record = register(home)
    before = load_dictionary(record.kind, **record.loader_fields)
    put_scope(cache, SECOND, 2)
    assert load_dictionary(record.kind, **record.loader_fields).revision == before.revision
    assert load_dictionary("gemma_scope", SOURCE, HOOK).revision != before.revision  # what is newest is another dictionary
    with pytest.raises(DictionaryError, match=f"no 'layer_1' in owner/scope at commit {'3' * 40}"):
        load_dictionary("gemma_scope", SOURCE, HOOK, revision="3" * 40)


def test_another_commit_is_another_data_version_and_registering_again_is_not(cache: Path, home: Home) -> None:
    first = register(home)
    put_scope(cache, SECOND, 2)
    put(cache, "datasets--owner--texts", SECOND)
    said: list[str] = []
    again = register(home, said)
    assert again == first and "of the earlier registration is kept" in said[0]
    moved = register(home, revision="main")
    assert moved.revision == SECOND and moved.fingerprint != first.fingerprint
    assert sample_version(moved, "t") == sample_version(first, "t")
    other_texts = register(home, token_sample={**SAMPLE, "revisions": {CORPUS: "main"}})
    assert other_texts.token_sample.revisions == {CORPUS: SECOND} and sample_version(other_texts, "t") != sample_version(first, "t")


def test_another_source_under_the_same_key_keeps_no_commit(cache: Path, home: Home) -> None:
    register(home)
    put(cache, "models--owner--other", SECOND)
    record = register(home, source="owner/other/layer_1")
    assert record.revision == SECOND and record.model.revision == FIRST


def test_a_repository_that_is_not_found_is_noted_and_a_revision_that_is_not_found_is_refused(cache: Path, home: Home) -> None:
    said: list[str] = []
    record = register(home, said, source="owner/nothing/layer_1")
    assert record.revision is None and "note: the commit of owner/nothing was not found" in said[0]
    with pytest.raises(UserError, match="model owner/scope has no revision 'v9' on the hub"):
        register(home, revision="v9")
    with pytest.raises(UserError, match="dataset owner/texts has no revision 'v9'"):
        register(home, token_sample={**SAMPLE, "revisions": {CORPUS: "v9"}})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"source": "{here}"}, "names no repository on the hub. Leave revision out"),
        ({"kind": "random_topk", "source": None, "d_in": 4, "k": 2}, "has no .*revision"),
        ({"revision": None, "token_sample": {**SAMPLE, "revisions": {"sotu": FIRST}}}, "revisions names sotu, which is no source hf:"),
        ({"revision": None, "token_sample": {**SAMPLE, "revisions": {"hf:a/b#text": FIRST}}}, "revisions names hf:a/b#text"),
        ({"revision": True}, "revision"),
        ({"revision": 12}, "revision"),
    ],
)
def test_a_revision_where_there_is_none_is_a_message(cache: Path, home: Home, tmp_path: Path, changes: dict, message: str) -> None:
    filled = {name: str(tmp_path) if value == "{here}" else value for name, value in changes.items()}
    with pytest.raises(UserError, match=message):
        register(home, **{"revision": FIRST, **filled})


def test_a_folder_on_this_machine_is_not_loaded_with_a_revision(tmp_path: Path) -> None:
    for kind in (kind for kind, one in KINDS.items() if one.may_be_on_the_hub):
        with pytest.raises(DictionaryError, match="has revision 'main', and this source is no repository on the hub"):
            load_dictionary(kind, str(tmp_path), HOOK, revision="main")


def test_a_record_without_anything_on_the_hub_is_registered_as_it_is(cache: Path, home: Home) -> None:
    said: list[str] = []
    local = {"model": {}, "kind": "topk_neurons", "source": None, "k": 2, "token_sample": {"corpus": ["sotu", "hf:/data/x#text"]}}
    record = register(home, said, **local)
    assert not said and record.revision is None and record.model.revision is None and record.token_sample.revisions == {}
