"""The dictionaries of a release, one a layer or more: a release that sae-lens lists, a set of circuit-tracer, or a folder of
dictionaries.

    listed_in("gemma-scope-2b-pt-res-canonical")   [Listed("layer_0/width_16k/canonical", layer 0, width "16k", …), …]
    listed_in("/data/transcoders")                 a folder with config.yaml and layer_N.safetensors
    listed_in("/data/saes")                        a folder with a dictionary in every folder below it, of any format that is recognised

A list takes names alone. `described` then says of one of them what a record must say: hook, width, model. Of a release of sae-lens it
reads the configuration, of a folder the files.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from resources.dictionaries.circuit_tracer import CONFIG, listed_files
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.recognise import FORMATS
from resources.dictionaries.sae_lens import clear_hook
from resources.dictionaries.sources import is_local
from resources.dictionaries.weight_files import read_config, read_yaml_config

LAYER = re.compile(r"(?:^|[^a-z0-9])(?:layers?|blocks?)[._-]?(\d+)(?![0-9])|^l(\d+)(?![0-9])|(?:^|/)(\d+)(?=/|$)", re.IGNORECASE)
WIDTH = re.compile(r"(?:width[_-]|(?:^|[^0-9a-z])w?)(\d+k)(?![0-9a-z])|width[_-](\d+m)(?![0-9a-z])", re.IGNORECASE)
DEEPEST_FOLDER = 4
CONFIGS = ("cfg.json", "config.json")


@dataclass(frozen=True)
class Listed:
    """A dictionary of a release, by its name: `kind` and `source` as a record has them, and what the name says of layer and width."""

    name: str
    kind: str
    source: str
    layer: int | None
    width: str | None


@dataclass(frozen=True)
class Described:
    """What a record must say of a dictionary. None is unknown: the record itself must say it."""

    hook: str | None
    output_hook: str | None
    width: int
    layer: int | None
    model: str | None


def layer_in(name: str) -> int | None:
    """The layer that a name states, such as 20 in layer_20/width_16k or blocks.20.hook_resid_post; None for a name without a layer."""
    found = LAYER.search(name)
    return None if found is None else int(next(group for group in found.groups() if group is not None))


def width_in(name: str) -> str | None:
    """The width that a name states in short, such as 16k; None for a name without a width."""
    found = WIDTH.search(name)
    return (found[1] or found[2]).lower() if found else None


def is_width(asked: str, width: int) -> bool:
    """Whether `width` is the width that is `asked` for: 16384 or, in short, 16k or 1m. 65k is 65,536 and 131k is 131,072."""
    asked = asked.lower().replace(",", "").replace("_", "")
    if asked.isdecimal():
        return int(asked) == width
    number, unit = (asked[:-1], asked[-1]) if asked else ("", "")
    if not number.isdecimal() or unit not in "km":
        return False
    return int(number) in ({width // 1_000, width / 1_024} if unit == "k" else {width // 1_000_000, width / 1_048_576})


def listed_in(place: str) -> list[Listed]:
    """The dictionaries of a release, in the order of their layers. Raises `DictionaryError` for a place that is no release."""
    folder = Path(place).expanduser()
    if folder.is_dir():
        found = _transcoder_set(place) if (folder / CONFIG).is_file() else _folders(folder)
        if not found:
            raise DictionaryError(
                f"folder {place} holds no dictionary of a known format, and neither does a folder below it. Name a folder whose folders "
                "are dictionaries, such as SAELens, sparsify or dictionary_learning write them, or a set of circuit-tracer."
            )
    elif is_local(place):
        raise DictionaryError(f"there is no folder {place} on this machine. Check the path or the mount.")
    else:
        found = _sae_lens_release(place) or _hub_set(place)
    return sorted(found, key=lambda one: (one.layer is None, one.layer or 0, one.name))


def _sae_lens_release(release: str) -> list[Listed]:
    """The dictionaries of a release that sae-lens lists; empty for a name that it does not list."""
    directory = _directory()
    if release not in directory:
        return []
    return [
        Listed(name, "sae_lens", f"{release}/{name}", layer_in(name), width_in(name) or width_in(release))
        for name in directory[release].saes_map
    ]


@lru_cache(maxsize=1)
def _directory() -> Mapping[str, Any]:
    try:
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    except ImportError as error:
        raise DictionaryError("releases are listed by the package sae-lens. Run: pip install sae-lens") from error
    return get_pretrained_saes_directory()


def release_names() -> list[str]:
    """The names of all releases that sae-lens lists."""
    return sorted(_directory())


def _hub_set(place: str) -> list[Listed]:
    """The layers of a set of circuit-tracer on the hub. Raises `DictionaryError` where there is none, naming the releases of like name."""
    from difflib import get_close_matches

    near = get_close_matches(place, release_names(), 3, 0.5)
    known = f"sae-lens lists no release {place!r}; the nearest are {', '.join(near) or 'none'}"
    if place.count("/") < 1:
        raise DictionaryError(f"{known}. Name one of them, or a folder.")
    from huggingface_hub import HfApi, hf_hub_download

    owner, repository, *folders = place.strip("/").split("/")
    prefix = "/".join([*folders, ""])
    try:
        config = read_yaml_config(Path(hf_hub_download(f"{owner}/{repository}", f"{prefix}{CONFIG}")))
        files = HfApi().list_repo_files(f"{owner}/{repository}") if not listed_files(config) else []
    except Exception as error:
        raise DictionaryError(
            f"{known}, and {place} is no set of circuit-tracer on the hub, or the hub does not answer: {error}"
        ) from error
    return _layers_of(place, config, [name.removeprefix(prefix) for name in files if name.startswith(prefix)])


def _transcoder_set(place: str) -> list[Listed]:
    folder = Path(place).expanduser()
    return _layers_of(place, read_yaml_config(folder / CONFIG), [path.name for path in folder.iterdir()])


def _layers_of(place: str, config: Mapping[str, Any], files: list[str]) -> list[Listed]:
    held = {int(found[1]) for name in files if (found := re.fullmatch(r"layer_(\d+)\.safetensors", name))}
    return [Listed(f"layer_{n}", "circuit_tracer", f"{place}#{n}", n, None) for n in sorted(held | set(listed_files(dict(config))))]


def _folders(folder: Path) -> list[Listed]:
    """The dictionaries in the folders below one, and in the folder itself; names are paths from the folder."""
    found = []
    for place, below, _ in os.walk(folder):
        path = Path(place)
        name = str(path.relative_to(folder))
        below[:] = sorted(one for one in below if not one.startswith(".")) if len(path.relative_to(folder).parts) < DEEPEST_FOLDER else []
        kind = kind_of(path)
        if kind is None:
            continue
        below[:] = []  # checkpoints of a training stand below its result
        if kind == "qwen_scope":
            files = sorted(one for one in path.iterdir() if one.name.endswith(".sae.pt"))
            found += [Listed(one.name.removesuffix(".sae.pt"), kind, str(one), layer_in(one.name), width_in(name)) for one in files]
        elif kind == "circuit_tracer":
            found += [Listed(f"{name}/{one.name}", *list(vars(one).values())[1:]) for one in _transcoder_set(place)]
        else:
            own = path.name if name == "." else name
            found.append(Listed(own, kind, place, layer_in(own), width_in(own)))
    return found


def kind_of(folder: Path) -> str | None:
    """The kind of the dictionary whose files stand in a folder itself; None where they are of no format that loads as it is."""
    try:
        names = {path.name for path in folder.iterdir()}
        found = next((one for one in FORMATS if one.holds(folder, names)), None)
    except (OSError, ValueError):
        return None
    told = re.match(r"write kind: (\w+)", found.way_out) if found and "name the file" not in found.way_out else None
    return told[1] if told else None


def described(one: Listed, hook: str | None = None, output_hook: str | None = None) -> Described:
    """What a record must say of a dictionary. `hook` and `output_hook`, where the user names them, win over what the files say.

    Raises `DictionaryError` for a dictionary that does not load, and for a hub that does not answer.
    """
    if one.kind == "sae_lens" and not Path(one.source).expanduser().is_dir():
        return _described_by_sae_lens(one, hook, output_hook)
    return _described_by_files(one, hook or _stated_hook(one), output_hook)


def _described_by_sae_lens(one: Listed, hook: str | None, output_hook: str | None) -> Described:
    """From the configuration that sae-lens has of a dictionary of its list; weights are not downloaded."""
    from sae_lens.loading.pretrained_sae_loaders import load_sae_config_from_huggingface

    release = one.source.removesuffix(f"/{one.name}")
    try:
        config = load_sae_config_from_huggingface(release, one.name)
    except Exception as error:
        raise DictionaryError(f"the configuration of {one.source} cannot be read from the hub: {error}") from error
    metadata = {**config, **(config.get("metadata") or {})}
    named = hook or clear_hook(str(metadata.get("hook_name") or ""), metadata) or None
    transcodes = str(config.get("architecture")).endswith("transcoder")
    written = output_hook or (metadata.get("hook_name_out") if transcodes else None)
    model = _hub_name(str(metadata.get("model_name") or _directory()[release].model))
    return Described(named, written, int(config["d_sae"]), one.layer if one.layer is not None else layer_in(named or ""), model)


def _described_by_files(one: Listed, hook: str | None, output_hook: str | None) -> Described:
    """From a dictionary's files: it is loaded, and freed again."""
    from resources.dictionaries import KINDS, load_dictionary

    if hook is None and "hook" in KINDS[one.kind].needs:
        width = int(load_dictionary(one.kind, one.source, "unknown").width)  # which may be another kind's file: said here, not later
        return Described(None, output_hook, width, one.layer, None)
    loaded = load_dictionary(one.kind, one.source, hook, output_hook)
    written = loaded.output_hook if loaded.output_hook != loaded.hook else None
    layer = one.layer if one.layer is not None else layer_in(loaded.hook)
    return Described(loaded.hook, written, int(loaded.width), layer, _stated_model(one))


