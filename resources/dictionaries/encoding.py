"""From pre-activations to sparse features, one block of latents at a time: no array of tokens x width is made.

An activation reads the blocks of an encoder from the first latent to the last and keeps active features. With h a pre-activation:

    Threshold   h where h > threshold and h > 0 (relu, JumpReLU, BatchTopK after training)
    TopK        the k largest h of a token, where > 0
    GroupMax    the largest h of each run of `group` latents, where > 0
    Gate        relu(gain h + offset) where h > 0
    Scaled      another activation, its values multiplied by a factor of the latent

A NaN is kept as an activation, for whoever takes the activations to see and refuse: dropped, it would look like silence.

Where few pre-activations can be active, a block may be a screen: upper bounds of its pre-activations, and exact values of the
pre-activations that an activation asks for (`screening.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from resources.dictionaries.interface import Encoded
from resources.dictionaries.largest import Largest
from resources.dictionaries.screening import LEAST_ROWS, MOST_EXACT, Screen, ScreenedColumns, ScreenedRows, screens

if TYPE_CHECKING:
    import torch

BLOCK_BYTES = {"cpu": 64 << 20, "cuda": 512 << 20}
"""Most bytes of pre-activations in memory at a time, by type of device."""

CHUNK_TOKENS = 16_384
"""Most tokens encoded at a time: a block keeps enough latents for the matrix product to be quick."""

TRIED_ROWS, TRIED_LATENTS = 32, 2_048
"""Pre-activations of so many tokens and latents tell whether few of them can be active."""


@dataclass(frozen=True)
class Block:
    """Pre-activations `hidden` Tensor[tokens, n] of the latents from `first` on, with memory for a bool of each in `mask`.

    With a `screen`, `hidden` are the screen's upper bounds. Both tensors are overwritten when the next block is taken. New tensors of this
    size would leave holes in the heap: features kept from one block would be put into a hole, and the tensors of the next block would not
    fit.
    """

    first: int
    hidden: "torch.Tensor"
    mask: "torch.Tensor"
    screen: Screen | None = None

    def above(self, limit: "torch.Tensor | float") -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """(token, place in the block, value) of the pre-activations above `limit`, a number or Tensor[n], and of all NaNs; by token and
        then place."""
        import torch

        if self.screen is None:
            token, place = torch.le(self.hidden, limit, out=self.mask).logical_not_().nonzero(as_tuple=True)
            return token, place, self.hidden[token, place]
        least = limit if isinstance(limit, torch.Tensor) else torch.tensor(limit)
        token, place = torch.lt(self.hidden, least.bfloat16(), out=self.mask).logical_not_().nonzero(as_tuple=True)
        value = self.screen.exact(token, place)
        keep = (value <= (least[place] if least.ndim else least)).logical_not_().nonzero().squeeze(1)
        return token[keep], place[keep], value[keep]


class Activation(Protocol):
    """Turns blocks of pre-activations into features. A block holds whole groups of `group` latents."""

    @property
    def group(self) -> int: ...

    def few(self, hidden: "torch.Tensor", slack: "torch.Tensor", width: int) -> bool:
        """Whether few pre-activations are active or within `slack`, Tensor[tokens, 1], of it, judged by `hidden`, Tensor[tokens, n], of the
        first latents of `width`. Then blocks may be screens."""
        ...

    def encode(self, blocks: Iterable[Block]) -> Encoded:
        """The activations > 0 of all blocks, by token. The blocks come in order of their latents."""
        ...


@dataclass(frozen=True)
class Threshold:
    """h where h > threshold and h > 0; `threshold` is Tensor[width], or one number for all latents."""

    threshold: "torch.Tensor | float" = 0.0
    group: int = 1

    def few(self, hidden: "torch.Tensor", slack: "torch.Tensor", width: int) -> bool:
        """Whether few are above their threshold."""
        return _share_above(hidden + slack, self._limit(0, hidden.shape[1])) <= MOST_EXACT

    def encode(self, blocks: Iterable[Block]) -> Encoded:
        """The entries above their latent's threshold, by token and then feature."""
        return joined([self._block(block) for block in blocks])

    def _block(self, block: Block) -> Encoded:
        token, place, value = block.above(self._limit(block.first, block.hidden.shape[1]))
        return Encoded(token, place + block.first, value)

    def _limit(self, first: int, n: int) -> "torch.Tensor | float":
        if isinstance(self.threshold, (int, float)):
            return max(self.threshold, 0.0)
        if self.threshold.numel() == 1:
            return self.threshold.reshape(()).clamp(min=0)
        return self.threshold[first : first + n].clamp(min=0)


