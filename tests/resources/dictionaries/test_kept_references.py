"""sparsify and dictionary_learning: files that those packages wrote, against the encodings that they made (see fixtures)."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from resources.dictionaries import Dictionary, DictionaryError, load_dictionary

FIXTURES = Path(__file__).parent / "fixtures"
HOOK, HOOK_OUT = "model.layers.1.mlp:input", "model.layers.1.mlp"
SPARSIFY = sorted(path.name for path in (FIXTURES / "sparsify").iterdir())
DICTIONARY_LEARNING = sorted(path.name for path in (FIXTURES / "dictionary_learning").iterdir())


def load_sparsify(folder: Path, **record: Any) -> Dictionary:
    transcodes = json.loads((folder / "cfg.json").read_text())["transcode"]
    return load_dictionary("sparsify", str(folder), HOOK, **({"output_hook": HOOK_OUT} if transcodes else {}), **record)


def test_the_fixtures_cover_every_formula() -> None:
    assert SPARSIFY == ["groupmax", "multi_topk", "skip_transcoder", "topk", "transcoder"]
    assert len(DICTIONARY_LEARNING) == 7


@pytest.mark.parametrize("name", SPARSIFY)
def test_sparsify_equals_its_package(name: str, agrees: Any) -> None:
    expected = load_file(FIXTURES / "sparsify" / name / "expected.safetensors")
    ours = load_sparsify(FIXTURES / "sparsify" / name, width=24, d_in=8)
    assert ours.l0_expected == 4 and ours.output_hook == (HOOK_OUT if "transcoder" in name else HOOK)
    assert (expected["encoded"] > 0).any(dim=1).all()
    agrees(ours, **expected)


@pytest.mark.parametrize("name", DICTIONARY_LEARNING)
def test_dictionary_learning_equals_its_package(name: str, agrees: Any) -> None:
    expected = load_file(FIXTURES / "dictionary_learning" / name / "expected.safetensors")
    ours = load_dictionary("dictionary_learning", str(FIXTURES / "dictionary_learning" / name), "blocks.1.hook_resid_post", width=24)
    assert ours.l0_expected == (4 if "TopK" in name else None)
    assert (expected["encoded"] > 0).any(dim=1).all()
    agrees(ours, **expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signed": True, "activation": "groupmax", "k": 4}, "signed with activation 'groupmax'"),
        ({"activation": "softmax"}, "activation 'softmax'; supported"),
        ({"activation": "groupmax", "k": 5}, "k = 5 groups do not divide"),
        ({"transcode": True}, "Name its output_hook"),
        ({"skip_connection": True}, r"lacks \['W_skip'\]"),
    ],
)
def test_sparsify_without_a_formula_is_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    shutil.copytree(FIXTURES / "sparsify" / "topk", tmp_path / "topk")
    config = json.loads((tmp_path / "topk" / "cfg.json").read_text())
    (tmp_path / "topk" / "cfg.json").write_text(json.dumps(config | change))
    with pytest.raises(DictionaryError, match=message):
        load_dictionary("sparsify", str(tmp_path / "topk"), HOOK)


def test_sparsify_in_half_precision_and_without_decoder(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "sparsify" / "topk", tmp_path / "topk")
    path = tmp_path / "topk" / "sae.safetensors"
    weights = load_file(path)
    save_file({name: weight.bfloat16() for name, weight in weights.items()}, path)
    assert load_sparsify(tmp_path / "topk").decoder_row(0).dtype == torch.float32
    weights.pop("W_dec")
    save_file(weights, path)
    with pytest.raises(DictionaryError, match=r"lacks \['W_dec'\]"):
        load_sparsify(tmp_path / "topk")
    with pytest.raises(DictionaryError, match="no transcoder, but the record has output_hook"):
        load_dictionary("sparsify", str(FIXTURES / "sparsify" / "topk"), HOOK, output_hook=HOOK_OUT)


def test_dictionary_learning_refuses_other_classes_and_files_that_are_more_than_weights(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "dictionary_learning" / "AutoEncoderTopK", tmp_path / "ae")
    config = json.loads((tmp_path / "ae" / "config.json").read_text())

    def load() -> None:
        load_dictionary("dictionary_learning", str(tmp_path / "ae"), "blocks.1.hook_resid_post")

    (tmp_path / "ae" / "config.json").write_text(json.dumps({"trainer": config["trainer"] | {"dict_class": "CrossCoder"}}))
    with pytest.raises(DictionaryError, match="class 'CrossCoder'; supported"):
        load()
    (tmp_path / "ae" / "config.json").write_text(json.dumps({"trainer": config["trainer"] | {"dict_class": "JumpReluAutoEncoder"}}))
    with pytest.raises(DictionaryError, match=r"lacks .*'W_enc'"):
        load()
    (tmp_path / "ae" / "config.json").write_text(json.dumps(config))
    torch.save({"code": Path}, tmp_path / "ae" / "ae.pt")
    with pytest.raises(DictionaryError, match="must hold plain weights"):
        load()


def test_folders_on_the_hub_are_downloaded_alone(monkeypatch: pytest.MonkeyPatch, agrees: Any) -> None:
    import huggingface_hub

    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo, allow_patterns, **_: asked.append((repo, *allow_patterns)) or str(FIXTURES)
    )
    ours = load_dictionary("sparsify", "EleutherAI/sae/sparsify/topk", HOOK)
    agrees(ours, **load_file(FIXTURES / "sparsify" / "topk" / "expected.safetensors"))
    assert asked == [("EleutherAI/sae", "sparsify/topk/cfg.json", "sparsify/topk/sae.safetensors")]
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda repo, allow_patterns, **_: asked.append((repo, *allow_patterns)) or str(FIXTURES / "sparsify" / "topk"),
    )
    at_the_root = load_dictionary("sparsify", "EleutherAI/sae", HOOK)
    assert at_the_root.revision == ours.revision and asked[1:] == [("EleutherAI/sae", "cfg.json", "sae.safetensors")]
    with pytest.raises(DictionaryError, match="nor owner/repository/folder on the hub"):
        load_dictionary("sparsify", "sae", HOOK)
