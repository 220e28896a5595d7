"""From a direction to the vocabulary: the model's logits if the direction were the whole residual stream.

    value at a hook ─▶ [linear layer, gain] ─▶ direction in the stream ─▶ [final norm] ─▶ unembedding ─▶ logits

With the final norm this is VocabProj (arXiv 2501.08319): the norm, with its bias, of the bare direction, times the unembedding. The norm
gives all directions the same length (but for its epsilon), and its gain weighs coordinates as in the model itself. Without
the norm, the bare direction is multiplied by the unembedding without biases. Softcapping of logits (Gemma 2) changes no order, and
is not applied. Weights only: no forward pass. All products are float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resources.subject.normalization import float32_copy, gain_of

if TYPE_CHECKING:
    import torch

VOCABULARY_BLOCK = 16_384
"""Rows of the unembedding that are converted to float32 at a time, where its type is another."""


@dataclass(frozen=True)
class Unembedding:
    """`weight` is Tensor[vocabulary, d_model], `bias` Tensor[vocabulary] or None, `norm` a float32 module, or None without normalisation.
    Logits are multiplied by `scale` in families that scale them."""

    weight: "torch.Tensor" = field(repr=False)
    bias: "torch.Tensor | None" = field(repr=False)
    norm: Any
    scale: float = 1.0

    @property
    def vocabulary_size(self) -> int:
        return len(self.weight)

    def logits(self, directions: "torch.Tensor") -> "torch.Tensor":
        """float32 Tensor[n, vocabulary] of directions Tensor[n, d_model]; a direction of zeros has the logits of the biases alone."""
        import torch

        with torch.inference_mode():
            stream = directions.to(self.weight.device).float()
            stream = stream if self.norm is None else self.norm(stream)
            logits = torch.empty(len(stream), len(self.weight), device=stream.device)
            for start in range(0, len(self.weight), VOCABULARY_BLOCK):
                end = start + VOCABULARY_BLOCK
                logits[:, start:end] = stream @ self.weight[start:end].float().T
            logits = logits if self.bias is None else logits.add_(self.bias.float())
            return logits if self.scale == 1 else logits.mul_(self.scale)


def in_order(modules: "Sequence[Any]", factor: float = 1.0) -> Any:
    """A float32 module that applies copies of `modules` one after another, and then multiplies by the factor."""
    import torch

    class Scaled(torch.nn.Module):
        def forward(self, value: "torch.Tensor") -> "torch.Tensor":
            return value * factor

    return torch.nn.Sequential(*(float32_copy(module) for module in modules), *([] if factor == 1 else [Scaled()]))


def into_stream(rows: "torch.Tensor", layer: Any, norm: Any) -> "torch.Tensor | None":
    """float32 Tensor[n, d_model] of rows Tensor[n, d] through a linear layer (None: as they are) and the gain of a norm (None: no gain).

    None for rows of another width than the layer or the norm takes. The layer's bias is left out, since a direction is a difference.
    """
    import torch

    with torch.inference_mode():
        directions = rows.float()
        if layer is not None:
            through = _through(layer, directions)
            if through is None:
                return None
            directions = through
        if norm is not None:
            if directions.shape[1] != len(norm.weight):
                return None
            directions = directions * gain_of(norm)
        return directions


def _through(layer: Any, rows: "torch.Tensor") -> "torch.Tensor | None":
    """float32 rows times a layer's matrix; None for rows of another width than the layer takes.

    The layer is transformers' Conv1D, whose weight is [in, out], or a Linear, with [out, in]. A quantised layer has no weight that could
    be read here, or a packed one: it runs on the rows and on zeros, and the difference is taken.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    weight: Any = getattr(layer, "weight", None)
    width = weight.shape[0] if isinstance(layer, Conv1D) else layer.in_features
    if rows.shape[1] != width:
        return None
    if isinstance(layer, Conv1D):
        return rows @ layer.weight.float()
    quantised = type(weight).__module__.startswith("torchao")  # a tensor that shows the type that it stands for
    if isinstance(weight, torch.nn.Parameter) and not quantised and weight.is_floating_point() and weight.shape[1:] == (width,):
        return rows @ weight.float().T
    zero = torch.zeros(1, width, dtype=rows.dtype, device=rows.device)
    return layer(rows).float() - layer(zero).float()


def extreme_tokens(logits: "torch.Tensor", left_out: Sequence[int], n: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Token ids int64 and logits float32, both Tensor[rows, 2, n]: the n largest, largest first, then the n smallest, smallest first.

    Ids `left_out` are in neither; fewer than n where fewer are left. `logits`, Tensor[rows, vocabulary], are overwritten there.
    """
    import torch

    n = min(n, logits.shape[1] - len(left_out))
    columns = torch.tensor(left_out, dtype=torch.long, device=logits.device)
    with torch.inference_mode():
        largest = logits.index_fill_(1, columns, -torch.inf).topk(n, dim=1)
        smallest = logits.index_fill_(1, columns, torch.inf).topk(n, dim=1, largest=False)
        return torch.stack([largest.indices, smallest.indices], dim=1), torch.stack([largest.values, smallest.values], dim=1)
