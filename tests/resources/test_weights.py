"""Model folders: the embedded model, its conversion, and every way a source can be wrong."""

from pathlib import Path

import pytest

from resources.weights import WeightsError, embedded_file, refuse_altered, resolve_model_folder

EMBEDDED = "embedded:smollm2-135m-instruct"


def test_altered_file_is_refused_with_both_hashes(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"abc")
    # SHA-256 of "abc" is FIPS 180's own example.
    with pytest.raises(WeightsError, match=r"ba7816bf8f01cfea.* expected 00"):
        refuse_altered(file, "00")


@pytest.mark.parametrize("source", ["embedded:nothing", "/no/such/folder", "./nowhere", "one-word"])
def test_unknown_sources_are_refused(source: str) -> None:
    with pytest.raises(WeightsError):
        resolve_model_folder(source)


def test_folder_without_config_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    with pytest.raises(WeightsError, match=r"no config.json; it holds \['weights.bin'\]"):
        resolve_model_folder(str(tmp_path))


def test_local_revision_follows_the_content(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = resolve_model_folder(str(tmp_path)).revision
    assert resolve_model_folder(str(tmp_path), before).revision == before
    (tmp_path / "model.safetensors").write_bytes(b"1")
    with pytest.raises(WeightsError, match="the weights changed"):
        resolve_model_folder(str(tmp_path), before)


@pytest.mark.real_model
def test_conversion_keeps_the_logits() -> None:
    import torch
    from transformers import AutoModelForCausalLM

    pytest.importorskip("gguf")
    gguf = embedded_file("smollm2-135m-instruct")
    original = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    converted = AutoModelForCausalLM.from_pretrained(resolve_model_folder(EMBEDDED).location, dtype=torch.float32)
    ids = torch.tensor([[1, 504, 3575, 282, 4649, 314]])
    with torch.inference_mode():
        assert torch.equal(original(ids).logits, converted(ids).logits)
