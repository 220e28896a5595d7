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

VOCABULARY_BLOCK = {"cpu": 2_048, "cuda": 8_192}
"""Rows of the unembedding that are multiplied at a time, converted to float32 where its type is another, by type of device. On a CPU
blocks of 8,192 rows take a seventh longer, since they do not stay in its caches."""

GROUP = 32
"""Tokens of the vocabulary whose largest and smallest logit are found first, when the most extreme tokens are looked for."""


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

    def room(self, n: int) -> "torch.Tensor":
        """float32 Tensor[n, vocabulary] with anything in it, for the logits of n directions."""
        import torch

        with torch.inference_mode():
            return torch.empty(n, len(self.weight), device=self.weight.device)

    def logits(self, directions: "torch.Tensor", out: "torch.Tensor | None" = None) -> "torch.Tensor":
        """float32 Tensor[n, vocabulary] of directions Tensor[n, d_model]; a direction of zeros has the logits of the biases alone.

        They are the first rows of `out`, where it is given: new memory for each block of directions costs a quarter of the product.
        """
        import torch

        with torch.inference_mode():
            stream = directions.to(self.weight.device).float()
            stream = stream if self.norm is None else self.norm(stream)
            logits = self.room(len(stream)) if out is None else out[: len(stream)]
            rows = VOCABULARY_BLOCK.get(self.weight.device.type, VOCABULARY_BLOCK["cuda"])
            for start in range(0, len(self.weight), rows):
                end = start + rows
                torch.mm(stream, self.weight[start:end].float().T, out=logits[:, start:end])
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
        largest = _extremes(logits.index_fill_(1, columns, -torch.inf), n, largest=True)
        smallest = _extremes(logits.index_fill_(1, columns, torch.inf), n, largest=False)
        return torch.stack([largest[0], smallest[0]], dim=1), torch.stack([largest[1], smallest[1]], dim=1)


def _extremes(logits: "torch.Tensor", n: int, largest: bool) -> "tuple[torch.Tensor, torch.Tensor]":
    """(indices, values) as `torch.topk` gives them, in a fifth of its time where there are many columns.

    The n largest numbers lie in n groups of columns, whose own largest numbers are the n largest of all groups. So only these groups are
    looked at. Rows with equal numbers among the largest are left to `torch.topk`, which has an order of its own for them.
    """
    import torch

    n_groups = logits.shape[1] // GROUP
    if n_groups < 4 * (n + 1):
        found = logits.topk(n, dim=1, largest=largest)
        return found.indices, found.values
    groups = logits[:, : n_groups * GROUP].unflatten(1, (n_groups, GROUP))
    best = groups.amax(2) if largest else groups.amin(2)
    chosen = best.topk(n + 1, dim=1, largest=largest, sorted=False).indices
    columns = torch.arange(logits.shape[1], device=logits.device)
    inside = (chosen[:, :, None] * GROUP + columns[:GROUP]).flatten(1)
    places = torch.cat([inside, columns[n_groups * GROUP :].expand(len(logits), -1)], dim=1)
    found = logits.gather(1, places).topk(n + 1, dim=1, largest=largest)
    indices, values = places.gather(1, found.indices[:, :n]), found.values[:, :n].contiguous()
    ahead, behind = found.values[:, :-1], found.values[:, 1:]
    unclear = ~((ahead > behind) if largest else (ahead < behind)).all(1)
    if unclear.any():
        again = logits[unclear].topk(n, dim=1, largest=largest)
        indices[unclear], values[unclear] = again.indices, again.values
    return indices, values
