"""Transcoder sets of circuit-tracer: a folder with `config.yaml` and a file for each layer. A dictionary is one layer of the set.

    config.yaml             model_kind: transcoder_set, feature_input_hook, feature_output_hook; activation (topk with k, or relu)
    layer_20.safetensors    W_enc [width, d_in], b_enc, W_dec [width, d_out], b_dec; W_skip [d_out, d_in]; activation_function.threshold

The layer is the number in the record's hook; `folder#20` as the source names it too. With h = x W_enc^T + b_enc the features are the k
largest h where activation is topk, h above the threshold of the latent where the file has thresholds, and relu(h) otherwise: each where
> 0. (circuit-tracer's topk keeps a negative h where fewer than k are positive.) The output is f W_dec + b_dec + x W_skip^T.

Where config.yaml lists `transcoders`, the file of layer N is entry N: a path, or hf://owner/repository/path. Those are Gemma Scope's own
files too, whose W_enc is [d_in, width]. Cross-layer transcoders are read by circuit_tracer_layers.py. A source on the hub reads
owner/repository, or owner/repository/folder.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlparse

from resources.dictionaries.circuit_tracer_layers import clt_files, clt_layer_set
from resources.dictionaries.cross_layer import CrossLayerDictionary
from resources.dictionaries.encoding import Activation, Threshold, TopK
from resources.dictionaries.gemma_scope_layers import HOOKS, layer_set
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.layer_sets import LayerSet, dictionary_of_layers, layer_number
from resources.dictionaries.sources import commit_of, downloaded, hub_repository, refuse_damaged, source_folder
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder, checked_autoencoder
from resources.dictionaries.weight_files import read_tensors, read_yaml_config, whole_number

if TYPE_CHECKING:
    import torch

CONFIG = "config.yaml"
WRITTEN_BY = "a circuit-tracer transcoder set"
WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec")
THRESHOLDS = ("activation_function.threshold", "threshold")
ACTIVATIONS = (None, "relu", "topk", "jumprelu", "jump_relu")
GEMMA_SCOPE_NAMES = {"w_enc": "W_enc", "w_dec": "W_dec"}


def load_circuit_tracer(
    source: str,
    hook: str,
    output_hook: str | None = None,
    width: int | None = None,
    d_in: int | None = None,
    k: int | None = None,
    reads: tuple[str, ...] | None = None,
    writes: tuple[str, ...] | None = None,
) -> SparseAutoencoder | CrossLayerDictionary:
    """The transcoder of one layer of the set in `source`, on the CPU in float32. Of a cross-layer transcoder, the features that read
    `reads`, or `hook`.

    `output_hook` defaults to the set's feature_output_hook in the layer, and `k` to the k that the set says. Raises `DictionaryError`.
    """
    place, layer = set_and_layer(source, hook)
    config = _config(place)
    if config.get("model_kind") == "cross_layer_transcoder":
        written = writes or ((output_hook,) if output_hook else None)
        if written is None and config.get("feature_output_hook") == "mlp.hook_out":
            raise DictionaryError(
                f"cross-layer transcoder {place} writes at mlp.hook_out, the output of the MLP before any normalisation behind it. Name "
                f"writes in the record: blocks.{layer}.hook_mlp_out and so on, or in models such as Gemma the paths of the modules."
            )
        return dictionary_of_layers(_cross_layer_set(place, config, reads or (hook,)), reads or (hook,), written, width, d_in)
    if reads or writes:
        raise DictionaryError(f"transcoder set {place} reads one hook and writes one in a layer: name them hook and output_hook.")
    weights = _weights(_layer_file(place, layer, config))
    missing = [name for name in WEIGHTS if name not in weights]
    if missing:
        raise DictionaryError(f"transcoder {source} of layer {layer} lacks {missing}; it holds {sorted(weights)}. Copy its file again.")
    activation = _activation(f"transcoder set {place}", config, weights, k)
    autoencoder = SparseAutoencoder(
        kind="circuit_tracer",
        hook=hook,
        output_hook=output_hook or _output_hook(place, layer, config),
        l0_expected=float(activation.k) if isinstance(activation, TopK) else None,
        W_enc=weights["W_enc"],
        b_enc=weights["b_enc"],
        W_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        activation=activation,
        subtracts_b_dec=False,
        W_skip=weights.get("W_skip"),
        notes=_unpinned(place, layer, config),
    )
    return checked_autoencoder(autoencoder, source, width, d_in)


def set_and_layer(source: str, hook: str) -> tuple[str, int]:
    """The set without the #layer behind it, and the layer, which is the first number in the hook. Raises `DictionaryError`."""
    named = re.fullmatch(r"(.+)#(?:layer_)?(\d+)", source)
    place, stated = (named[1], int(named[2])) if named else (source, None)
    in_hook = re.search(r"(?:^|\.)(\d+)(?=[.:]|$)", hook)
    if in_hook is None and stated is None:
        raise DictionaryError(
            f"transcoder set {source}: the hook {hook!r} has no number of a layer. Name a hook such as blocks.20.mlp.hook_in, or name the "
            f"layer behind the source: {source}#20."
        )
    if in_hook is not None and stated is not None and int(in_hook[1]) != stated:
        raise DictionaryError(
            f"transcoder set {source} names layer {stated}, but the hook {hook} is in layer {int(in_hook[1])}. Correct one."
        )
    return place, stated if stated is not None else int(in_hook[1])  # type: ignore[index]


