"""Changing values in the forward pass: where a change of what a dictionary writes is to be made, and the hooks that make it."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.dictionaries.interface import DictionaryError
from resources.subject.hook_points import HookPoint
from resources.subject.model import SubjectModel, normalized
from resources.subject.unembedding import float32_copy

if TYPE_CHECKING:
    import torch

Through = Callable[["torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True, eq=False)
class Written:
    """A point to which changes are added, times `gain`, Tensor[d], where it is a normalised value: to the module's output then."""

    point: HookPoint
    gain: "torch.Tensor | None"


def written_points(subject: SubjectModel, hook: str) -> list[Written]:
    """Where a change of the value at `hook` is to be made.

    The residual between attention and MLP is read by the normalisation before the MLP and goes past both, so what is added to it is added
    to the input of the one and to the block's output. A normalised value is changed behind its gain and bias, by the gain times as much.
    """
    names = [hook]
    if re.fullmatch(r"blocks\.\d+\.hook_resid_mid", hook):
        names.append(hook.replace("hook_resid_mid", "hook_resid_post"))
    points = [subject.resolve_hook(name) for name in names]
    return [Written(p, _gain(subject.model.get_submodule(p.module)) if p.side == "normalized" else None) for p in points]


@contextmanager
def edited(
    subject: SubjectModel, read: HookPoint, written: Sequence[Written], change: Callable[["torch.Tensor"], "torch.Tensor"]
) -> Iterator[None]:
    """While open, `change` of the value at `read`, both Tensor[rows, tokens, d], is added to the values at `written`.

    Raises `DictionaryError` during a pass in which one of these comes before `read`, or has another width than the change.
    """
    changes: list[torch.Tensor] = []

    def keep(value: "torch.Tensor") -> "torch.Tensor":
        changes.append(change(value))
        return value

    def last(to: Written) -> "torch.Tensor":
        if not changes:
            raise DictionaryError(f"{to.point.name} comes before {read.name} in the model: what is read there cannot be steered here.")
        return changes[-1]

    handle = reading(subject.model.get_submodule(read.module), read, keep)  # first: a value read and written at one point is read as it was
    try:
        with added(subject, written, last):
            yield
    finally:
        handle.remove()


@contextmanager
def added(subject: SubjectModel, written: Sequence[Written], change: Callable[[Written], "torch.Tensor"]) -> Iterator[None]:
    """While open, `change` of each of `written`, Tensor[rows, tokens, d], is added to the value there; asked for when the pass gets there.

    Raises `DictionaryError` during a pass in which a value has another width than its change.
    """

    def adding(to: Written) -> "Through":
        def add(value: "torch.Tensor") -> "torch.Tensor":
            wanted = change(to)
            if wanted.shape[-1] != value.shape[-1]:
                raise DictionaryError(
                    f"decoder rows have {wanted.shape[-1]} dimensions, but {to.point.name} has {value.shape[-1]}. "
                    "Check the record's output_hook."
                )
            return (value.float() + (wanted if to.gain is None else wanted * to.gain)).to(value.dtype)

        return add

    handles = [writing(subject.model.get_submodule(to.point.module), to.point, adding(to)) for to in written]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def reading(module: Any, point: HookPoint, through: Through) -> Any:
    """A handle: while it is there, the value at `point` is given to `through`."""
    if point.side != "normalized":
        return writing(module, point, through)

    def see(module: Any, args: tuple, named: dict) -> None:
        through(normalized(module, args[0] if args else named["hidden_states"]))

    return module.register_forward_pre_hook(see, with_kwargs=True)


def writing(module: Any, point: HookPoint, through: Through) -> Any:
    """A handle: while it is there, what goes into `module`, or comes out of it if the point is not its input, goes through `through`."""

    def of_input(module: Any, args: tuple, named: dict) -> tuple[tuple, dict]:
        if args:
            return (through(args[0]), *args[1:]), named
        return args, named | {"hidden_states": through(named["hidden_states"])}

    def of_output(module: Any, args: tuple, output: Any) -> Any:
        return (through(output[0]), *output[1:]) if isinstance(output, tuple) else through(output)

    if point.side == "input":
        return module.register_forward_pre_hook(of_input, with_kwargs=True)
    return module.register_forward_hook(of_output)


def _gain(module: Any) -> "torch.Tensor":
    """float32 Tensor[d] by which a LayerNorm or RMSNorm multiplies what it has normalised."""
    import torch

    if isinstance(module, torch.nn.LayerNorm):
        return module.weight.float()
    # An RMSNorm of ones is its gain, however the family stores it: Gemma keeps the gain less one.
    return float32_copy(module)(torch.ones(len(module.weight), device=module.weight.device))
