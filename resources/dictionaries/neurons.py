"""Neurons as a dictionary, the baseline of sparse autoencoders: the coordinates of a hook's own values.

At `blocks.N.mlp.hook_post` (the input of the down projection) these are the MLP's neurons. `neurons` keeps all positive parts,
`topk_neurons` the k largest of a token, if positive.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resources.dictionaries.encoding import Threshold, TopK, whole
from resources.dictionaries.interface import DictionaryError, Encoded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class NeuronDictionary:
    """`width` neurons at `hook`; k is None where all positive neurons are kept."""

    hook: str
    width: int
    k: int | None

    @property
    def kind(self) -> str:
        return "neurons" if self.k is None else "topk_neurons"

    @property
    def output_hook(self) -> str:
        return self.hook

    @property
    def d_in(self) -> int:
        return self.width

    @property
    def revision(self) -> str:
        """The rule itself, since there are no weights."""
        return f"{self.kind}-1-{self.width}-{self.k or 'all'}"

    @property
    def l0_expected(self) -> None:
        """Unknown: fewer than k of a token's neurons may be positive."""
        return None

    def encode(self, x: "torch.Tensor") -> Encoded:
        """The positive entries of Tensor[tokens, width]; where k is set, only the positive entries among the k largest of each token."""
        return (Threshold() if self.k is None else TopK(self.k)).encode(whole(x.float()))

    def reconstruct(self, x: "torch.Tensor", encoded: Encoded) -> None:
        """None: neurons are a part of the value itself, so nothing is reconstructed."""
        return None

    def decoder_row(self, feature: int) -> "torch.Tensor":
        """Tensor[width]: the unit vector of the neuron."""
        import torch

        return torch.nn.functional.one_hot(torch.tensor(feature), self.width).float()

    def to(self, device: "str | torch.device") -> "NeuronDictionary":
        return self


def load_neurons(hook: str, width: int, k: int | None = None) -> NeuronDictionary:
    """The neurons at `hook`. Raises `DictionaryError` when k is not in 1..width."""
    if width < 1:
        raise DictionaryError(f"neurons at {hook} need their number, got width {width}. Use the model's intermediate_size.")
    if k is not None and not 1 <= k <= width:
        raise DictionaryError(f"topk_neurons at {hook} got k = {k}; allowed: 1 to its width, {width}.")
    return NeuronDictionary(hook, width, k)
