"""Attacks by files of dictionaries as people report them: other number types, scales beside weights, odd configurations, repeated names.
Each is read as it is meant, or refused with one sentence; no other numbers are taken for the weights."""

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes

from benchmarks.faults.attacks import BLOCKS, REFUSED, RIGHT, WRONG, Result, attack
from resources.dictionaries import DictionaryError, load_dictionary

Weights = dict[str, Any]
HOOK = "blocks.0.hook_resid_post"
CONFIG: dict[str, Any] = {"architecture": "standard", "d_in": 8, "d_sae": 32, "apply_b_dec_to_input": True, "metadata": {"hook_name": HOOK}}
TOP_K = {**CONFIG, "architecture": "topk"}
JUMP = {**CONFIG, "architecture": "jumprelu"}


def plain() -> Weights:
    """Weights of an SAE, with SAELens's names."""
    made = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (8, 32), "b_enc": (32,), "W_dec": (32, 8), "b_dec": (8,)}
    return {name: torch.randn(shape, generator=made) for name, shape in shapes.items()}


def linear(weights: Weights) -> Weights:
    """The same with the names of dictionary_learning."""
    return {
        "encoder.weight": weights["W_enc"].T.contiguous(), "encoder.bias": weights["b_enc"],
        "decoder.weight": weights["W_dec"].T.contiguous(), "bias": weights["b_dec"],
    }  # fmt: skip


def load(folder: Path, kind: str, content: bytes, config: str) -> Any:
    """The dictionary in a new folder."""
    folder.mkdir()
    weights, name = ("sae_weights.safetensors", "cfg.json") if kind == "sae_lens" else ("ae.pt", "config.json")
    (folder / weights).write_bytes(content)
    (folder / name).write_text(config)
    return load_dictionary(kind, source=str(folder), hook=HOOK)


def saved(content: object) -> bytes:
    """The bytes of `torch.save`."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def odd_files(folder: Path, quick: bool, kind: str, content: bytes, config: str, means: str) -> Result:
    """`means`: "the weights" where the files hold the plain weights in another form, "nothing" where they cannot be read."""
    sound = plain()
    whole = safetensors_bytes(sound) if kind == "sae_lens" else saved(linear(sound))
    settings = CONFIG if kind == "sae_lens" else {"trainer": {"dict_class": "AutoEncoder"}}
    expected = load(folder / "sound", kind, whole, json.dumps(settings))
    try:
        found = load(folder / "odd", kind, content, config)
        found.encode(torch.randn(5, 8))
    except DictionaryError as error:
        return Result(REFUSED, str(error)) if "\n" not in str(error) else Result(BLOCKS, "more than a sentence")
    right = means == "the weights" and found.revision == expected.revision
    return Result(RIGHT) if right else Result(WRONG, f"read as {found.revision}, which is not {expected.revision}")


def eighths(weight: torch.Tensor) -> torch.Tensor:
    """A weight in eight bits."""
    return (weight * 10).round().to(torch.int8)


def lens(name: str, change: Callable[[Weights], Weights] = lambda w: {}, means: str = "nothing", **config: Any) -> None:
    """An SAELens folder with changed weights and configuration."""
    content = safetensors_bytes({**plain(), **change(plain())})
    attack(f"SAELens with {name}", kind="sae_lens", content=content, config=json.dumps({**CONFIG, **config}), means=means)(odd_files)


lens("weights of int8", lambda w: {"W_enc": eighths(w["W_enc"])})
lens("weights of int8 beside scales", lambda w: {"W_enc": eighths(w["W_enc"]), "W_enc_scale": torch.ones(1)})
lens("weights of fp8 beside scales", lambda w: {"W_enc": w["W_enc"].to(torch.float8_e4m3fn), "W_enc.scale": torch.ones(1)})
lens("weights of float64", lambda w: {name: one.double() for name, one in w.items()}, means="the weights")
lens("weights of truth values", lambda w: {"W_enc": w["W_enc"] > 0})
lens("weights of complex numbers", lambda w: {"W_enc": w["W_enc"].to(torch.complex64) + 1j})
lens("weights beyond float32", lambda w: {"W_enc": w["W_enc"].double() * 1e300})
lens("a threshold for half of its latents", lambda w: {"threshold": torch.ones(16)}, **JUMP)
lens("a k of 4.7", k=4.7, **{**TOP_K})
lens("a k of true", k=True, **TOP_K)
lens("a k of -3", k=-3, **TOP_K)
lens("a k above its width", k=99, **TOP_K)
lens("a k that is no number", k=float("nan"), **TOP_K)
lens('apply_b_dec_to_input: "false"', apply_b_dec_to_input="false")
lens("apply_b_dec_to_input: null", apply_b_dec_to_input=None)
lens("an architecture that is a list", architecture=["standard"])
lens("metadata that are a text", metadata="hook")
HEADER = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
for name, content in {
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
    "a page of HTML": b"<!DOCTYPE html><html>404</html>",
    "no bytes": b"",
    "a pickle": saved(plain()),
    "a name twice": struct.pack("<Q", 2 * len(HEADER) - 1) + HEADER[:-1] + b"," + HEADER[1:] + bytes(16),
}.items():
    attack(f"SAELens with {name} as its weights", kind="sae_lens", content=content, config=json.dumps(CONFIG), means="nothing")(odd_files)
for name, config in {
    "an empty configuration": "{}",
    "a configuration without bytes": "",
    "a key twice in its configuration": json.dumps(TOP_K)[:-1] + ', "k": 4, "k": 8}',
}.items():
    attack(f"SAELens with {name}", kind="sae_lens", content=safetensors_bytes(plain()), config=config, means="nothing")(odd_files)


def learned(name: str, content: object, means: str = "nothing", **trainer: Any) -> None:
    """A folder of dictionary_learning with this content of its ae.pt."""
    config = json.dumps({"trainer": {"dict_class": "AutoEncoder", **trainer}})
    attack(f"dictionary_learning with {name}", kind="dictionary_learning", content=saved(content), config=config, means=means)(odd_files)


STATE = linear(plain())
learned("parameters instead of tensors", {name: torch.nn.Parameter(one) for name, one in STATE.items()}, "the weights")
learned("a sparse tensor", {**STATE, "encoder.weight": STATE["encoder.weight"].to_sparse()}, "the weights")
learned("tensors without content", {**STATE, "encoder.weight": STATE["encoder.weight"].to("meta")})
learned("names behind torch.compile's prefix", {f"_orig_mod.{name}": one for name, one in STATE.items()}, "the weights")
learned("names with and without a prefix", {**STATE, **{f"_orig_mod.{name}": 2 * one for name, one in STATE.items()}})
learned("matrices the other way round", {name: one.T.contiguous() if one.ndim == 2 else one for name, one in STATE.items()})
learned("weights of int8", {**STATE, "encoder.weight": eighths(STATE["encoder.weight"])})
learned("arrays of NumPy", {**STATE, "encoder.weight": STATE["encoder.weight"].numpy()})
learned("the state of a random generator", {**STATE, "state": np.random.default_rng(0).bit_generator.state["state"]}, "the weights")
learned("a factor of 0", {"ae": STATE, "norm_factor": 0.0})
learned("a factor that is a text", {"ae": STATE, "norm_factor": "x"})
learned("a k of 0", {**STATE, "b_dec": STATE["bias"]}, dict_class="AutoEncoderTopK", k=0)
learned("a k of two numbers", {**STATE, "b_dec": STATE["bias"], "k": torch.tensor([3, 4])}, dict_class="AutoEncoderTopK")
