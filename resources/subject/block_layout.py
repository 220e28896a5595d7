"""The parts of a block, found from the values of one short pass: modules add to the stream where their outputs explain its changes.

    hook_resid_pre ─┬─▶ ln1 ─▶ attention ─▶ (+) ─▶ hook_resid_mid ─┬─▶ ln2 ─▶ MLP ─▶ (+) ─▶ hook_resid_post        one after the other
                    └──────────────────────▶┘                      └─────────────────▶┘
    hook_resid_pre ─▶ ln1 ─▶ attention, MLP ─▶ (+) ─▶ hook_resid_post                                              in parallel

The sums decide, not the modules' names: a hook is offered where it holds on this model. Names only tell attention from MLP where both are
added at once, and name a lone module's kind. A family may add a constant times an output (Granite), or scale the sum (Gemma 4): both are
found, and `BlockLayout` keeps them.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resources.subject.normalization import is_normalization

if TYPE_CHECKING:
    import torch

HOOKS = (
    "hook_resid_pre", "ln1.hook_normalized", "attn.hook_z", "hook_attn_out", "hook_mixer_out", "hook_resid_mid", "hook_mlp_in",
    "ln2.hook_normalized", "mlp.hook_in", "mlp.hook_post", "hook_mlp_out", "hook_resid_post",
)  # fmt: skip
"""All hooks of a block, in the order of a pass."""

PROBE_TOKENS = ((11, 7, 19, 5, 13, 8), (6, 17, 9, 14, 10, 12))
"""Ids below every vocabulary's size, in two rows: a value that mixes rows is not the stream."""


class ProbeEnded(Exception):
    """Raised inside the forward pass to end it after the last loaded block."""


@dataclass(eq=False)
class Step:
    """One call of a module within a block: its path there, and the first tensors that went in and came out."""

    path: str
    module: Any
    came_in: "torch.Tensor | None"
    came_out: "torch.Tensor | None" = None
    ended_at: int = -1


@dataclass(eq=False)
class Trace:
    """All calls within one block in the order of their beginnings; the first is the call of the block itself."""

    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True)
class BlockLayout:
    """The hooks of one block, as module paths within the block, with ":input" or ":normalized" for values other than the output.

    `order` is "sequential", "parallel", "single" (one module alone adds to the stream) or "unknown". `scales` are constants: the outputs at
    `hook_attn_out`, `hook_mlp_out` and `hook_mixer_out` are multiplied by theirs before they are added, and the sum is multiplied by
    "stream". `mid_readers` are all modules that read `hook_resid_mid`.
    """

    hooks: Mapping[str, str]
    order: str
    scales: Mapping[str, float]
    mid_readers: tuple[str, ...] = ()


def first_tensor(value: Any) -> Any:
    """The value itself, or the first entry of a tuple, list or mapping of outputs."""
    if isinstance(value, Mapping):
        return next(iter(value.values()), None)
    return value[0] if isinstance(value, tuple | list) and len(value) else value


def given_tensor(args: tuple, named: Mapping[str, Any]) -> "tuple[int | str | None, Any]":
    """Index or name of the argument that a module works on, and its tensor; None for no tensor."""
    import torch

    if "hidden_states" in named and not (args and isinstance(args[0], torch.Tensor)):
        return "hidden_states", named["hidden_states"]
    for place, value in [*enumerate(args), *named.items()]:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return place, value
    return None, None


def block_layouts(model: Any, paths: Sequence[str]) -> list[BlockLayout]:
    """The layout of each of the blocks at `paths`, shallow to deep, from one pass that ends after the last of them."""
    return [_layout(trace) for trace in traces(model, paths)]


def traces(model: Any, paths: Sequence[str]) -> list[Trace]:
    """Inputs and outputs of every module within the blocks at `paths` on `PROBE_TOKENS`; of several calls the first."""
    import torch

    found = [Trace() for _ in paths]
    ids = torch.tensor(PROBE_TOKENS, device=model.get_input_embeddings().weight.device)
    with _traced(model, paths, found), torch.inference_mode(), suppress(ProbeEnded):
        model(input_ids=ids, use_cache=False)
    return found


