"""The training script of the documentation trains, and its checkpoints are found and load as the page says."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from docs.examples import train_with_checkpoints as example
from interp_assets.config.base import validated
from interp_assets.config.checkpoints import WatchedFolder
from interp_assets.config.settings import PlatformSettings
from resources.dictionaries import load_dictionary

PAGE = Path(__file__).parents[2] / "docs" / "automation.md"


@pytest.mark.real_model
def test_checkpoints_of_the_example_are_found_by_the_settings_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "CONTEXT_TOKENS", 16)
    monkeypatch.setattr(example, "BATCH_ROWS", 2)
    written = example.train(tmp_path, "topk", steps=2, every=1, latents=64, k=4, seed=0)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == ["topk/1", "topk/2"]
    (block,) = re.findall(r"```yaml\n(watch:.*?)```", PAGE.read_text(), re.S)
    settings = yaml.safe_load(block)
    settings["watch"] |= {"folder": str(tmp_path), "settle_seconds": 0}
    settings["watch"]["record"]["width"] = 64
    (watched,) = validated(PlatformSettings, settings, "the page").watch
    assert isinstance(watched, WatchedFolder)
    records = [watched.record_of(checkpoint) for checkpoint in watched.checkpoints() if watched.is_settled(checkpoint)]
    assert [record.key for record in records] == ["smollm2-135m/09/topk-000001", "smollm2-135m/09/topk-000002"]
    for record in records:
        dictionary = load_dictionary(record.kind, **record.loader_fields)
        assert (dictionary.d_in, dictionary.width, dictionary.hook) == (576, 64, "blocks.9.hook_resid_post")
        batch = dictionary.encode(torch.from_numpy(np.random.default_rng(0).normal(size=(8, 576)).astype(np.float32)))
        assert 1 <= len(batch.value) <= 8 * 4, "a top-k of four"
