"""How SAELens's checkpoints from within a training are folded: what training did to activations, the weights take in."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.matching_pursuit import RESIDUAL_THRESHOLD
from resources.dictionaries.weight_files import read_tensors

if TYPE_CHECKING:
    import torch

WHITENING_FILE = "activation_whitening.safetensors"
WHITENING = ("mean", "matrix", "inverse_matrix")


def fold_scaling_factor(config: dict[str, Any], weights: dict[str, "torch.Tensor"], factor: float) -> None:
    """Fold a factor that multiplied activations in training into the weights. The features stay the same."""
    if "W_enc" in weights:
        weights["W_enc"] = weights["W_enc"] * factor
    weights["W_dec"] = weights["W_dec"] / factor
    weights["b_dec"] = weights["b_dec"] / factor
    if config.get("rescale_acts_by_decoder_norm") and "topk_threshold" in weights:
        weights["topk_threshold"] = weights["topk_threshold"] / factor
    if config["architecture"] == "matching_pursuit":
        config["residual_threshold"] = config.get("residual_threshold", RESIDUAL_THRESHOLD) / factor
    config["normalize_activations"] = "none"


def fold_whitening(folder: Path, config: dict[str, Any], weights: dict[str, "torch.Tensor"]) -> None:
    """Let the weights take in activations x that training saw as (x - mean) matrix, if the matrices are in the folder.

    Raises `DictionaryError` for matrices that do not fit the weights.
    """
    path = folder / WHITENING_FILE
    if not path.is_file() or not {"W_enc", "W_dec", "b_dec"} <= set(weights):
        return
    whitening = read_tensors(path)
    d_in = len(weights["W_enc"])
    shapes = dict(zip(WHITENING, ((d_in,), (d_in, d_in), (d_in, d_in)), strict=True))
    found = {name: tuple(tensor.shape) for name, tensor in whitening.items()}
    if any(found.get(name) != shape for name, shape in shapes.items()):
        raise DictionaryError(f"{path} holds {found}; beside W_enc of {d_in} rows it must hold {shapes}. Copy the checkpoint again.")
    fold_decoder_norm_where_asked(config, weights)  # first, since unwhitening changes the norms, and with them what is largest
    mean, matrix, inverse = (whitening[name] for name in WHITENING)
    weights["W_enc"] = matrix @ weights["W_enc"]
    weights["W_dec"] = weights["W_dec"] @ inverse
    weights["b_dec"] = weights["b_dec"] @ inverse + mean
    if not config["apply_b_dec_to_input"]:  # otherwise b_dec, which is subtracted from x, has the mean in it
        shift = mean @ weights["W_enc"]
        gains = {"b_enc": 1.0, "b_gate": 1.0, "b_mag": weights["r_mag"].exp() if "r_mag" in weights else 1.0}
        weights |= {name: weights[name] - shift * gain for name, gain in gains.items() if name in weights}
    config["normalize_activations"] = "none"


def fold_decoder_norm_where_asked(config: dict[str, Any], weights: dict[str, "torch.Tensor"]) -> None:
    """With `rescale_acts_by_decoder_norm`, multiply pre-activations by the norm of the decoder row, and divide the row by it."""
    if not config.pop("rescale_acts_by_decoder_norm", False) or not {"W_enc", "W_dec", "b_enc"} <= set(weights):
        return
    norm = weights["W_dec"].norm(dim=-1).clamp(min=1e-8)
    weights["W_enc"], weights["b_enc"] = weights["W_enc"] * norm, weights["b_enc"] * norm
    weights["W_dec"] = weights["W_dec"] / norm[:, None]
