"""The modules with the values that dictionaries read, for each family of models: one table from TransformerLens's hook names to modules.

    blocks.9.hook_resid_post      ->  output of model.layers.9          (Llama, SmolLM, Qwen, Mistral, Gemma)
    blocks.9.mlp.hook_post        ->  input of model.layers.9.mlp.down_proj
    blocks.9.ln2.hook_normalized  ->  input of model.layers.9.post_attention_layernorm, normalised, before its gain and bias
    model.layers.9                ->  output of that module
    model.layers.9.mlp:input      ->  input of that module

`hook_mlp_out` and `hook_attn_out` are added to the residual stream: in Gemma 2 and 3 they are taken after the extra normalisation.
The input of the MLP has three names: `hook_mlp_in` is the residual before the normalisation, `ln2.hook_normalized` the value
before its gain, `mlp.hook_in` the value that the MLP reads. `attn.hook_z` has its heads side by side, [heads x d_head], as SAEs read it.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from resources.subject.block_layout import HOOKS, BlockLayout


class UnknownHook(ValueError):
    """A hook name that the model does not have. The message lists the nearest names."""


class ContextTooLong(ValueError):
    """Rows with more tokens than the model reads. The message has both numbers."""


class UnknownFamily(ValueError):
    """A model family without an entry in `BLOCKS`."""


@dataclass(frozen=True)
class HookPoint:
    """One value in the forward pass: the first tensor of a module's input or output, or the module's input normalised."""

    name: str
    module: str
    side: Literal["input", "output", "normalized"]


_LLAMA = {
    "hook_resid_pre": "{block}:input",
    "ln1.hook_normalized": "{block}.input_layernorm:normalized",
    "attn.hook_z": "{block}.self_attn.o_proj:input",
    "hook_attn_out": "{block}.self_attn",
    "hook_resid_mid": "{block}.post_attention_layernorm:input",
    "hook_mlp_in": "{block}.post_attention_layernorm:input",
    "ln2.hook_normalized": "{block}.post_attention_layernorm:normalized",
    "mlp.hook_in": "{block}.mlp:input",
    "mlp.hook_post": "{block}.mlp.down_proj:input",
    "hook_mlp_out": "{block}.mlp",
    "hook_resid_post": "{block}",
}
_GEMMA2 = _LLAMA | {
    "hook_attn_out": "{block}.post_attention_layernorm",
    "hook_resid_mid": "{block}.pre_feedforward_layernorm:input",
    "hook_mlp_in": "{block}.pre_feedforward_layernorm:input",
    "ln2.hook_normalized": "{block}.pre_feedforward_layernorm:normalized",
    "hook_mlp_out": "{block}.post_feedforward_layernorm",
}
_GPT2 = {
    "hook_resid_pre": "{block}:input",
    "ln1.hook_normalized": "{block}.ln_1:normalized",
    "attn.hook_z": "{block}.attn.c_proj:input",
    "hook_attn_out": "{block}.attn",
    "hook_resid_mid": "{block}.ln_2:input",
    "hook_mlp_in": "{block}.ln_2:input",
    "ln2.hook_normalized": "{block}.ln_2:normalized",
    "mlp.hook_in": "{block}.mlp:input",
    "mlp.hook_post": "{block}.mlp.c_proj:input",
    "hook_mlp_out": "{block}.mlp",
    "hook_resid_post": "{block}",
}
# Attention and MLP both read the residual before the block (but for a checkpoint with use_parallel_residual false).
_NEOX = {
    "hook_resid_pre": "{block}:input",
    "ln1.hook_normalized": "{block}.input_layernorm:normalized",
    "attn.hook_z": "{block}.attention.dense:input",
    "hook_attn_out": "{block}.attention",
    "hook_mlp_in": "{block}.post_attention_layernorm:input",
    "ln2.hook_normalized": "{block}.post_attention_layernorm:normalized",
    "mlp.hook_in": "{block}.mlp:input",
    "mlp.hook_post": "{block}.mlp.dense_4h_to_h:input",
    "hook_mlp_out": "{block}.mlp",
    "hook_resid_post": "{block}",
}
# family, a model_type but for GPT-NeoX without parallel attention -> (path of block N, hook name within the block -> module path[:input])
BLOCKS: dict[str, tuple[str, dict[str, str]]] = {
    **{family: ("model.layers.{n}", _LLAMA) for family in ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "phi3")},
    "gemma2": ("model.layers.{n}", _GEMMA2),
    "gemma3_text": ("model.layers.{n}", _GEMMA2),
    "gemma3": ("model.language_model.layers.{n}", _GEMMA2),
    "gpt2": ("transformer.h.{n}", _GPT2),
    "gpt_neox": ("gpt_neox.layers.{n}", _NEOX),
    "gpt_neox_sequential": ("gpt_neox.layers.{n}", _NEOX | {"hook_resid_mid": "{block}.post_attention_layernorm:input"}),
}
FINAL_NORMS = {
    "model.layers.{n}": "model.norm",
    "model.language_model.layers.{n}": "model.language_model.norm",
    "transformer.h.{n}": "transformer.ln_f",
    "gpt_neox.layers.{n}": "gpt_neox.final_layer_norm",
}
"""Path of a family's blocks in `BLOCKS` -> path of the normalisation between the last of them and the unembedding."""

