"""OpenMOSS's own files: Llama Scope, and what Language-Model-SAEs (Llamascopium) saves. A folder here, or on the hub.

    hyperparams.json, checkpoints/final.safetensors          Llama Scope: encoder.weight, encoder.bias, decoder.weight, decoder.bias
    config.json, sae_weights.safetensors                     the same names with log_jumprelu_threshold, or W_E, b_E, W_D, b_D

With s = √d / norm, where norm is the average length of the activations that the files state, and D the norm of a decoder row:

    h = s_in x W_E + b_E        f = h where the gate is open        ŷ = (f W_D + b_D) / s_out

The gate of relu is h > 0, of jumprelu h D > threshold, of topk that h D is among the k largest and positive. Llama Scope's threshold was
taken after the norms had been folded into the weights, where the gate reads h D / s_out > threshold. (SAELens leaves D out of it.)
Without `sparsity_include_decoder_norm`, D is 1. BatchTopK keeps no threshold, so its features depend on the batch: it is refused.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.dictionaries.encoding import Activation, Scaled, Threshold, TopK
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.recognise import recognised
from resources.dictionaries.sources import source_folder
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder, checked_autoencoder
from resources.dictionaries.weight_files import read_config, read_tensors, whole_number

if TYPE_CHECKING:
    import torch

WRITTEN_BY = "Llama Scope or another release of OpenMOSS"
CONFIG, OLD_CONFIG = "config.json", "hyperparams.json"
WEIGHTS = ("sae_weights.safetensors", "checkpoints/pruned.safetensors", "checkpoints/final.safetensors")
LINEAR = {"encoder.weight": "W_E", "encoder.bias": "b_E", "decoder.weight": "W_D", "decoder.bias": "b_D"}
LOG_THRESHOLDS = ("activation_function.log_jumprelu_threshold", "log_jumprelu_threshold")
NORM = "dataset_average_activation_norm"


def load_openmoss(
    source: str, hook: str, output_hook: str | None = None, width: int | None = None, d_in: int | None = None
) -> SparseAutoencoder:
    """The sparse autoencoder or transcoder in `source`, on the CPU in float32, in the units of the saved encoder.

    `output_hook` defaults to the files' hook_point_out where that is not their hook_point_in. Raises `DictionaryError`.
    """
    config, weights = read_openmoss(source)
    if config.get("sae_type", "sae") != "sae":
        raise DictionaryError(f"dictionary {source} has sae_type {config['sae_type']!r}; supported: 'sae'.")
    missing = [name for name in ("W_E", "b_E", "W_D") if name not in weights]
    if missing:
        raise DictionaryError(f"dictionary {source} lacks {missing}; it holds {sorted(weights)}. Copy its files again.")
    into, out_of = str(config.get("hook_point_in", "")), str(config.get("hook_point_out") or config.get("hook_point_in", ""))
    token_wise = config.get("norm_activation") == "token-wise"
    s_in, s_out = (1.0, 1.0) if token_wise else (norm_factor(source, config, weights, into), norm_factor(source, config, weights, out_of))
    activation = _activation(source, config, weights, s_out)
    b_E, b_D = weights["b_E"], weights.get("b_D", weights["W_D"].new_zeros(weights["W_D"].shape[-1]))
    if config.get("apply_decoder_bias_to_pre_encoder"):
        b_E = b_E - b_D @ weights["W_E"]
    autoencoder = SparseAutoencoder(
        kind="openmoss",
        hook=hook,
        output_hook=output_hook or (out_of if out_of and out_of != into else hook),
        l0_expected=float(config["top_k"]) if "topk" in _act_fn(config) else None,
        W_enc=weights["W_E"] * s_in,
        b_enc=b_E,
        W_dec=weights["W_D"] / s_out,
        b_dec=b_D / s_out,
        activation=activation,
        subtracts_b_dec=False,
        norm="constant_norm_rescale" if token_wise else "none",
    )
    if token_wise and autoencoder.output_hook != hook:
        raise DictionaryError(f"dictionary {source} is a transcoder with norm_activation 'token-wise', which is not supported.")
    return checked_autoencoder(autoencoder, source, width, d_in)


def read_openmoss(source: str) -> tuple[dict[str, Any], "dict[str, torch.Tensor]"]:
    """The configuration and the weights by their newest names, W_E [d_in, width] and W_D [width, d_out]. Raises `DictionaryError`."""
    folder = openmoss_folder(source)
    name = OLD_CONFIG if (folder / OLD_CONFIG).is_file() else CONFIG
    config = read_config(folder / name)
    config["is_llama_scope"] = name == OLD_CONFIG
    config.setdefault("act_fn", "jumprelu" if config["is_llama_scope"] else "relu")
    if config.get("use_glu_encoder"):
        raise DictionaryError(f"dictionary {source} has use_glu_encoder, which is not supported.")
    file = next((folder / one for one in WEIGHTS if (folder / one).is_file()), None)
    if file is None:
        held = sorted(path.name for path in folder.iterdir())[:8]
        way_out = recognised(folder, WRITTEN_BY) or "Copy or download it again"
        raise DictionaryError(f"dictionary folder {folder} holds {held}, and none of {list(WEIGHTS)}. {way_out}.")
    held = read_tensors(file)
    weights = {LINEAR.get(name, name): tensor for name, tensor in held.items()}
    if "encoder.weight" in held:  # a linear layer's weights are [out, in]
        weights |= {name: weights[name].T.contiguous() for name in ("W_E", "W_D") if name in weights}
    return config, weights


def openmoss_folder(source: str) -> Path:
    """The folder of a source with its configuration. A folder on the hub is downloaded. Raises `DictionaryError`."""
    folder = Path(source).expanduser()
    if folder.is_dir() and (folder / OLD_CONFIG).is_file():
        return source_folder(source, (OLD_CONFIG,), WRITTEN_BY)
    if folder.is_dir() or "Llama3_1-8B-Base" not in source:
        return source_folder(source, (CONFIG,), WRITTEN_BY, also=WEIGHTS)
    return source_folder(source, (OLD_CONFIG,), WRITTEN_BY, also=WEIGHTS)


def norm_factor(source: str, config: dict[str, Any], weights: "dict[str, torch.Tensor]", hook_point: str) -> float:
    """√d / the average length of activations at a hook point, 1.0 where the norms are folded into the weights. Raises
    `DictionaryError`."""
    kind = config.get("norm_activation", "dataset-wise")
    if kind == "inference":
        return 1.0
    if kind != "dataset-wise":
        raise DictionaryError(f"dictionary {source} has norm_activation {kind!r}; supported: dataset-wise, inference, token-wise.")
    stated = config.get(NORM)
    side = "out" if hook_point == config.get("hook_point_out") and hook_point != config.get("hook_point_in") else "in"
    if isinstance(stated, dict) and side in stated:
        return float(config["d_model"]) ** 0.5 / float(stated[side])
    found = weights.get(f"{NORM}.{hook_point}")
    if found is None or not float(found) > 0:
        raise DictionaryError(
            f"dictionary {source} has norm_activation 'dataset-wise', and its files lack the average norm at {hook_point!r} ({NORM}). "
            "Save it with its norms folded in (save_pretrained with fold_activation_scale)."
        )
    return float(config["d_model"]) ** 0.5 / float(found)


def _act_fn(config: dict[str, Any]) -> str:
    return str(config["act_fn"]).lower()


def decoder_norm(config: dict[str, Any], rows: "torch.Tensor") -> "torch.Tensor":
    """Tensor[width]: the norm by which the gate multiplies, of decoder rows Tensor[width, d]; ones where the gate has none."""
    norm = rows.norm(dim=-1)
    return norm if config.get("sparsity_include_decoder_norm", True) else norm.new_ones(norm.shape)


def gate(source: str, config: dict[str, Any], norm: "torch.Tensor", threshold: "torch.Tensor | float | None") -> tuple[Activation, bool]:
    """The activation, and whether the encoder must be multiplied by `norm` first. Raises `DictionaryError`."""
    name = _act_fn(config)
    if name == "relu":
        return Threshold(), False
    if name == "jumprelu":
        if threshold is None:
            raise DictionaryError(f"dictionary {source} is a jumprelu without thresholds. Copy its files again.")
        return Threshold(threshold / norm), False
    if name == "topk":
        return Scaled(TopK(whole_number(source, "top_k", config["top_k"])), 1 / norm), True
    raise DictionaryError(
        f"dictionary {source} has act_fn {config['act_fn']!r}; supported: relu, jumprelu, topk. Features of a batch-wise function depend "
        "on the batch: convert it to jumprelu first."
    )


def _activation(source: str, config: dict[str, Any], weights: "dict[str, torch.Tensor]", s_out: float) -> Activation:
    """The gate of `weights`; for topk the encoder in `weights` is multiplied by the norms of the decoder rows."""
    norm = decoder_norm(config, weights["W_D"])
    threshold = next((weights[one].exp() for one in LOG_THRESHOLDS if one in weights), None)
    if threshold is None and "jump_relu_threshold" in config:
        threshold = float(config["jump_relu_threshold"]) * (s_out if config["is_llama_scope"] else 1.0)
    activation, by_norm = gate(source, config, norm, threshold)
    if by_norm:
        weights["W_E"], weights["b_E"] = weights["W_E"] * norm, weights["b_E"] * norm
    return activation
