"""EleutherAI's sparsify: a folder with `cfg.json` and `sae.safetensors` (encoder.weight, encoder.bias, W_dec, b_dec, W_skip).

TopK of relu((x - b_dec) W + b); a transcoder (`transcode`) does not subtract b_dec and writes another hook. `groupmax` keeps the
largest of each of k runs of latents instead. `signed` keeps the k largest |h| with their signs: negative sides are features of their own.
`multi_topk` and `normalize_decoder` concern training alone. Its hook points are module paths: record layers.5.mlp as hook
model.layers.5.mlp:input and output_hook model.layers.5.mlp for a transcoder.
A source on the hub reads EleutherAI/sae-llama-3-8b-32x/layers.10.
"""

from typing import TYPE_CHECKING, Any

from resources.dictionaries.encoding import Activation, GroupMax, TopK
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.sources import source_folder
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder, checked_autoencoder, with_negative_sides
from resources.dictionaries.weight_files import read_config, read_tensors, whole_number

if TYPE_CHECKING:
    import torch

FILES = ("cfg.json", "sae.safetensors")


def load_sparsify(
    source: str, hook: str, output_hook: str | None = None, width: int | None = None, d_in: int | None = None
) -> SparseAutoencoder:
    """The sparse coder in `source`, on the CPU in float32. Raises `DictionaryError`."""
    config, weights = _read(source)
    needed = {"encoder.weight", "encoder.bias", "W_dec", "b_dec", *(["W_skip"] if config.get("skip_connection") else [])}
    missing = sorted(needed - set(weights))
    if missing or "k" not in config:
        raise DictionaryError(
            f"sparse coder {source} lacks {missing or ['k']}; it holds {sorted(weights)}. Save it again with its decoder."
        )
    transcodes = bool(config.get("transcode", False))
    if transcodes and (output_hook is None or output_hook == hook):
        raise DictionaryError(f"sparse coder {source} is a transcoder at {hook}. Name its output_hook in the record.")
    if output_hook not in (None, hook) and not transcodes:
        raise DictionaryError(f"sparse coder {source} is no transcoder, but the record has output_hook {output_hook!r}. Leave it out.")
    autoencoder = SparseAutoencoder(
        kind="sparsify",
        hook=hook,
        output_hook=output_hook or hook,
        l0_expected=float(config["k"]),
        W_enc=weights["encoder.weight"].T,
        b_enc=weights["encoder.bias"],
        W_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        activation=_activation(source, config, len(weights["encoder.weight"])),
        subtracts_b_dec=not transcodes,
        W_skip=weights["W_skip"].T if config.get("skip_connection") else None,
    )
    if config.get("signed"):
        autoencoder = with_negative_sides(autoencoder)
    return checked_autoencoder(autoencoder, source, width, d_in)


def _activation(source: str, config: dict[str, Any], width: int) -> Activation:
    name, k = config.get("activation", "topk"), whole_number(source, "k", config["k"])
    if config.get("signed") and name != "topk":
        raise DictionaryError(f"sparse coder {source} is signed with activation {name!r}; signed features are supported of topk alone.")
    if name == "topk":
        return TopK(k)
    if name != "groupmax":
        raise DictionaryError(f"sparse coder {source} has activation {name!r}; supported: topk, groupmax.")
    if width % k:
        raise DictionaryError(f"sparse coder {source} has {width} latents, which k = {k} groups do not divide. Its cfg.json is wrong.")
    return GroupMax(width // k)


def _read(source: str) -> tuple[dict[str, Any], dict[str, "torch.Tensor"]]:
    folder = source_folder(source, FILES, "sparsify")
    return read_config(folder / FILES[0]), read_tensors(folder / FILES[1])
