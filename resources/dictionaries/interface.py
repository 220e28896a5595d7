"""The interface of all dictionaries: sparse features of a hook's values, and the check that a dictionary fits its hook."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from resources.dictionaries.share_check import Agreement, agreement

if TYPE_CHECKING:
    import torch

L0_CONTRADICTION_FACTOR = 2.0
SMALLEST_STORED, SMALLEST_SCALE = 2.0**-22, 2.0**-10
UNSOUND = "Check the dictionary's weights or code, and the scale of the values that it reads"


class DictionaryError(ValueError):
    """A dictionary that cannot be used. The message says what was found, what was allowed and what to do."""


class NoDecoder(DictionaryError):
    """A dictionary that only reads: its features write no direction."""


@dataclass(frozen=True)
class Encoded:
    """The positive activations of some tokens, sorted by token: token int64, feature int64 and value float32, all Tensor[n]."""

    token: "torch.Tensor"
    feature: "torch.Tensor"
    value: "torch.Tensor"


class Dictionary(Protocol):
    """Features of one hook's values.

    A dictionary that reads several hooks, or writes at several, has `reads` and `writes` (`read_hooks`, `written_hooks`): their values
    stand side by side in `x`, in reconstructions and in decoder rows. `output_hook` is where the decoder writes: `hook` itself, or the
    output that a transcoder predicts. `revision` is a hash of everything that determines the activations; `l0_expected` is the expected
    number of features a token, None where unknown.
    """

    @property
    def kind(self) -> str: ...

    @property
    def hook(self) -> str: ...

    @property
    def output_hook(self) -> str: ...

    @property
    def d_in(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def revision(self) -> str: ...

    @property
    def l0_expected(self) -> float | None: ...

    def encode(self, x: "torch.Tensor") -> Encoded:
        """Activations > 0 of hook values Tensor[tokens, d_in]."""
        ...

    def reconstruct(self, x: "torch.Tensor", encoded: Encoded) -> "torch.Tensor | None":
        """Values at `output_hook`, Tensor[tokens, d_out], from `encoded` = `encode(x)`; None for a dictionary that reconstructs nothing."""
        ...

    def decoder_row(self, feature: int) -> "torch.Tensor":
        """Tensor[d_out]: what one unit of the feature adds to the value at `output_hook`. Raises `NoDecoder` for a dictionary without a
        decoder."""
        ...

    def to(self, device: "str | torch.device") -> "Dictionary":
        """This dictionary with its weights on `device`."""
        ...


def read_hooks(dictionary: Dictionary) -> tuple[str, ...]:
    """The hooks whose values, side by side, a dictionary encodes."""
    return tuple(getattr(dictionary, "reads", None) or (dictionary.hook,))


def written_hooks(dictionary: Dictionary) -> tuple[str, ...]:
    """The hooks at which a dictionary writes: its decoder rows have the rows at these hooks, one after the other."""
    return tuple(getattr(dictionary, "writes", None) or (dictionary.output_hook,))


def checked_hooks(dictionary: Dictionary) -> tuple[str, ...]:
    """All hooks whose values the self-check takes, sorted."""
    together = getattr(dictionary, "together", None)
    more = (together.hook, *together.reads) if together is not None else ()
    return tuple(sorted({*read_hooks(dictionary), *written_hooks(dictionary), *more}))


def side_by_side(hooks: Sequence[str], values: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
    """The values at some hooks, Tensor[…, d] each, in one tensor: for one hook the value itself."""
    import torch

    return values[hooks[0]] if len(hooks) == 1 else torch.cat([values[hook] for hook in hooks], dim=-1)


def rows_by_hook(dictionary: Dictionary, rows: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
    """Decoder rows Tensor[…, all writes] by written hook, Tensor[…, d] each."""
    widths = getattr(dictionary, "write_widths", None)
    return tuple(rows.split(tuple(widths), dim=-1)) if widths else (rows,)


@dataclass(frozen=True)
class SelfCheck:
    """Mean active features a token, and the fraction of variance unexplained: Σ|y - ŷ|² / Σ|y - mean(y)|² (None: no decoder, or a decoder
    that writes a share of the value). Of several written hooks it is the mean over the hooks. `agreement` is the agreement of a share with
    the value, where the other shares are not known."""

    l0: float
    fvu: float | None
    agreement: Agreement | None = None


def self_check(
    dictionary: Dictionary,
    x: "torch.Tensor",
    y: "torch.Tensor | None" = None,
    values: "Mapping[str, torch.Tensor] | None" = None,
) -> SelfCheck:
    """L0 and FVU of `dictionary` on hook values Tensor[tokens, d_in] without special tokens. At least two tokens.

    `y` are the values at all written hooks on the same tokens, side by side, Tensor[tokens, d_out]; None stands for x, where both hooks are
    the same. `values` by hook are needed for a dictionary that checks the features of all layers together.
    """
    assert x.ndim == 2 and len(x) > 1, f"self_check needs [tokens, d_in] with two tokens or more, got {tuple(x.shape)}"
    refuse_wrong_width(dictionary, x.shape[1])
    assert y is not None or dictionary.output_hook == dictionary.hook, f"self_check needs the values at {dictionary.output_hook} too"
    target = (x if y is None else y).float()
    for hook, value in ((dictionary.hook, x), (dictionary.output_hook, target)):
        refuse_not_finite(value, f"the model's values at {hook}", "Load the model in another dtype (`model: {dtype: …}` in the record)")
    encoded = dictionary.encode(x)
    refuse_not_finite(encoded.value, f"activations of the dictionary {dictionary.kind} at {dictionary.hook}", UNSOUND)
    if len(encoded.value) and float(encoded.value.max()) < SMALLEST_SCALE:
        raise DictionaryError(
            f"the largest activation of the dictionary {dictionary.kind} on {len(x)} probe tokens is {float(encoded.value.max()):.1e}; "
            f"activations are stored to {SMALLEST_STORED:.1e}, so {SMALLEST_SCALE:.0e} is the least that keeps their proportions. Multiply "
            "the encoder (and its bias and thresholds) by a constant, and divide the decoder by it."
        )
    widths: Sequence[int] | None = getattr(dictionary, "write_widths", None)
    together = getattr(dictionary, "together", None)
    if together is not None and values is not None:
        decoded, target, widths = together.reconstruct(values), values[together.hook].float(), None
    elif getattr(dictionary, "share", False):
        decoded = None
    else:
        decoded = dictionary.reconstruct(x, encoded)
    if decoded is not None:
        refuse_not_finite(decoded, f"values that the dictionary {dictionary.kind} reconstructs at {dictionary.output_hook}", UNSOUND)
    l0 = len(encoded.token) / len(x)
    if decoded is None:
        return SelfCheck(l0, None, _agreement(dictionary, x, target, encoded))
    if decoded.shape != target.shape:
        raise DictionaryError(
            f"dictionary {dictionary.kind} writes {decoded.shape[1]} dimensions, but {dictionary.output_hook} has {target.shape[1]}. "
            "Check the record's output_hook."
        )
    return SelfCheck(l0, _unexplained(target, decoded, widths))


def _agreement(dictionary: Dictionary, x: "torch.Tensor", value: "torch.Tensor", encoded: Encoded) -> Agreement | None:
    """The agreement of the share that a dictionary of some layers writes; None for any other dictionary."""
    widths: Sequence[int] | None = getattr(dictionary, "write_widths", None)
    if not getattr(dictionary, "share", False) or not widths or sum(widths) != value.shape[1]:
        return None
    share = dictionary.reconstruct(x, encoded)
    return None if share is None else agreement(read_hooks(dictionary), written_hooks(dictionary), widths, share, value)


def _unexplained(target: "torch.Tensor", decoded: "torch.Tensor", widths: "Sequence[int] | None") -> float:
    """The fraction of variance unexplained; with `widths` of the hooks that stand side by side, the mean of the hooks' fractions."""
    if widths is not None and len(widths) > 1:
        pairs = zip(target.split(tuple(widths), dim=1), decoded.split(tuple(widths), dim=1), strict=True)
        found = [_unexplained(one, of_one, None) for one, of_one in pairs]
        return sum(found) / len(found)
    variance = (target - target.mean(0)).double().pow(2).sum()
    return float((target - decoded).double().pow(2).sum() / variance)


