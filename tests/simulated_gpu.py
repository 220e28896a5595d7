"""A GPU that is not there: tensors that say they are on `cuda:0`, refuse what a GPU refuses, and reach the CPU late.

It finds the faults of device code that need no card to be found: tensors of two devices in one operation, NumPy asked for a tensor that is
on the GPU, a result read before its asynchronous copy has arrived. The numbers are those of the CPU, since that is where they are computed.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten
GPU = torch.device("cuda", 0)


class OnGpu(torch.Tensor):
    """A tensor on the GPU; `inner` holds its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "OnGpu":
        place = {"strides": inner.stride(), "storage_offset": inner.storage_offset()} if inner.layout == torch.strided else {}
        self = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, dtype=inner.dtype, layout=inner.layout, device=GPU, **place
        )
        self.inner = inner
        return self

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnGpu({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} of a tensor on a simulated GPU outside `simulated_gpu()`")


class _WithoutCuda(TorchFunctionMode):
    """What PyTorch asks CUDA's runtime for before an operation comes to be dispatched: which card "cuda" means, and to go there."""

    def __init__(self, gpu: "SimulatedGpu") -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.copy_ and any(isinstance(one, OnGpu) for one in args):
            return self._gpu.copy(*args, **kwargs)
        if func is torch.device:
            return func(*args, **kwargs)
        if func in READ_BY_PYTHON:
            return func(args[0].cpu())
        if func in GOES_THERE and any(isinstance(one, OnGpu) for one in tree_flatten((args, kwargs))[0]):
            return _there(func, args, kwargs)
        return func(*map(_numbered, args), **{name: _numbered(value) for name, value in kwargs.items()})


READ_BY_PYTHON = {
    torch.Tensor.tolist, torch.Tensor.__float__, torch.Tensor.__int__, torch.Tensor.__index__, torch.Tensor.__bool__,
}  # fmt: skip
GOES_THERE = {
    torch.Tensor.__getitem__, torch.Tensor.__setitem__, torch.Tensor.contiguous, torch.Tensor.nonzero, torch.nonzero,
    torch.sparse_coo_tensor,
}  # fmt: skip


def _there(func: Any, args: Any, kwargs: Any) -> Any:
    """One of GOES_THERE, on a tensor of the GPU or with one. Its indices may be on either device, its values may not."""
    tensors = [one for one in args if isinstance(one, torch.Tensor)]
    if func is torch.Tensor.__getitem__ or func is torch.Tensor.__setitem__:
        if not isinstance(args[0], OnGpu) and any(isinstance(one, OnGpu) for one in tree_flatten(args[1])[0]):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        tensors = [one for one in (args[0], *args[2:]) if isinstance(one, torch.Tensor)]
    _refuse_two_devices(func, tensors)
    found = func(*tree_map(_inner, args), **kwargs)
    return tree_map(lambda one: OnGpu(one) if isinstance(one, torch.Tensor) else one, found)


def _numbered(one: Any) -> Any:
    return GPU if isinstance(one, str | torch.device) and str(one) == "cuda" else one


def _inner(one: Any) -> Any:
    return one.inner if isinstance(one, OnGpu) else one


def _refuse_two_devices(func: Any, tensors: list[torch.Tensor]) -> None:
    """Raise as a GPU does where tensors of two devices meet; a number (no dimensions) may come from the CPU."""
    on_cpu = [one for one in tensors if not isinstance(one, OnGpu) and one.dim()]
    if on_cpu and any(isinstance(one, OnGpu) for one in tensors):
        places = ", ".join(f"{tuple(one.shape)} on {one.device}" for one in tensors)
        raise RuntimeError(f"Expected all tensors to be on the same device: {func} got {places}")


class _ByWayOf(TorchDispatchMode):
    """Every operation of a thread goes through the GPU."""

    def __init__(self, gpu: "SimulatedGpu") -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._gpu.run(func, args, dict(kwargs or {}))


class SimulatedGpu:
    """What operations go through while the GPU is there.

    `late` counts the asynchronous copies to the CPU, `n_operations` what ran on the GPU.
    """

    def __init__(self) -> None:
        self.late = 0
        self.n_operations = 0
        self._pinned = WeakTensorKeyDictionary()
        self._under_way: list[tuple[torch.Tensor, torch.Tensor]] = []

    def synchronize(self, *_: object) -> None:
        """Let what is on its way to the CPU arrive."""
        for target, values in self._under_way:
            target.copy_(values)
        self._under_way.clear()

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operation's result, on the device that its arguments or its `device` say. Raises as a GPU does where they do not agree."""
        if func is aten._fused_sdp_choice.default:
            return 0  # the fused kernels of a GPU are none of the CPU's
        if func is aten.is_pinned.default:
            return args[0] in self._pinned
        if func is aten._pin_memory.default:
            return self._pin(args[0].clone())
        if func is aten.copy_.default:
            return self.copy(*args, **kwargs)
        if func is aten._to_copy.default:
            return self._moved(*args, **kwargs)
        tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
        device, pinned = kwargs.get("device"), kwargs.pop("pin_memory", False)
        on_gpu = torch.device(device).type == "cuda" if device is not None else any(isinstance(one, OnGpu) for one in tensors)
        if device is not None:
            kwargs["device"] = torch.device("cpu")
        _refuse_two_devices(func, tensors)
        if func is aten._local_scalar_dense.default and on_gpu:
            self.synchronize()
        wrappers = {id(one.inner): one for one in tensors if isinstance(one, OnGpu)}
        made = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        self.n_operations += on_gpu
        if pinned:
            return self._pin(made)

        def wrapped(one: Any) -> Any:
            if not on_gpu or not isinstance(one, torch.Tensor):
                return one
            return wrappers[id(one)] if id(one) in wrappers else OnGpu(one)

        return tree_map(wrapped, made)

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        self._pinned[tensor] = True
        return tensor

    def _moved(self, source: torch.Tensor, device: Any = None, non_blocking: bool = False, pin_memory: bool = False, **how: Any) -> Any:
        made = aten._to_copy.default(_inner(source), **how)
        if isinstance(source, OnGpu) if device is None else torch.device(device).type == "cuda":
            return OnGpu(made)
        return self._arriving(made, made.clone(), non_blocking) if isinstance(source, OnGpu) else made

    def copy(self, target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        if isinstance(source, OnGpu) and not isinstance(target, OnGpu):
            return self._arriving(target, source.inner.to(target.dtype).clone(), non_blocking and target in self._pinned)
        _inner(target).copy_(_inner(source))
        return target

    def _arriving(self, target: torch.Tensor, values: torch.Tensor, late: bool) -> torch.Tensor:
        """A tensor of the CPU that holds `values`: once synchronised if `late`, and garbage before."""
        self.late += late
        self._under_way.append((target, values))
        if late:
            target.fill_(torch.nan if target.is_floating_point() else True if target.dtype == torch.bool else torch.iinfo(target.dtype).max)
        else:
            self.synchronize()
        return target


@contextmanager
def simulated_gpu() -> Iterator[SimulatedGpu]:
    """A GPU as long as the context is open: what moves to "cuda" there is an `OnGpu`."""
    gpu = SimulatedGpu()

    class Stream:
        synchronize = staticmethod(gpu.synchronize)

    there = {
        "is_available": lambda: True, "device_count": lambda: 1, "current_device": lambda: 0, "_lazy_init": lambda: None,
        "synchronize": gpu.synchronize, "current_stream": lambda *_: Stream, "empty_cache": lambda: None, "is_initialized": lambda: True,
        "get_device_name": lambda *_: "simulated", "mem_get_info": lambda *_: (1 << 35, 1 << 35),
    }  # fmt: skip
    run = threading.Thread.run

    def run_there(thread: threading.Thread) -> None:
        with _WithoutCuda(gpu), _ByWayOf(gpu):
            run(thread)

    lifts, overwrites = torch._C._only_lift_cpu_tensors(), torch.__future__.get_overwrite_module_params_on_conversion()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device="cuda") makes a tensor of the CPU and moves it
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a module's .to() takes new parameters
    try:
        # Tensors made in inference mode cannot be views of others of a subclass.
        with (
            patch.multiple(torch.cuda, **there),
            patch("torch.inference_mode", torch.no_grad),
            patch.object(threading.Thread, "run", run_there),
            _WithoutCuda(gpu),
            _ByWayOf(gpu),
        ):
            yield gpu
    finally:
        torch._C._set_only_lift_cpu_tensors(lifts)
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
