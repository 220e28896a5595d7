"""The library dictionary_learning: a folder with `ae.pt` (read as weights only) and `config.json`, whose trainer names the class.

A source may also name a checkpoint, such as trainer_0/checkpoints/ae_5000.pt, whose `config.json` is one folder up. A backup that the
library wrote during training, with the weights under `ae`, is read too: its biases are multiplied by its `norm_factor`, as the library
does when it saves.

AutoEncoder            relu((x - bias) W + b), with decoder rows scaled to norm 1 as its own loader does
AutoEncoderNew         relu(x W + b)
GatedAutoEncoder       relu(exp(r_mag) u + mag_bias) where u + gate_bias > 0, u = (x - decoder_bias) W
AutoEncoderTopK        the k largest relu((x - b_dec) W + b)
BatchTopKSAE, MatryoshkaBatchTopKSAE  relu((x - b_dec) W + b) above the threshold that training kept
JumpReluAutoEncoder    x W + b above the threshold of the latent

With an `output_hook` it is a transcoder, trained with the buffer's io: in_and_out; the formula is the same.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.dictionaries.encoding import Activation, Gate, Threshold, TopK
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.sources import downloaded, is_local, source_folder
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder, checked_autoencoder
from resources.dictionaries.weight_files import read_checkpoint, read_config, whole_number

if TYPE_CHECKING:
    import torch

FILES = ("ae.pt", "config.json")
WRITTEN_BY = "dictionary_learning"
SCALED = ("b_enc", "b_dec", "mag_bias", "threshold")
"""Weights that the library multiplies by the norm of the activations when it saves an autoencoder; a threshold below zero is not set."""
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


def load_dictionary_learning(
    source: str, hook: str, output_hook: str | None = None, width: int | None = None, d_in: int | None = None
) -> SparseAutoencoder:
    """The autoencoder in `source`, or with an `output_hook` the transcoder, on the CPU in float32.

    The L0 to expect is the trainer's k or target_l0. Raises `DictionaryError`.
    """
    weights_file, config_file = dictionary_learning_files(source)
    held, backup = read_checkpoint(weights_file, under=("ae", "state_dict", "model_state_dict"))
    state = _plainly_named(source, held)
    trainer, buffer = _trainer(config_file, backup)
    name = trainer.get("dict_class")
    if name is None:
        raise DictionaryError(_where_the_class_goes(source, config_file, state))
    if not isinstance(name, str) or name not in WEIGHT_NAMES:
        raise DictionaryError(f"dictionary {source} is of class {name!r}; supported: {sorted(WEIGHT_NAMES)}.")
    if buffer.get("io") == "in_and_out" and output_hook in (None, hook):
        raise DictionaryError(
            f"dictionary {source} was trained from the input of a module to its output (buffer.io in {config_file.name}): it is a "
            "transcoder. Name its output_hook in the record."
        )
    missing = sorted(set(WEIGHT_NAMES[name].values()) - set(state))
    if missing:
        raise DictionaryError(f"dictionary {source} ({name}) lacks {missing} in {weights_file.name}; it holds {sorted(state)}.")
    weights = {ours: state[theirs].float() for ours, theirs in WEIGHT_NAMES[name].items()}
    if WEIGHT_NAMES[name]["W_enc"] == "encoder.weight":
        weights["W_enc"], weights["W_dec"] = weights["W_enc"].T, weights["W_dec"].T.contiguous()
    if (factor := backup.get("norm_factor")) is not None:
        _scale_biases(weights, _norm_factor(source, factor))
    if name == "AutoEncoder":
        _scale_decoder_rows(weights)
    stated = state.get("k", trainer.get("k"))
    k = None if stated is None else whole_number(source, "k", stated)
    autoencoder = SparseAutoencoder(
        kind="dictionary_learning",
        hook=hook,
        output_hook=output_hook or hook,
        l0_expected=None if (l0 := trainer.get("target_l0") if k is None else k) is None else float(l0),
        W_enc=weights["W_enc"],
        b_enc=weights["b_enc"],
        W_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        activation=_activation(source, name, weights, k),
        subtracts_b_dec=name not in DOES_NOT_SUBTRACT,
    )
    return checked_autoencoder(autoencoder, source, width, d_in)


def _plainly_named(source: str, held: dict[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """The tensors by their plain names. Raises `DictionaryError` where two tensors have one plain name: either may be meant."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in held.items():
        plain = _plain_name(name)
        if plain in state:
            raise DictionaryError(f"dictionary {source} holds {plain!r} twice, once behind a prefix ({name!r}). Save one of them alone.")
        state[plain] = tensor
    return state


def _plain_name(name: str) -> str:
    """A tensor's name without what torch.compile and data-parallel training put before it."""
    return name.removeprefix("module.").removeprefix("_orig_mod.").removeprefix("module.")


