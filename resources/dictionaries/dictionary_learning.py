"""The library dictionary_learning: a folder with `ae.pt` (read as weights only) and `config.json`, whose trainer names the class.

AutoEncoder            relu((x - bias) W + b), with decoder rows scaled to norm 1 as its own loader does
AutoEncoderNew         relu(x W + b)
GatedAutoEncoder       relu(exp(r_mag) u + mag_bias) where u + gate_bias > 0, u = (x - decoder_bias) W
AutoEncoderTopK        the k largest relu((x - b_dec) W + b)
BatchTopKSAE, MatryoshkaBatchTopKSAE  relu((x - b_dec) W + b) above the threshold that training kept
JumpReluAutoEncoder    x W + b above the threshold of the latent
"""

from typing import TYPE_CHECKING, Any

from resources.dictionaries.encoding import Activation, Gate, Threshold, TopK
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.sources import source_folder
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder, checked_autoencoder
from resources.dictionaries.weight_files import read_config, read_tensors

if TYPE_CHECKING:
    import torch

FILES = ("ae.pt", "config.json")
LINEAR = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight"}
PARAMETERS = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
# class -> our name of a weight -> the name in ae.pt
WEIGHT_NAMES = {
    "AutoEncoder": {**LINEAR, "b_dec": "bias"},
    "AutoEncoderNew": {**LINEAR, "b_dec": "decoder.bias"},
    "AutoEncoderTopK": {**LINEAR, "b_dec": "b_dec"},
    "BatchTopKSAE": {**LINEAR, "b_dec": "b_dec", "threshold": "threshold"},
    "MatryoshkaBatchTopKSAE": {**PARAMETERS, "threshold": "threshold"},
    "JumpReluAutoEncoder": {**PARAMETERS, "threshold": "threshold"},
    "GatedAutoEncoder": {**LINEAR, "b_enc": "gate_bias", "b_dec": "decoder_bias", "r_mag": "r_mag", "mag_bias": "mag_bias"},
}
DOES_NOT_SUBTRACT = ("AutoEncoderNew", "JumpReluAutoEncoder")


def load_dictionary_learning(source: str, hook: str, width: int | None = None, d_in: int | None = None) -> SparseAutoencoder:
    """The autoencoder in `source`, on the CPU in float32. The expected L0 is the trainer's k or target_l0. Raises `DictionaryError`."""
    trainer, state = _read(source)
    name = trainer.get("dict_class")
    if name not in WEIGHT_NAMES:
        raise DictionaryError(f"dictionary {source} is of class {name!r}; supported: {sorted(WEIGHT_NAMES)}.")
    missing = sorted(set(WEIGHT_NAMES[name].values()) - set(state))
    if missing:
        raise DictionaryError(f"dictionary {source} ({name}) lacks {missing} in ae.pt; it holds {sorted(state)}.")
    weights = {ours: state[theirs].float() for ours, theirs in WEIGHT_NAMES[name].items()}
    if WEIGHT_NAMES[name]["W_enc"] == "encoder.weight":
        weights["W_enc"], weights["W_dec"] = weights["W_enc"].T, weights["W_dec"].T.contiguous()
    if name == "AutoEncoder":
        _scale_decoder_rows(weights)
    k = int(state["k"]) if "k" in state else trainer.get("k")
    autoencoder = SparseAutoencoder(
        kind="dictionary_learning",
        hook=hook,
        output_hook=hook,
        l0_expected=float(k) if k is not None else trainer.get("target_l0"),
        W_enc=weights["W_enc"],
        b_enc=weights["b_enc"],
        W_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        activation=_activation(source, name, weights, k),
        subtracts_b_dec=name not in DOES_NOT_SUBTRACT,
    )
    return checked_autoencoder(autoencoder, source, width, d_in)


def _activation(source: str, name: str, weights: dict[str, "torch.Tensor"], k: int | None) -> Activation:
    if name == "AutoEncoderTopK":
        if k is None:
            raise DictionaryError(f"dictionary {source} ({name}) says its k neither in ae.pt nor in config.json. Add it to the trainer.")
        return TopK(int(k))
    if name == "GatedAutoEncoder":
        gain = weights["r_mag"].exp()
        return Gate(gain, weights["mag_bias"] - gain * weights["b_enc"])
    if "threshold" not in weights:
        return Threshold()
    return Threshold(weights["threshold"] if weights["threshold"].ndim else float(weights["threshold"]))


def _scale_decoder_rows(weights: dict[str, "torch.Tensor"]) -> None:
    norm = weights["W_dec"].norm(dim=-1).clamp(min=1e-8)
    weights["W_dec"] = weights["W_dec"] / norm[:, None]
    weights["W_enc"], weights["b_enc"] = weights["W_enc"] * norm, weights["b_enc"] * norm


def _read(source: str) -> tuple[dict[str, Any], dict[str, "torch.Tensor"]]:
    folder = source_folder(source, FILES, "dictionary_learning")
    trainer = read_config(folder / "config.json").get("trainer") or {}
    if not isinstance(trainer, dict):
        raise DictionaryError(f"{folder / 'config.json'} names no trainer: `trainer` is a {type(trainer).__name__}. Copy it again.")
    return trainer, read_tensors(folder / "ae.pt")
