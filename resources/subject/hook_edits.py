"""Changes values in the forward pass: the points at which a change of a dictionary's output is made, and the hooks that make it."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from resources.dictionaries.interface import DictionaryError
from resources.subject.block_layout import given_tensor
from resources.subject.hook_points import BLOCKS, HookPoint
from resources.subject.model import SubjectModel
from resources.subject.normalization import gain_of, normalized

if TYPE_CHECKING:
    import torch

Through = Callable[["torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True, eq=False)
class Written:
    """A point to which changes are added. For a normalised value the change times `gain`, Tensor[d], is added to the module's output.

    `place` is the number of the hook among the hooks that a dictionary writes at.
    """

    point: HookPoint
    gain: "torch.Tensor | None"
    place: int = 0


def written_points(subject: SubjectModel, hook: str) -> list[Written]:
    """The points at which a change of the value at `hook` is made.

    The residual between attention and MLP is read by the normalisation before the MLP, and also goes past both. So a change of it is added
    to the input of the normalisation and to the block's output. A normalised value is changed after its gain and bias, by the change times
    the gain.
    """
    import torch

    match = re.fullmatch(r"blocks\.(\d+)\.hook_resid_mid", hook)
    point = subject.resolve_hook(hook)
    if match is None:
        return [Written(point, gain_of(subject.model.get_submodule(point.module)) if point.side == "normalized" else None)]
    number, after = int(match[1]), subject.resolve_hook(hook.replace("hook_resid_mid", "hook_resid_post"))
    if subject.family in BLOCKS:
        return [Written(point, None), Written(after, None)]
    layout, block = subject.layouts()[number], subject.block_paths[number]
    if layout.order != "sequential":
        raise DictionaryError(
            f"{hook} cannot be steered in this {subject.family} model: how the block goes on from it is not known. "
            f"Steer blocks.{number}.hook_resid_post."
        )
    readers = [HookPoint(f"{block}.{path}:input", f"{block}.{path}", "input") for path in layout.mid_readers]
    scale = layout.scales.get("stream", 1.0)
    return [*(Written(reader, None) for reader in readers), Written(after, None if scale == 1 else torch.tensor(scale))]


def all_written_points(subject: SubjectModel, hooks: Sequence[str]) -> list[Written]:
    """The points at which changes of the values at several hooks are made, each with the place of its hook."""
    return [replace(to, place=place) for place, hook in enumerate(hooks) for to in written_points(subject, hook)]


Read = dict[int, "torch.Tensor"]
"""The values that a pass has read so far, by the place of their hook among the hooks that a dictionary reads."""


@contextmanager
def edited(
    subject: SubjectModel, reads: Sequence[HookPoint], written: Sequence[Written], change: Callable[[Read, Written], "torch.Tensor"]
) -> Iterator[None]:
    """While open, `change` is added to the values at `written`, Tensor[rows, tokens, d]. It is given the values that the pass has read at
    `reads`, Tensor[rows, tokens, d] by place, when the pass reaches a point of `written`.

    Raises `DictionaryError` during a pass in which a point of `written` comes before all of `reads`, or has another width than the change.
    """
    values: Read = {}

    def keep(place: int, value: "torch.Tensor") -> "torch.Tensor":
        if place in values:  # the next pass
            values.clear()
        values[place] = value
        return value

    def last(to: Written) -> "torch.Tensor":
        if not values:
            raise DictionaryError(
                f"{to.point.name} comes before {reads[0].name} in the model: a feature read there cannot be steered here."
            )
        return change(values, to)

    with ExitStack() as stack:  # reads first: a value read and written at one point is read as it was
        for place, read in enumerate(reads):
            stack.callback(reading(subject, read, lambda value, place=place: keep(place, value)).remove)
        with added(subject, written, last):
            yield


@contextmanager
def added(subject: SubjectModel, written: Sequence[Written], change: Callable[[Written], "torch.Tensor"]) -> Iterator[None]:
    """While open, `change` of each point of `written`, Tensor[rows, tokens, d], is added to the value there. `change` is called when the
    pass reaches the point.

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
            wanted = (wanted if to.gain is None else wanted * to.gain).to(value.device)
            return (value.float() + wanted).to(value.dtype)

        return add

    handles = [writing(subject, to.point, adding(to)) for to in written]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def reading(subject: SubjectModel, point: HookPoint, through: Through) -> Any:
    """A handle. Until it is removed, the value at `point` is passed to `through`."""
    if point.side != "normalized":
        return writing(subject, point, through)

    def see(module: Any, args: tuple, named: dict) -> None:
        through(_per_token(subject, normalized(module, given_tensor(args, named)[1])))

    return subject.model.get_submodule(point.module).register_forward_pre_hook(see, with_kwargs=True)


def writing(subject: SubjectModel, point: HookPoint, through: Through) -> Any:
    """A handle. Until it is removed, the input of the module at `point`, or its output, is replaced by `through` of it."""
    module = subject.model.get_submodule(point.module)

    def changed(value: "torch.Tensor") -> "torch.Tensor":
        return through(_per_token(subject, value)).reshape(value.shape)

    def of_input(_module: Any, args: tuple, named: dict) -> tuple[tuple, dict]:
        place, value = given_tensor(args, named)
        if isinstance(place, int):
            return (*args[:place], changed(value), *args[place + 1 :]), named
        return args, {**named, place: changed(value)}

    def of_output(_module: Any, _args: tuple, output: Any) -> Any:
        return type(output)([changed(output[0]), *output[1:]]) if isinstance(output, tuple | list) else changed(output)

    if point.side == "input":
        return module.register_forward_pre_hook(of_input, with_kwargs=True)
    return module.register_forward_hook(of_output)


def _per_token(subject: SubjectModel, value: "torch.Tensor") -> "torch.Tensor":
    """Tensor[rows, tokens, d] of a value with rows and tokens in one axis; any other value unchanged."""
    return value.view(*subject.batch_shape, -1) if value.ndim == 2 and len(value) == subject.batch_shape.numel() else value
