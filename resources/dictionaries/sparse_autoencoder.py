"""A sparse autoencoder or transcoder of any file format: an encoder, an activation and a decoder.

    h = (norm(x) - b_dec) W_enc + b_enc        f = activation(h)        ŷ = f W_dec + b_dec (+ x W_skip), normalisation undone

A transcoder reads one hook and writes another: b_dec is not subtracted from its input, and no normalisation is undone.
"""

import hashlib
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from resources.dictionaries.encoding import Activation, TopK, encode_in_blocks, on_device
from resources.dictionaries.interface import DictionaryError, Encoded

if TYPE_CHECKING:
    import torch

Norm = Literal["none", "constant_norm_rescale", "layer_norm"]


@dataclass(frozen=True)
class SparseAutoencoder:
    """Weights are float32: W_enc Tensor[d_in, width], b_enc [width], W_dec [width, d_out], b_dec [d_out], W_skip [d_in, d_out].

    `notes` are sentences for whoever uses it, such as about the data that it was trained on. They decide no activation.
    `signed`: the second half of the features are the negative sides of the first half (`with_negative_sides`).
    `share`: other features write at `output_hook` too, so that its reconstruction is a share of the value.
    `centred`: trained on a model with centred writing weights. The residual stream of such a model is ours minus its mean over dimensions.
    """

    kind: str
    hook: str
    output_hook: str
    l0_expected: float | None
    W_enc: "torch.Tensor" = field(repr=False)
    b_enc: "torch.Tensor" = field(repr=False)
    W_dec: "torch.Tensor" = field(repr=False)
    b_dec: "torch.Tensor" = field(repr=False)
    activation: Activation = field(repr=False)
    subtracts_b_dec: bool = True
    norm: Norm = "none"
    centred: bool = False
    W_skip: "torch.Tensor | None" = field(default=None, repr=False)
    revision: str = ""
    notes: tuple[str, ...] = ()
    signed: bool = False
    share: bool = False

    @property
    def d_in(self) -> int:
        return self.W_enc.shape[0]

    @property
    def width(self) -> int:
        return self.W_enc.shape[1]

    def encode(self, x: "torch.Tensor") -> Encoded:
        """Activations > 0 of Tensor[tokens, d_in], in the units of the saved autoencoder."""
        normed, _, _ = self._normed(x)
        return encode_in_blocks(normed - self.b_dec if self.subtracts_b_dec else normed, self.W_enc, self.b_enc, self.activation)

    def reconstruct(self, x: "torch.Tensor", encoded: Encoded) -> "torch.Tensor":
        """Tensor[tokens, d_out], float32: the weighted decoder rows plus b_dec, as values at `output_hook`."""
        import torch

        places = torch.stack([encoded.token, encoded.feature])
        sparse = torch.sparse_coo_tensor(places, encoded.value, (len(x), self.width), check_invariants=False)
        decoded = torch.sparse.mm(sparse, self.W_dec) + self.b_dec
        if self.W_skip is not None:
            decoded = decoded + x.float() @ self.W_skip
        if self.output_hook != self.hook:
            return decoded
        _, scale, shift = self._normed(x)
        return decoded * scale + shift

    def decoder_row(self, feature: int) -> "torch.Tensor":
        """Tensor[d_out]: what one unit of `feature` adds to the reconstruction."""
        return self.W_dec[feature]

    def output_scale(self, x: "torch.Tensor") -> "torch.Tensor | float":
        """Tensor[tokens, 1], or 1.0: the factor of decoder rows in values at `output_hook`, where `x` is normalised."""
        return self._normed(x)[1] if self.output_hook == self.hook else 1.0

    def to(self, device: "str | torch.device") -> "SparseAutoencoder":
        return on_device(self, device)

    def _normed(self, x: "torch.Tensor") -> tuple["torch.Tensor", Any, Any]:
        """(x centred and normalised, scale, shift), where normalised * scale + shift gives x."""
        x = x.float()
        mean = x.mean(dim=-1, keepdim=True) if self.centred or self.norm == "layer_norm" else 0.0
        if self.norm == "layer_norm":
            deviation = (x - mean).std(dim=-1, keepdim=True)
            # SAELens divides by deviation + 1e-5 but multiplies back by deviation alone.
            return (x - mean) / (deviation + 1e-5), deviation, mean
        if self.centred:
            x = x - mean
        if self.norm == "constant_norm_rescale":
            scale = x.norm(dim=-1, keepdim=True) / self.d_in**0.5
            return x / scale, scale, mean
        return x, 1.0, mean