def set_files(source: str, hook: str) -> list[Path]:
    """The files on this machine that decide one layer: config.yaml, and the layer's file where it is on this machine."""
    try:
        place, layer = set_and_layer(source, hook)
    except DictionaryError:
        return []
    folder = Path(place).expanduser()
    names = (CONFIG, f"layer_{layer}.safetensors", f"W_enc_{layer}.safetensors", f"W_dec_{layer}.safetensors")
    found = [folder / name for name in names if (folder / name).is_file()]
    try:
        listed = listed_files(read_yaml_config(folder / CONFIG)).get(layer)
    except DictionaryError:
        return found
    return [*found[:1], *_local(folder, listed)] if listed else found


def _config(place: str) -> dict[str, Any]:
    """config.yaml of the set. Raises `DictionaryError` for a kind of set that is not known."""
    config = read_yaml_config(source_folder(place, (CONFIG,), WRITTEN_BY) / CONFIG)
    kind = config.get("model_kind", "transcoder_set")
    if kind not in ("transcoder_set", "cross_layer_transcoder"):
        raise DictionaryError(f"{place} has model_kind {kind!r} in {CONFIG}; supported: transcoder_set, cross_layer_transcoder.")
    return config


def _cross_layer_set(place: str, config: dict[str, Any], hooks: tuple[str, ...]) -> LayerSet:
    """The cross-layer transcoder in a folder here, or of a set on the hub the files of the layers that `hooks` name."""
    folder = Path(place).expanduser()
    listed = listed_files(config)
    if listed:  # Gemma Scope 2's files
        found: dict[int, Path | None] = {}
        for layer, name in listed.items():
            wanted = layer in {layer_number(hook) for hook in hooks}
            local = [_downloaded_file(name)] if name.startswith("hf://") and wanted else _local(folder, name)
            found[layer] = local[0] if local else None
        named = str(config.get("feature_input_hook", HOOKS["clt"][0])), str(config.get("feature_output_hook", HOOKS["clt"][1]))
        return layer_set("circuit_tracer", place, "clt", tuple(sorted(found)), found, None, named)
    return clt_layer_set(place, folder if folder.is_dir() else downloaded(place, (CONFIG, *clt_files(hooks))), config)


def listed_files(config: dict[str, Any]) -> dict[int, str]:
    """Layer -> path or hf:// address, where the configuration lists the files; empty where it does not."""
    listed = config.get("transcoders")
    if not isinstance(listed, list):
        return {}
    found = {}
    for number, entry in enumerate(listed):
        if isinstance(entry, dict):
            found[int(entry.get("layer", number))] = str(entry.get("filepath"))
        else:
            found[number] = str(entry)
    return found


def _local(folder: Path, listed: str) -> list[Path]:
    """The file that a path in config.yaml names: absolute, from the set's folder, or from the working folder; none for a hub address."""
    if listed.startswith("hf://"):
        return []
    path = Path(listed).expanduser()
    return [one for one in (folder / path, path) if one.is_file()][:1]


def _unpinned(place: str, layer: int, config: dict[str, Any]) -> tuple[str, ...]:
    """One note where the file of the layer lies in another repository than the set, at no revision; none otherwise."""
    address = listed_files(config).get(layer, "")
    if not address.startswith("hf://") or "revision=" in urlparse(address).query or _repository_of(address) == hub_repository(place):
        return ()
    return (f"transcoder set {place} takes layer {layer} from {address} at the newest commit: a push there changes the dictionary unseen",)


def _layer_file(place: str, layer: int, config: dict[str, Any]) -> Path:
    """The file of one layer, downloaded where it is on the hub. Raises `DictionaryError` with the layers that there are."""
    name, folder, listed = f"layer_{layer}.safetensors", Path(place).expanduser(), listed_files(config)
    if listed:
        if layer not in listed:
            raise DictionaryError(
                f"transcoder set {place} lists the layers {_ranges(listed)} in {CONFIG}, and not {layer}. Correct the hook."
            )
        if listed[layer].startswith("hf://"):
            return _downloaded_file(listed[layer])
        if found := _local(folder, listed[layer]):
            return found[0]
        if not (folder / name).is_file():
            raise DictionaryError(f"transcoder set {place} lists {listed[layer]} for layer {layer} in {CONFIG}: there is no such file.")
    if not folder.is_dir():
        folder = downloaded(place, (CONFIG, name))
    if not (folder / name).is_file():
        held = [int(path.stem.removeprefix("layer_")) for path in folder.glob("layer_*.safetensors") if path.stem[6:].isdigit()]
        told = f"it holds the layers {_ranges(held)}" if held else f"it holds {sorted(path.name for path in folder.iterdir())[:8]}"
        raise DictionaryError(f"transcoder set {place} has no {name}; {told}. Name a hook in a layer of the set.")
    return folder / name