def refuse_not_finite(values: "torch.Tensor", of_what: str, remedy: str) -> None:
    """Raise `DictionaryError` with how many of `values` are NaN and infinite, unless all are finite."""
    import torch

    if not len(values) or bool(torch.isfinite(values).all()):
        return
    n_nan, n_infinite = int(torch.isnan(values).sum()), int(torch.isinf(values).sum())
    raise DictionaryError(f"{n_nan:,} NaN and {n_infinite:,} infinite among {values.numel():,} {of_what}; all must be finite. {remedy}.")


def refuse_wrong_width(dictionary: Dictionary, d: int) -> None:
    """Raise `DictionaryError` unless the hook's values have the number of dimensions that the dictionary reads."""
    if d != dictionary.d_in:
        raise DictionaryError(
            f"dictionary {dictionary.kind} reads {dictionary.d_in} dimensions, but {' and '.join(read_hooks(dictionary))} has {d}. "
            "Check the record's model and hook."
        )


def refuse_bad_dictionary(
    dictionary: Dictionary,
    x: "torch.Tensor",
    y: "torch.Tensor | None" = None,
    values: "Mapping[str, torch.Tensor] | None" = None,
) -> SelfCheck:
    """The self-check on `x` and `y`. Raises `DictionaryError` with L0 and FVU where the dictionary cannot belong to this hook.

    Refused: FVU >= 1 (worse than predicting the mean), FVU not finite, no active feature at all, an L0 that differs by more than a factor
    of 2 from the L0 in the dictionary's own metadata, or a share that agrees with the value no better than by chance.
    """
    check = self_check(dictionary, x, y, values)
    if check.agreement is not None and check.agreement.same_tokens <= check.agreement.by_chance:
        raise DictionaryError(
            f"dictionary {dictionary.kind} does not fit {', '.join(read_hooks(dictionary))}: on {len(x)} probe tokens "
            f"{check.agreement.told()}. Check the record's hook and model."
        )
    expected = dictionary.l0_expected
    contradicted = expected is not None and not expected / L0_CONTRADICTION_FACTOR <= check.l0 <= expected * L0_CONTRADICTION_FACTOR
    if check.l0 > 0 and (check.fvu is None or check.fvu < 1) and not contradicted:
        return check
    nothing = "it writes a share of the value" if getattr(dictionary, "share", False) else "it reconstructs nothing"
    fvu = f"none ({nothing})" if check.fvu is None else f"{check.fvu:.3f} (must be below 1)"
    stated = "not stated" if expected is None else f"stated {expected:.1f}, allowed within a factor of {L0_CONTRADICTION_FACTOR:g}"
    reads, writes = read_hooks(dictionary), written_hooks(dictionary)
    place = ", ".join(reads) if reads == writes else f"{', '.join(reads)} -> {', '.join(writes)}"
    raise DictionaryError(
        f"dictionary {dictionary.kind} does not fit {place}: on {len(x)} probe tokens L0 = {check.l0:.1f} ({stated}), "
        f"FVU = {fvu}. Check the record's hook and model, and the dictionary's activation normalisation."
    )