def with_negative_sides(autoencoder: SparseAutoencoder) -> SparseAutoencoder:
    """The autoencoder with twice the features, for a TopK that takes the largest |h| and keeps its sign.

    Feature f + n, of n, is the negative side of feature f: it fires where f is negative, with -f as its activation, and its decoder row is
    minus the row of f. The k largest of h and -h together are the k largest |h|.
    """
    import torch

    n = autoencoder.width
    note = f"its features keep negative activations: of its {2 * n:,} features, feature f + {n:,} is the negative side of feature f"
    return replace(
        autoencoder,
        W_enc=torch.cat([autoencoder.W_enc, -autoencoder.W_enc], dim=1),
        b_enc=torch.cat([autoencoder.b_enc, -autoencoder.b_enc]),
        W_dec=torch.cat([autoencoder.W_dec, -autoencoder.W_dec]),
        notes=(note, *autoencoder.notes),
        signed=True,
    )


def checked_autoencoder(autoencoder: SparseAutoencoder, source: str, width: int | None, d_in: int | None) -> SparseAutoencoder:
    """The autoencoder with its revision, once its weights fit one another and the record. Raises `DictionaryError`.

    The revision is 16 hex digits over the weights and everything else that determines the activations. In memory the encoder's weights of a
    feature lie together, so that a screen reads the weights of few features (`screening.py`).
    """
    for name, given, found in (("width", width, autoencoder.width), ("d_in", d_in, autoencoder.d_in)):
        if given is not None and given != found:
            sides = f" ({autoencoder.notes[0]})" if name == "width" and autoencoder.signed else ""
            raise DictionaryError(f"SAE {source} has {name} {found}, but its record says {given}{sides}. Correct the record's {name}.")
    d_out = autoencoder.W_dec.shape[-1]
    expected = {"b_enc": (autoencoder.width,), "W_dec": (autoencoder.width, d_out), "b_dec": (d_out,), "W_skip": (autoencoder.d_in, d_out)}
    for name, shape in expected.items():
        weight = getattr(autoencoder, name)
        if weight is not None and tuple(weight.shape) != shape:
            raise DictionaryError(
                f"SAE {source} has {name} of shape {tuple(weight.shape)}; beside W_enc {tuple(autoencoder.W_enc.shape)} it must be {shape}."
            )
    _refuse_impossible(source, autoencoder.activation, autoencoder.width)
    for owner in (autoencoder, autoencoder.activation):
        for item in fields(owner):  # type: ignore[arg-type]
            refuse_unsound(source, item.name, getattr(owner, item.name))
    if autoencoder.output_hook == autoencoder.hook and d_out != autoencoder.d_in:
        raise DictionaryError(
            f"SAE {source} reads {autoencoder.d_in} dimensions and writes {d_out}: it is a transcoder. Name its output_hook in the record."
        )
    return replace(autoencoder, W_enc=autoencoder.W_enc.T.contiguous().T, revision=_revision(autoencoder))


def _refuse_impossible(source: str, activation: Activation, width: int) -> None:
    """Raise `DictionaryError` for a k that is not between 1 and the width, and for thresholds or gains of another number than the latents.
    One threshold may stand for all latents."""
    for item in fields(activation):  # type: ignore[arg-type]
        value = getattr(activation, item.name)
        if isinstance(value, TopK):
            _refuse_impossible(source, value, width)
        elif item.name == "k" and not 1 <= value <= width:
            raise DictionaryError(f"SAE {source} has k {value} with {width:,} latents; k is from 1 to {width}. Correct its configuration.")
        elif getattr(value, "ndim", 0) and tuple(value.shape) not in ((width,), (1,)):
            raise DictionaryError(f"SAE {source} has {item.name} of shape {tuple(value.shape)}; it must be ({width},).")


def refuse_unsound(source: str, name: str, value: Any) -> None:
    """Raise `DictionaryError` for a weight with NaN or infinities. A threshold may be infinite: its latent never fires."""
    import torch

    value = torch.tensor(value) if isinstance(value, float) else value
    if not isinstance(value, torch.Tensor):
        return
    unsound = torch.isnan(value) | (torch.isneginf(value) if name == "threshold" else torch.isinf(value))
    if bool(unsound.any()):
        raise DictionaryError(
            f"SAE {source} has {int(unsound.sum()):,} of {value.numel():,} numbers in {name} that are NaN or infinite: its training "
            "diverged, or its file is damaged. Save it again, or download it again."
        )


def _revision(autoencoder: SparseAutoencoder) -> str:
    import torch

    digest = hashlib.sha256()
    for owner in (autoencoder, autoencoder.activation):
        digest.update(type(owner).__name__.encode())
        for name, value in ((item.name, getattr(owner, item.name)) for item in fields(owner)):  # type: ignore[arg-type]
            if isinstance(value, torch.Tensor):
                digest.update(name.encode())
                digest.update(value.cpu().contiguous().numpy().data)
            elif isinstance(value, TopK):
                digest.update(f"k={value.k}".encode())
            elif name in ("k", "group", "threshold", "subtracts_b_dec", "norm", "centred"):
                digest.update(f"{name}={value}".encode())
    return digest.hexdigest()[:16]
