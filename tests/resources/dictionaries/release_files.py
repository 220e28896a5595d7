"""Files of every layout that SAELens's release loaders read, under a folder that stands for the hub: owner/repository/file."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

D, WIDTH = 10, 40
Maker = Callable[[Path, str], None]


def weights(**extra: torch.Tensor) -> dict[str, torch.Tensor]:
    """Random W_enc [D, WIDTH], b_enc, W_dec [WIDTH, D] and b_dec, float32."""
    source = torch.Generator().manual_seed(3)
    shapes = {"W_enc": (D, WIDTH), "b_enc": (WIDTH,), "W_dec": (WIDTH, D), "b_dec": (D,)}
    return {name: torch.randn(*shape, generator=source) * 0.5 for name, shape in shapes.items()} | extra


def linear(encoder: str = "encoder.", decoder: str = "decoder.") -> dict[str, torch.Tensor]:
    """The same as two linear layers, [out, in]."""
    made = weights()
    return {
        f"{encoder}weight": made["W_enc"].T.contiguous(), f"{encoder}bias": made["b_enc"],
        f"{decoder}weight": made["W_dec"].T.contiguous(), f"{decoder}bias": made["b_dec"],
    }  # fmt: skip


def put(folder: Path, name: str, content: Any) -> None:
    """A file of JSON, YAML, or tensors by the ending of its name."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".json"):
        path.write_text(json.dumps(content))
    elif name.endswith(".yaml"):
        path.write_text(yaml.safe_dump(content))
    elif name.endswith(".safetensors"):
        save_file(content, path)
    elif name.endswith(".npz"):
        np.savez(path, **{key: value.numpy() for key, value in content.items()})
    else:
        torch.save(content, path)


def sae_lens(root: Path, name: str) -> None:
    config = {"architecture": "standard", "d_in": D, "d_sae": WIDTH, "dtype": "float32", "hook_name": "blocks.0.hook_resid_post"}
    put(root, f"{name}/cfg.json", config)
    put(root, f"{name}/sae_weights.safetensors", weights())


def connor_rob_hook_z(root: Path, name: str) -> None:
    put(root, name.split(".pt")[0] + "_cfg.json", {"act_size": D, "dict_size": WIDTH, "act_name": "blocks.0.attn.hook_z"})
    put(root, name, weights())


def gemma_2(root: Path, name: str) -> None:
    put(root, f"{name}/params.npz", weights(threshold=torch.full((WIDTH,), 0.3)))


def gemma_3(root: Path, name: str) -> None:
    made = weights(threshold=torch.full((WIDTH,), 0.3))
    lower = {key.replace("W_", "w_"): value for key, value in made.items()}
    hooks = {"hf_hook_point_in": "model.layers.1.pre_feedforward_layernorm.output", "affine_connection": "affine" in name}
    config = {"architecture": "jump_relu", "model_name": "google/gemma-3-1b-pt", **hooks}
    if "affine" in name:
        lower["affine_skip_connection"] = torch.randn(D, D)
    put(root, f"{name}/config.json", config)
    put(root, f"{name}/params.safetensors", lower)


def llama_scope(root: Path, name: str) -> None:
    norms = {"dataset_average_activation_norm": {"in": 6.0, "out": 6.0}}
    hooks = {"hook_point_in": "blocks.0.hook_resid_post", "hook_point_out": "blocks.0.hook_resid_post"}
    put(root, f"{name}/hyperparams.json", {"d_model": D, "d_sae": WIDTH, "jump_relu_threshold": 0.5, **norms, **hooks})
    put(root, f"{name}/checkpoints/final.safetensors", linear())


