"""Where each family of models keeps the values that dictionaries read: one table from hook names to transformers' modules.

    blocks.9.hook_resid_post   ->  output of model.layers.9          (Llama, SmolLM, Qwen, Mistral, Gemma)
    blocks.9.mlp.hook_post     ->  input of model.layers.9.mlp.down_proj
    model.layers.9             ->  output of that module
    model.layers.9.mlp:input   ->  input of that module

`hook_mlp_out` and `hook_attn_out` are what is added to the residual stream: in Gemma-2 that is after the extra normalisation.
"""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal


class UnknownHook(ValueError):
    """A hook name that the model does not have; the message holds the nearest ones."""


class UnknownFamily(ValueError):
    """A model family without an entry in `BLOCKS`."""


@dataclass(frozen=True)
class HookPoint:
    """One value in the forward pass: the first tensor that goes into, or comes out of, a module."""

    name: str
    module: str
    side: Literal["input", "output"]


_LLAMA = {
    "hook_resid_pre": "{block}:input",
    "hook_resid_post": "{block}",
    "hook_resid_mid": "{block}.post_attention_layernorm:input",
    "hook_attn_out": "{block}.self_attn",
    "hook_mlp_out": "{block}.mlp",
    "mlp.hook_post": "{block}.mlp.down_proj:input",
    "attn.hook_z": "{block}.self_attn.o_proj:input",
}
_GEMMA2 = _LLAMA | {
    "hook_resid_mid": "{block}.pre_feedforward_layernorm:input",
    "hook_attn_out": "{block}.post_attention_layernorm",
    "hook_mlp_out": "{block}.post_feedforward_layernorm",
}
_GPT2 = {
    "hook_resid_pre": "{block}:input",
    "hook_resid_post": "{block}",
    "hook_resid_mid": "{block}.ln_2:input",
    "hook_attn_out": "{block}.attn",
    "hook_mlp_out": "{block}.mlp",
    "mlp.hook_post": "{block}.mlp.c_proj:input",
    "attn.hook_z": "{block}.attn.c_proj:input",
}
_NEOX = {
    "hook_resid_pre": "{block}:input",
    "hook_resid_post": "{block}",
    "hook_attn_out": "{block}.attention",
    "hook_mlp_out": "{block}.mlp",
    "mlp.hook_post": "{block}.mlp.dense_4h_to_h:input",
    "attn.hook_z": "{block}.attention.dense:input",
}
# model_type -> (path of block N, hook name within the block -> module path[:input])
BLOCKS: dict[str, tuple[str, dict[str, str]]] = {
    **{family: ("model.layers.{n}", _LLAMA) for family in ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "phi3")},
    "gemma2": ("model.layers.{n}", _GEMMA2),
    "gemma3_text": ("model.layers.{n}", _GEMMA2),
    "gpt2": ("transformer.h.{n}", _GPT2),
    "gpt_neox": ("gpt_neox.layers.{n}", _NEOX),
}


def block_hook_names(model_type: str, n_blocks: int) -> tuple[str, ...]:
    """Names "blocks.N.<hook>" of all blocks, shallow to deep; empty for a family that is not in the table."""
    hooks = BLOCKS[model_type][1] if model_type in BLOCKS else {}
    return tuple(f"blocks.{n}.{hook}" for n in range(n_blocks) for hook in hooks)


def resolve_hook(name: str, model_type: str, n_blocks: int, modules: Collection[str]) -> HookPoint:
    """The point that `name` means: "blocks.N.<hook>", or a path in `modules` with ":input" for what goes in.

    Raises `UnknownFamily` for a "blocks." name on a model type outside `BLOCKS`, and `UnknownHook` with the nearest names.
    """
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if match is None:
        path, _, side = name.partition(":")
        if path in modules and side in ("", "input", "output"):
            return HookPoint(name, path, "input" if side == "input" else "output")
    elif model_type not in BLOCKS:
        raise UnknownFamily(
            f"hook {name!r} cannot be placed: model type {model_type!r} is not one of {sorted(BLOCKS)}. "
            "Name the module path instead (such as model.layers.9), or add the family to resources/hook_points.py."
        )
    else:
        block, hooks = BLOCKS[model_type]
        number, hook = int(match[1]), match[2]
        if number < n_blocks and hook in hooks:
            path, _, side = hooks[hook].format(block=block.format(n=number)).partition(":")
            return HookPoint(name, path, "input" if side == "input" else "output")
    known = [*block_hook_names(model_type, n_blocks), *modules]
    nearest = difflib.get_close_matches(name, known, n=4, cutoff=0.3)
    raise UnknownHook(
        f"hook {name!r} is not in this {model_type} model of {n_blocks} blocks; nearest: {nearest or known[:4]}. "
        "Names are blocks.N.<hook>, or module paths with :input for what goes in."
    )
