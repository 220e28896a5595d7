"""Files in the cache of the hub that are not what the hub gave."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from resources.dictionaries import DictionaryError, load_dictionary
from resources.hub_content import damage

COMMIT = "8" * 40


def linked(cache: Path, folder: str, path: Path) -> Path:
    """A file moved into the cache, with a link to it in the snapshot."""
    place = cache / "models--owner--scope"
    blob = place / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
    link = place / "snapshots" / COMMIT / folder / path.name
    for one in (blob, link):
        one.parent.mkdir(parents=True, exist_ok=True)
    path.rename(blob)
    link.symlink_to(blob)
    return link


def test_a_dictionary_whose_file_was_damaged_in_the_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    draw = np.random.default_rng(0)
    shapes = {"W_enc": (4, 6), "b_enc": (6,), "W_dec": (6, 4), "b_dec": (4,), "threshold": (6,)}
    np.savez(tmp_path / "params.npz", **{name: draw.random(shape, dtype=np.float32) for name, shape in shapes.items()})
    link = linked(tmp_path / "hub", "layer_1", tmp_path / "params.npz")
    refs = tmp_path / "hub" / "models--owner--scope" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    assert damage(link) is None and load_dictionary("gemma_scope", "owner/scope/layer_1", "blocks.1.hook_resid_post").width == 6
    content = bytearray(link.read_bytes())
    content[content.index(b"NUMPY") + 140] ^= 4  # in a weight, of which the zip's checksum may not be looked at
    link.resolve().write_bytes(content)
    with pytest.raises(DictionaryError, match=f"params.npz is damaged in the hub's cache: .*{link.resolve().name} has another content"):
        load_dictionary("gemma_scope", "owner/scope/layer_1", "blocks.1.hook_resid_post")


def test_files_of_other_names_and_files_that_are_gone_are_not_judged(tmp_path: Path) -> None:
    (tmp_path / ("a" * 64)).write_text("of a folder")
    (tmp_path / "link").symlink_to(tmp_path / ("b" * 64))
    assert damage(tmp_path / ("a" * 64)) is None and damage(tmp_path / "link") is None