@dataclass(frozen=True)
class TopK:
    """The k largest h of a token, where > 0. Among equal values any may be kept."""

    k: int
    group: int = 1

    def few(self, hidden: "torch.Tensor", slack: "torch.Tensor", width: int) -> bool:
        """Whether few are within the slack of the k largest."""
        k = -(-self.k * hidden.shape[1] // width)
        return _share_above(hidden + slack, hidden.topk(k, dim=-1).values[:, -1:]) <= MOST_EXACT

    def encode(self, blocks: Iterable[Block]) -> Encoded:
        """The k largest of all blocks, by token and then feature."""
        largest = Largest(self.k)
        for block in blocks:
            largest.take(block.hidden, block.mask, block.first, block.screen)
        assert largest.values is not None and largest.columns is not None, "a dictionary has one latent at least"
        features, order = largest.columns.sort(dim=-1)
        values = largest.values.gather(-1, order)
        token, place = (values <= 0).logical_not_().nonzero(as_tuple=True)
        return Encoded(token, features[token, place], values[token, place])


@dataclass(frozen=True)
class GroupMax:
    """The largest h of each run of `group` latents, where > 0."""

    group: int

    def few(self, hidden: "torch.Tensor", slack: "torch.Tensor", width: int) -> bool:
        """Never: the largest of each group is one of few."""
        return False

    def encode(self, blocks: Iterable[Block]) -> Encoded:
        """At most one feature a group and token, by token and then feature."""
        return joined([self._block(block) for block in blocks])

    def _block(self, block: Block) -> Encoded:
        best, index = block.hidden.unflatten(-1, (-1, self.group)).max(dim=-1)
        token, group = (best <= 0).logical_not_().nonzero(as_tuple=True)
        return Encoded(token, block.first + group * self.group + index[token, group], best[token, group])


@dataclass(frozen=True)
class Gate:
    """relu(gain h + offset) where h > 0: h is the gate, and the magnitude is linear in h. `gain` and `offset` are Tensor[width]."""

    gain: "torch.Tensor"
    offset: "torch.Tensor"
    group: int = 1

    def few(self, hidden: "torch.Tensor", slack: "torch.Tensor", width: int) -> bool:
        """Whether few gates are open."""
        return _share_above(hidden + slack, 0.0) <= MOST_EXACT

    def encode(self, blocks: Iterable[Block]) -> Encoded:
        """The magnitudes > 0 behind open gates, by token and then feature."""
        return joined([self._block(block) for block in blocks])

    def _block(self, block: Block) -> Encoded:
        token, place, gate = block.above(0.0)
        feature = place + block.first
        magnitude = gate * self.gain[feature] + self.offset[feature]
        keep = (magnitude <= 0).logical_not_().nonzero().squeeze(1)  # indices once: a mask would be counted, and a GPU awaited, three times
        return Encoded(token[keep], feature[keep], magnitude[keep])


@dataclass(frozen=True)
class Scaled:
    """The features of `inner`, each value multiplied by its latent's `factor`, Tensor[width], which is positive."""

    inner: TopK
    factor: "torch.Tensor"
    group: int = 1

    def few(self, hidden: "torch.Tensor", slack: "torch.Tensor", width: int) -> bool:
        """Whether `inner` keeps few."""
        return self.inner.few(hidden, slack, width)

    def encode(self, blocks: Iterable[Block]) -> Encoded:
        """The features of `inner` in its order."""
        found = self.inner.encode(blocks)
        return Encoded(found.token, found.feature, found.value * self.factor[found.feature])


def encode_in_blocks(x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None", activation: Activation) -> Encoded:
    """Features of x, Tensor[tokens, d_in], with pre-activations x weight + bias: weight is Tensor[d_in, width], bias [width].

    Equal to the activation of the whole product, but at most `BLOCK_BYTES` of the product are in memory. No tokens give no activations.
    """
    import torch

    if _is_screened(x, weight, bias, activation):
        starts, chunks = _screened_chunks(x, weight, bias, activation)
    else:
        starts = range(0, max(len(x), 1), CHUNK_TOKENS)
        chunks = [activation.encode(blocks(x[start : start + CHUNK_TOKENS], weight, bias, activation.group)) for start in starts]
    if len(chunks) == 1:
        return chunks[0]
    return Encoded(
        torch.cat([chunk.token + start for start, chunk in zip(starts, chunks, strict=True)]),
        torch.cat([chunk.feature for chunk in chunks]),
        torch.cat([chunk.value for chunk in chunks]),
    )


def blocks(x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None", group: int = 1) -> Iterator[Block]:
    """The pre-activations x weight + bias, block by block in the same memory; a block holds whole groups of latents."""
    import torch

    width = weight.shape[1]
    fit = BLOCK_BYTES.get(x.device.type, BLOCK_BYTES["cuda"]) // (x.element_size() * max(len(x), 1))
    size = min(width, max(1, fit // group) * group)
    buffer, mask = (torch.empty(len(x) * size, dtype=dtype, device=x.device) for dtype in (x.dtype, torch.bool))
    for first in range(0, width, size):
        part = weight[:, first : first + size]
        shape, n = (len(x), part.shape[1]), len(x) * part.shape[1]
        hidden = buffer[:n].view(shape)
        if bias is None:
            torch.mm(x, part, out=hidden)
        else:
            torch.addmm(bias[first : first + size], x, part, out=hidden)
        yield Block(first, hidden, mask[:n].view(shape))


def _is_screened(x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None", activation: Activation) -> bool:
    """Whether screens are worth their work: the CPU is made for them, and by a few tokens and latents few can be active."""
    if not screens(x, weight.T):
        return False
    some, columns = x[:: -(-len(x) // TRIED_ROWS)], weight.T[:TRIED_LATENTS]
    hidden = some @ columns.T if bias is None else some @ columns.T + bias[:TRIED_LATENTS]
    return activation.few(hidden, ScreenedColumns(columns, None).slack(ScreenedRows(some)), weight.shape[1])


def _screened_chunks(
    x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None", activation: Activation
) -> "tuple[range, list[Encoded]]":
    """(first tokens, features) of chunks of tokens, by screens of all latents where these fit beside enough tokens."""
    import torch

    width, room = weight.shape[1], BLOCK_BYTES["cpu"] // 2
    tokens = min(len(x), max(room // width, LEAST_ROWS))
    latents = min(width, max(room // tokens, 1))
    firsts, starts = range(0, width, latents), range(0, len(x), tokens)
    columns = [ScreenedColumns(weight.T[i : i + latents], None if bias is None else bias[i : i + latents]) for i in firsts]
    buffer, mask = (torch.empty(tokens * latents, dtype=dtype) for dtype in (torch.bfloat16, torch.bool))

    def screened(rows: ScreenedRows) -> Iterator[Block]:
        for first, part in zip(firsts, columns, strict=True):
            shape = len(rows.rows), len(part.columns)
            upper, own_mask = (memory[: shape[0] * shape[1]].view(shape) for memory in (buffer, mask))
            yield Block(first, upper, own_mask, Screen(rows, part, upper))

    return starts, [activation.encode(screened(ScreenedRows(x[start : start + tokens]))) for start in starts]


def _share_above(hidden: "torch.Tensor", limit: "torch.Tensor | float") -> float:
    """The share of numbers above a limit."""
    return float((hidden > limit).float().mean()) if hidden.numel() else 0.0


def whole(hidden: "torch.Tensor") -> list[Block]:
    """Existing pre-activations, Tensor[tokens, width], as one block."""
    import torch

    return [Block(0, hidden, torch.empty_like(hidden, dtype=torch.bool))]


def encoded_from_dense(activations: "torch.Tensor") -> Encoded:
    """The positive entries of Tensor[tokens, width], by token and then feature."""
    return Threshold().encode(whole(activations.float()))


def joined(parts: Sequence[Encoded]) -> Encoded:
    """The activations of all parts sorted by token; within a token, the order of the parts stays."""
    import torch

    if len(parts) == 1:
        return parts[0]
    token, order = torch.cat([part.token for part in parts]).sort(stable=True)
    feature, value = torch.cat([part.feature for part in parts]), torch.cat([part.value for part in parts])
    return Encoded(token, feature[order], value[order])


def on_device(item: Any, device: "str | torch.device") -> Any:
    """The dataclass with its tensors on `device`, also the tensors of nested dataclasses."""
    import torch

    moved = {}
    for name, value in ((field.name, getattr(item, field.name)) for field in fields(item)):
        if isinstance(value, torch.Tensor):
            moved[name] = value.to(device)
        elif is_dataclass(value):
            moved[name] = on_device(value, device)
    return replace(item, **moved)
