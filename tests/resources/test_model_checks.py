"""Checkpoints that would load as another model than they are: refused with one sentence, and whole checkpoints are not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model

from resources.model_checks import refuse_unsound_weights
from resources.model_loading import load_text_model
from resources.weights import WeightsError, resolve_model_folder

UP = "model.layers.0.mlp.up_proj.weight"
Change = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's folder."""
    folder = tmp_path_factory.mktemp("models") / "whole"
    tiny_model("llama").save_pretrained(folder)
    return folder


def copied(whole: Path, folder: Path, change: Change = lambda held: {}, **config: object) -> str:
    """A copy with changed weights and configuration."""
    shutil.copytree(whole, folder)
    held = load_file(whole / "model.safetensors")
    save_file({**held, **change(held)}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**json.loads((whole / "config.json").read_text()), **config}))
    return str(folder)


WEIGHTS: dict[str, tuple[Change, str]] = {
    "whole numbers": (lambda held: {UP: held[UP].to(torch.int8)}, "packed numbers (model.layers.0.mlp.up_proj.weight of I8)"),
    "whole numbers and scales": (lambda held: {UP: held[UP].to(torch.int8), UP[:-6] + "SCB": torch.ones(40)}, "packed numbers"),
    "eight bits and a scale": (lambda held: {UP: held[UP].to(torch.float8_e4m3fn), UP + "_scale": torch.ones(1)}, "of F8_E4M3"),
    "one NaN": (lambda held: {UP: held[UP].index_fill(0, torch.tensor([3]), float("nan"))}, "NaN or infinite"),
    "an infinity": (lambda held: {UP: held[UP] / 0}, "NaN or infinite"),
    "an adapter": (lambda held: {UP.replace(".weight", ".lora_A.weight"): torch.ones(2, 24)}, "merge_and_unload"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_not_the_model_are_refused(name: str, whole: Path, tmp_path: Path) -> None:
    change, told = WEIGHTS[name]
    with pytest.raises(WeightsError) as error:
        load_text_model(resolve_model_folder(copied(whole, tmp_path / "odd", change)))
    assert told in str(error.value) and "\n" not in str(error.value)


CONFIGS: dict[str, tuple[dict[str, object], str]] = {
    "fewer blocks": ({"num_hidden_layers": 1}, "hold 2 blocks, and its config.json says 1"),
    "other shapes": ({"intermediate_size": 48}, "other shapes than its config.json says"),
    "no such activation": ({"hidden_act": "nope"}, "no model can be made by its config.json"),
    "a text for a number": ({"hidden_size": "24"}, "does not read the configuration"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_of_another_model_are_refused(name: str, whole: Path, tmp_path: Path) -> None:
    config, told = CONFIGS[name]
    with pytest.raises(WeightsError) as error:
        load_text_model(resolve_model_folder(copied(whole, tmp_path / "odd", **config)))
    assert told in str(error.value)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_pointer_of_git_lfs_is_named(file: str, whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "odd")
    (tmp_path / "odd" / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")
    with pytest.raises(WeightsError, match="pointer of Git LFS"):
        load_text_model(resolve_model_folder(folder))


def test_a_whole_checkpoint_and_one_of_half_the_bits_load(whole: Path, tmp_path: Path) -> None:
    tokens = torch.arange(10)[None]
    plain = load_text_model(resolve_model_folder(str(whole)))(tokens).logits
    half = copied(whole, tmp_path / "half", lambda held: {name: one.bfloat16() for name, one in held.items()})
    assert torch.allclose(load_text_model(resolve_model_folder(half))(tokens).logits, plain, atol=0.5)
    cut = load_text_model(resolve_model_folder(str(whole)), hooks=["blocks.0.hook_resid_post"])
    assert len(cut.model.layers) == 1, "a model that is loaded up to its hook is not refused"


class Quantised(torch.Tensor):
    """A tensor of torchao's kind: it shows the type that it stands for, and knows few operations."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.sum:
            raise NotImplementedError("attempting to run unimplemented operator: aten.sum")
        return super().__torch_function__(func, types, args, kwargs or {})


def test_weights_of_a_quantiser_are_not_summed(whole: Path) -> None:
    model = load_text_model(resolve_model_folder(str(whole)))
    for layer in model.model.layers:
        quantised = torch.nn.Parameter(layer.mlp.up_proj.weight.detach().as_subclass(Quantised), requires_grad=False)
        layer.mlp.up_proj.weight = quantised
    refuse_unsound_weights(model, "a model")
    torch.nn.init.constant_(model.model.norm.weight, torch.nan)
    with pytest.raises(WeightsError, match=r"1 weights of a model \(such as model.norm.weight\) hold NaN"):
        refuse_unsound_weights(model, "a model")
