"""Cross-layer transcoders of circuit-tracer: `config.yaml` with model_kind cross_layer_transcoder, and two files for each layer.

    W_enc_20.safetensors    W_enc_20 [n, d], b_enc_20 [n], b_dec_20 [d]; threshold_20 [n] where it is a JumpReLU
    W_dec_20.safetensors    W_dec_20 [n, layers from 20 on, d]

Features of layer N read the set's feature_input_hook in layer N, and write at feature_output_hook in N and every later layer. A set that
lists Gemma Scope 2's files under `transcoders` has their layout: see gemma_scope_layers.py.
"""

import re
from pathlib import Path
from typing import Any

from resources.dictionaries.cross_layer import FeatureGroup, RowsInFile
from resources.dictionaries.encoding import Threshold
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.layer_sets import LayerSet, layer_number
from resources.dictionaries.weight_files import read_some_tensors, tensor_shapes

ENCODER_FILE = re.compile(r"W_enc_(\d+)\.safetensors")


def clt_layer_set(place: str, folder: Path, config: dict[str, Any]) -> LayerSet:
    """The set in a folder of this machine. Raises `DictionaryError` where it holds no layer, or its files contradict one another."""
    held = sorted(int(found[1]) for path in folder.iterdir() if (found := ENCODER_FILE.fullmatch(path.name)))
    if not held:
        names = sorted(path.name for path in folder.iterdir())[:8]
        raise DictionaryError(f"cross-layer transcoder {place} holds {names}, and no W_enc_N.safetensors. Copy the files of its layers.")
    here = [layer for layer in held if (folder / f"W_dec_{layer}.safetensors").is_file()]
    lengths = {layer: layer + tensor_shapes(folder / f"W_dec_{layer}.safetensors")[f"W_dec_{layer}"][1] for layer in here}
    if len(set(lengths.values())) > 1:
        raise DictionaryError(f"cross-layer transcoder {place} has {sorted(set(lengths.values()))} layers by its decoders. Copy it again.")
    n_layers = next(iter(lengths.values()), held[-1] + 1)
    if not config.get("feature_output_hook"):
        raise DictionaryError(f"cross-layer transcoder {place} lacks feature_output_hook in config.yaml. Add it, such as hook_mlp_out.")
    writes = str(config["feature_output_hook"])

    def group(layer: int) -> FeatureGroup:
        path = folder / f"W_enc_{layer}.safetensors"
        shapes = tensor_shapes(path)
        needed = [f"W_enc_{layer}", f"b_enc_{layer}", f"b_dec_{layer}"]
        if absent := [name for name in needed if name not in shapes]:
            raise DictionaryError(f"{path} lacks {absent}; it holds {sorted(shapes)}. Copy it again.")
        threshold = f"threshold_{layer}"
        weights = read_some_tensors(path, (*needed[:2], *([threshold] if threshold in shapes else [])))
        decoder = folder / f"W_dec_{layer}.safetensors"
        rows = tuple(RowsInFile(decoder, f"W_dec_{layer}", after=(place - layer,)) if place >= layer else None for place in range(n_layers))
        limit = Threshold(weights[threshold].flatten()) if threshold in weights else Threshold()
        return FeatureGroup((layer,), weights[needed[0]].T.contiguous(), weights[needed[1]], limit, rows)

    def b_dec(layer: int) -> Any:
        import torch

        path = folder / f"W_enc_{layer}.safetensors"
        if not path.is_file():  # the bias of a layer whose file is not here: used by no self-check
            return torch.zeros(tensor_shapes(folder / f"W_enc_{held[0]}.safetensors")[f"b_dec_{held[0]}"])
        return read_some_tensors(path, (f"b_dec_{layer}",))[f"b_dec_{layer}"]

    return LayerSet(
        kind="circuit_tracer",
        source=place,
        what="cross-layer transcoder",
        layers=tuple(range(n_layers)),
        write_hooks={layer: _named(writes, layer) for layer in range(n_layers)},
        group=group,
        b_dec=b_dec,
        here=lambda layer: layer in here,
    )


def clt_files(hooks: tuple[str, ...]) -> list[str]:
    """Names of the files of the layers that `hooks` name."""
    layers = sorted({layer for hook in hooks if (layer := layer_number(hook)) is not None})
    return [f"W_{part}_{layer}.safetensors" for layer in layers for part in ("enc", "dec")]


def _named(hook: str, layer: int) -> str:
    """A set's hook in one layer: hook_resid_mid, or blocks.{layer}.hook_resid_mid."""
    return hook.replace("{layer}", str(layer)) if "{layer}" in hook else f"blocks.{layer}.{hook}"
