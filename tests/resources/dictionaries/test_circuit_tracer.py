"""Transcoder sets: files that circuit-tracer wrote, against its own encodings, and one record for a layer of a set (see fixtures)."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from interp_assets.config.records import DictionaryRecord
from resources.dictionaries import DictionaryError, load_dictionary
from resources.dictionaries.circuit_tracer import set_and_layer, set_files

SETS = Path(__file__).parent / "fixtures" / "circuit_tracer"
HOOK, HOOK_OUT = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A set of two layers that a test may change."""
    return Path(shutil.copytree(SETS / "skip", tmp_path / "set"))


def configure(folder: Path, **changes: Any) -> None:
    """config.yaml with other values; None takes a key out."""
    config = yaml.safe_load((folder / "config.yaml").read_text()) | changes
    (folder / "config.yaml").write_text(yaml.safe_dump({key: value for key, value in config.items() if value is not None}))


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Layer 1 with other tensors; None takes a tensor out."""
    held = load_file(folder / "layer_1.safetensors") | tensors
    save_file({name: tensor for name, tensor in held.items() if tensor is not None}, folder / "layer_1.safetensors")


@pytest.mark.parametrize("name", ["relu", "skip", "jumprelu", "topk"])
@pytest.mark.parametrize(
    ("hook", "layer"), [(HOOK, ""), ("model.layers.1.mlp:input", ""), (HOOK, "#1"), ("transformer.mlp:input", "#layer_1")]
)
def test_a_layer_equals_circuit_tracer(name: str, hook: str, layer: str, agrees: Any) -> None:
    expected = load_file(SETS / name / "expected.safetensors")
    ours = load_dictionary("circuit_tracer", f"{SETS / name}{layer}", hook, width=24, d_in=8)
    assert (ours.hook, ours.output_hook, ours.l0_expected) == (hook, HOOK_OUT, 4 if name == "topk" else None)
    assert (expected["encoded"] > 0).any(dim=1).all()
    agrees(ours, **expected)
    other = load_dictionary("circuit_tracer", str(SETS / name), "blocks.0.mlp.hook_in")
    assert other.revision != ours.revision and other.output_hook == "blocks.0.hook_mlp_out"


def test_files_listed_in_the_configuration_are_read_in_each_layout(copied: Path, agrees: Any) -> None:
    """Gemma Scope's files, which circuit-tracer's sets list: W_enc [d_in, width], other names; and a file by its path from the set."""
    w = load_file(copied / "layer_1.safetensors")
    expected = load_file(copied / "expected.safetensors")
    theirs = {
        "w_enc": w["W_enc"].T.contiguous(),
        "w_dec": w["W_dec"],
        "b_enc": w["b_enc"],
        "b_dec": w["b_dec"],
        "threshold": torch.zeros(24),
    }
    save_file({**theirs, "affine_skip_connection": w["W_skip"].T.contiguous()}, copied / "second.safetensors")
    np.savez(copied / "params.npz", **{("W" + name[1:] if name.startswith("w_") else name): one.numpy() for name, one in theirs.items()})
    (copied / "layer_1.safetensors").rename(copied / "moved.safetensors")
    configure(copied, activation=None)
    without_skip = expected["decoded"] - expected["x"] @ w["W_skip"].T
    for name, decoded in (
        ("second.safetensors", expected["decoded"]),
        ("moved.safetensors", expected["decoded"]),
        ("params.npz", without_skip),
    ):
        for listed in (["x", name], ["x", str(copied / name)], [{"id": 1, "layer": 1, "filepath": name}]):
            configure(copied, transcoders=listed)
            agrees(load_dictionary("circuit_tracer", str(copied), HOOK), expected["x"], expected["encoded"], decoded)
            assert set_files(str(copied), HOOK) == [copied / "config.yaml", copied / name]
    configure(copied, transcoders=["x"])
    with pytest.raises(DictionaryError, match=r"lists the layers \[0\] in config\.yaml, and not 1"):
        load_dictionary("circuit_tracer", str(copied), HOOK)


def test_the_decoder_of_the_first_sets_is_turned(copied: Path, agrees: Any) -> None:
    change(copied, W_dec=load_file(copied / "layer_1.safetensors")["W_dec"].T.contiguous())
    agrees(load_dictionary("circuit_tracer", str(copied), HOOK), **load_file(copied / "expected.safetensors"))


def test_k_is_taken_from_the_configuration_the_file_or_the_record(tmp_path: Path, agrees: Any) -> None:
    folder = Path(shutil.copytree(SETS / "topk", tmp_path / "set"))
    expected = load_file(folder / "expected.safetensors")
    configure(folder, k=None)
    with pytest.raises(DictionaryError, match=r"activation topk, and config\.yaml does not say its k. Name k in the record"):
        load_dictionary("circuit_tracer", str(folder), HOOK)
    agrees(load_dictionary("circuit_tracer", str(folder), HOOK, k=4), **expected)
    change(folder, k=torch.tensor(4))  # as circuit-tracer's cache keeps it
    agrees(load_dictionary("circuit_tracer", str(folder), HOOK), **expected)
    configure(folder, activation=None)
    agrees(load_dictionary("circuit_tracer", str(folder), HOOK), **expected)
    with pytest.raises(DictionaryError, match="has k 4, but the record says 5"):
        load_dictionary("circuit_tracer", str(folder), HOOK, k=5)
    with pytest.raises(DictionaryError, match="no topk activation, but the record says k 5"):
        load_dictionary("circuit_tracer", str(SETS / "relu"), HOOK, k=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "gelu"}, "activation 'gelu' in config.yaml; supported: relu, topk, jumprelu"),
        ({"activation": "jumprelu"}, "no threshold in its files"),
        ({"model_kind": "cross_layer_transcoder"}, "no W_enc_N.safetensors"),
        ({"model_kind": "crosscoder"}, "model_kind 'crosscoder'"),
        ({"feature_output_hook": None}, "does not say its feature_output_hook"),
        ({"feature_output_hook": "mlp.hook_out"}, r"Name output_hook in the record: blocks\.1\.hook_mlp_out"),
    ],
)
def test_a_set_without_a_formula_is_refused_by_name(copied: Path, changes: dict[str, Any], message: str) -> None:
    configure(copied, **changes)
    with pytest.raises(DictionaryError, match=message):
        load_dictionary("circuit_tracer", str(copied), HOOK)


def test_what_does_not_fit_together_is_said(copied: Path) -> None:
    def refused(hook: str, source: str = str(copied)) -> str:
        with pytest.raises(DictionaryError) as raised:
            load_dictionary("circuit_tracer", source, hook)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert load_dictionary("circuit_tracer", str(copied), HOOK, output_hook="model.layers.1.mlp").output_hook == "model.layers.1.mlp"
    assert "has no layer_7.safetensors; it holds the layers [0, 1]" in refused("blocks.7.mlp.hook_in")
    assert "names layer 0, but the hook blocks.1.mlp.hook_in is in layer 1" in refused(HOOK, f"{copied}#0")
    assert "has no number of a layer" in refused("mlp.hook_in")
    assert "neither a folder on this machine" in refused(HOOK, "/no/such")
    change(copied, log_thresholds=torch.zeros(24))
    assert "holds log_thresholds" in refused(HOOK)
    change(copied, log_thresholds=None, **{"activation_function.threshold": torch.ones(24)})
    assert "activation relu in config.yaml, and thresholds in its files" in refused(HOOK)
    change(copied, W_enc=None)
    assert "lacks ['W_enc']" in refused(HOOK)
    (copied / "config.yaml").write_text("- a list")
    assert "holds a YAML list" in refused(HOOK)
    (copied / "config.yaml").write_text("a: [")
    assert "cannot be read" in refused(HOOK)


@pytest.mark.parametrize(
    ("source", "hook", "found"),
    [
        ("a/b", "blocks.12.mlp.hook_in", ("a/b", 12)),
        ("a/b#12", "model.layers.12.mlp:input", ("a/b", 12)),
        ("/x/c#sharp", "transformer.h.3", ("/x/c#sharp", 3)),
        ("/x/qwen3-4b", "layers.3:input", ("/x/qwen3-4b", 3)),
    ],
)
def test_the_layer_is_the_first_number_of_the_hook(source: str, hook: str, found: tuple[str, int]) -> None:
    assert set_and_layer(source, hook) == found


def test_a_record_depends_on_its_own_layer_alone(copied: Path) -> None:
    def record(source: str) -> DictionaryRecord:
        return DictionaryRecord(key="m/01/t", hook=HOOK, kind="circuit_tracer", source=source, width=24)

    for source in (str(copied), f"{copied}#1"):
        before = record(source).fingerprint
        shutil.copy(SETS / "relu" / "layer_0.safetensors", copied / "layer_0.safetensors")
        assert record(source).fingerprint == before
        held = (copied / "layer_1.safetensors").read_bytes()
        change(copied, b_dec=torch.ones(8))
        assert record(source).fingerprint != before
        (copied / "layer_1.safetensors").write_bytes(held)
        assert record(source).fingerprint == before
    assert record("owner/repository").source_content is None
    other = record(str(copied)).model_copy(update={"hook": "blocks.0.mlp.hook_in"})
    contents = record(str(copied)).source_content, other.source_content
    shutil.rmtree(copied)
    assert (record(str(copied)).source_content, other.source_content) == contents and contents[0] != contents[1]


def test_a_set_on_the_hub_is_downloaded_a_layer_at_a_time(monkeypatch: pytest.MonkeyPatch, copied: Path, agrees: Any) -> None:
    import huggingface_hub

    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo, allow_patterns, **_: asked.append((repo, *allow_patterns)) or str(copied)
    )
    monkeypatch.setattr(
        huggingface_hub,
        "hf_hub_download",
        lambda repo, name, revision: asked.append((repo, name, str(revision))) or str(copied / "layer_1.safetensors"),
    )
    expected = load_file(copied / "expected.safetensors")
    agrees(load_dictionary("circuit_tracer", "owner/transcoders", HOOK), **expected)
    assert asked == [("owner/transcoders", "config.yaml"), ("owner/transcoders", "config.yaml", "layer_1.safetensors")]
    asked.clear()
    configure(copied, transcoders=["hf://other/set/a/0.safetensors", "hf://other/set/a/1.safetensors?revision=abc"])
    agrees(load_dictionary("circuit_tracer", "owner/transcoders", HOOK), **expected)
    assert asked == [("owner/transcoders", "config.yaml"), ("other/set", "a/1.safetensors", "abc")]
    asked.clear()
    configure(copied, transcoders=["", "hf://owner/transcoders/a/1.safetensors"])
    ours = load_dictionary("circuit_tracer", "owner/transcoders", HOOK, revision="2" * 40)
    assert asked[-1] == ("owner/transcoders", "a/1.safetensors", "2" * 40) and not ours.notes  # the set's own repository, at its commit
    configure(copied, transcoders=["", "hf://other/set/a/1.safetensors"])
    (note,) = load_dictionary("circuit_tracer", "owner/transcoders", HOOK, revision="2" * 40).notes
    assert asked[-1] == ("other/set", "a/1.safetensors", "None") and "at the newest commit" in note
