"""Features that read at one hook, or several, and write at several: cross-layer transcoders and crosscoders.

    f_g = activation(x_g W_enc + b_enc) of each group g of features, which read the same hooks        ŷ_w = Σ_g f_g W_dec[g, w] + b_dec[w]

Values at several hooks stand side by side: `encode` takes Tensor[tokens, sum of the widths of `reads`], and a decoder row has the rows at
all `writes` one after the other, zeros where a feature writes nothing. Decoders stay in their files: a harvest needs encoders alone.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.dictionaries.encoding import Activation, encode_in_blocks, joined, on_device
from resources.dictionaries.interface import DictionaryError, Encoded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RowsInFile:
    """Rows of one tensor in a safetensors file, read when they are asked for.

    The tensor has the axes of `before`, then features, then the axes of `after`, each fixed at its number, then d.
    """

    path: Path
    name: str
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def rows(self, first: int = 0, end: int | None = None) -> "torch.Tensor":
        """float32 Tensor[n, d], on the CPU, of the features from `first` to before `end`."""
        at = [slice(number, number + 1) for number in self.before]
        after = [slice(number, number + 1) for number in self.after]
        found = _opened(str(self.path), self.path.stat().st_mtime_ns).get_slice(self.name)[(*at, slice(first, end), *after)]
        return found.reshape(-1, found.shape[-1]).float()


@dataclass(frozen=True)
class FeatureGroup:
    """n features that read the same hooks: the hooks at the places `reads` among the dictionary's.

    W_enc is Tensor[sum of the widths of these hooks, n], b_enc [n]. `rows` are by place among the dictionary's writes, None where these
    features write nothing. `skip` adds the value that is read, times a matrix in a file, to the write of a place.
    """

    reads: tuple[int, ...]
    W_enc: "torch.Tensor" = field(repr=False)
    b_enc: "torch.Tensor" = field(repr=False)
    activation: Activation = field(repr=False)
    rows: tuple[RowsInFile | None, ...]
    skip: tuple[int, RowsInFile] | None = None

    @property
    def n(self) -> int:
        return len(self.b_enc)

    @property
    def limit(self) -> Any:
        """The threshold or k of the activation."""
        return getattr(self.activation, "threshold", getattr(self.activation, "k", None))

    def written(self, x: "torch.Tensor", encoded: Encoded, place: int) -> "torch.Tensor | float":
        """What the group's features, and its skip connection, write at a place: Tensor[tokens, d], or 0.0. `x` is what the group reads."""
        import torch

        found: torch.Tensor | float = 0.0
        rows = self.rows[place]
        if rows is not None:
            at = torch.stack([encoded.token, encoded.feature])
            sparse = torch.sparse_coo_tensor(at, encoded.value, (len(x), self.n), check_invariants=False)
            found = torch.sparse.mm(sparse, rows.rows().to(x.device))
        if self.skip is not None and self.skip[0] == place:
            found = found + x.float() @ self.skip[1].rows().to(x.device)
        return found


