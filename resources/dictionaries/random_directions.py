"""Random directions as a dictionary: baselines that depend on the model only by the hook's dimension.

    random_topk           a randomly initialised TopK autoencoder: `width` Gaussian directions of norm 1, encoder = decoder transposed
    rotated_topk_neurons  the k largest neurons after a random rotation: `width` orthonormal directions (QR of a Gaussian matrix)

A feature is the value's component along its direction, kept when it is positive and among the token's k largest. Directions are drawn on
the CPU from their own seed, so that they are the same on every machine.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resources.dictionaries.encoding import TopK, encode_in_blocks, on_device
from resources.dictionaries.interface import DictionaryError, Encoded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RandomDirections:
    """`directions` is Tensor[width, d_in] with rows of norm 1, drawn from `seed`."""

    kind: str
    hook: str
    k: int
    seed: int
    directions: "torch.Tensor" = field(repr=False)

    @property
    def output_hook(self) -> str:
        return self.hook

    @property
    def d_in(self) -> int:
        return self.directions.shape[1]

    @property
    def width(self) -> int:
        return len(self.directions)

    @property
    def revision(self) -> str:
        """The rule itself, from which the directions follow."""
        return f"{self.kind}-1-{self.width}x{self.d_in}-{self.k}-{self.seed}"

    @property
    def l0_expected(self) -> None:
        """Unknown: fewer than k components of a token may be positive."""
        return None

    def encode(self, x: "torch.Tensor") -> Encoded:
        """The positive components among the k largest components of each token, of Tensor[tokens, d_in]."""
        return encode_in_blocks(x.float(), self.directions.T, None, TopK(self.k))

    def reconstruct(self, x: "torch.Tensor", encoded: Encoded) -> None:
        """None: nothing was trained to reconstruct."""
        return None

    def decoder_row(self, feature: int) -> "torch.Tensor":
        """Tensor[d_in]: the direction, of norm 1."""
        return self.directions[feature]

    def to(self, device: "str | torch.device") -> "RandomDirections":
        return on_device(self, device)


def load_random_topk(hook: str, width: int, d_in: int, k: int, seed: int = 0) -> RandomDirections:
    """`width` random directions in `d_in` dimensions. Raises `DictionaryError` when k is not in 1..width."""
    _refuse_wrong_k("random_topk", hook, width, k)
    directions = _gaussian(width, d_in, seed)
    return RandomDirections("random_topk", hook, k, seed, directions / directions.norm(dim=-1, keepdim=True))


def load_rotated_topk_neurons(hook: str, width: int, k: int, seed: int = 0) -> RandomDirections:
    """The `width` neurons at `hook` after a uniformly random rotation, O(width^3). Raises `DictionaryError` when k is not in 1..width."""
    import torch

    _refuse_wrong_k("rotated_topk_neurons", hook, width, k)
    rotation, triangle = torch.linalg.qr(_gaussian(width, width, seed))
    # The sign of each column is LAPACK's choice; fixing it makes the rotation uniform (Haar).
    return RandomDirections("rotated_topk_neurons", hook, k, seed, (rotation * triangle.diagonal().sign()).T.contiguous())


def _gaussian(rows: int, columns: int, seed: int) -> "torch.Tensor":
    import torch

    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def _refuse_wrong_k(kind: str, hook: str, width: int, k: int) -> None:
    if not 1 <= k <= width:
        raise DictionaryError(f"{kind} at {hook} got k = {k}; allowed: 1 to its width, {width}.")
