"""Which models a run of a few features loads ahead: the encoder and the local language model that its assets ask, and no others."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from interp_assets.config.records import DictionaryRecord
from interp_assets.installation.home import Home
from interp_assets.single_features import models_ahead
from interp_assets.single_features.models_ahead import models_loading_ahead

KEY = "m/00/a"
LOCAL = {"backend": "transformers", "model": "local"}
SERVED = {"backend": "openai", "model": "served", "options": {"base_url": "http://127.0.0.1:1/v1"}}


class Loads:
    """A process that notes what it is to load."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def load_encoder(self, source: str, revision: str | None) -> None:
        self.noted.append(f"encoder {source}")

    def load_language_model(self, model: str, revision: str | None, options: dict[str, Any]) -> None:
        self.noted.append(model)

    def close(self) -> None:
        self.noted.append("closed")


@pytest.mark.parametrize(
    ("settings", "scores", "only", "loaded"),
    [
        ({"explainer": LOCAL, "scorer": SERVED}, {"embedding": "all"}, (), ["local", "encoder e"]),
        ({"explainer": SERVED, "scorer": LOCAL}, {"detection": "all"}, (), ["local"]),
        ({"explainer": LOCAL, "scorer": SERVED}, {"detection": "all"}, ("scores/detection",), []),
        ({"explainer": SERVED, "scorer": SERVED, "base": LOCAL}, {"surprisal": "all", "detection": "all"}, (), ["local"]),
        ({"explainer": SERVED, "scorer": SERVED}, {"embedding": "all"}, ("scores/embedding",), ["encoder e"]),
        ({"explainer": SERVED, "scorer": SERVED, "base": LOCAL}, {"detection": "all"}, (), []),
        ({"explainer": LOCAL, "scorer": SERVED}, {"embedding": "all"}, ("scores",), ["encoder e"]),
        ({"explainer": LOCAL, "scorer": SERVED}, {"embedding": "all"}, ("explanations",), ["local"]),
    ],
)
def test_the_process_loads_the_models_that_the_run_asks(
    settings: dict[str, Any],
    scores: dict[str, Any],
    only: tuple[str, ...],
    loaded: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, process = Home(tmp_path, str(tmp_path / "lake")), Loads()
    home.settings_file.write_text(yaml.safe_dump({**settings, "sentence_encoder": {"source": "e"}}))
    (tmp_path / "words.txt").write_text("some words")
    stages = {"explanations": ["max_act"], "scores": {"detection": [], "fuzzing": [], **scores}}
    sample: Any = {"corpus": [f"text:{tmp_path}/words.txt"], "n_tokens": 64}
    home.registry.write(
        DictionaryRecord(key=KEY, hook="blocks.0.mlp.hook_post", kind="topk_neurons", k=8, width=64, token_sample=sample, stages=stages)
    )
    monkeypatch.setenv("INTERP_HOME", str(tmp_path))
    monkeypatch.setenv("INTERP_LAKE", "")
    monkeypatch.setattr(models_ahead, "start_models_process", lambda: process)
    with models_loading_ahead(KEY, only) as given:
        assert given is (process if loaded else None)
        assert process.noted == (loaded or ["closed"])
    assert process.noted[-1] == "closed"