@contextmanager
def _traced(model: Any, paths: Sequence[str], found: Sequence[Trace]) -> Iterator[None]:
    clock, handles = [0], []

    def watch(trace: Trace, path: str, module: Any, ends: bool) -> None:
        open_steps: list[Step] = []

        def begin(_module: Any, args: tuple, named: dict) -> None:
            open_steps.append(Step(path, module, _kept(given_tensor(args, named)[1])))
            if not any(step.path == path for step in trace.steps):
                trace.steps.append(open_steps[-1])

        def end(_module: Any, _args: Any, output: Any) -> None:
            clock[0] += 1
            step = open_steps.pop()
            step.came_out, step.ended_at = _kept(first_tensor(output)), len(trace.steps)
            if ends:
                raise ProbeEnded

        handles.append(module.register_forward_pre_hook(begin, with_kwargs=True))
        handles.append(module.register_forward_hook(end))

    for number, (path, trace) in enumerate(zip(paths, found, strict=True)):
        block = model.get_submodule(path)
        for inner, module in block.named_modules():
            watch(trace, inner, module, ends=not inner and number == len(paths) - 1)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _kept(value: Any) -> "torch.Tensor | None":
    import torch

    return value.detach().clone().cpu() if isinstance(value, torch.Tensor) and value.is_floating_point() else None


def _layout(trace: Trace) -> BlockLayout:
    block, *steps = trace.steps or [Step("", None, None)]
    pre, post = block.came_in, block.came_out
    if pre is None or post is None or pre.ndim != 3 or pre.shape != post.shape:
        return BlockLayout({}, "unknown", {})
    found = _Found()
    middle = _middle(pre, steps)
    readers: list[Step] = []
    if middle is not None:
        reader, parts = middle
        mid = _like(reader.came_in, pre)
        readers = _outermost([step for step in steps if _same(step.came_in, mid)])
        found.written(parts, steps, sole="attn")
        found.hooks |= {"hook_resid_mid": f"{reader.path}:input", "hook_mlp_in": f"{reader.path}:input", **_norm(readers, "ln2")}
        late = steps[steps.index(reader) :]
        added = _sum(mid, late, post)
        scale, added = (1.0, added) if added is not None else _scaled_sum(mid, late, post)
        found.scales["stream"] = scale
        order = "sequential" if added is not None else "unknown"
        found.written(added or _named(late), steps, sole="mlp")
        if "mlp.hook_in" not in found.hooks and "hook_mlp_out" in found.hooks and added is not None and len(added) == 1:
            found.hooks |= _read_by_layers(reader, late)
    else:
        added = _sum(pre, steps, post)
        order = "unknown" if added is None else "parallel" if len(added) > 1 else "single"
        found.written(added or _named(steps), steps)
        if order == "parallel":
            found.hooks |= _read_in_parallel(found.hooks, steps, pre)
    hooks = {"hook_resid_pre": ":input", **_norm(_outermost([s for s in steps if _same(s.came_in, pre)]), "ln1"), **found.hooks}
    order_of_hooks = {name: place for place, name in enumerate(HOOKS)}
    hooks = dict(sorted((hooks | {"hook_resid_post": ""}).items(), key=lambda item: order_of_hooks[item[0]]))
    return BlockLayout(hooks, order, found.scales, tuple(step.path for step in readers))


class _Found:
    """Hooks of the modules' additions to the stream, gathered sum by sum."""

    def __init__(self) -> None:
        self.hooks: dict[str, str] = {}
        self.scales: dict[str, float] = {}

    def written(self, parts: Sequence[tuple[Step, float]], steps: Sequence[Step], sole: str | None = None) -> None:
        """Note the outputs `parts` that are added, each times a constant; a part that is added alone gets the name `sole`."""
        kinds = [_kind(_before_its_norm(step, steps)) for step, _ in parts]
        for (step, scale), kind in zip(parts, kinds, strict=True):
            source = _before_its_norm(step, steps)
            if sole == "mlp" and len(parts) == 1 and kind == "mixer":
                kind = "mlp"
            if f"hook_{kind}_out" in self.hooks or kinds.count(kind) > 1:
                continue  # of two MLPs side by side neither is the whole addition
            self.hooks[f"hook_{kind}_out"], self.scales[f"hook_{kind}_out"] = step.path, scale
            last = _last_linear(source, steps)
            if kind == "attn" and last is not None:
                self.hooks["attn.hook_z"] = f"{last.path}:input"
            if kind == "mlp" and last is not None:
                self.hooks["mlp.hook_post"] = f"{last.path}:input"
            if kind == "mlp" and last is not source and source.came_in is not None and source.came_in.ndim == 3:
                self.hooks["mlp.hook_in"] = f"{source.path}:input"


