"""Finds a model's list of blocks in the module tree, by structure, and the block of a hook name or module path."""

import re
from collections.abc import Iterable
from typing import Any

KNOWN = "path_of_blocks"
"""Attribute of a model with fewer loaded blocks than its configuration says: the path of the list of blocks."""


class NoBlocks(ValueError):
    """A model without a single list of blocks that the residual stream runs through."""


def blocks_path(model: Any) -> str:
    """Path of the list of blocks of a transformers model's text decoder, such as "model.layers".

    A model that was loaded up to a block has the path in an attribute (`KNOWN`). For any other model it is the shallowest list of modules
    in the text decoder that has the length in the configuration and is no part of another list. Raises `NoBlocks`.
    """
    import torch

    if known := model.__dict__.get(KNOWN):
        return known
    decoder, text = model.get_decoder(), model.config.get_text_config()
    n_blocks = {text.num_hidden_layers, getattr(text, "num_layers", None)}
    lists = [(path, module) for path, module in model.named_modules() if isinstance(module, torch.nn.ModuleList) and not _in_a_list(path)]
    own = {id(module) for module in decoder.modules()}
    for part in ([entry for entry in lists if id(entry[1]) in own], lists):
        fitting = sorted((path for path, module in part if len(module) in n_blocks), key=lambda path: (path.count("."), path))
        if fitting:
            return fitting[0]
    found = ", ".join(f"{path} ({len(module)})" for path, module in lists) or "no list of modules"
    raise NoBlocks(
        f"a {model.config.model_type} model has no list of its {text.num_hidden_layers} blocks: there is {found}. "
        "Name module paths as hooks."
    )


def _in_a_list(path: str) -> bool:
    return re.search(r"\.\d+\.", f".{path}.") is not None


def block_of(hook: str, path: str) -> int | None:
    """Number of the block of a hook name "blocks.N.…" or a module path, where `path` is the path of the list; None for neither."""
    match = re.match(rf"(?:blocks|{re.escape(path)})\.(\d+)(?:[.:]|$)", hook)
    return None if match is None else int(match[1])


def deepest_block(hooks: Iterable[str], path: str) -> int | None:
    """Number of the last block that `hooks` need; None where a hook is in no block, so that it may be anywhere."""
    numbers = [block_of(hook, path) for hook in hooks]
    known = [number for number in numbers if number is not None]
    return max(known) if known and len(known) == len(numbers) else None