IN_THE_STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_mlp_in", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "hook_mixer_out")
"""Hooks whose values are the residual stream, or are added to it unchanged."""

WRITTEN_BY = {"attn.hook_z": "hook_attn_out", "mlp.hook_post": "hook_mlp_out"}
"""Hooks whose values reach the stream through a linear layer, and the hook of that layer's output."""

ABSENT = {
    ("gpt_neox", "hook_resid_mid"): "its attention and MLP run in parallel, both on hook_resid_pre: there is no residual between them"
}


def family(config: Any) -> str:
    """Key of a transformers configuration in `BLOCKS`: its model type, with a suffix where one type has two layouts of blocks."""
    if config.model_type == "gpt_neox" and not getattr(config, "use_parallel_residual", True):
        return "gpt_neox_sequential"
    return config.model_type


def blocks_before(point: HookPoint, paths: Sequence[str]) -> tuple[str, ...]:
    """The blocks among `paths`, shallow to deep, that have run when the pass reaches `point`; empty for a module outside the blocks."""
    for n, path in enumerate(paths):
        if f"{point.module}.".startswith(f"{path}."):
            return tuple(paths[: n + 1] if (point.module, point.side) == (path, "output") else paths[:n])
    return ()


def block_hook_names(family: str, n_blocks: int) -> tuple[str, ...]:
    """Names "blocks.N.<hook>" of all blocks, shallow to deep; empty for a family that is not in the table."""
    hooks = BLOCKS[family][1] if family in BLOCKS else {}
    return tuple(f"blocks.{n}.{hook}" for n in range(n_blocks) for hook in hooks)


def final_norm_path(family: str) -> str | None:
    """Path of the module that normalises the residual stream before the unembedding; None for a family that is not in the table."""
    return FINAL_NORMS[BLOCKS[family][0]] if family in BLOCKS else None


@dataclass(frozen=True)
class StreamRoute:
    """How a value reaches the residual stream: through a linear layer and then a normalisation. Each is a module path, or None without
    one."""

    projection: str | None = None
    norm: str | None = None


def stream_route(point: HookPoint, blocks: Iterable[Mapping[str, str]]) -> StreamRoute | None:
    """How values at `point` reach the residual stream, by the hooks of each block (hook -> module path with its side).

    None where more lies between (the input of an MLP or attention, a value before its gain), and for a module outside the blocks.
    """
    for hooks in blocks:
        places = {hook: split_place(path) for hook, path in hooks.items()}
        if (point.module, point.side) in {place for hook, place in places.items() if hook in IN_THE_STREAM}:
            return StreamRoute()
        for hook, added in WRITTEN_BY.items():
            if hook not in places or added not in places:
                continue
            layer, (end, _) = places[hook][0], places[added]
            if point.module == layer and point.side in ("input", "output"):
                # The layer ends the module whose output is added, unless the family normalises that output first (Gemma 2 and 3).
                return StreamRoute(layer if point.side == "input" else None, None if f"{layer}.".startswith(f"{end}.") else end)
    return None


def split_place(path: str) -> tuple[str, str]:
    """(module, side) of a module path with ":input" or ":normalized", or without either for its output."""
    module, _, side = path.partition(":")
    return module, side or "output"


def hooks_of_block(family: str, number: int) -> dict[str, str]:
    """Hook -> module path with its side, of block `number` of a family in `BLOCKS`."""
    block, hooks = BLOCKS[family]
    return {hook: path.format(block=block.format(n=number)) for hook, path in hooks.items()}


