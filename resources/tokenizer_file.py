"""A tokenizer that cuts text as its own tokenizer.json says.

transformers 5 builds some tokenizers anew from the class that tokenizer_config.json names, and takes only the vocabulary from
tokenizer.json. Many checkpoints name `LlamaTokenizer` there, and have byte-level tokens: DeepSeek, its distilled Qwen and Llama models.
Built as Llama's own, such a tokenizer drops spaces, Chinese and emoji without a word.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.quick_imports import import_transformers, without_collecting

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE, CONFIGURATION = "tokenizer.json", "tokenizer_config.json"
GENERIC_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Names of the class that only wraps a tokenizer.json."""

PROBES = ("The cat sat.", " two  spaces\n\nand\tdon't", "你好世界 — été, 🎉…", "x = 31415.9e-2  # ok")


def as_its_file_says(tokenizer: "PreTrainedTokenizerBase", location: str, revision: str | None) -> "PreTrainedTokenizerBase":
    """The tokenizer itself where it has the steps of its tokenizer.json and cuts PROBES like it, or has no such file; otherwise the
    tokenizer of the file.

    `location` is a folder, or a hub id at a revision.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    built: Any = getattr(tokenizer, "backend_tokenizer", None)
    path = _file_of(location, revision, FILE)
    if built is None or path is None:
        return tokenizer
    try:
        stated = Tokenizer.from_file(str(path))
    except Exception:  # whatever the library raises for a file that transformers can read and it cannot
        return tokenizer
    if _steps(built) == _steps(stated) and all(_ids(built, text) == _ids(stated, text) for text in PROBES):
        return tokenizer
    return PreTrainedTokenizerFast.from_pretrained(location, revision=revision or "main")


def generic_tokenizer(location: str, revision: str | None) -> "PreTrainedTokenizerBase | None":
    """The tokenizer of a tokenizer.json whose configuration names no class of its own; None for any other tokenizer.

    It is the tokenizer that AutoTokenizer gives, without the seconds of importing torch and the model classes.
    """
    path, configured = _file_of(location, revision, FILE), _file_of(location, revision, CONFIGURATION)
    if path is None or configured is None:
        return None
    try:
        content = json.loads(configured.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # AutoTokenizer says so
        return None
    if not isinstance(content, dict) or content.get("tokenizer_class") not in GENERIC_CLASSES or "auto_map" in content:
        return None
    import_transformers()
    with without_collecting():
        from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(location, revision=revision or "main")


def _steps(tokenizer: Any) -> list[bytes]:
    """The settings of what is done to a text before it is looked up, and to tokens after."""
    steps = (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder)
    return [b"" if step is None else step.__getstate__() for step in steps]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def _file_of(location: str, revision: str | None, name: str) -> Path | None:
    """A file of a folder, or of a hub id in the hub's cache, where transformers has put it; None where there is none."""
    if Path(location).is_dir():
        path = Path(location) / name
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(location, name, revision=revision)
    return Path(found) if isinstance(found, str) else None
