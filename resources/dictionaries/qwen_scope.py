"""Qwen Scope: a file `layer5.sae.pt` for each layer beside one `config.json`. The k largest x W_enc^T + b_enc, where > 0.

W_enc is [width, d_in] and W_dec [d_in, width]; b_dec is not subtracted from the input. The source is the file, or its folder, of which the
layer is the number in the record's hook; here, or owner/repository on the hub. k is stated in config.json, or in the folder's name
(…-W32K-L0_50), or in the record.
"""

import re
from pathlib import Path

from resources.dictionaries.encoding import TopK
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.recognise import recognised
from resources.dictionaries.sources import downloaded, is_local
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder, checked_autoencoder
from resources.dictionaries.weight_files import read_config, read_tensors, whole_number

WRITTEN_BY = "a Qwen Scope release"
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
CONFIG = "config.json"


def load_qwen_scope(source: str, hook: str, width: int | None = None, d_in: int | None = None, k: int | None = None) -> SparseAutoencoder:
    """The autoencoder of one layer, on the CPU in float32. Raises `DictionaryError`."""
    path, config_file = qwen_scope_files(source, hook)
    weights = read_tensors(path)
    missing = [name for name in NAMES if name not in weights]
    if missing:
        raise DictionaryError(f"{path} lacks {missing}; it holds {sorted(weights)[:8]}. Name a file such as layer5.sae.pt of Qwen Scope.")
    autoencoder = SparseAutoencoder(
        kind="qwen_scope",
        hook=hook,
        output_hook=hook,
        l0_expected=float(_k(source, path, config_file, k)),
        W_enc=weights["W_enc"].T,
        b_enc=weights["b_enc"],
        W_dec=weights["W_dec"].T.contiguous(),
        b_dec=weights["b_dec"],
        activation=TopK(_k(source, path, config_file, k)),
        subtracts_b_dec=False,
    )
    return checked_autoencoder(autoencoder, source, width, d_in)


def qwen_scope_files(source: str, hook: str) -> tuple[Path, Path | None]:
    """The file of the layer, and config.json where there is one. Raises `DictionaryError`."""
    place = Path(source).expanduser()
    if source.endswith(".pt"):
        folder, name = source.rpartition("/")[::2]
    else:
        layer = re.search(r"(?:^|\.)(\d+)(?=[.:]|$)", hook)
        if layer is None:
            raise DictionaryError(f"Qwen Scope {source}: the hook {hook!r} has no number of a layer. Name the file as the source.")
        folder, name = source, f"layer{layer[1]}.sae.pt"
    root = place.parent if source.endswith(".pt") else place
    if not root.is_dir() and not is_local(source) and folder.count("/") >= 1:
        root = downloaded(folder, (name, CONFIG))
    if not (root / name).is_file():
        held = sorted(path.name for path in root.iterdir())[:8] if root.is_dir() else []
        way_out = recognised(root, WRITTEN_BY) if held else None
        raise DictionaryError(
            f"Qwen Scope {source} has no {name}; {f'its folder holds {held}' if held else 'there is no such folder'}. "
            f"{way_out or 'Name a hook in a layer of the release, or the file itself'}."
        )
    return root / name, root / CONFIG if (root / CONFIG).is_file() else None


def _k(source: str, path: Path, config_file: Path | None, k: int | None) -> int:
    stated = read_config(config_file).get("k") if config_file else None
    named = re.search(r"-L0_(\d+)", f"{source}/{path.parent.resolve().name}")
    found = whole_number(source, "k", stated) if stated is not None else int(named[1]) if named else None
    if found is None and k is None:
        raise DictionaryError(f"Qwen Scope {source} says its k neither in {CONFIG} nor in its folder's name. Name k in the record.")
    if found is not None and k is not None and found != k:
        raise DictionaryError(f"Qwen Scope {source} has k {found}, but the record says {k}. Leave k out of the record.")
    return found if found is not None else int(k)  # type: ignore[arg-type]