def _repository_of(address: str) -> str:
    """owner/repository of an address hf://owner/repository/path."""
    parsed = urlparse(address)
    return f"{parsed.netloc}/{parsed.path.lstrip('/').partition('/')[0]}"


def _downloaded_file(address: str) -> Path:
    from huggingface_hub import hf_hub_download

    parsed, repository = urlparse(address), _repository_of(address)
    name = parsed.path.lstrip("/").partition("/")[2]
    revision = parse_qs(parsed.query).get("revision", [commit_of(repository)])[0]
    try:
        path = Path(hf_hub_download(repository, name, revision=revision))
    except Exception as error:
        raise DictionaryError(f"the hub has no file {address}, or it cannot be reached: {error}") from error
    return refuse_damaged(path)


def _ranges(layers: Any) -> str:
    found = sorted(layers)
    return f"{found[0]} to {found[-1]}" if found == list(range(found[0], found[-1] + 1)) and len(found) > 2 else str(found)


def _weights(path: Path) -> dict[str, "torch.Tensor"]:
    """The tensors of a layer's file as `SparseAutoencoder` has them: W_enc [d_in, width], W_dec [width, d_out], W_skip [d_in, d_out]."""
    held = read_tensors(path)
    weights = {GEMMA_SCOPE_NAMES.get(name, name): tensor for name, tensor in held.items()}
    if "affine_skip_connection" in weights:
        weights["W_skip"] = weights.pop("affine_skip_connection")
    elif "W_skip" in weights:
        weights["W_skip"] = weights["W_skip"].T
    if "W_enc" in weights and path.suffix != ".npz" and "w_enc" not in held:
        weights["W_enc"] = weights["W_enc"].T
    if {"W_dec", "b_enc", "b_dec"} <= set(weights):
        width, d_out = len(weights["b_enc"]), len(weights["b_dec"])
        if width != d_out and tuple(weights["W_dec"].shape) == (d_out, width):  # as circuit-tracer's first sets have it
            weights["W_dec"] = weights["W_dec"].T.contiguous()
    return weights


def _activation(source: str, config: dict[str, Any], weights: dict[str, "torch.Tensor"], k: int | None) -> Activation:
    """What the set says of its activation. Raises `DictionaryError` for a function without a formula here, and for contradictions."""
    name = config.get("activation")
    if name not in ACTIVATIONS:
        raise DictionaryError(f"{source} has activation {name!r} in {CONFIG}; supported: relu, topk, jumprelu.")
    if "log_thresholds" in weights:
        raise DictionaryError(
            f"{source} holds log_thresholds, which circuit-tracer does not read. Save it with activation_function.threshold."
        )
    threshold = next((weights[one] for one in THRESHOLDS if one in weights), None)
    stated = config.get("k", weights.get("k"))
    stated = None if stated is None else whole_number(source, "k", stated)
    if name == "topk" or (name is None and stated is not None and threshold is None):
        if stated is None and k is None:
            raise DictionaryError(f"{source} has activation topk, and {CONFIG} does not say its k. Name k in the record.")
        if stated is not None and k is not None and stated != k:
            raise DictionaryError(f"{source} has k {stated}, but the record says {k}. Leave k out of the record.")
        return TopK(stated if stated is not None else k)  # type: ignore[arg-type]
    if k is not None:
        raise DictionaryError(f"{source} has no topk activation, but the record says k {k}. Leave k out of the record.")
    if name == "relu" and threshold is not None:
        raise DictionaryError(f"{source} has activation relu in {CONFIG}, and thresholds in its files: one of them is wrong.")
    if name in ("jumprelu", "jump_relu") and threshold is None:
        raise DictionaryError(f"{source} has activation {name} in {CONFIG}, and no threshold in its files; they hold {sorted(weights)}.")
    if threshold is None:
        return Threshold()
    return Threshold(threshold if threshold.ndim and threshold.numel() > 1 else float(threshold))


def _output_hook(place: str, layer: int, config: dict[str, Any]) -> str:
    """Where the set says that the layer writes. Raises `DictionaryError` where it does not say, or says it in words with two meanings."""
    stated = config.get("feature_output_hook")
    if not stated:
        raise DictionaryError(f"transcoder set {place} does not say its feature_output_hook in {CONFIG}. Name output_hook in the record.")
    if stated == "mlp.hook_out":
        raise DictionaryError(
            f"transcoder set {place} writes at mlp.hook_out, the output of the MLP before any normalisation behind it. Name output_hook in "
            f"the record: blocks.{layer}.hook_mlp_out, or in models such as Gemma, which normalise it first, the path of the module "
            f"(model.layers.{layer}.mlp)."
        )
    return f"blocks.{layer}.{stated}"