def _stated_config(one: Listed) -> dict[str, Any]:
    folder = Path(one.source.partition("#")[0]).expanduser()
    name = next((name for name in CONFIGS if (folder / name).is_file()), None)
    return read_config(folder / name) if name else {}


def _stated_hook(one: Listed) -> str | None:
    """The hook that the files say for kinds whose loader needs it named; None where they do not say it."""
    if one.kind == "circuit_tracer":
        stated = read_yaml_config(Path(one.source.partition("#")[0]).expanduser() / CONFIG).get("feature_input_hook")
        return f"blocks.{one.layer}.{stated}" if stated else None
    config = _stated_config(one)
    if one.kind == "dictionary_learning":
        trainer = config.get("trainer") or {}
        layer, place = trainer.get("layer"), str(trainer.get("submodule_name") or "")
        sites = {"resid_post": "hook_resid_post", "resid_pre": "hook_resid_pre", "mlp_out": "hook_mlp_out", "attn_out": "hook_attn_out"}
        site = next((hook for name, hook in sites.items() if place.startswith(name)), None)
        return f"blocks.{layer}.{site}" if site and isinstance(layer, int) else None
    if one.kind == "sparsify":
        name = Path(one.source).name
        return f"model.{name}" if re.fullmatch(r"layers\.\d+(\.mlp)?", name) else None
    return None


def _stated_model(one: Listed) -> str | None:
    config = _stated_config(one) if one.kind != "circuit_tracer" else {}
    trainer, metadata = config.get("trainer"), config.get("metadata")
    stated = [
        config.get("model_name"),
        metadata.get("model_name") if isinstance(metadata, dict) else None,
        trainer.get("lm_name") if isinstance(trainer, dict) else None,
    ]
    return next((_hub_name(str(name)) for name in stated if name), None)


def _hub_name(model: str) -> str:
    """The model's name on the hub, where it is one of the short names of TransformerLens; the name itself otherwise."""
    if "/" in model or model.startswith("embedded:"):
        return model
    try:
        from transformer_lens.loading_from_pretrained import get_official_model_name

        return str(get_official_model_name(model))
    except Exception:  # the package is not there, or knows no such model
        return model
