"""Matching pursuit: features are taken one after the other, each time the feature along which most is left over.

    r = x - b_dec        repeat: i = argmax relu(W r), f_i += relu(W_i · r), r -= relu(W_i · r) W_i        x̂ = f W + b_dec

A token ends when its set of features is as in the iteration before, when |r| is below `residual_threshold` (above 0), or after
`max_iterations` (d_in where none is named). Encoder and decoder are one matrix, Tensor[width, d_in].
"""

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resources.dictionaries.encoding import BLOCK_BYTES, on_device
from resources.dictionaries.interface import DictionaryError, Encoded
from resources.dictionaries.sparse_autoencoder import refuse_unsound

if TYPE_CHECKING:
    import torch

RESIDUAL_THRESHOLD = 1e-2
"""SAELens's residual_threshold where a configuration names none."""


@dataclass(frozen=True)
class MatchingPursuit:
    """`rows` Tensor[width, d_in] and `b_dec` Tensor[d_in] are float32; without `subtracts_b_dec`, b_dec is not used at all."""

    kind: str
    hook: str
    rows: "torch.Tensor" = field(repr=False)
    b_dec: "torch.Tensor" = field(repr=False)
    residual_threshold: float
    max_iterations: int | None
    stops_on_same_features: bool
    subtracts_b_dec: bool = True
    notes: tuple[str, ...] = ()

    @property
    def output_hook(self) -> str:
        return self.hook

    @property
    def d_in(self) -> int:
        return self.rows.shape[1]

    @property
    def width(self) -> int:
        return len(self.rows)

    @property
    def l0_expected(self) -> None:
        """Unknown: tokens end at different numbers of features."""
        return None

    @property
    def revision(self) -> str:
        """16 hex digits over the weights and the rule."""
        digest = hashlib.sha256(
            f"{self.residual_threshold} {self.max_iterations} {self.stops_on_same_features} {self.subtracts_b_dec}".encode()
        )
        for weight in (self.rows, self.b_dec):
            digest.update(weight.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def encode(self, x: "torch.Tensor") -> Encoded:
        """Activations > 0 of Tensor[tokens, d_in], by token and then feature."""
        import torch

        x = x.float() - self.b_dec if self.subtracts_b_dec else x.float()
        size = max(BLOCK_BYTES.get(x.device.type, BLOCK_BYTES["cuda"]) // (4 * self.width), 1)
        parts = [self._pursued(x[start : start + size]).to_sparse() for start in range(0, len(x), size)]
        index = [part.indices() for part in parts]
        if not parts:
            nothing = torch.empty(0, dtype=torch.int64, device=x.device)
            return Encoded(nothing, nothing, torch.empty(0, device=x.device))
        tokens = torch.cat([place[0] + number * size for number, place in enumerate(index)])
        return Encoded(tokens, torch.cat([place[1] for place in index]), torch.cat([part.values() for part in parts]))

    def _pursued(self, x: "torch.Tensor") -> "torch.Tensor":
        """Tensor[tokens, width] of the activations on x, from which b_dec has been subtracted."""
        import torch

        left, found = x.clone(), torch.zeros(len(x), self.width, device=x.device)
        going = torch.arange(len(x), device=x.device)
        for _ in range(self.max_iterations if self.max_iterations is not None else self.d_in):
            if not len(going):
                break
            rest = left[going]
            best = (rest @ self.rows.T).argmax(dim=1)
            row = self.rows[best]
            value = (rest * row).sum(dim=1).relu()
            is_new = (found[going, best] == 0) & (value > 0)
            found[going, best] += value
            left[going] = rest - value[:, None] * row
            ended = ~is_new if self.stops_on_same_features else torch.zeros_like(is_new)
            if self.residual_threshold > 0:
                ended |= left[going].norm(dim=1) < self.residual_threshold
            going = going[~ended]
        return found

    def reconstruct(self, x: "torch.Tensor", encoded: Encoded) -> "torch.Tensor":
        """Tensor[tokens, d_in], float32: the weighted rows, plus b_dec where it is subtracted from the input."""
        import torch

        places = torch.stack([encoded.token, encoded.feature])
        sparse = torch.sparse_coo_tensor(places, encoded.value, (len(x), self.width), check_invariants=False)
        decoded = torch.sparse.mm(sparse, self.rows)
        return decoded + self.b_dec if self.subtracts_b_dec else decoded

    def decoder_row(self, feature: int) -> "torch.Tensor":
        """Tensor[d_in]: what one unit of `feature` adds to the reconstruction."""
        return self.rows[feature]

    def to(self, device: "str | torch.device") -> "MatchingPursuit":
        return on_device(self, device)


def pursuit_of(
    source: str,
    config: dict[str, Any],
    weights: "dict[str, torch.Tensor]",
    hook: str,
    output_hook: str | None,
    width: int | None,
    d_in: int | None,
    notes: tuple[str, ...],
) -> MatchingPursuit:
    """The matching pursuit of a configuration and weights of SAELens. Raises `DictionaryError` for what contradicts them."""
    if output_hook not in (None, hook):
        raise DictionaryError(f"SAE {source} is a matching pursuit at {hook}; the record's output_hook is {output_hook!r}. Leave it out.")
    if config["normalize_activations"] != "none":
        raise DictionaryError(
            f"SAE {source} is a matching pursuit with normalize_activations {config['normalize_activations']!r}; supported: 'none'."
        )
    n, d = weights["W_dec"].shape
    for name, found, given in (("width", n, width), ("d_in", d, d_in)):
        if given is not None and given != found:
            raise DictionaryError(f"SAE {source} has {name} {found}, but its record says {given}. Correct the record's {name}.")
    for name in ("W_dec", "b_dec"):
        refuse_unsound(source, name, weights[name])
    stated = config.get("max_iterations")
    return MatchingPursuit(
        kind="sae_lens",
        hook=hook,
        rows=weights["W_dec"],
        b_dec=weights["b_dec"],
        residual_threshold=float(config.get("residual_threshold", RESIDUAL_THRESHOLD)),
        max_iterations=None if stated is None else int(stated),
        stops_on_same_features=bool(config.get("stop_on_duplicate_support", True)),
        subtracts_b_dec=bool(config["apply_b_dec_to_input"]),
        notes=notes,
    )
