"""The commit of a repository, from a hub's cache that is made up here; the hub itself is not asked."""

from pathlib import Path

import pytest

from resources.hub_commits import hub_commit, is_commit
from resources.weights import WeightsError, hub_model, resolve_model_folder

FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache folder, empty; no request leaves this machine."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def hold(cache: Path, folder: str, commit: str, **refs: str) -> None:
    """Make the cache hold a commit of a repository, with the named refs pointing at commits."""
    (cache / folder / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
    (cache / folder / "refs").mkdir(exist_ok=True)
    for name, target in refs.items():
        (cache / folder / "refs" / name).write_text(target)


def test_the_cache_says_which_commit_main_a_branch_and_a_shortened_hash_are(cache: Path) -> None:
    hold(cache, "models--owner--saes", FIRST, main=SECOND, v1=FIRST)
    hold(cache, "models--owner--saes", SECOND)
    assert hub_commit("owner/saes") == SECOND and hub_commit("owner/saes", "v1") == FIRST
    assert hub_commit("owner/saes", "1111111") == FIRST
    for unknown in ("v2", "111", "3333333", "../refs/v1x", "main\n", "", "\0"):
        assert hub_commit("owner/saes", unknown) in (None, SECOND if unknown == "" else None), unknown
    assert hub_commit("owner/saes", "3" * 40) == "3" * 40  # a commit is what it says


def test_a_dataset_is_another_repository_than_a_model_of_its_name(cache: Path) -> None:
    hold(cache, "datasets--owner--saes", FIRST, main=FIRST)
    assert hub_commit("owner/saes", kind="dataset") == FIRST and hub_commit("owner/saes") is None


def test_without_a_note_of_main_the_only_commit_is_meant_and_of_several_none(cache: Path) -> None:
    hold(cache, "models--owner--saes", FIRST)
    assert hub_commit("owner/saes") == FIRST and hub_commit("owner/saes", "v1") is None
    hold(cache, "models--owner--saes", SECOND)
    assert hub_commit("owner/saes") is None and hub_commit("nobody/nothing") is None


def test_a_damaged_note_is_no_commit(cache: Path) -> None:
    hold(cache, "models--owner--saes", FIRST, main="not a commit")
    hold(cache, "models--owner--saes", SECOND)
    assert hub_commit("owner/saes") is None
    assert is_commit(FIRST) and not any(is_commit(one) for one in (None, "main", FIRST[:-1], FIRST + "1", "G" * 40))


def test_a_branch_of_a_model_is_its_commit(cache: Path) -> None:
    hold(cache, "models--owner--model", FIRST, main=SECOND, v1=FIRST)
    assert resolve_model_folder("owner/model", "v1").revision == FIRST and resolve_model_folder("owner/model").revision == SECOND
    with pytest.raises(WeightsError, match="hub model 'owner/model' at revision 'v2' was not found"):
        resolve_model_folder("owner/model", "v2")
    assert hub_model("owner/model") == "owner/model"
    assert not any(map(hub_model, ("embedded:smollm2-135m-instruct", "/data/model", "./owner", "model", "a/b/c", str(cache.parent))))
