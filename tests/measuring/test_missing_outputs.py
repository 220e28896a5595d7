"""What registration says of outputs that a dictionary will not have on its model."""

from pathlib import Path

import pytest

from interp_assets.measuring.missing_outputs import missing_outputs
from resources.dictionaries import load_dictionary
from resources.fakes import FakeModels

RESIDUAL = "blocks.0.hook_resid_post"


def directions(hook: str) -> object:
    return load_dictionary("random_topk", hook=hook, width=8, d_in=32, k=2)


def test_a_dictionary_of_the_stream_has_all() -> None:
    assert missing_outputs(FakeModels().subject("", None, None), directions(RESIDUAL)) == []


def test_what_does_not_go_into_the_stream_has_no_projections() -> None:
    (line,) = missing_outputs(FakeModels().subject("", None, None), directions("blocks.0.mlp.hook_in"))
    assert line.startswith("no vocabulary projections: values at blocks.0.mlp.hook_in are changed on the way")


def test_a_model_without_a_way_to_its_logits_has_no_projections(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeModels().subject("", None, None)
    subject.model.config.model_type = "olmo"
    assert missing_outputs(subject, directions(RESIDUAL)) == []
    monkeypatch.setattr(subject, "unembedding", lambda: None)
    (line,) = missing_outputs(subject, directions(RESIDUAL))
    assert "no way from the residual stream to the logits was found in this olmo model" in line


def test_a_dictionary_that_only_reads_has_neither(tmp_path: Path) -> None:
    file = tmp_path / "probes.py"
    file.write_text("def positive(x):\n    return x[:, :6].relu()\n")
    function = load_dictionary("callable", f"{file}:positive", hook=RESIDUAL, width=6, d_in=32)
    (line,) = missing_outputs(FakeModels().subject("", None, None), function)
    assert line.endswith("the dictionary has no decoder")
