"""Files of dictionaries in other number types, with scales, repeated names and odd configurations: read as they are meant, or refused."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from resources.dictionaries import DictionaryError, load_dictionary
from resources.dictionaries.weight_files import read_config, read_tensors

HOOK = "blocks.0.hook_resid_post"
CONFIG = {"architecture": "standard", "d_in": 8, "d_sae": 32, "apply_b_dec_to_input": True, "metadata": {"hook_name": HOOK}}
W_ENC = torch.arange(256.0).view(8, 32) / 256
WEIGHTS = {"W_enc": W_ENC, "b_enc": torch.zeros(32), "W_dec": W_ENC.T.contiguous(), "b_dec": torch.zeros(8)}
STATE = {"encoder.weight": W_ENC.T.contiguous(), "encoder.bias": torch.zeros(32), "decoder.weight": W_ENC.clone(), "bias": torch.zeros(8)}


def sae_lens(folder: Path, weights: dict[str, torch.Tensor], **config: Any) -> Any:
    """An SAE of SAELens with these changes."""
    folder.mkdir(exist_ok=True)
    save_file({**WEIGHTS, **weights}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({**CONFIG, **config}))
    return load_dictionary("sae_lens", source=str(folder))


def learned(folder: Path, content: object, **trainer: Any) -> Any:
    """An autoencoder of dictionary_learning with this content of ae.pt."""
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder", **trainer}}))
    return load_dictionary("dictionary_learning", source=str(folder), hook=HOOK)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"W_enc": W_ENC.to(torch.int8)}, "W_enc is of int8 numbers"),
        ({"W_enc": W_ENC.to(torch.float8_e4m3fn), "W_enc_scale": torch.ones(1)}, "W_enc is quantised (float8_e4m3fn)"),
        ({"W_enc": W_ENC > 0}, "W_enc is of bool numbers"),
        ({"W_enc": W_ENC.to(torch.complex64)}, "W_enc is of complex64 numbers"),
    ],
)
def test_packed_numbers_are_not_taken_for_weights(weights: dict[str, torch.Tensor], told: str, tmp_path: Path) -> None:
    with pytest.raises(DictionaryError) as error:
        sae_lens(tmp_path, weights)
    assert told in str(error.value)


@pytest.mark.parametrize("config", [{"k": 4.7}, {"k": True}, {"k": -3}, {"k": 99}, {"k": float("nan")}], ids=str)
def test_a_k_that_no_dictionary_has_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=r"\bk\b|NaN|nan"):
        sae_lens(tmp_path, {}, architecture="topk", **config)
    assert sae_lens(tmp_path, {}, architecture="topk", k="4").activation.k == 4


@pytest.mark.parametrize("value", ["false", None, 0])
def test_a_truth_value_is_true_or_false(value: object, tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="apply_b_dec_to_input"):
        sae_lens(tmp_path, {}, apply_b_dec_to_input=value)


def test_a_key_that_stands_twice_with_two_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_text('{"k": 4, "metadata": {"l0": 1, "l0": 1}}')
    assert read_config(tmp_path / "cfg.json")["k"] == 4
    (tmp_path / "cfg.json").write_text('{"k": 4, "k": 8}')
    with pytest.raises(DictionaryError, match="k stands twice"):
        read_config(tmp_path / "cfg.json")


def test_thresholds_are_one_or_one_for_each_latent(tmp_path: Path) -> None:
    x = torch.randn(4, 8)
    with pytest.raises(DictionaryError, match=r"threshold of shape \(16,\)"):
        sae_lens(tmp_path, {"threshold": torch.ones(16)}, architecture="jumprelu")
    each, one = (sae_lens(tmp_path, {"threshold": torch.full((n,), 0.1)}, architecture="jumprelu").encode(x) for n in (32, 1))
    assert torch.equal(each.value, one.value) and torch.equal(each.feature, one.feature)


def test_other_forms_of_the_same_weights_are_the_same_dictionary(tmp_path: Path) -> None:
    plain = learned(tmp_path, STATE).revision
    forms = {
        "parameters": {name: torch.nn.Parameter(one) for name, one in STATE.items()},
        "sparse": {**STATE, "encoder.weight": STATE["encoder.weight"].to_sparse()},
        "compiled": {f"_orig_mod.{name}": one for name, one in STATE.items()},
    }
    assert {name: learned(tmp_path, form).revision for name, form in forms.items()} == dict.fromkeys(forms, plain)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({**STATE, **{f"_orig_mod.{name}": 2 * one for name, one in STATE.items()}}, "twice, once behind a prefix"),
        ({**STATE, "encoder.weight": STATE["encoder.weight"].to("meta")}, "no content"),
        ({"ae": STATE, "norm_factor": 0.0}, "norm_factor 0.0"),
        ({"ae": STATE, "norm_factor": "x"}, "norm_factor 'x'"),
    ],
    ids=["two of a name", "meta", "a factor of 0", "a factor that is a text"],
)
def test_what_cannot_be_meant_is_refused(content: object, told: str, tmp_path: Path) -> None:
    with pytest.raises(DictionaryError) as error:
        learned(tmp_path, content)
    assert told in str(error.value)


def test_arrays_of_the_other_byte_order_are_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(4, dtype=">f4"))
    (tmp_path / "params.npz").write_bytes(buffer.getvalue())
    assert read_tensors(tmp_path / "params.npz")["a"].tolist() == [0, 1, 2, 3]
