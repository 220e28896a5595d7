"""Hashes of the local files that results depend on: a dictionary's weights, corpus files, models in folders. None for sources that are not
local.

Sources on the hub are named by their revision, embedded sources and the demo's sources by the release of their package: their content is
not hashed.
"""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from resources.corpus.files import local_files
from resources.dictionaries.callable_files import callable_files
from resources.dictionaries.circuit_tracer import set_and_layer, set_files
from resources.dictionaries.dictionary_learning import dictionary_learning_files
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.qwen_scope import qwen_scope_files
from resources.dictionaries.sources import is_local
from resources.store.input_content import CONTENTS
from resources.weights import EMBEDDED_PREFIX

WEIGHT_FILES = (".json", ".yaml", ".yml", ".safetensors", ".pt", ".pth", ".bin", ".npz", ".npy", ".h5", ".gguf", ".model", ".py", ".txt")
"""Endings of the files in a folder of weights that can determine results. Notes and logs beside these files cannot."""

FOLDER_KINDS = ("sae_lens", "gemma_scope", "sparsify", "dictionary_learning", "openmoss", "goodfire", "openai")


def source_content(kind: str, source: str | None, hook: str = "", reads: Sequence[str] = ()) -> str | None:
    """Content of a dictionary's source, 16 hex digits: its folder, or its file with the configuration beside it; of a transcoder set the
    files of the layer that `hook` is in, or the layers that `reads` names."""
    if source is None or source.startswith("demo:"):
        return None
    if kind == "callable":
        file = _callable_file(source.rpartition(":")[0])
        if file is None:
            return None
        files = callable_files(file) if file.is_file() else []
        return CONTENTS.of(file.with_name(f"{file.name}#"), files)  # a file that is gone keeps its own content, not its neighbour's
    if kind == "circuit_tracer":
        return _set_content(source, hook, reads)
    if kind == "qwen_scope":
        return _layer_content(source, hook)
    if kind not in FOLDER_KINDS:
        return None
    file = Path(source).expanduser()
    return CONTENTS.of(file.parent, _files_of(kind, source)) if file.is_file() else folder_content(source)


def _set_content(source: str, hook: str, reads: Sequence[str]) -> str | None:
    """Content of the files of one layer of a transcoder set, or of all layers that `reads` names.

    None for a set on the hub, and where no layer is named."""
    try:
        place, layer = set_and_layer(source, hook)
    except DictionaryError:  # the loader says so
        return None
    folder = Path(place).expanduser()
    if not (folder.exists() or is_local(place)):
        return None
    files = {file: None for one in reads or (hook,) for file in set_files(source, one)}
    return CONTENTS.of(folder.with_name(f"{folder.name}#{layer}"), list(files))  # a layer that is gone keeps its own content


def _layer_content(source: str, hook: str) -> str | None:
    """Content of the file of one layer of Qwen Scope and of its configuration; None for a release on the hub."""
    place = Path(source).expanduser()
    if not (place.exists() or is_local(source)):
        return None
    try:
        files = [path for path in qwen_scope_files(source, hook) if path is not None]
    except DictionaryError:  # the loader says what is wrong with it
        files = []
    named = f"{place.name}#{files[0].name}" if files else place.name
    return CONTENTS.of(place.with_name(named), files)


def _files_of(kind: str, source: str) -> list[Path]:
    """The files that decide a dictionary whose source is a file of weights."""
    if kind == "dictionary_learning":
        try:
            return list(dictionary_learning_files(source))
        except DictionaryError:  # the loader says what is wrong with it
            pass
    return [Path(source).expanduser()]


def folder_content(source: str) -> str | None:
    """Content of a folder of weights, 16 hex digits; None for an embedded model and for a hub id."""
    folder = Path(source).expanduser()
    if source.startswith(EMBEDDED_PREFIX) or not (folder.exists() or is_local(source)):
        return None
    files = [Path(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(WEIGHT_FILES)]
    return CONTENTS.of(folder, [file for file in files if file.is_file()])


def corpus_contents(corpus: Sequence[str]) -> dict[str, str]:
    """Content of each corpus source that reads local files, by the source as the record names it."""
    found = {}
    for source in corpus:
        pattern, files = local_files(source)
        if pattern is not None:
            found[source] = CONTENTS.of(Path(pattern), files)
    return found


def _callable_file(place: str) -> Path | None:
    """The file with a callable; None where the file cannot be found without running code."""
    if place.endswith(".py"):
        return Path(place).expanduser()
    try:
        spec = importlib.util.find_spec(place)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.has_location else None
