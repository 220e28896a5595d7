"""SAELens's temporal autoencoder (arXiv 2511.01836): what attention over earlier tokens predicts of a token is taken away first.

    z = relu(λ r W_enc)        p = relu(attention(z of earlier tokens, z))        r -= s p W_dec, s the projection of r on p W_dec
    features: the k largest relu(λ r W_enc) of what is left        x̂ = (features + s p) W_dec + b_dec

λ = 1 / (4 d_in). A token's features depend on the tokens before it: `encode` reads whole contexts, Tensor[rows, context, d_in].
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from resources.dictionaries.encoding import BLOCK_BYTES, on_device
from resources.dictionaries.interface import DictionaryError, Encoded
from resources.dictionaries.sparse_autoencoder import refuse_unsound

if TYPE_CHECKING:
    import torch

NORMS = ("none", "expected_average_only_in", "constant_scalar_rescale")
PARTS = ("k_ctx", "q_target", "v_ctx", "c_proj")


@dataclass(frozen=True)
class Attention:
    """One attention over latents: weights Tensor[out, width] and biases [out] by name of PARTS."""

    weights: "Mapping[str, torch.Tensor]" = field(repr=False)
    n_heads: int

    def __call__(self, earlier: "torch.Tensor", z: "torch.Tensor") -> "torch.Tensor":
        """relu of what the latents of earlier tokens predict for z: both Tensor[rows, context, width]."""
        import torch

        functional = torch.nn.functional
        given = {"k_ctx": earlier, "q_target": z, "v_ctx": earlier}
        made = {name: functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]) for name, x in given.items()}
        k, q, v = (made[name].unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for name in ("k_ctx", "q_target", "v_ctx"))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)
        return functional.linear(mixed, self.weights["c_proj.weight"], self.weights["c_proj.bias"]).relu()


@dataclass(frozen=True)
class TemporalAutoencoder:
    """W_enc Tensor[d_in, width], W_dec [width, d_in] and b_dec [d_in] are float32; `scale` multiplies the value that is read.

    `subtracts_b_dec` from the input, `adds_b_dec` to the reconstruction. k is None where all positive features are kept.
    """

    kind: str
    hook: str
    W_enc: "torch.Tensor" = field(repr=False)
    W_dec: "torch.Tensor" = field(repr=False)
    b_dec: "torch.Tensor" = field(repr=False)
    attentions: tuple[Attention, ...] = field(repr=False)
    k: int | None
    scale: float = 1.0
    subtracts_b_dec: bool = True
    adds_b_dec: bool = True
    notes: tuple[str, ...] = ()
    whole_contexts: bool = True

    @property
    def output_hook(self) -> str:
        return self.hook

    @property
    def d_in(self) -> int:
        return self.W_enc.shape[0]

    @property
    def width(self) -> int:
        return self.W_enc.shape[1]

    @property
    def l0_expected(self) -> float | None:
        return None if self.k is None else float(self.k)

    @property
    def revision(self) -> str:
        """16 hex digits over the weights and the rule."""
        digest = hashlib.sha256(f"{self.k} {self.scale} {self.subtracts_b_dec} {[one.n_heads for one in self.attentions]}".encode())
        attention = [weight for one in self.attentions for _, weight in sorted(one.weights.items())]
        for weight in (self.W_enc, self.W_dec, self.b_dec, *attention):
            digest.update(weight.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def encode(self, x: "torch.Tensor") -> Encoded:
        """Activations > 0 of Tensor[rows, context, d_in]; Tensor[tokens, d_in] is one context. Tokens count through all rows."""
        import torch

        parts, first = [], 0
        for rows in self._chunks(x):
            novel = self._novel_and_predicted(rows)[0].flatten(0, 1).to_sparse()
            parts.append(Encoded(novel.indices()[0] + first, novel.indices()[1], novel.values()))
            first += rows.shape[0] * rows.shape[1]
        return Encoded(*(torch.cat([getattr(part, name) for part in parts]) for name in ("token", "feature", "value")))

    def reconstruct(self, x: "torch.Tensor", encoded: Encoded) -> "torch.Tensor":
        """Tensor[tokens, d_in], float32: from the features of `encoded`, and from what earlier tokens predict."""
        import torch

        predicted = torch.cat([self._novel_and_predicted(rows)[1].flatten(0, 1) for rows in self._chunks(x)])
        places = torch.stack([encoded.token, encoded.feature])
        sparse = torch.sparse_coo_tensor(places, encoded.value, (len(predicted), self.width), check_invariants=False)
        decoded = torch.sparse.mm(sparse, self.W_dec) + predicted
        return (decoded + self.b_dec if self.adds_b_dec else decoded) / self.scale

    def decoder_row(self, feature: int) -> "torch.Tensor":
        """Tensor[d_in]: what one unit of `feature` adds to the reconstruction."""
        return self.W_dec[feature] / self.scale

    def to(self, device: "str | torch.device") -> "TemporalAutoencoder":
        moved = tuple(Attention({name: weight.to(device) for name, weight in one.weights.items()}, one.n_heads) for one in self.attentions)
        return replace(on_device(self, device), attentions=moved)

    def _chunks(self, x: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
        """Whole contexts, some rows at a time."""
        x = x if x.ndim == 3 else x[None]
        return x.split(max(BLOCK_BYTES.get(x.device.type, BLOCK_BYTES["cuda"]) // (4 * x.shape[1] * self.width), 1))

    def _novel_and_predicted(self, x: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """(features Tensor[rows, context, width], predicted values Tensor[rows, context, d_in]) of contexts Tensor[rows, context, d_in]."""
        import torch

        left = x.float() * self.scale - (self.b_dec if self.subtracts_b_dec else 0.0)
        factor = 1 / (4 * self.d_in)
        predicted = torch.zeros_like(left)
        for attention in self.attentions:
            z = (left * factor @ self.W_enc).relu()
            earlier = torch.cat([torch.zeros_like(z[:, :1]), z[:, :-1]], dim=1)
            direction = attention(earlier, z) @ self.W_dec
            length = direction.norm(dim=-1, keepdim=True) + 1e-6
            part = (direction * left).sum(-1, keepdim=True) / length.pow(2) * direction
            predicted, left = predicted + part, left - part
        novel = (left * factor @ self.W_enc).relu()
        if self.k is not None:
            values, places = novel.topk(min(self.k, self.width), dim=-1)
            novel = torch.zeros_like(novel).scatter(-1, places, values)
        return novel, predicted


@dataclass(frozen=True)
class AtTokens:
    """A dictionary that reads whole contexts, at some tokens of these contexts alone: `kept` is bool Tensor[rows, context].

    `encode` and `reconstruct` leave x aside, which are the values at the kept tokens.
    """

    dictionary: Any
    contexts: "torch.Tensor" = field(repr=False)
    kept: "torch.Tensor" = field(repr=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dictionary, name)

    def encode(self, x: "torch.Tensor") -> Encoded:
        """Activations at the kept tokens, in their order."""
        return only_tokens(self.dictionary.encode(self.contexts), self.kept)

    def reconstruct(self, x: "torch.Tensor", encoded: Encoded) -> "torch.Tensor":
        """Tensor[kept tokens, d_in], from the features of all tokens."""
        whole = self.dictionary.reconstruct(self.contexts, self.dictionary.encode(self.contexts))
        return whole[self.kept.flatten()]


def only_tokens(encoded: Encoded, kept: "torch.Tensor") -> Encoded:
    """The activations at the tokens where `kept`, bool, is True, with tokens counted among these."""
    flat = kept.flatten()
    here = flat[encoded.token].nonzero().squeeze(1)
    number = flat.cumsum(0) - 1
    return Encoded(number[encoded.token[here]], encoded.feature[here], encoded.value[here])


def temporal_of(
    source: str,
    config: dict[str, Any],
    weights: "dict[str, torch.Tensor]",
    hook: str,
    output_hook: str | None,
    width: int | None,
    d_in: int | None,
    notes: tuple[str, ...],
) -> TemporalAutoencoder:
    """The temporal autoencoder of a configuration and weights of SAELens. Raises `DictionaryError` for what contradicts them."""
    norm, n_layers = config["normalize_activations"], int(config.get("n_attn_layers", 1))
    names = [f"attn_layers.{layer}.{part}.{side}" for layer in range(n_layers) for part in PARTS for side in ("weight", "bias")]
    tied = bool(config.get("tied_weights", True))
    absent = [name for name in ("W_dec", "b_dec", *([] if tied else ["W_enc"]), *names) if name not in weights]
    if absent:
        raise DictionaryError(f"SAE {source} (temporal) lacks {absent[:6]} in its weights. Save it again with SAELens.")
    if norm not in NORMS:
        raise DictionaryError(f"SAE {source} is temporal with normalize_activations {norm!r}; supported: {list(NORMS)}.")
    if output_hook not in (None, hook):
        raise DictionaryError(f"SAE {source} is temporal at {hook}; the record's output_hook is {output_hook!r}. Leave it out.")
    n, d = weights["W_dec"].shape
    for name, found, given in (("width", n, width), ("d_in", d, d_in)):
        if given is not None and given != found:
            raise DictionaryError(f"SAE {source} has {name} {found}, but its record says {given}. Correct the record's {name}.")
    for name in ("W_dec", "b_dec", *names):
        refuse_unsound(source, name, weights[name])
    heads = int(config.get("n_heads", 8))
    starts = [f"attn_layers.{layer}." for layer in range(n_layers)]
    layers = [{name.removeprefix(start): weights[name] for name in names if name.startswith(start)} for start in starts]
    subtracts = bool(config["apply_b_dec_to_input"])
    return TemporalAutoencoder(
        kind="sae_lens",
        hook=hook,
        W_enc=weights["W_dec"].T if tied else weights["W_enc"],
        W_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        attentions=tuple(Attention(layer, heads) for layer in layers),
        k=int(config["kval_topk"]) if config.get("sae_diff_type", "topk") == "topk" and config.get("kval_topk") is not None else None,
        scale=float(config.get("activation_normalization_factor", 1.0)) if norm == "constant_scalar_rescale" else 1.0,
        subtracts_b_dec=subtracts,
        adds_b_dec=not tied or subtracts,
        notes=notes,
    )
