"""Gemma Scope: a folder with `params.npz` (W_enc, b_enc, W_dec, b_dec, threshold), or that file itself. JumpReLU, b_dec not subtracted.

Gemma Scope 2 keeps the same arrays under lower-case names in `params.safetensors`; a transcoder's `affine_skip_connection` too.
Folders of cross-layer transcoders and crosscoders are read by gemma_scope_layers.py. A source on the hub reads
google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from resources.dictionaries.cross_layer import CrossLayerDictionary
from resources.dictionaries.encoding import Threshold
from resources.dictionaries.gemma_scope_layers import gemma_layer_set, is_layer_folder
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.layer_sets import dictionary_of_layers
from resources.dictionaries.sources import source_folder
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder, checked_autoencoder
from resources.dictionaries.weight_files import read_tensors

if TYPE_CHECKING:
    import torch

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
FILES = ("params.npz", "params.safetensors")


def load_gemma_scope(
    source: str,
    hook: str,
    output_hook: str | None = None,
    width: int | None = None,
    d_in: int | None = None,
    reads: tuple[str, ...] | None = None,
    writes: tuple[str, ...] | None = None,
) -> SparseAutoencoder | CrossLayerDictionary:
    """The autoencoder in `source`, or with an `output_hook` the transcoder, on the CPU in float32. Its files name no hook.

    A folder with a file for each layer is a cross-layer transcoder or crosscoder: the features that read `reads`, or `hook`. The expected
    L0 is read from the name of a folder average_l0_<n>. Raises `DictionaryError`.
    """
    if is_layer_folder(source):
        found = gemma_layer_set(source, reads or (hook,))
        return dictionary_of_layers(found, reads or (hook,), writes or ((output_hook,) if output_hook else None), width, d_in)
    if reads or writes:
        raise DictionaryError(f"{source} reads one hook and writes one: name them hook and output_hook instead of reads and writes.")
    path = _params_file(source)
    weights = _read(path)
    missing = [name for name in NAMES if name not in weights]
    if missing:
        raise DictionaryError(f"{path} lacks {missing}; it holds {sorted(weights)}. Point at the params file of a Gemma Scope release.")
    stated = re.search(r"average_l0_(\d+)", source)
    autoencoder = SparseAutoencoder(
        kind="gemma_scope",
        hook=hook,
        output_hook=output_hook or hook,
        l0_expected=float(stated[1]) if stated else None,
        W_enc=weights["W_enc"],
        b_enc=weights["b_enc"],
        W_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        activation=Threshold(weights["threshold"]),
        subtracts_b_dec=False,
        W_skip=weights.get("affine_skip_connection"),
    )
    return checked_autoencoder(autoencoder, source, width, d_in)


def _params_file(source: str) -> Path:
    place = Path(source).expanduser()
    if place.is_file():
        return place
    # google/gemma-scope-2-1b-pt is Gemma Scope 2; google/gemma-scope-2b-pt-res is the first, for Gemma 2 2B.
    second = (place / FILES[1]).is_file() if place.is_dir() else "gemma-scope-2-" in source
    name = FILES[second]
    return source_folder(source, (name,), "Gemma Scope released") / name


def _read(path: Path) -> dict[str, "torch.Tensor"]:
    return {"W_" + name[2:] if name.startswith("w_") else name: array for name, array in read_tensors(path).items()}
