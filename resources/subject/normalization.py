"""LayerNorms and RMSNorms of any family, recognised by their results: the value before gain and bias, and the gain itself."""

import copy
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def is_normalization(module: Any) -> bool:
    """Whether a module divides its input by its length or spread, times a gain, plus a bias. Tested on numbers, whatever the module's
    class."""
    import torch

    if epsilon_of(module) is None or any(True for _ in module.children()):
        return False
    weights = [weight for weight in module.parameters() if weight.ndim]
    if not weights or any(weight.ndim != 1 or weight.shape != weights[0].shape for weight in weights) or len(weights[0]) < 2:
        return False
    value = torch.linspace(-1.0, 2.0, len(weights[0]), device=weights[0].device).sin()[None] * 3
    try:
        with torch.inference_mode():
            wide = float32_copy(module)
            return bool(torch.allclose(wide(value), normalized(wide, value) * gain_of(wide) + _bias_of(wide), rtol=1e-4, atol=1e-4))
    except (RuntimeError, TypeError, ValueError):
        return False


def epsilon_of(module: Any) -> float | None:
    """The number that a normalisation adds before it divides; None for a module without such a number."""
    names = ("variance_epsilon", "eps", "epsilon", "norm_eps")
    return next((float(getattr(module, name)) for name in names if isinstance(getattr(module, name, None), float | int)), None)


def centres(module: Any) -> bool:
    """Whether a normalisation subtracts the mean: a LayerNorm does, an RMSNorm does not."""
    import torch

    if isinstance(module, torch.nn.LayerNorm) or "LayerNorm" not in type(module).__name__:
        return isinstance(module, torch.nn.LayerNorm)
    if module not in _CENTRES:
        _CENTRES[module] = _shift_is_lost(module)
    return _CENTRES[module]


_CENTRES: "weakref.WeakKeyDictionary[Any, bool]" = weakref.WeakKeyDictionary()


def _shift_is_lost(module: Any) -> bool:
    import torch

    with torch.inference_mode():
        wide = float32_copy(module)
        value = torch.linspace(-1.0, 2.0, _width_of(module), device=next(module.parameters()).device)[None]
        return bool(torch.allclose(wide(value), wide(value + 4.0), rtol=1e-3, atol=1e-3))


def normalized(module: Any, value: "torch.Tensor") -> "torch.Tensor":
    """The value as a LayerNorm or RMSNorm makes it before its gain and bias."""
    wide, epsilon = value.float(), epsilon_of(module)
    assert epsilon is not None, f"{type(module).__name__} is no normalisation"
    if centres(module):
        wide = wide - wide.mean(-1, keepdim=True)
    return (wide * (wide.pow(2).mean(-1, keepdim=True) + epsilon).rsqrt()).to(value.dtype)


def gain_of(module: Any) -> "torch.Tensor":
    """float32 Tensor[d]: the factor by which a LayerNorm or RMSNorm multiplies the normalised value, however its family stores it."""
    import torch

    with torch.inference_mode():
        # Entries of one size, half of them negative, are normalised to ±1 times a number; the difference removes a bias.
        width = _width_of(module)
        signs = torch.ones(width, device=next(module.parameters()).device)
        signs[width // 2 :] = -1
        wide = float32_copy(module)
        base = normalized(module, signs[None])[0]
        if width % 2 and centres(module):
            return module.weight.float()
        return (wide(signs[None])[0] - _bias_of(module)) / base


def _bias_of(module: Any) -> "torch.Tensor":
    import torch

    with torch.inference_mode():
        parameter = next(module.parameters())
        return float32_copy(module)(torch.zeros(1, _width_of(module), device=parameter.device))[0]


def _width_of(module: Any) -> int:
    return len(next(weight for weight in module.parameters() if weight.ndim == 1))


def float32_copy(module: Any) -> Any:
    """A copy of a small module with float32 weights, without hooks."""
    made = copy.copy(module)
    made._forward_hooks, made._forward_pre_hooks = OrderedDict(), OrderedDict()  # no deep copy: hooks hold the objects that they watch for
    return copy.deepcopy(made).float()