def llama_scope_r1_distill(root: Path, name: str) -> None:
    put(root, f"{name}/config.json", {"d_model": D, "expansion_factor": WIDTH // D, "hook_point_in": "blocks.0.hook_resid_post"})
    put(root, f"{name}/sae_weights.safetensors", linear() | {"log_jumprelu_threshold": torch.linspace(-3, 0, WIDTH)})


def dictionary_learning_1(root: Path, name: str) -> None:
    trainer = {"dict_class": "BatchTopKSAE", "activation_dim": D, "dict_size": WIDTH, "k": 5, "layer": 1, "lm_name": "tiny"}
    put(root, f"{name}/config.json", {"trainer": trainer, "buffer": {"ctx_len": 128}})
    made = {key: value for key, value in linear().items() if key != "decoder.bias"}
    put(root, f"{name}/ae.pt", made | {"b_dec": weights()["b_dec"], "threshold": torch.tensor(0.4)})


def deepseek_r1(root: Path, name: str) -> None:
    put(root, name, linear())


def goodfire(root: Path, name: str) -> None:
    put(root, name, linear("encoder_linear.", "decoder_linear."))


def qwen_scope(root: Path, name: str) -> None:
    made = weights()
    put(root, name, made | {"W_enc": made["W_enc"].T.contiguous(), "W_dec": made["W_dec"].T.contiguous()})


def mwhanna_transcoder(root: Path, name: str) -> None:
    put(root, "config.yaml", {"model_name": "tiny"})
    put(root, "wandb-config.yaml", {key: {"value": value} for key, value in (("d_model", D), ("d_feature", WIDTH), ("batch_size", 8))})
    made = weights()
    put(root, name, made | {"W_enc": made["W_enc"].T.contiguous()})


def mntss_clt_layer_transcoder(root: Path, name: str) -> None:
    made = weights()
    put(root, "config.yaml", {"model_name": "tiny", "feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out"})
    own = {f"W_enc_{name}": made["W_enc"].T.contiguous(), f"b_enc_{name}": made["b_enc"], f"b_dec_{name}": made["b_dec"]}
    put(root, f"W_enc_{name}.safetensors", own)
    put(root, f"W_dec_{name}.safetensors", {f"W_dec_{name}": torch.randn(WIDTH, 3, D)})


def temporal(root: Path, name: str) -> None:
    sae = {"exp_factor": WIDTH / D, "n_heads": 2, "n_attn_layers": 1, "bottleneck_factor": 4, "sae_diff_type": "topk", "kval_topk": 5}
    sae |= {"tied_weights": True, "scaling_factor": 0.4}
    put(root, f"{name}/conf.yaml", {"llm": {"dimin": D}, "sae": sae, "data": {"dtype": "float32"}})
    made = weights()
    shapes = {"k_ctx": WIDTH // 4, "q_target": WIDTH // 4, "v_ctx": WIDTH, "c_proj": WIDTH}
    attention = {f"attn_layers.0.{part}.weight": torch.randn(n, WIDTH) * 0.2 for part, n in shapes.items()}
    attention |= {f"attn_layers.0.{part}.bias": torch.randn(n) * 0.2 for part, n in shapes.items()}
    put(root, f"{name}/latest_ckpt.safetensors", {"D": made["W_dec"], "b": made["b_dec"], **attention})


SIZED = {"d_in": D, "d_sae": WIDTH}


@dataclass(frozen=True)
class Layout:
    """One layout that a loader of SAELens reads: the `loader` of its release list, how `make` writes it, and the part of a release's path
    that tells it from other layouts of the loader. `overrides` are sizes that the loader has by heart. `hook` is named in the record."""

    loader: str
    make: Maker
    what: str
    in_path: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    hook: str | None = None
    remark: str = ""


ENCODER_ALONE = "the encoder alone: SAELens sums the rows of all layers; by layer with `kind: circuit_tracer`"
LAYOUTS = (
    Layout("sae_lens", sae_lens, "SAELens's own files"),
    Layout("connor_rob_hook_z", connor_rob_hook_z, "attention outputs of GPT-2"),
    Layout("gemma_2", gemma_2, "Gemma Scope", overrides=SIZED, remark="`embedding` SAEs read hook_embed, which is no hook here"),
    Layout("gemma_2_transcoder", gemma_2, "Gemma Scope's transcoders", overrides=SIZED | {"d_out": D}),
    Layout("gemma_3", gemma_3, "Gemma Scope 2", "resid_post"),
    Layout(
        "gemma_3",
        gemma_3,
        "Gemma Scope 2's transcoders",
        "transcoder",
        hook="blocks.1.mlp.hook_in",
        remark="the record must name `blocks.N.mlp.hook_in`",
    ),
    Layout("llama_scope", llama_scope, "Llama Scope"),
    Layout("llama_scope_r1_distill", llama_scope_r1_distill, "Llama Scope R1"),
    Layout("dictionary_learning_1", dictionary_learning_1, "dictionary_learning"),
    Layout("deepseek_r1", deepseek_r1, "DeepSeek R1 by qresearch", overrides=SIZED),
    Layout("goodfire", goodfire, "Goodfire", overrides=SIZED),
    Layout("qwen_scope", qwen_scope, "Qwen Scope", overrides=SIZED | {"activation_fn_kwargs": {"k": 5}}),
    Layout("mwhanna_transcoder", mwhanna_transcoder, "transcoders of circuit-tracer"),
    Layout(
        "mntss_clt_layer_transcoder",
        mntss_clt_layer_transcoder,
        "CLTs of circuit-tracer by layer",
        remark=ENCODER_ALONE,
    ),
    Layout("temporal", temporal, "temporal autoencoders"),
)
WITHOUT_RELEASE = {"sparsify": "no release uses it; `kind: sparsify` reads its files"}
"""Loaders that no release of SAELens's list names."""


def loader_of(release: str) -> str:
    """The loader of a release, by SAELens's list."""
    from sae_lens.loading.pretrained_sae_loaders import get_conversion_loader_name

    return get_conversion_loader_name(release)


def release_of(layout: Layout) -> tuple[str, str]:
    """The first release and id in SAELens's list that have this layout."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    for name, release in get_pretrained_saes_directory().items():
        if loader_of(name) == layout.loader:
            for sae_id, path in release.saes_map.items():
                if layout.in_path in path:
                    return name, sae_id
    raise LookupError(f"no release has the loader {layout.loader} and a path with {layout.in_path!r}")


@contextmanager
def stand_in_hub(root: Path, layout: Layout) -> Iterator[tuple[str, str]]:
    """While open, SAELens downloads from `root`, where the files of the layout's first release are. Gives the release and the id."""
    from huggingface_hub.errors import LocalEntryNotFoundError
    from safetensors import safe_open

    lens = pytest.importorskip("sae_lens.loading.pretrained_sae_loaders")
    directory = pytest.importorskip("sae_lens.loading.pretrained_saes_directory")
    release, sae_id = release_of(layout)
    repository, name = directory.get_repo_id_and_folder_name(release, sae_id)
    layout.make(root / repository, name)

    def download(repo_id: str, filename: str, subfolder: str | None = None, **_: Any) -> str:
        path = root / repo_id / (subfolder or "") / filename
        if not path.is_file():
            raise LocalEntryNotFoundError(f"no {filename} in {repo_id}")
        return str(path)

    def shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        with safe_open(root / repo_id / filename, framework="pt") as file:
            return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lens, "hf_hub_download", download)
        patch.setattr(lens, "get_safetensors_tensor_shapes", shapes)
        overrides = directory.get_config_overrides
        patch.setattr("sae_lens.saes.sae.get_config_overrides", lambda *names: overrides(*names) | layout.overrides)
        yield release, sae_id
