"""Which format the files of a folder are of, by their names and the names of their tensors: said where a record names another kind.

Only names are read: JSON and YAML keys, and the headers of safetensors and npz files. No weights are loaded, and no code is run.
"""

import json
import re
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

HEADER_BYTES = 16 << 20
LOOKED_AT_BYTES = 1 << 20
PARAMS_FILE = re.compile(r"params_layer_\d+\.safetensors")
LAYER_FILE = re.compile(r"layer_\d+\.safetensors")


@dataclass(frozen=True)
class Format:
    """What a format is called, whether a folder with these file names is of it, and what to write in the record."""

    name: str
    holds: Callable[[Path, Collection[str]], bool]
    way_out: str


def recognised(folder: Path, written_by: str = "") -> str | None:
    """One clause with the format of a folder's files and the way out; None where no format is recognised, or only `written_by`'s own."""
    try:
        names = {path.name for path in folder.iterdir()}
        found = next((one for one in FORMATS if one.holds(folder, names)), None)
    except (OSError, ValueError):
        return None
    if found is None:
        return _one_folder_down(folder)
    return None if found.name == written_by else f"This is {found.name}: {found.way_out}"


def tensor_names(path: Path) -> set[str]:
    """Names of the tensors in a safetensors or npz file, from its header alone; empty for a file that has no such header."""
    try:
        if path.suffix == ".npz":
            import zipfile

            with zipfile.ZipFile(path) as archive:
                return {name.removesuffix(".npy") for name in archive.namelist()}
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            return set(json.loads(file.read(size))) - {"__metadata__"} if size <= HEADER_BYTES else set()
    except Exception:  # whatever a file that is no such file makes the readers raise
        return set()


def _text_of(folder: Path, name: str) -> str:
    """The first MiB of a text file; empty for none."""
    path = folder / name
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(LOOKED_AT_BYTES).decode(errors="replace")


def _keys_of(folder: Path, name: str) -> set[str]:
    """Keys of the JSON object in a file, those of the objects in it too; empty for none."""
    try:
        content = json.loads(_text_of(folder, name) or "{}")
    except (ValueError, RecursionError):
        return set()
    if not isinstance(content, dict):
        return set()
    return set(content).union(*(set(value) for value in content.values() if isinstance(value, dict)))


def _one_folder_down(folder: Path) -> str | None:
    """The first folder in this one that has files of a known format, and the format."""
    for below in sorted(path for path in folder.iterdir() if path.is_dir())[:64]:
        names = {path.name for path in below.iterdir()}
        for one in FORMATS:
            if one.holds(below, names):
                return f"The folder {below.name} in it is {one.name}: name that folder as the source ({one.way_out})"
    return None


def _clt(folder: Path, names: Collection[str]) -> bool:
    return "model_kind: cross_layer_transcoder" in _text_of(folder, "config.yaml").replace('"', "") or any(
        re.fullmatch(r"W_enc_\d+\.safetensors", name) for name in names
    )


def _circuit_tracer(folder: Path, names: Collection[str]) -> bool:
    config = _text_of(folder, "config.yaml")
    return "transcoder_set" in config or ("feature_input_hook" in config and any(LAYER_FILE.fullmatch(name) for name in names))


def _dictionary_learning(folder: Path, names: Collection[str]) -> bool:
    if "ae.pt" in names or "checkpoints" in names:
        return "ae.pt" in names or any(path.match("ae_*.pt") for path in (folder / "checkpoints").glob("*.pt"))
    return any(re.fullmatch(r"ae_\d+\.pt", name) for name in names)


def _any_file_holds(*needed: str) -> Callable[[Path, Collection[str]], bool]:
    """Whether one of the first safetensors files of a folder has tensors of these names."""

    def holds(folder: Path, names: Collection[str]) -> bool:
        files = sorted(name for name in names if name.endswith(".safetensors"))[:4]
        return any(set(needed) <= tensor_names(folder / name) for name in files)

    return holds


def _pickle_holds(*needed: bytes) -> Callable[[Path, Collection[str]], bool]:
    """Whether the pickle in one of the first .pt or .pth files of a folder names these tensors. The pickle is searched, and not run."""

    def holds(folder: Path, names: Collection[str]) -> bool:
        return any(_pickled(folder / name, needed) for name in sorted(name for name in names if name.endswith((".pt", ".pth")))[:4])

    return holds


def _pickled(path: Path, needed: tuple[bytes, ...]) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            name = next((one for one in archive.namelist() if one.endswith("data.pkl")), None)
            if name is None:
                return False
            with archive.open(name) as file:
                start = file.read(LOOKED_AT_BYTES)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return all(one in start for one in needed)


def _peft(folder: Path, names: Collection[str]) -> bool:
    return "adapter_config.json" in names


def _llama_scope(folder: Path, names: Collection[str]) -> bool:
    return bool({"hyperparams.json", "lm_config.json"} & set(names)) or bool(
        {"sae_type", "hook_point_in"} & _keys_of(folder, "config.json")
    )


FORMATS = (
    Format(
        "a cross-layer transcoder of circuit-tracer",
        _clt,
        "write kind: circuit_tracer",
    ),
    Format("a circuit-tracer transcoder set", _circuit_tracer, "write kind: circuit_tracer"),
    Format("SAELens", lambda folder, names: {"cfg.json", "sae_weights.safetensors"} <= set(names), "write kind: sae_lens"),
    Format("sparsify", lambda folder, names: {"cfg.json", "sae.safetensors"} <= set(names), "write kind: sparsify"),
    Format(
        "dictionary_learning",
        _dictionary_learning,
        "write kind: dictionary_learning, and name ae.pt, or the checkpoint such as checkpoints/ae_1000.pt, as the source",
    ),
    Format(
        "Gemma Scope released",
        lambda folder, names: bool({"params.npz", "params.safetensors"} & set(names)) or any(map(PARAMS_FILE.fullmatch, names)),
        "write kind: gemma_scope",
    ),
    Format("Llama Scope or another release of OpenMOSS", _llama_scope, "write kind: openmoss"),
    Format("a Qwen Scope release", lambda folder, names: any(name.endswith(".sae.pt") for name in names), "write kind: qwen_scope"),
    Format(
        "an autoencoder of OpenAI",
        _pickle_holds(b"pre_bias", b"latent_bias"),
        "write kind: openai, and name the file as the source",
    ),
    Format(
        "a Goodfire SAE",
        _pickle_holds(b"encoder_linear.weight", b"decoder_linear.weight"),
        "write kind: goodfire, and name the file as the source",
    ),
    Format("an adapter of PEFT, which is no dictionary", _peft, "name the dictionary's own folder as the source"),
    Format(
        "a language model, which is no dictionary",
        lambda folder, names: "model_type" in _keys_of(folder, "config.json"),
        "name it as model.source, and the dictionary's own folder as the source",
    ),
    Format(
        "sparsify's weights under another name",
        _any_file_holds("encoder.weight", "encoder.bias", "W_dec", "b_dec"),
        "write kind: sparsify, and name the weights sae.safetensors beside their cfg.json",
    ),
    Format(
        "Gemma Scope 2's weights under another name",
        _any_file_holds("w_enc", "b_enc", "w_dec", "b_dec", "threshold"),
        "write kind: gemma_scope and name the file itself as the source",
    ),
    Format(
        "weights with SAELens's names",
        _any_file_holds("W_enc", "b_enc", "W_dec", "b_dec"),
        "write kind: sae_lens, and name the weights sae_weights.safetensors beside their cfg.json",
    ),
)
"""Formats in the order in which they are tried. Names are those that the loaders give to `source_folder` where there is a loader."""
