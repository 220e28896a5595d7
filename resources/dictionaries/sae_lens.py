"""Sparse autoencoders in SAELens format: a folder with `cfg.json` and `sae_weights.safetensors`, or "release/sae_id" on the hub.

Architectures: topk, jumprelu (batchtopk is saved as one), standard, gated. With h the encoder's pre-activations:

    topk      the k largest h, then relu          jumprelu   h where h > threshold and h > 0
    standard  relu(h)                             gated      relu(x (W exp(r_mag)) + b_mag) where x W + b_gate > 0
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.dictionaries.interface import DictionaryError, Encoded, encoded_from_dense, encoded_from_top_k

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "sae_weights.safetensors"
WEIGHT_NAMES = {
    "topk": ("W_enc", "b_enc", "W_dec", "b_dec"),
    "standard": ("W_enc", "b_enc", "W_dec", "b_dec"),
    "jumprelu": ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"),
    "batchtopk": ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"),
    "gated": ("W_enc", "b_gate", "b_mag", "r_mag", "W_dec", "b_dec"),
}
NORMS = ("none", "constant_norm_rescale", "layer_norm")


@dataclass(frozen=True)
class SaeLensDictionary:
    """One sparse autoencoder. `config` is its cfg.json, `weights` its float32 tensors."""

    hook: str
    d_in: int
    width: int
    revision: str
    l0_expected: float | None
    architecture: str
    config: dict[str, Any] = field(repr=False)
    weights: dict[str, "torch.Tensor"] = field(repr=False)
    kind: str = "sae_lens"

    def encode(self, x: "torch.Tensor") -> Encoded:
        """Activations > 0 of Tensor[tokens, d_in], in the units that the autoencoder was saved with."""
        w = self.weights
        normed, _, _ = self._normed(x)
        if self.config.get("apply_b_dec_to_input", True):
            normed = normed - w["b_dec"]
        if self.architecture == "gated":
            open_gate = (normed @ w["W_enc"] + w["b_gate"]) > 0
            return encoded_from_dense((normed @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]) * open_gate)
        hidden = normed @ w["W_enc"] + w["b_enc"]
        if self._rescales:
            hidden = hidden * w["W_dec"].norm(dim=-1)
        if self.architecture == "topk":
            return encoded_from_top_k(hidden, int(self.config["k"]))
        if "threshold" in w:
            hidden = hidden * (hidden > w["threshold"])
        return encoded_from_dense(hidden)

    def reconstruct(self, x: "torch.Tensor", encoded: Encoded) -> "torch.Tensor":
        """Tensor[tokens, d_in], float32: the weighted decoder rows plus b_dec, run-time normalisation undone."""
        import torch

        w = self.weights
        values = encoded.value / w["W_dec"].norm(dim=-1)[encoded.feature] if self._rescales else encoded.value
        places = torch.stack([encoded.token, encoded.feature])
        sparse = torch.sparse_coo_tensor(places, values, (len(x), self.width), check_invariants=False)
        _, scale, shift = self._normed(x)
        return (torch.sparse.mm(sparse, w["W_dec"]) + w["b_dec"]) * scale + shift

    def decoder_row(self, feature: int) -> "torch.Tensor":
        """Tensor[d_in]: what one unit of `feature` adds to the reconstruction."""
        row = self.weights["W_dec"][feature]
        return row / row.norm() if self._rescales else row

    def to(self, device: "str | torch.device") -> "SaeLensDictionary":
        return replace(self, weights={name: weight.to(device) for name, weight in self.weights.items()})

    @property
    def _rescales(self) -> bool:
        return self.architecture == "topk" and bool(self.config.get("rescale_acts_by_decoder_norm", False))

    def _normed(self, x: "torch.Tensor") -> tuple["torch.Tensor", Any, Any]:
        """(x normalised as the config says, scale, shift) such that normalised * scale + shift is x again."""
        x = x.float()
        norm = self.config.get("normalize_activations", "none")
        if norm == "constant_norm_rescale":
            scale = x.norm(dim=-1, keepdim=True) / self.d_in**0.5
            return x / scale, scale, 0.0
        if norm == "layer_norm":
            mean = x.mean(dim=-1, keepdim=True)
            deviation = (x - mean).std(dim=-1, keepdim=True)
            # SAELens divides by deviation + 1e-5 but multiplies back by deviation alone.
            return (x - mean) / (deviation + 1e-5), deviation, mean
        return x, 1.0, 0.0


def load_sae_lens(source: str, hook: str | None = None, width: int | None = None, d_in: int | None = None) -> SaeLensDictionary:
    """The autoencoder in folder `source`, or "release/sae_id" downloaded by the package sae-lens, on the CPU in float32.

    Hook, width and d_in default to what the configuration says; those given must agree with it, except that a hook other than the
    stated one is left to the self-check. Raises `DictionaryError`.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        config, weights = _read_folder(folder)
    elif folder.is_absolute() or source.startswith((".", "~")) or "/" not in source:
        raise DictionaryError(f"SAE source {source!r} is neither a folder on this machine nor release/sae_id. Check the path or the mount.")
    else:
        config, weights = _download(source)
    architecture = str(config.get("architecture", "standard"))
    _refuse_unusable(source, config, architecture, weights)
    for name, given, found in (("width", width, config["d_sae"]), ("d_in", d_in, config["d_in"])):
        if given is not None and given != found:
            raise DictionaryError(f"SAE {source} has {name} {found}, but its record says {given}. Correct the record's {name}.")
    metadata = config.get("metadata") or {}
    named = hook or metadata.get("hook_name") or config.get("hook_name")
    if not named:
        raise DictionaryError(f"SAE {source} does not say its hook (metadata.hook_name in cfg.json). Name it in the record.")
    l0 = float(config["k"]) if architecture == "topk" else metadata.get("l0")
    revision = _revision(config, weights)
    return SaeLensDictionary(named, config["d_in"], config["d_sae"], revision, l0, architecture, config, weights)


