"""The folder of a checkpoint's files on this machine: a model's own folder, or a snapshot in the hub's cache, which is filled where a file
is missing and refused where a file is not what the hub gave."""

from pathlib import Path

from resources.checkpoint_files import WEIGHT_FILES, parts_of
from resources.hub_content import first_damage
from resources.weights import ModelFolder, WeightsError


def checkpoint_folder(folder: ModelFolder) -> Path | None:
    """The folder with config.json and the weights that transformers reads; None for a hub id without weights of a known name, or where the
    hub cannot be reached and its cache has no weights.

    Weights of a hub id are downloaded where the cache has them not. Raises `WeightsError` for a damaged file of the cache.
    """
    if folder.path is not None:
        return folder.path
    for whole, index in WEIGHT_FILES:
        for name in (whole, index):
            path = _fetched(folder, name)
            if path is None:
                continue
            files = [path] if name == whole else [_fetched(folder, part) for part in parts_of(path)]
            if _fetched(folder, "adapter_config.json") is not None:
                _ = _fetched(folder, "adapter_model.safetensors") or _fetched(folder, "adapter_model.bin")
            if told := first_damage([*(one for one in files if one is not None), *path.parent.glob("*.json")]):
                raise WeightsError(f"{told}. It is of {folder.source}.")
            return path.parent
    return None


def refuse_damaged_tokenizer(folder: ModelFolder) -> None:
    """Raise `WeightsError` for a damaged file of a tokenizer in the hub's cache: it would read texts as other tokens. Nothing is
    downloaded."""
    from huggingface_hub import try_to_load_from_cache

    if folder.hub_id is None:
        return
    names = ("tokenizer.json", "tokenizer_config.json", "config.json")
    found = [try_to_load_from_cache(folder.hub_id, name, revision=folder.revision) for name in names]
    snapshot = next((Path(one).parent for one in found if isinstance(one, str)), None)
    if snapshot is not None and (told := first_damage(path for end in ("json", "model", "txt") for path in snapshot.glob(f"*.{end}"))):
        raise WeightsError(f"{told}. It is of {folder.source}.")


def holds_file(folder: ModelFolder, name: str) -> bool:
    """Whether a checkpoint has a file of this name."""
    return (folder.path / name).is_file() if folder.path is not None else _fetched(folder, name) is not None


def _fetched(folder: ModelFolder, name: str) -> Path | None:
    """A file of a hub id in the cache, downloaded where it is not there; None where the hub has none, or cannot be asked."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(str(folder.hub_id), name, revision=folder.revision))
    except EntryNotFoundError:
        return None