def _middle(pre: "torch.Tensor", steps: Sequence[Step]) -> tuple[Step, list[tuple[Step, float]]] | None:
    """The first module that reads the stream after an addition, and the added outputs."""
    for place, step in enumerate(steps):
        if _like(step.came_in, pre) is None or _same(step.came_in, pre):
            continue
        before = [earlier for earlier in steps[:place] if 0 <= earlier.ended_at <= place + 1]
        parts = _sum(pre, before, _like(step.came_in, pre))
        if parts is not None:
            return step, parts
    return None


def _sum(base: "torch.Tensor", steps: Sequence[Step], total: "torch.Tensor") -> list[tuple[Step, float]] | None:
    """One or two outputs among `steps`, with constants, whose sum with `base` is `total`; None where there are none."""
    import torch

    outputs = [step for step in _distinct(steps) if _like(step.came_out, base) is not None and not _same(step.came_out, base)]
    values = [_like(step.came_out, base) for step in outputs]
    for step, value in zip(outputs, values, strict=True):
        if value.any() and torch.equal(base + value, total):
            return [(step, 1.0)]
    for count in (1, 2):
        for chosen in itertools.combinations(range(len(outputs)), count):
            scales = _combination(total.double() - base.double(), [values[i] for i in chosen], _rounding(base, total))
            if scales is not None:
                return [(outputs[i], scale) for i, scale in zip(chosen, scales, strict=True)]
    return None


def _scaled_sum(base: "torch.Tensor", steps: Sequence[Step], total: "torch.Tensor") -> tuple[float, list[tuple[Step, float]] | None]:
    """A constant and one or two outputs with constants, so that `total` = constant × (base + outputs); (1, None) where there are none."""
    outputs = [step for step in _distinct(steps) if _like(step.came_out, base) is not None and not _same(step.came_out, base)]
    for chosen in (*itertools.combinations(outputs, 1), *itertools.combinations(outputs, 2)):
        found = _combination(total.double(), [base, *(_like(step.came_out, base) for step in chosen)], _rounding(base, total))
        if found is not None:
            scale, *own = found
            return scale, [(step, 1.0 if abs(one - scale) < 1e-3 * scale else one / scale) for step, one in zip(chosen, own, strict=True)]
    return 1.0, None


def _combination(total: "torch.Tensor", values: "Sequence[torch.Tensor]", rounding: "torch.Tensor") -> list[float] | None:
    """Positive constants by which `values` sum to `total` up to rounding; None where there are none, or where rounding hides a value."""
    import torch

    wide = torch.stack([value.double().flatten() for value in values], dim=1)
    allowed = rounding.flatten() + 4 * _epsilon(values[0]) * wide.abs().sum(1)
    scales = torch.linalg.lstsq(wide / allowed[:, None], (total.flatten() / allowed)[:, None]).solution[:, 0]
    if not torch.isfinite(scales).all() or (scales <= 1e-4).any():
        return None
    if (scales - 1).abs().max() < 1e-3:
        scales = torch.ones_like(scales)
    if ((wide @ scales - total.flatten()).abs() > allowed).any():
        return None
    seen = (wide * scales).abs().median(0).values > 8 * allowed.median()
    return scales.tolist() if seen.all() else None


def _rounding(base: "torch.Tensor", total: "torch.Tensor") -> "torch.Tensor":
    """float64 Tensor: the possible rounding error of each entry of a sum."""
    return 4 * _epsilon(base) * (base.double().abs() + total.double().abs()) + 1e-30


def _epsilon(value: "torch.Tensor") -> float:
    import torch

    return torch.finfo(value.dtype).eps


def _named(steps: Sequence[Step]) -> list[tuple[Step, float]]:
    """The outermost attention and MLP by their names, where no sum tells them apart."""
    parts: dict[str, Step] = {}
    for step in _outermost([step for step in steps if step.came_out is not None and step.path]):
        parts.setdefault(_kind(step), step)
    return [(step, 1.0) for kind, step in parts.items() if kind != "mixer"]


