"""A folder of another format than the record's kind: the message names the format and what to write."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from resources.dictionaries import DictionaryError, load_dictionary
from resources.dictionaries.recognise import recognised

FIXTURES = Path(__file__).parent / "fixtures"
HOOK = "blocks.1.hook_resid_post"


def sae_lens(folder: Path) -> None:
    (folder / "cfg.json").write_text("{}")
    save_file({"W_enc": torch.ones(2, 3)}, folder / "sae_weights.safetensors")


def sparsify(folder: Path) -> None:
    shutil.copytree(FIXTURES / "sparsify" / "topk", folder, dirs_exist_ok=True)


def dictionary_learning(folder: Path) -> None:
    shutil.copytree(FIXTURES / "dictionary_learning" / "AutoEncoder", folder, dirs_exist_ok=True)


def gemma_scope(folder: Path) -> None:
    np.savez(folder / "params.npz", W_enc=np.ones((2, 3)))


def circuit_tracer(folder: Path) -> None:
    shutil.copytree(FIXTURES / "circuit_tracer" / "relu", folder, dirs_exist_ok=True)


MADE: dict[str, Callable[[Path], None]] = {
    one.__name__: one for one in (sae_lens, sparsify, dictionary_learning, gemma_scope, circuit_tracer)
}


@pytest.mark.parametrize("named", MADE)
@pytest.mark.parametrize("held", MADE)
def test_each_kind_recognises_each_others_folders(tmp_path: Path, named: str, held: str) -> None:
    folder = tmp_path / "saes" / "layer_1"
    folder.mkdir(parents=True)
    MADE[held](folder)
    if named == held:
        assert recognised(folder) is not None
        return
    with pytest.raises(DictionaryError) as raised:
        load_dictionary(named, str(folder), HOOK)
    assert f"kind: {held}" in str(raised.value) and "\n" not in str(raised.value), str(raised.value)
    with pytest.raises(DictionaryError, match=rf"kind: {held}"):
        load_dictionary(named, str(folder.parent), HOOK)  # one folder too high


def clt(folder: Path) -> None:
    save_file({"W_enc_0": torch.ones(2, 3)}, folder / "W_enc_0.safetensors")
    (folder / "config.yaml").write_text('model_kind: "cross_layer_transcoder"\n')


def language_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))


def llama_scope(folder: Path) -> None:
    (folder / "hyperparams.json").write_text("{}")


def qwen_scope(folder: Path) -> None:
    torch.save({}, folder / "layer0.sae.pt")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def checkpoints(folder: Path) -> None:
    (folder / "checkpoints").mkdir()
    torch.save({}, folder / "checkpoints" / "ae_100.pt")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (clt, "This is a cross-layer transcoder of circuit-tracer: write kind: circuit_tracer"),
        (language_model, "This is a language model, which is no dictionary: name it as model.source"),
        (llama_scope, "OpenMOSS: write kind: openmoss"),
        (qwen_scope, "This is a Qwen Scope release: write kind: qwen_scope"),
        (adapter, "adapter of PEFT"),
        (checkpoints, "This is dictionary_learning: write kind: dictionary_learning, and name ae.pt"),
    ],
)
@pytest.mark.parametrize("kind", ["sae_lens", "sparsify", "gemma_scope"])
def test_a_format_without_a_loader_is_named_with_the_way_out(tmp_path: Path, make: Callable[[Path], None], told: str, kind: str) -> None:
    make(tmp_path)
    with pytest.raises(DictionaryError) as raised:
        load_dictionary(kind, str(tmp_path), HOOK)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("encoder.weight", "encoder.bias", "W_dec", "b_dec"), "name the weights sae.safetensors beside their cfg.json"),
        (("W_enc", "b_enc", "W_dec", "b_dec"), "name the weights sae_weights.safetensors beside their cfg.json"),
        (("w_enc", "b_enc", "w_dec", "b_dec", "threshold"), "write kind: gemma_scope and name the file itself"),
    ],
)
def test_weights_under_another_name_are_known_by_their_tensors(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    save_file({name: torch.ones(2, 3) for name in names}, tmp_path / "model.safetensors")
    for kind in ("sae_lens", "sparsify", "gemma_scope"):
        with pytest.raises(DictionaryError, match=told):
            load_dictionary(kind, str(tmp_path), HOOK)
    (tmp_path / "model.safetensors").write_bytes(b"no header")
    with pytest.raises(DictionaryError, match="Point at a folder that sparsify wrote"):
        load_dictionary("sparsify", str(tmp_path), HOOK)


def test_an_unknown_folder_keeps_the_plain_message_and_a_file_names_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    (tmp_path / "cfg.json").write_bytes(b"\xff")
    with pytest.raises(DictionaryError, match="Point at a folder that sparsify wrote"):
        load_dictionary("sparsify", str(tmp_path), HOOK)
    sae_lens(tmp_path)
    for kind in ("sae_lens", "sparsify", "circuit_tracer"):
        with pytest.raises(DictionaryError, match=rf"is a file. Name its folder {tmp_path} \(This is SAELens: write kind: sae_lens\)"):
            load_dictionary(kind, str(tmp_path / "sae_weights.safetensors"), HOOK)
