"""A SAELens SAE from memory becomes files of the home, and a registered dictionary."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from interp_assets.config.base import UserError
from interp_assets.installation.home import Home
from resources.formats.interface import content_hash


def register_sae(
    home: Home, sae: Any, *, model: str, hook: str | None, key: str | None, check: bool, fields: Mapping[str, Any]
) -> str:  # fmt: skip
    """Key of the registered SAE. Raises `UserError` for an object that SAELens did not make, and as registration does."""
    from interp_assets.installation.registration import register_record

    config = getattr(sae, "cfg", None)
    if not hasattr(sae, "save_model") or config is None or not hasattr(config, "d_sae"):
        raise UserError(f"{type(sae).__name__} is no SAE of SAELens (no save_model, no cfg.d_sae). `kind: callable` takes any function")
    metadata = getattr(config, "metadata", None)
    hook = hook or getattr(metadata, "hook_name", None)
    if not hook:
        raise UserError('the SAE does not say its hook: name it, such as hook="blocks.9.hook_resid_post"')
    home.root.mkdir(parents=True, exist_ok=True)
    folder = _saved(home.root / "saes", sae)
    key = key or _key(model, hook, folder.name)
    record = {
        "key": key, "model": {"source": model}, "hook": hook, "kind": "sae_lens", "source": str(folder), "width": int(config.d_sae),
        **fields,
    }  # fmt: skip
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
    return register_record(home, text, f"the record of {key}", check=check, say=print).key


def _saved(folder: Path, sae: Any) -> Path:
    """The folder of the SAE's files, named by their content. A training SAE is saved as it is used after the training."""
    folder.mkdir(parents=True, exist_ok=True)
    save = getattr(sae, "save_inference_model", None) or sae.save_model
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as written:
        save(written)
        files = sorted(path for path in Path(written).iterdir() if path.is_file())
        place = folder / content_hash(Path(written), files)
        if not place.exists():
            shutil.copytree(written, aside := folder / f".{place.name}-{Path(written).name}")
            try:
                aside.rename(place)
            except OSError:  # another process has just saved the same content
                shutil.rmtree(aside)
    return place


def _key(model: str, hook: str, name: str) -> str:
    """A key out of the model's name, the layer in the hook and the content's address."""
    layer = re.search(r"\d+", hook)
    part = re.sub(r"[^A-Za-z0-9_:@.-]+", "-", model.rstrip("/").rsplit("/", 1)[-1].rpartition(":")[2])
    return f"{part}/{int(layer.group()):02d}/{'sae-' + name[:8]}" if layer else f"{part}/0/{'sae-' + name[:8]}"