def _activation(source: str, name: str, weights: dict[str, "torch.Tensor"], k: int | None) -> Activation:
    if name == "AutoEncoderTopK":
        if k is None:
            raise DictionaryError(f"dictionary {source} ({name}) says its k neither in ae.pt nor in config.json. Add it to the trainer.")
        return TopK(k)
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


def _norm_factor(source: str, factor: Any) -> float:
    try:
        found = float(factor)
        if not 0 < found < math.inf:
            raise ValueError
    except (TypeError, ValueError, RuntimeError):
        raise DictionaryError(f"dictionary {source} has norm_factor {factor!r}, no positive number. Its backup is damaged.") from None
    return found


def _scale_biases(weights: dict[str, "torch.Tensor"], factor: float) -> None:
    """Let weights that were trained on activations divided by `factor` take in the activations themselves."""
    for name in SCALED:
        if name in weights:
            keeps = name == "threshold" and weights[name].ndim == 0 and weights[name] < 0
            weights[name] = weights[name] if keeps else weights[name] * factor


def dictionary_learning_files(source: str) -> tuple[Path, Path]:
    """The file of weights and the config.json of a source: a folder with both, or a file of weights, here or on the hub.

    The config.json of a file in the folder `checkpoints` may be one folder up. Raises `DictionaryError` for a file that is not there.
    """
    if not source.endswith(".pt"):
        folder = Path(source).expanduser()
        _refuse_unnamed_checkpoint(source, folder)
        folder = source_folder(source, FILES, WRITTEN_BY)
        return folder / FILES[0], folder / FILES[1]
    weights = Path(source).expanduser()
    place, _, name = source.rpartition("/")
    if not weights.is_file():
        if is_local(source) or source.count("/") < 2:
            raise DictionaryError(f"dictionary source {source!r} is neither a file on this machine nor a file on the hub. Check the path.")
        in_checkpoints = place.endswith("/checkpoints")
        root = place.removesuffix("/checkpoints")
        wanted = [f"checkpoints/{name}", "checkpoints/config.json", "config.json"] if in_checkpoints else [name, "config.json"]
        weights = downloaded(root, wanted) / wanted[0]
        if not weights.is_file():
            raise DictionaryError(f"the hub has no file {source!r}. Check its name.")
    places = [weights.parent / FILES[1], *([weights.parent.parent / FILES[1]] if weights.parent.name == "checkpoints" else [])]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise DictionaryError(
            f"dictionary {source} has no config.json: it was looked for at {' and '.join(map(str, places))}. Copy the file there that the "
            'training wrote, or write one: {"trainer": {"dict_class": "AutoEncoderTopK", "k": 32}}.'
        )
    return weights, found


def _refuse_unnamed_checkpoint(source: str, folder: Path) -> None:
    """Raise `DictionaryError` with the checkpoints of a folder that has these alone: which of them is meant, a record must say."""
    if not folder.is_dir() or (folder / FILES[0]).is_file():
        return
    found = sorted([*folder.glob("ae_*.pt"), *folder.glob("checkpoints/ae_*.pt")], key=lambda path: (len(path.name), path.name))
    if found:
        raise DictionaryError(
            f"dictionary folder {source} has no ae.pt, but {len(found)} checkpoints: "
            f"{', '.join(path.name for path in found[:6])}{', …' if len(found) > 6 else ''}. Name one of them as the source, such as "
            f"{found[-1]}."
        )


def _where_the_class_goes(source: str, config_file: Path, state: dict[str, "torch.Tensor"]) -> str:
    fitting = [name for name, names in WEIGHT_NAMES.items() if set(names.values()) <= set(state)]
    told = f"its weights fit {' and '.join(fitting)}" if fitting else f"its weights {sorted(state)} fit none of {sorted(WEIGHT_NAMES)}"
    example = fitting[0] if fitting else "AutoEncoderTopK"
    return (
        f"dictionary {source} does not say its class: {config_file} has no trainer.dict_class; {told}. Write the class that it was trained "
        f'with into that file: {{"trainer": {{"dict_class": "{example}", …}}}}.'
    )


def _trainer(config_file: Path, backup: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the trainer and of the buffer in config.json; what it does not say of the trainer is taken from a backup."""
    config = read_config(config_file)
    trainer, buffer = config.get("trainer") or {}, config.get("buffer") or {}
    if not isinstance(trainer, dict):
        raise DictionaryError(f"{config_file} names no trainer: `trainer` is a {type(trainer).__name__}. Copy it again.")
    kept = backup.get("config")
    return {**(kept if isinstance(kept, dict) else {}), **trainer}, buffer if isinstance(buffer, dict) else {}