@dataclass(frozen=True)
class Together:
    """What the features of all layers write together at one `hook`, for the self-check of a dictionary of some layers.

    `groups` load one group at a time, each reading one of `reads`: no more than one encoder is in memory.
    """

    hook: str
    reads: tuple[str, ...]
    groups: tuple[Callable[[], FeatureGroup], ...]
    place: int
    b_dec: "torch.Tensor" = field(repr=False)

    def reconstruct(self, values: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Tensor[tokens, d] at `hook`, from the values Tensor[tokens, d] at each of `reads`."""
        total: Any = self.b_dec.to(values[self.reads[0]].device)
        for hook, load in zip(self.reads, self.groups, strict=True):
            x, group = values[hook].float(), load()
            group = on_device(group, x.device)
            encoded = encode_in_blocks(x, group.W_enc, group.b_enc, group.activation)
            total = total + group.written(x, encoded, self.place)
        return total


@dataclass(frozen=True)
class CrossLayerDictionary:
    """`read_widths` are the dimensions at each of `reads`; b_dec is Tensor[writes, d_out].

    `share`: features of layers outside this dictionary write at its hooks too, so its reconstruction is a share of the value. `together`
    then reconstructs the whole value at one hook; None where the files of the other layers are not on this machine.
    """

    kind: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    read_widths: tuple[int, ...]
    groups: tuple[FeatureGroup, ...]
    b_dec: "torch.Tensor" = field(repr=False)
    l0_expected: float | None = None
    share: bool = False
    together: Together | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def hook(self) -> str:
        return self.reads[0]

    @property
    def output_hook(self) -> str:
        return self.writes[0]

    @property
    def d_in(self) -> int:
        return sum(self.read_widths)

    @property
    def width(self) -> int:
        return sum(group.n for group in self.groups)

    @property
    def write_widths(self) -> tuple[int, ...]:
        """Dimensions at each of `writes`, as they follow one another in a decoder row."""
        return (self.b_dec.shape[1],) * len(self.writes)

    @property
    def revision(self) -> str:
        """16 hex digits over the encoders, and the names of the decoders in their files."""
        digest = hashlib.sha256(f"{self.kind} {self.reads} {self.writes}".encode())
        for group in self.groups:
            named = [None if rows is None else (rows.path.name, rows.name, rows.before, rows.after) for rows in group.rows]
            rule = "tensor" if hasattr(group.limit, "cpu") else group.limit
            digest.update(f"{group.reads} {type(group.activation).__name__} {rule} {named}".encode())
            for weight in (group.W_enc, group.b_enc, *([group.limit] if hasattr(group.limit, "cpu") else [])):
                digest.update(weight.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def encode(self, x: "torch.Tensor") -> Encoded:
        """Activations > 0 of Tensor[tokens, d_in], the values at all `reads` side by side."""
        return joined([replace_features(self._encoded(x, number), self._first(number)) for number in range(len(self.groups))])

    def reconstruct(self, x: "torch.Tensor", encoded: Encoded) -> "torch.Tensor":
        """Tensor[tokens, sum of write_widths], float32: what these features write at every hook, and b_dec."""
        import torch

        parts = []
        for place in range(len(self.writes)):
            total: Any = self.b_dec[place].expand(len(x), -1)
            for number, group in enumerate(self.groups):
                total = total + group.written(self._read_by(x, group), self._own(encoded, number), place)
            parts.append(total)
        return torch.cat(parts, dim=1)

    def decoder_row(self, feature: int) -> "torch.Tensor":
        """Tensor[sum of write_widths]: what one unit of `feature` adds at each of `writes`, one after the other."""
        import torch

        number = next(n for n in reversed(range(len(self.groups))) if self._first(n) <= feature)
        group, own = self.groups[number], feature - self._first(number)
        nothing = torch.zeros(self.b_dec.shape[1])
        parts = [nothing if rows is None else rows.rows(own, own + 1)[0] for rows in group.rows]
        return torch.cat(parts).to(self.b_dec.device)

    def reads_of(self, feature: int) -> tuple[int, ...]:
        """Places among `reads` of the hooks that a feature reads."""
        number = next(n for n in reversed(range(len(self.groups))) if self._first(n) <= feature)
        return self.groups[number].reads

    def to(self, device: "str | torch.device") -> "CrossLayerDictionary":
        return replace(self, groups=tuple(on_device(group, device) for group in self.groups), b_dec=self.b_dec.to(device))

    def _first(self, number: int) -> int:
        return sum(group.n for group in self.groups[:number])

    def _read_by(self, x: "torch.Tensor", group: FeatureGroup) -> "torch.Tensor":
        import torch

        parts = x.split(self.read_widths, dim=-1)
        return parts[group.reads[0]] if len(group.reads) == 1 else torch.cat([parts[place] for place in group.reads], dim=-1)

    def _encoded(self, x: "torch.Tensor", number: int) -> Encoded:
        group = self.groups[number]
        return encode_in_blocks(self._read_by(x, group).float().contiguous(), group.W_enc, group.b_enc, group.activation)

    def _own(self, encoded: Encoded, number: int) -> Encoded:
        first = self._first(number)
        own = (encoded.feature >= first) & (encoded.feature < first + self.groups[number].n)
        return Encoded(encoded.token[own], encoded.feature[own] - first, encoded.value[own])


def replace_features(encoded: Encoded, first: int) -> Encoded:
    """The activations with `first` added to every feature number."""
    return Encoded(encoded.token, encoded.feature + first, encoded.value)


def checked_groups(source: str, kind: str, groups: Sequence[FeatureGroup], width: int | None, d_in: int | None, found_d_in: int) -> None:
    """Raise `DictionaryError` unless the weights are sound and have the record's width and d_in."""
    from resources.dictionaries.sparse_autoencoder import refuse_unsound

    found_width = sum(group.n for group in groups)
    for name, found, given in (("width", found_width, width), ("d_in", found_d_in, d_in)):
        if given is not None and given != found:
            raise DictionaryError(f"{kind} {source} has {name} {found} at the hooks that are read; its record says {given}. Correct it.")
    for group in groups:
        if group.W_enc.shape[1] != group.n:
            raise DictionaryError(f"{kind} {source} has W_enc of shape {tuple(group.W_enc.shape)} beside {group.n} biases.")
        for name, weight in (("W_enc", group.W_enc), ("b_enc", group.b_enc), ("threshold", group.limit)):
            refuse_unsound(source, name, weight)


@lru_cache(maxsize=64)
def _opened(path: str, _changed: int) -> Any:
    from safetensors import safe_open

    return safe_open(path, framework="pt", device="cpu")
