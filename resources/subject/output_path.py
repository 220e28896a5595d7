"""The path from the last block to the logits, found from the values of one short pass: normalisation, projection, unembedding, constants.

last block ─▶ [norm] ─▶ [projection] ─▶ × constant ─▶ unembedding ─▶ × constant ─▶ [soft cap] ─▶ logits
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.subject.block_layout import PROBE_TOKENS, first_tensor, given_tensor

if TYPE_CHECKING:
    import torch

SOFT_CAPS_OF_LOGITS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Entries of a configuration that bound the logits by an increasing function. The order of the logits stays."""


@dataclass(frozen=True, eq=False)
class OutputPath:
    """`modules` lie between the last block and the unembedding, in order. Their result is multiplied by `before`, and the output of the
    unembedding by `after`; `capped` says that the logits are bounded after that."""

    modules: tuple[Any, ...]
    before: float
    after: float
    capped: bool


def output_path(model: Any, last_block: str) -> OutputPath | None:
    """The path after the block at `last_block`.

    None where the input of the unembedding does not come from the block's output by modules one after another, or the logits do not come
    from the output of the unembedding.
    """
    import torch

    head = model.get_output_embeddings()
    if head is None or not isinstance(getattr(head, "weight", None), torch.Tensor):
        return None
    calls: list[tuple[Any, torch.Tensor, torch.Tensor]] = []
    ends: list[torch.Tensor] = []
    handles = [model.get_submodule(last_block).register_forward_hook(lambda _m, _i, output: ends.append(first_tensor(output)))]

    def keep(module: Any, args: tuple, named: dict, output: Any) -> None:
        given, made = given_tensor(args, named)[1], first_tensor(output)
        if ends and given is not None and isinstance(made, torch.Tensor):
            calls.append((module, given, made))

    ancestors = {last_block.rsplit(".", n)[0] for n in range(last_block.count(".") + 1)} | {""}
    outside = [m for path, m in model.named_modules() if path not in ancestors and not path.startswith(last_block.rsplit(".", 1)[0])]
    handles += [module.register_forward_hook(keep, with_kwargs=True) for module in outside]
    ids = torch.tensor(PROBE_TOKENS, device=model.get_input_embeddings().weight.device)
    try:
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    own = [call for call in calls if call[0] is head]
    if not own or not ends:
        return None
    _, read, made = own[-1]
    cap = soft_cap_of_logits(model.config.get_text_config())
    after, capped = _factor(made, logits if cap is None else _uncapped(logits, cap)), cap is not None
    if after is not None and cap is not None and abs(after - 1) <= 8 * torch.finfo(made.dtype).eps:
        after = 1.0  # what is left of the cap's bend and of rounding
    found = _way(ends[-1], read, [call for call in calls if call[0] is not head])
    if found is None or (after is None and not capped):
        return None
    return OutputPath(found[0], found[1], 1.0 if after is None else after, capped)


def soft_cap_of_logits(config: Any) -> float | None:
    """The bound of the logits, c tanh(logit / c), of a text configuration; None without a bound."""
    found = (getattr(config, name, None) for name in SOFT_CAPS_OF_LOGITS)
    return next((float(cap) for cap in found if cap), None)


def _uncapped(logits: "torch.Tensor", cap: float) -> "torch.Tensor":
    """The logits before a soft cap, as far as numbers of their type tell: next to the cap they do not."""
    inside = (logits.double() / cap).clamp(-1 + 1e-9, 1 - 1e-9)
    return (cap * inside.atanh()).to(logits.dtype)


def _way(start: "torch.Tensor", end: "torch.Tensor", calls: list) -> tuple[tuple[Any, ...], float] | None:
    """Modules that lead from one value to another, and the constant that multiplies the last module's output."""
    import torch

    if (factor := _factor(start, end)) is not None:
        return (), factor
    for module, given, made in reversed(calls):
        factor = _factor(made, end)
        if factor is None:
            continue
        if given.shape == start.shape and torch.equal(given, start):
            return (module,), factor
        earlier = _way(start, given, calls[: next(i for i, call in enumerate(calls) if call[2] is made)])
        if earlier is not None and earlier[1] == 1.0:
            return (*earlier[0], module), factor
    return None


def _factor(value: "torch.Tensor", other: "torch.Tensor") -> float | None:
    """The positive constant by which `value` gives `other`; None where there is no such constant."""
    import torch

    if value.shape[-1] != other.shape[-1] or value.numel() != other.numel():
        return None
    value, other = value.reshape(other.shape), other
    if torch.equal(value.to(other.dtype), other):
        return 1.0
    a, b = value.double().flatten(), other.double().flatten()
    factor = float((a @ b) / (a @ a).clamp(min=1e-30))
    allowed = 8 * torch.finfo(value.dtype).eps
    return factor if factor > 0 and (b - factor * a).abs().max() <= allowed * b.abs().max() else None
