"""Gemma Scope 2's cross-layer transcoders and weakly causal crosscoders: a folder with a file for each layer.

    clt/width_262k_l0_big/params_layer_{0…}.safetensors                       reads every layer's MLP input, writes MLP outputs
    crosscoder/layer_5_9_12_15_width_1m_l0_big/params_layer_{0…3}.safetensors    reads and writes the residual stream of these layers

Each file holds one layer's features: w_enc [d, n], b_enc, threshold [n], w_dec [n, layers, d] (zeros for earlier layers), and b_dec [d] of
the layer; affine_skip_connection [d, d] where there is one. JumpReLU. `config.json` names type, hooks and the L0 of all layers together.
"""

import re
from pathlib import Path
from typing import Any

from resources.dictionaries.cross_layer import FeatureGroup, RowsInFile
from resources.dictionaries.encoding import Threshold
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.layer_sets import LayerSet
from resources.dictionaries.weight_files import read_config, read_some_tensors, tensor_shapes

CONFIG = "config.json"
LAYER_FILE = re.compile(r"params_layer_(\d+)\.safetensors")
ENCODER = ("w_enc", "b_enc", "threshold")
HOOKS = {"clt": ("mlp.hook_in", "hook_mlp_out"), "crosscoder": ("hook_resid_post", "hook_resid_post")}


def is_layer_folder(source: str) -> bool:
    """Whether a source is a multi-layer model of Gemma Scope 2: by the names of its files, or on the hub by the name of its folder."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return any(LAYER_FILE.fullmatch(path.name) for path in folder.iterdir())
    return bool(re.search(r"gemma-scope-2-[^/]+/(clt|crosscoder)/", source))


def gemma_layer_set(source: str, hooks: tuple[str, ...]) -> LayerSet:
    """The set in a folder. Of a folder on the hub, the files of the layers that `hooks` name are downloaded. Raises `DictionaryError`."""
    from resources.dictionaries.layer_sets import layer_number
    from resources.dictionaries.sources import downloaded

    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = downloaded(source, (CONFIG,))
    config = read_config(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    kind = _kind(source, config)
    listed = _listed(source, config)
    if not Path(source).expanduser().is_dir():
        wanted = {layer_number(hook) for hook in hooks}
        names = [f"params_layer_{listed.index(layer) if listed else layer}.safetensors" for layer in wanted if layer is not None]
        folder = downloaded(source, (CONFIG, *names))
    held = {int(found[1]): path for path in folder.iterdir() if (found := LAYER_FILE.fullmatch(path.name))}
    if not held:
        raise DictionaryError(f"{source} has no params_layer_N.safetensors of the layers of {', '.join(hooks)}. Correct the hooks.")
    files = {number: path for number, path in held.items()}
    n_layers = tensor_shapes(next(iter(files.values()))).get("w_dec", (0, 0))[1]
    layers = listed or tuple(range(n_layers))
    if len(layers) != n_layers:
        raise DictionaryError(f"{source} names {len(layers)} layers, and its w_dec has {n_layers}. Copy its folder again.")
    return layer_set("gemma_scope", source, kind, layers, {layer: files.get(place) for place, layer in enumerate(layers)}, config.get("l0"))


def layer_set(
    kind: str,
    source: str,
    type_: str,
    layers: tuple[int, ...],
    files: dict[int, Path | None],
    l0: Any,
    hooks: tuple[str, str] | None = None,
) -> LayerSet:
    """The set with these files by layer, None for a file that is not here."""
    writes = (hooks or HOOKS[type_])[1]

    def file_of(layer: int) -> Path:
        path = files[layer]
        assert path is not None, layer
        return path

    def group(layer: int) -> FeatureGroup:
        path = file_of(layer)
        shapes = tensor_shapes(path)
        missing = [name for name in (*ENCODER, "w_dec", "b_dec") if name not in shapes]
        if missing:
            raise DictionaryError(f"{path} lacks {missing}; it holds {sorted(shapes)}. Copy it again.")
        weights = read_some_tensors(path, ENCODER)
        own = layers.index(layer)
        rows = tuple(RowsInFile(path, "w_dec", after=(place,)) if place >= own else None for place in range(len(layers)))
        skip = (own, RowsInFile(path, "affine_skip_connection")) if "affine_skip_connection" in shapes else None
        return FeatureGroup((own,), weights["w_enc"], weights["b_enc"], Threshold(weights["threshold"]), rows, skip)

    def b_dec(layer: int) -> Any:
        import torch

        path = files[layer]
        if path is None:  # the bias of a layer whose file is not here: used by no self-check
            known = next(one for one in files.values() if one is not None)
            return torch.zeros(tensor_shapes(known)["b_dec"])
        return read_some_tensors(path, ("b_dec",))["b_dec"]

    return LayerSet(
        kind=kind,
        source=source,
        what="crosscoder" if type_ == "crosscoder" else "cross-layer transcoder",
        layers=layers,
        write_hooks={layer: f"blocks.{layer}.{writes}" for layer in layers},
        group=group,
        b_dec=b_dec,
        here=lambda layer: files[layer] is not None,
        l0=float(l0) if l0 else None,
    )


def _kind(source: str, config: dict[str, Any]) -> str:
    found = config.get("type") or next((one for one in HOOKS if re.search(rf"(?:^|/){one}(?:/|$)", source)), None)
    if found is None and re.search(r"layer_\d+_\d+", source):
        found = "crosscoder"
    if found not in HOOKS:
        raise DictionaryError(
            f"{source} has files params_layer_N.safetensors, and neither {CONFIG} nor its path says whether it is a clt or a crosscoder "
            f"(type {found!r}). Copy its {CONFIG}, or keep the folder clt or crosscoder above it."
        )
    return str(found)


def _listed(source: str, config: dict[str, Any]) -> tuple[int, ...]:
    """The layers that the hooks of the configuration name, or the folder's name; empty for all layers."""
    named = re.search(r"\{([\d, ]+)\}", str(config.get("hf_hook_point_in", "")))
    if named:
        return tuple(int(one) for one in named[1].split(","))
    in_name = re.search(r"layer_(\d+(?:_\d+)+)_width", source)
    return tuple(int(one) for one in in_name[1].split("_")) if in_name else ()