def refuse_unheard_hook(name: str, kind: str, n_blocks: int) -> None:
    """Raise `UnknownHook` for a "blocks.N.<hook>" that no model of `n_blocks` blocks has, with the nearest names."""
    number, hook = _parts_of(name)
    if number >= n_blocks:
        raise UnknownHook(f"hook {name!r} is not in this {kind} model: it has {n_blocks} blocks, from 0 to {n_blocks - 1}.")
    if hook not in HOOKS:
        nearest = difflib.get_close_matches(hook, HOOKS, n=4, cutoff=0.3)
        raise UnknownHook(
            f"hook {name!r} is not in this {kind} model; nearest: {[f'blocks.{number}.{one}' for one in nearest or HOOKS]}. "
            "Module paths are legal too, with :input for what goes in."
        )


def resolve_found_hook(name: str, kind: str, blocks: Sequence[BlockLayout], paths: Sequence[str]) -> HookPoint:
    """The point of "blocks.N.<hook>" in a model of type `kind` whose layouts are known. Raises `UnknownHook` with the hooks of the
    block."""
    number, hook = _parts_of(name)
    if number < len(blocks) and hook in blocks[number].hooks:
        path, side = split_place(blocks[number].hooks[hook])
        return HookPoint(name, f"{paths[number]}.{path}".rstrip("."), cast(Any, side))
    refuse_unheard_hook(name, kind, len(blocks))
    if not blocks[number].hooks:
        raise UnknownHook(
            f"hook {name!r} is not in this {kind} model: what goes in and out of its blocks is not one vector a token. "
            f"Name a module path within {paths[number]} whose value is."
        )
    raise UnknownHook(
        f"block {number} of this {kind} model has no {hook}: {_ORDERS[blocks[number].order]}. It has "
        f"{', '.join(f'blocks.{number}.{known}' for known in blocks[number].hooks)}; module paths are legal too."
    )


_ORDERS = {
    "sequential": "no such value was found in it",
    "parallel": "its attention and MLP run in parallel, both on hook_resid_pre",
    "single": "one module alone adds to the residual stream",
    "unknown": "its modules do not simply add to the residual stream",
}


def is_block_hook(name: str) -> bool:
    """Whether `name` has the form "blocks.N.<hook>"."""
    return _BLOCK_HOOK.fullmatch(name) is not None


_BLOCK_HOOK = re.compile(r"blocks\.(\d+)\.(.+)")


def _parts_of(name: str) -> tuple[int, str]:
    match = _BLOCK_HOOK.fullmatch(name)
    assert match is not None, name
    return int(match[1]), match[2]


def resolve_hook(name: str, family: str, n_blocks: int, modules: Collection[str]) -> HookPoint:
    """The point that `name` means: "blocks.N.<hook>", or a path in `modules` with ":input" for the module's input.

    Raises `UnknownFamily` for a "blocks." name on a family outside `BLOCKS`, and `UnknownHook` with the nearest names, or with the reason
    why this family has no such value.
    """
    match = _BLOCK_HOOK.fullmatch(name)
    if match is None:
        path, _, side = name.partition(":")
        if path in modules and side in ("", "input", "output"):
            return HookPoint(name, path, "input" if side == "input" else "output")
    elif family not in BLOCKS:
        raise UnknownFamily(
            f"hook {name!r} cannot be placed: model type {family!r} is not one of {sorted(BLOCKS)}. "
            "Name the module path instead (such as model.layers.9), or add the family to resources/subject/hook_points.py."
        )
    else:
        hooks = BLOCKS[family][1]
        number, hook = int(match[1]), match[2]
        if (family, hook) in ABSENT:
            raise UnknownHook(f"a {family} model has no {hook}: {ABSENT[family, hook]}. Use blocks.{number}.hook_resid_post or its parts.")
        if number < n_blocks and hook in hooks:
            module, side = split_place(hooks_of_block(family, number)[hook])
            return HookPoint(name, module, cast(Any, side))
    known = [*block_hook_names(family, n_blocks), *modules]
    nearest = difflib.get_close_matches(name, known, n=4, cutoff=0.3)
    raise UnknownHook(
        f"hook {name!r} is not in this {family} model of {n_blocks} blocks; nearest: {nearest or known[:4]}. "
        "Names are blocks.N.<hook>, or module paths, with :input for a module's input."
    )
