"""Every hook of every family on tiny random models, against TransformerLens's own values; the early stop; what is refused."""

import warnings
from typing import Any

import pytest
import torch
import transformers
from tiny_models import GATED, MODELS, TOKENS, subject_of, tiny_model, transformer_lens_bridge

from resources.subject.hook_points import BLOCKS, UnknownHook


def transformer_lens_values(model: Any, names: list[str]) -> dict[str, torch.Tensor]:
    """TransformerLens's values at these hooks, heads side by side."""
    bridge = transformer_lens_bridge(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bridge.cfg.use_hook_mlp_in = True
        _, cache = bridge.run_with_cache(torch.from_numpy(TOKENS))
    return {name: cache[name].flatten(2) for name in names}


@pytest.mark.parametrize("name", MODELS)
def test_hooks_equal_transformer_lens(name: str) -> None:
    """All hooks of the table, on both blocks, to 1e-4 of float32 values."""
    model = tiny_model(name)
    subject = subject_of(model)
    names = list(subject.hook_names())
    assert len(names) == 2 * len(BLOCKS[name][1])
    expected = transformer_lens_values(model, names)
    found = subject.hook_values(TOKENS, names)
    for hook in names:
        torch.testing.assert_close(found[hook], expected[hook], atol=1e-4, rtol=1e-4, msg=lambda text, hook=hook: f"{hook}: {text}")


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_add_up_to_the_residual(name: str) -> None:
    """Independent of TransformerLens: what is written to the stream between two of its hooks is their difference."""
    subject = subject_of(tiny_model(name))
    found = subject.hook_values(TOKENS, subject.hook_names())
    pre, mid, post = (found.get(f"blocks.1.hook_resid_{place}") for place in ("pre", "mid", "post"))
    attention, mlp = found["blocks.1.hook_attn_out"], found["blocks.1.hook_mlp_out"]
    torch.testing.assert_close(pre + attention + mlp, post, atol=1e-3, rtol=1e-3)
    assert torch.equal(found["blocks.0.hook_resid_post"], pre)
    assert (mid is None) == (name == "gpt_neox")
    torch.testing.assert_close(pre if mid is None else mid, found["blocks.1.hook_mlp_in"])
    if mid is not None:
        torch.testing.assert_close(pre + attention, mid, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_after_the_hook_runs(name: str) -> None:
    """Modules start in the order of a whole pass, and the last to start is the hook's own, or a part of it."""
    model = tiny_model(name)
    subject, started = subject_of(model), []
    for path, module in model.named_modules():
        module.register_forward_pre_hook(lambda _module, _inputs, path=path: started.append(path))
    model(torch.from_numpy(TOKENS))
    order = started.copy()
    for hook in subject.hook_names():
        started.clear()
        subject.hook_values(TOKENS, [hook])
        point = subject.resolve_hook(hook)
        last = started[-1]
        assert started == order[: len(started)] and len(started) < len(order), hook
        assert last == point.module or (point.side == "output" and last.startswith(f"{point.module}.")), hook


def test_a_multimodal_gemma_3_keeps_its_blocks_under_the_language_model() -> None:
    """By hand from transformers' own modules: AutoModelForCausalLM loads gemma-3-4b and larger as such a model."""
    torch.manual_seed(0)
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    config = transformers.Gemma3Config(text_config={**GATED, "bos_token_id": 1, "eos_token_id": 2}, vision_config=vision)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    subject, seen = subject_of(model), {}
    block = model.model.language_model.layers[1]
    block.post_feedforward_layernorm.register_forward_hook(lambda _m, _i, output: seen.update(mlp_out=output))
    block.self_attn.o_proj.register_forward_pre_hook(lambda _m, inputs: seen.update(z=inputs[0]))
    found = subject.hook_values(TOKENS, ["blocks.1.hook_mlp_out", "blocks.1.attn.hook_z", "blocks.1.hook_resid_mid"])
    assert subject.n_blocks == 2
    assert torch.equal(found["blocks.1.hook_mlp_out"], seen["mlp_out"]) and torch.equal(found["blocks.1.attn.hook_z"], seen["z"])


def test_a_parallel_block_has_no_residual_in_its_middle() -> None:
    subject = subject_of(tiny_model("gpt_neox"))
    with pytest.raises(UnknownHook, match=r"gpt_neox model has no hook_resid_mid: its attention and MLP run in parallel"):
        subject.hook_values(TOKENS, ["blocks.1.hook_resid_mid"])
    assert subject_of(tiny_model("gpt_neox_sequential")).resolve_hook("blocks.1.hook_resid_mid").side == "input"


def test_module_paths_are_hooks_too() -> None:
    subject = subject_of(tiny_model("llama"))
    pairs = {"model.layers.1": "hook_resid_post", "model.layers.1:input": "hook_resid_pre", "model.layers.1.mlp:input": "mlp.hook_in"}
    pairs |= {"model.layers.1.self_attn.o_proj:input": "attn.hook_z", "model.layers.1.mlp:output": "hook_mlp_out"}
    found = subject.hook_values(TOKENS, [*pairs, *(f"blocks.1.{name}" for name in pairs.values())])
    assert all(torch.equal(found[path], found[f"blocks.1.{name}"]) for path, name in pairs.items())
    with pytest.raises(UnknownHook, match=r"nearest: .*model\.layers\.1\.mlp"):
        subject.resolve_hook("model.layers.1.mpl")
