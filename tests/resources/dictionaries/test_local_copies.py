"""Downloaded files of OpenMOSS, Qwen Scope, Goodfire and OpenAI, made as each of them is laid out, against each authors' own formula."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from resources.dictionaries import DictionaryError, load_dictionary
from resources.dictionaries.recognise import recognised

D, WIDTH, K = 12, 40, 5
HOOK, OUT = "blocks.3.hook_resid_post", "blocks.3.hook_mlp_out"


def linear() -> dict[str, torch.Tensor]:
    """Two linear layers, encoder and decoder, with decoder rows of many lengths."""
    torch.manual_seed(0)
    encoder, decoder = torch.nn.Linear(D, WIDTH), torch.nn.Linear(WIDTH, D)
    state = {f"encoder.{name}": weight for name, weight in encoder.state_dict().items()}
    state |= {f"decoder.{name}": weight * 3 for name, weight in decoder.state_dict().items()}
    state["decoder.weight"] = state["decoder.weight"] * torch.linspace(0.2, 3, WIDTH)
    return {name: weight.clone() for name, weight in state.items()}


def x_of(n: int = 50) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(1)) * 3


def hyperparams(**change: Any) -> dict[str, Any]:
    """The keys of Llama Scope's hyperparams.json that decide activations."""
    return {
        "hook_point_in": HOOK, "hook_point_out": HOOK, "d_model": D, "d_sae": WIDTH, "act_fn": "jumprelu", "jump_relu_threshold": 0.3,
        "norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": 6.0, "out": 6.0}, "top_k": K, "use_decoder_bias": True,
        "sparsity_include_decoder_norm": True, "apply_decoder_bias_to_pre_encoder": False, "use_glu_encoder": False,
    } | change  # fmt: skip


def llama_scope(folder: Path, **change: Any) -> dict[str, torch.Tensor]:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hyperparams.json").write_text(json.dumps(hyperparams(**change)))
    state = linear()
    save_file(state, folder / "checkpoints" / "final.safetensors")
    return state


@torch.no_grad()
@pytest.mark.parametrize("pre_bias", [False, True])
@pytest.mark.parametrize("norms", [(6.0, 6.0), (4.0, 9.0)])
def test_llama_scope_equals_its_inference_state(tmp_path: Path, norms: tuple[float, float], pre_bias: bool, agrees: Any) -> None:
    """Norms folded as its `standardize_parameters_of_dataset_norm` does, then the gate on h' times the norm of the folded decoder row."""
    change = {"hook_point_out": OUT} if norms[0] != norms[1] else {}
    state = llama_scope(
        tmp_path / "L3R", dataset_average_activation_norm={"in": norms[0], "out": norms[1]}, apply_decoder_bias_to_pre_encoder=pre_bias,
        **change,
    )  # fmt: skip
    x = x_of()
    s_in, s_out = D**0.5 / norms[0], D**0.5 / norms[1]
    W_E, b_E, W_D, b_D = (state[f"{part}.{name}"] for part in ("encoder", "decoder") for name in ("weight", "bias"))
    folded_b_E, folded_W_D, folded_b_D = b_E / s_in, W_D * s_in / s_out, b_D / s_out
    hidden = (x - (b_D / s_in if pre_bias else 0)) @ W_E.T + folded_b_E
    active = hidden * folded_W_D.norm(dim=0) > 0.3
    folded = torch.where(active, hidden, 0)
    assert 0.02 < active.float().mean() < 0.98
    ours = load_dictionary("openmoss", str(tmp_path / "L3R"), HOOK, width=WIDTH, d_in=D)
    assert ours.output_hook == (OUT if change else HOOK)
    agrees(ours, x, folded * s_in, folded @ folded_W_D.T + folded_b_D)  # activations in the units of the saved encoder


