"""Checkpoints that would load as another model than they are: refused with one sentence, and whole checkpoints are not."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model

from resources.engine_checkpoint import refuse_for_engine
from resources.model_checks import refuse_unsound_weights
from resources.model_loading import load_text_model
from resources.weights import WeightsError, file_sha256, load_hf_tokenizer, resolve_model_folder

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


COMMIT, MODEL = "7" * 40, "owner/model"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub; no request leaves this machine."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cached(cache: Path, files: Path) -> Path:
    """The files as a snapshot in the hub's cache, as links to files that are named after their content; the file of weights."""
    place = cache / "models--owner--model"
    snapshot = place / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (place / "blobs").mkdir()
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    for path in files.iterdir():
        content = path.read_bytes()
        is_large = path.suffix == ".safetensors"
        blob = place / "blobs" / (file_sha256(path) if is_large else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())
        shutil.copyfile(path, blob)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
    return (snapshot / "model.safetensors").resolve()


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_in_the_cache_of_the_hub_are_refused_too(name: str, whole: Path, cache: Path, tmp_path: Path) -> None:
    change, told = WEIGHTS[name]
    cached(cache, Path(copied(whole, tmp_path / "odd", change)))
    with pytest.raises(WeightsError) as error:
        load_text_model(resolve_model_folder(MODEL))
    assert told in str(error.value) and MODEL in str(error.value)


def test_files_of_the_cache_are_read_as_they_are_and_damaged_files_are_refused(whole: Path, cache: Path) -> None:
    blob = cached(cache, whole)
    expected = load_text_model(resolve_model_folder(str(whole))).model.norm.weight
    assert torch.equal(load_text_model(resolve_model_folder(MODEL)).model.norm.weight, expected)
    content = bytearray(blob.read_bytes())
    content[-5] ^= 1  # one bit of a weight
    blob.write_bytes(content)
    for load in (load_text_model, refuse_for_engine):
        with pytest.raises(WeightsError, match=rf"damaged in the hub's cache: .*{blob.name} has .*Remove that file .* of owner/model"):
            load(resolve_model_folder(MODEL))  # type: ignore[operator]
    blob.unlink()
    with pytest.raises(WeightsError, match="not all there: remove them from the hub's cache"):
        load_text_model(resolve_model_folder(MODEL))


def test_small_files_of_the_cache_are_read_as_they_are_too(whole: Path, cache: Path) -> None:
    snapshot = cache / "models--owner--model" / "snapshots" / COMMIT
    cached(cache, whole)
    config = (snapshot / "config.json").resolve()
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-', '"rms_norm_eps": 2e-'))
    for load in (load_text_model, refuse_for_engine):
        with pytest.raises(WeightsError, match=r"config.json is damaged in the hub's cache"):
            load(resolve_model_folder(MODEL))  # type: ignore[operator]
    config.unlink()
    with pytest.raises(WeightsError, match=f"the hub's cache has no config.json of owner/model at commit {COMMIT[:12]}"):
        load_text_model(resolve_model_folder(MODEL))


def test_a_damaged_tokenizer_of_the_cache_is_refused(cache: Path, tmp_path: Path) -> None:
    folder = resolve_model_folder("embedded:smollm2-135m-instruct").path
    assert folder is not None
    (tmp_path / "files").mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(folder / name, tmp_path / "files" / name)
    cached(cache, tmp_path / "files")
    assert len(load_hf_tokenizer(resolve_model_folder(MODEL))) > 40_000
    blob = (cache / "models--owner--model" / "snapshots" / COMMIT / "tokenizer.json").resolve()
    blob.write_text(blob.read_text().replace('"Ġthe":', '"Ġteh":'))
    with pytest.raises(WeightsError, match=r"tokenizer.json is damaged in the hub's cache: .* of owner/model"):
        load_hf_tokenizer(resolve_model_folder(MODEL))


def test_an_index_with_parts_in_the_cache_is_followed(whole: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    odd = copied(whole, tmp_path / "odd", WEIGHTS["whole numbers"][0])
    tiny_model("llama").save_pretrained(tmp_path / "parts", max_shard_size="8KB")
    part = json.loads((tmp_path / "parts" / "model.safetensors.index.json").read_text())["weight_map"][UP]
    held = load_file(tmp_path / "parts" / part)
    save_file({**held, UP: load_file(f"{odd}/model.safetensors")[UP]}, tmp_path / "parts" / part, metadata={"format": "pt"})
    cached(cache, tmp_path / "parts")
    for load in (load_text_model, refuse_for_engine):
        with pytest.raises(WeightsError, match="packed numbers"):
            load(resolve_model_folder(MODEL))  # type: ignore[operator]


def test_an_engine_takes_what_says_that_it_is_packed(whole: Path, tmp_path: Path) -> None:
    """An engine knows methods and model types that transformers does not."""
    packed = Path(copied(whole, tmp_path / "odd", WEIGHTS["eight bits and a scale"][0]))
    folder = resolve_model_folder(str(packed))
    with pytest.raises(WeightsError, match="packed numbers"):
        refuse_for_engine(folder)
    refuse_for_engine(folder, quantisation="modelopt")
    refuse_for_engine(folder, load_format="dummy")
    (packed / "hf_quant_config.json").write_text("{}")
    refuse_for_engine(folder)
    (packed / "hf_quant_config.json").unlink()
    (packed / "config.json").write_text(json.dumps({**json.loads((whole / "config.json").read_text()), "model_type": "of-tomorrow"}))
    with pytest.raises(WeightsError, match=r"packed numbers \(model.layers.0.mlp.up_proj.weight of F8_E4M3\)"):
        refuse_for_engine(folder)
    refuse_for_engine(resolve_model_folder(str(whole)))
    with pytest.raises(WeightsError, match="hold 2 blocks"):
        refuse_for_engine(resolve_model_folder(copied(whole, tmp_path / "fewer", num_hidden_layers=1)))


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