def _kind(step: Step) -> str:
    """The kind of a module: "attn", "mlp" or "mixer" (neither), by the module's name, or else by its class."""
    name = step.path.rsplit(".", 1)[-1].lower()
    if re.search(r"norm", name) or re.search(r"mamba|conv|lstm|recurrent|ssm", f"{name} {type(step.module).__name__}".lower()):
        return "mixer"
    for text in (step.path.lower(), type(step.module).__name__.lower()):
        if re.search(r"att(entio)?n", text):
            return "attn"
        if re.search(r"mlp|feed_?forward|ffn|moe|fc2|experts|^ff$", text):
            return "mlp"
    return "mixer"


def _before_its_norm(step: Step, steps: Sequence[Step]) -> Step:
    """The module whose output the normalisation reads; for any other module the module itself."""
    if not is_normalization(step.module):
        return step
    sources = _outermost([other for other in steps if other is not step and _same(other.came_out, step.came_in)])
    return sources[0] if sources else step


def _last_linear(source: Step, steps: Sequence[Step]) -> Step | None:
    """The linear layer at the end of a module; None where the module does more after it (experts, gates)."""
    import torch
    from transformers.pytorch_utils import Conv1D

    prefix = f"{source.path}."
    own = [step for step in steps if step is source or step.path.startswith(prefix)]
    linear = (step for step in own if isinstance(step.module, torch.nn.Linear | Conv1D) and _same(step.came_out, source.came_out))
    return next(linear, None)


def _read_by_layers(reader: Step, late: Sequence[Step]) -> dict[str, str]:
    """Where an MLP reads of which a module within, or a bare linear layer, is added: the first module that reads what `reader` gives out.

    `reader` reads the stream after the attention; it is the MLP's own first layer where no normalisation comes before.
    """
    if not is_normalization(reader.module):
        return {"mlp.hook_in": f"{reader.path}:input"}
    first = [step for step in late if step is not reader and _same(step.came_in, reader.came_out)]
    return {"mlp.hook_in": f"{first[0].path}:input"} if first else {}


def _read_in_parallel(hooks: Mapping[str, str], steps: Sequence[Step], pre: "torch.Tensor") -> dict[str, str]:
    """Where an MLP beside the attention reads the stream: at the normalisation before the MLP, or at the MLP itself."""
    path = hooks.get("mlp.hook_in", "").removesuffix(":input")
    mlp = next((step for step in steps if step.path == path), None)
    if not path or mlp is None:
        return {}
    norms = [step for step in steps if _same(step.came_in, pre) and _same(step.came_out, mlp.came_in)]
    if not norms:
        return {"hook_mlp_in": f"{path}:input"} if _same(mlp.came_in, pre) else {}
    # Two norms with equal gains have equal outputs: the last norm before the MLP belongs to the MLP.
    own = max(norms, key=lambda step: step.ended_at)
    shared = len(_outermost([step for step in steps if _same(step.came_in, pre)])) == 1  # one norm before both is the attention's, ln1
    return {"hook_mlp_in": f"{own.path}:input", **({} if shared else _norm([own], "ln2"))}


def _norm(readers: Sequence[Step], name: str) -> dict[str, str]:
    """The hook of the value before gain and bias of a normalisation among `readers`; empty where there is no such module."""
    for step in readers:
        if is_normalization(step.module):
            return {f"{name}.hook_normalized": f"{step.path}:normalized"}
    return {}


def _outermost(steps: Sequence[Step]) -> list[Step]:
    """The modules among `steps` that lie within no other module of `steps`."""
    return [step for step in steps if not any(step.path.startswith(f"{other.path}.") for other in steps if other is not step)]


def _distinct(steps: Sequence[Step]) -> list[Step]:
    """Among modules with the same output, the outermost module that began first."""
    kept: list[Step] = []
    for step in steps:
        if step.came_out is not None and not any(_same(step.came_out, other.came_out) for other in kept):
            kept.append(step)
    return kept


def _like(value: "torch.Tensor | None", other: "torch.Tensor") -> Any:
    """The value in the shape of `other`, with rows and positions in one axis or in two; None where the sizes differ."""
    return None if value is None or value.shape[-1] != other.shape[-1] or value.numel() != other.numel() else value.reshape(other.shape)


def _same(value: "torch.Tensor | None", other: "torch.Tensor | None") -> bool:
    """Whether two values are equal, number by number, with rows and positions in one axis or in two."""
    import torch

    if value is None or other is None or value.dtype != other.dtype:
        return False
    alike = _like(value, other)
    return alike is not None and torch.equal(alike, other)
