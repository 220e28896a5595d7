"""OpenAI's sparse_autoencoder: one file, such as `resid_post_mlp_v5_32k/autoencoders/8.pt`, read as weights only.

encoder.weight [width, d_in], pre_bias, latent_bias, decoder.weight [d_in, width]; activation: ReLU or TopK with k

x' = (x - mean) / (std + 1e-5) of TopK, x of ReLU        f = activation((x' - pre_bias) W + latent_bias)        x̂' = f W_dec + pre_bias
"""

from pathlib import Path
from typing import Any

from resources.dictionaries.encoding import Activation, Threshold, TopK
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.sources import source_file
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder, checked_autoencoder
from resources.dictionaries.weight_files import read_checkpoint

NEEDED = ("encoder.weight", "pre_bias", "latent_bias")
TIED = "decoder.linear.weight"


def load_openai(source: str, hook: str, width: int | None = None, d_in: int | None = None) -> SparseAutoencoder:
    """The autoencoder in the file `source`, on the CPU in float32. Raises `DictionaryError`."""
    path = openai_file(source)
    weights, rest = read_checkpoint(path)
    missing = [name for name in NEEDED if name not in weights] + ([] if {"decoder.weight", TIED} & set(weights) else ["decoder.weight"])
    if missing:
        raise DictionaryError(f"{path} lacks {missing}; it holds {sorted(weights)[:8]}. Name a file of OpenAI's sparse_autoencoder.")
    activation = _activation(path, rest)
    autoencoder = SparseAutoencoder(
        kind="openai",
        hook=hook,
        output_hook=hook,
        l0_expected=float(activation.k) if isinstance(activation, TopK) else None,
        W_enc=weights["encoder.weight"].T,
        b_enc=weights["latent_bias"],
        W_dec=weights["decoder.weight"].T.contiguous() if "decoder.weight" in weights else weights["encoder.weight"],
        b_dec=weights["pre_bias"],
        activation=activation,
        norm="layer_norm" if isinstance(activation, TopK) else "none",
    )
    return checked_autoencoder(autoencoder, source, width, d_in)


def openai_file(source: str) -> Path:
    """The file of a source. Raises `DictionaryError` for a folder with none or several."""
    return source_file(source, (".pt",), "an autoencoder of OpenAI")


def _activation(path: Path, rest: dict[str, Any]) -> Activation:
    name, state = rest.get("activation", "ReLU"), rest.get("activation_state_dict") or {}
    if name == "ReLU":
        return Threshold()
    if name == "TopK" and isinstance(state.get("k"), int) and state.get("postact_fn", "ReLU") == "ReLU":
        return TopK(state["k"])
    raise DictionaryError(f"{path} has activation {name!r} with {dict(state)}; supported: ReLU, and TopK with k and ReLU behind it.")