def _read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, "torch.Tensor"]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    missing = [name for name in ("cfg.json", WEIGHTS_FILE) if not (folder / name).is_file()]
    if missing:
        held = sorted(path.name for path in folder.iterdir())[:8]
        raise DictionaryError(f"SAE folder {folder} has no {missing}; it holds {held}. Point at a folder that SAELens saved.")
    try:
        config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS_FILE)
    except (json.JSONDecodeError, SafetensorError) as error:
        raise DictionaryError(f"SAE folder {folder} cannot be read: {error}. Copy or download it again.") from error
    return config, {name: weight.float() for name, weight in weights.items()}


def _download(source: str) -> tuple[dict[str, Any], dict[str, "torch.Tensor"]]:
    try:
        from sae_lens import SAE
    except ImportError as error:
        raise DictionaryError(f"SAE {source!r} is downloaded with the package sae-lens. Run: pip install sae-lens") from error
    release, _, sae_id = source.partition("/")
    try:
        sae = SAE.from_pretrained(release, sae_id, device="cpu")
    except Exception as error:
        raise DictionaryError(f"sae-lens has no SAE {sae_id!r} in release {release!r}, or no network: {error}") from error
    return sae.cfg.to_dict(), {name: weight.detach().float() for name, weight in sae.state_dict().items()}


def _refuse_unusable(source: str, config: dict[str, Any], architecture: str, weights: dict[str, "torch.Tensor"]) -> None:
    """Raise `DictionaryError` for an architecture, normalisation or set of weights that `encode` has no formula for."""
    if architecture not in WEIGHT_NAMES:
        raise DictionaryError(f"SAE {source} has architecture {architecture!r}; supported: {sorted(WEIGHT_NAMES)}.")
    needed = {*WEIGHT_NAMES[architecture], "W_enc", "W_dec"}
    absent = (
        sorted(needed - set(weights)) + sorted({"d_in", "d_sae"} - set(config)) + (["k"] * (architecture == "topk" and "k" not in config))
    )
    if absent:
        raise DictionaryError(f"SAE {source} ({architecture}) lacks {absent} in its configuration or weights. Save it again with SAELens.")
    norm = config.get("normalize_activations", "none")
    if norm not in NORMS or config.get("reshape_activations", "none") != "none":
        raise DictionaryError(
            f"SAE {source} has normalize_activations {norm!r} and reshape_activations {config.get('reshape_activations', 'none')!r}; "
            f"supported: {list(NORMS)} and 'none'. Fold expected_average_only_in (fold_activation_norm_scaling_factor) and save it again."
        )
    shape, stated = tuple(weights["W_enc"].shape), (config["d_in"], config["d_sae"])
    if shape != stated:
        raise DictionaryError(
            f"SAE {source} has W_enc of shape {shape}, but its cfg.json says d_in, d_sae = {stated}. One of them is wrong."
        )


def _revision(config: dict[str, Any], weights: dict[str, "torch.Tensor"]) -> str:
    """16 hex digits over the weights and the configuration, its metadata left out since it changes no activation."""
    digest = hashlib.sha256(json.dumps({k: v for k, v in config.items() if k != "metadata"}, sort_keys=True, default=str).encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().numpy().reshape(-1).view("uint8"))  # no copy: this may be a gigabyte
    return digest.hexdigest()[:16]