def current(folder: Path, act_fn: str, **change: Any) -> dict[str, torch.Tensor]:
    """A folder as Llamascopium's save_pretrained lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "sae_type": "sae", "d_model": D, "expansion_factor": WIDTH / D, "act_fn": act_fn, "top_k": K, "norm_activation": "dataset-wise",
        "sparsity_include_decoder_norm": True, "use_decoder_bias": True, "hook_point_in": HOOK, "hook_point_out": HOOK,
        "use_glu_encoder": False,
    }  # fmt: skip
    state = linear()
    weights = {
        "W_E": state["encoder.weight"].T.contiguous(), "b_E": state["encoder.bias"], "W_D": state["decoder.weight"].T.contiguous(),
        "b_D": state["decoder.bias"], f"dataset_average_activation_norm.{HOOK}": torch.tensor(5.0),
    }  # fmt: skip
    if act_fn == "jumprelu":
        weights["activation_function.log_jumprelu_threshold"] = torch.linspace(-3, 0, WIDTH)
    (folder / "config.json").write_text(json.dumps(config | change))
    save_file(weights, folder / "sae_weights.safetensors")
    return weights


@pytest.mark.parametrize("act_fn", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize(
    "change",
    [{}, {"norm_activation": "inference"}, {"norm_activation": "token-wise"}, {"sparsity_include_decoder_norm": False}],
)
def test_llamascopium_saes_equal_its_formula(tmp_path: Path, act_fn: str, change: dict[str, Any], agrees: Any) -> None:
    """encode(normalize_activations(x)), with the gate on hidden × decoder norm, and the value divided by the norm again."""
    weights = current(tmp_path, act_fn, **change)
    x = x_of()
    kind = change.get("norm_activation", "dataset-wise")
    s = {"dataset-wise": D**0.5 / 5.0, "inference": 1.0}.get(kind, D**0.5 / x.norm(dim=-1, keepdim=True))
    norm = weights["W_D"].norm(dim=-1) if change.get("sparsity_include_decoder_norm", True) else torch.ones(WIDTH)
    scaled = ((x * s) @ weights["W_E"] + weights["b_E"]) * norm
    if act_fn == "topk":
        values, places = scaled.relu().topk(K, dim=-1)
        found = torch.zeros_like(scaled).scatter(1, places, values)
    else:
        threshold = weights["activation_function.log_jumprelu_threshold"].exp() if act_fn == "jumprelu" else 0.0
        found = scaled * (scaled > threshold)
    encoded = found / norm
    ours = load_dictionary("openmoss", str(tmp_path), HOOK)
    assert ours.l0_expected == (K if act_fn == "topk" else None)
    agrees(ours, x, encoded, (encoded @ weights["W_D"] + weights["b_D"]) / s)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"act_fn": "batchtopk"}, "act_fn 'batchtopk'; supported: relu, jumprelu, topk"),
        ({"use_glu_encoder": True}, "use_glu_encoder, which is not supported"),
        ({"norm_activation": "batch-wise"}, "norm_activation 'batch-wise'; supported: dataset-wise"),
        ({"sae_type": "lorsa"}, "sae_type 'lorsa'; supported"),
        ({"hook_point_in": "blocks.9.hook_resid_pre"}, "lack the average norm at 'blocks.9.hook_resid_pre'"),
        ({"act_fn": "jumprelu"}, "a jumprelu without thresholds"),
    ],
)
def test_openmoss_without_a_formula_is_refused_by_name(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    current(tmp_path, "topk")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(DictionaryError, match=told):
        load_dictionary("openmoss", str(tmp_path), HOOK)


def qwen_scope(folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True, exist_ok=True)
    state = linear()
    weights = {
        "W_enc": state["encoder.weight"], "b_enc": state["encoder.bias"], "W_dec": state["decoder.weight"], "b_dec": state["decoder.bias"]
    }  # fmt: skip
    torch.save(weights, folder / "layer3.sae.pt")
    (folder / "config.json").write_text(json.dumps({"model_type": "topk_sae", "d_model": D, "d_sae": WIDTH, "k": K}))
    return weights


def test_qwen_scope_by_folder_by_file_and_without_a_configuration(tmp_path: Path, agrees: Any) -> None:
    folder = tmp_path / "SAE-Res-Qwen3-1.7B-Base-W32K-L0_7"
    weights = qwen_scope(folder)
    x = x_of()
    hidden = x @ weights["W_enc"].T + weights["b_enc"]

    def expected(k: int) -> torch.Tensor:
        values, places = hidden.topk(k, dim=-1)
        return torch.zeros_like(hidden).scatter(1, places, values.relu())

    for source in (folder, folder / "layer3.sae.pt"):
        ours = load_dictionary("qwen_scope", str(source), HOOK, width=WIDTH)
        agrees(ours, x, expected(K), expected(K) @ weights["W_dec"].T + weights["b_dec"])
    (folder / "config.json").unlink()
    assert load_dictionary("qwen_scope", str(folder), HOOK).l0_expected == 7  # of the folder's name
    plain = folder.rename(tmp_path / "qwen")
    with pytest.raises(DictionaryError, match="Name k in the record"):
        load_dictionary("qwen_scope", str(plain), HOOK)
    agrees(load_dictionary("qwen_scope", str(plain), HOOK, k=3), x, expected(3), expected(3) @ weights["W_dec"].T + weights["b_dec"])
    with pytest.raises(DictionaryError, match=r"has no layer4\.sae\.pt; its folder holds \['layer3\.sae\.pt'\]"):
        load_dictionary("qwen_scope", str(plain), "blocks.4.hook_resid_post", k=3)


def goodfire(folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True, exist_ok=True)
    state = {name.replace(".", "_linear.", 1): weight for name, weight in linear().items()}
    torch.save(state, folder / "Llama-3.1-8B-Instruct-SAE-l19.pth")
    return state


@pytest.mark.parametrize("names", ["goodfire", "qresearch"])
def test_goodfire_equals_its_two_linear_layers(tmp_path: Path, names: str, agrees: Any) -> None:
    state = goodfire(tmp_path)
    if names == "qresearch":  # DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt has the layers without _linear
        torch.save(linear(), tmp_path / "Llama-3.1-8B-Instruct-SAE-l19.pth")
    x = x_of()
    encoded = torch.nn.functional.linear(x, state["encoder_linear.weight"], state["encoder_linear.bias"]).relu()
    decoded = torch.nn.functional.linear(encoded, state["decoder_linear.weight"], state["decoder_linear.bias"])
    for source in (tmp_path, tmp_path / "Llama-3.1-8B-Instruct-SAE-l19.pth"):
        agrees(load_dictionary("goodfire", str(source), HOOK, width=WIDTH, d_in=D), x, encoded, decoded)
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(DictionaryError, match="2 files that end in"):
        load_dictionary("goodfire", str(tmp_path), HOOK)
    with pytest.raises(DictionaryError, match=r"holds \['weights'\]; it must hold encoder_linear"):
        load_dictionary("goodfire", str(tmp_path / "other.pt"), HOOK)


def openai(folder: Path, activation: str = "TopK", **state: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    weights = linear()
    saved = {
        "pre_bias": weights["decoder.bias"], "latent_bias": weights["encoder.bias"], "encoder.weight": weights["encoder.weight"],
        "decoder.weight": weights["decoder.weight"], "stats_last_nonzero": torch.zeros(WIDTH, dtype=torch.long), "activation": activation,
        "activation_state_dict": ({"k": K, "postact_fn": "ReLU"} | state) if activation == "TopK" else {},
    }  # fmt: skip
    torch.save(saved, folder / "8.pt")
    return saved


@pytest.mark.parametrize("activation", ["TopK", "ReLU"])
def test_openai_equals_its_formula(tmp_path: Path, activation: str, agrees: Any) -> None:
    saved = openai(tmp_path, activation)
    x = x_of()
    mean = x.mean(-1, keepdim=True)
    deviation = (x - mean).std(-1, keepdim=True)
    normed = (x - mean) / (deviation + 1e-5) if activation == "TopK" else x
    hidden = (normed - saved["pre_bias"]) @ saved["encoder.weight"].T + saved["latent_bias"]
    values, places = hidden.topk(K, dim=-1)
    encoded = torch.zeros_like(hidden).scatter(1, places, values.relu()) if activation == "TopK" else hidden.relu()
    decoded = encoded @ saved["decoder.weight"].T + saved["pre_bias"]
    decoded = decoded * deviation + mean if activation == "TopK" else decoded
    agrees(load_dictionary("openai", str(tmp_path / "8.pt"), HOOK, width=WIDTH), x, encoded, decoded)
    openai(tmp_path, "Identity")
    with pytest.raises(DictionaryError, match="activation 'Identity'"):
        load_dictionary("openai", str(tmp_path / "8.pt"), HOOK)
    openai(tmp_path, "TopK", postact_fn="Identity")
    with pytest.raises(DictionaryError, match="supported: ReLU, and TopK with k and ReLU"):
        load_dictionary("openai", str(tmp_path / "8.pt"), HOOK)


MADE: dict[str, Callable[[Path], Any]] = {"openmoss": llama_scope, "qwen_scope": qwen_scope, "goodfire": goodfire, "openai": openai}


@pytest.mark.parametrize("named", ["sae_lens", "openmoss", "goodfire", "qwen_scope"])
@pytest.mark.parametrize("held", MADE)
def test_a_copy_under_another_kind_names_its_own(tmp_path: Path, named: str, held: str) -> None:
    MADE[held](tmp_path / "copy")
    assert f"write kind: {held}" in (recognised(tmp_path / "copy") or "")
    if named != held and not (named == "goodfire" and held in ("qwen_scope", "openai")):
        with pytest.raises(DictionaryError, match=f"write kind: {held}"):
            load_dictionary(named, str(tmp_path / "copy"), HOOK)


def test_the_content_of_a_copy_is_of_its_own_files(tmp_path: Path) -> None:
    """A changed layer of Qwen Scope makes this layer's dictionary another, and no other layer's."""
    from interp_assets.config.local_inputs import source_content

    qwen_scope(tmp_path)
    torch.save({}, tmp_path / "layer4.sae.pt")
    before = {layer: source_content("qwen_scope", str(tmp_path), f"blocks.{layer}.hook_resid_post") for layer in (3, 4)}
    torch.save({"b": torch.ones(1)}, tmp_path / "layer4.sae.pt")
    after = {layer: source_content("qwen_scope", str(tmp_path), f"blocks.{layer}.hook_resid_post") for layer in (3, 4)}
    assert before[3] == after[3] and before[4] != after[4]
    assert source_content("openai", str(tmp_path / "layer3.sae.pt")) is not None
