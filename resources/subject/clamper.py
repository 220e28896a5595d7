"""Clamping: the subject model with a feature held at a value on every token of some windows, and the change of its logits.

    windows ─▶ blocks before the hook, once ─▶ value at the hook, encoded once ─┐
    each (feature, value): decoder row added ─▶ the blocks after it ─▶ mean over tokens, less the clean one ─▶ unembedding ─▶ logits

The intervention encodes the hook's value, sets the feature, decodes, and adds back the error of the unchanged reconstruction. For a
decoder that is linear in its features only the change remains: the value at `output_hook` gains (value - encoded activation) × decoder
row (× the value's own scale, for autoencoders that normalise it). The code adds this change directly. A feature that writes at several
hooks changes each by its own row, by the activations of the clean model.

Logits are linear in the input of the unembedding, so their mean over tokens is the unembedding of a mean: one product a feature instead
of one a token. Some models change their logits further (Gemma 2 caps them): the first window shows this, and the logits are averaged.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resources.dictionaries.interface import Dictionary, read_hooks, rows_by_hook, side_by_side, written_hooks
from resources.subject.hook_edits import Read, Written, added, all_written_points, edited, reading
from resources.subject.hook_points import blocks_before
from resources.subject.model import SubjectModel
from resources.subject.unembedding import Unembedding

if TYPE_CHECKING:
    import torch

LOGIT_BYTES = 256 << 20
"""Largest size of the logits of one batch, in float32, where logits are averaged one by one. Unit: bytes."""


class _UnembeddingReached(Exception):
    """Raised inside the forward pass to end it: the output of the unembedding is not needed token by token."""


@dataclass(frozen=True, eq=False)
class _Clean:
    """The clean model on the windows.

    `sums`, float64 Tensor[windows, outputs], are over the counted tokens. `activations` has all features' activations on the values at the
    hook; `scale` is these values' Tensor[windows, length, 1], or 1.0. `block_output` is the output of the last block before the hook.
    """

    sums: "torch.Tensor"
    activations: Any
    scale: Any
    block_output: Any


class Clamper:
    """Clamps features of one dictionary on the same windows. The clean model runs on the windows once; the blocks before the hook run only
    then.

    `windows` are token ids [windows, length]. Logits are averaged over the tokens from `first_counted` on; tokens before it (BOS) are
    clamped too if `clamps_all`. At most `batch_rows` windows go through the model together. Raises `UnknownHook` for hooks that the model
    does not have, and `DictionaryError` for a decoder that does not fit `output_hook`, or that writes before the dictionary reads. Raises
    `ContextTooLong` for windows longer than the model reads.
    """

    def __init__(
        self,
        subject: SubjectModel,
        dictionary: Dictionary,
        windows: np.ndarray,
        first_counted: int = 0,
        clamps_all: bool = False,
        batch_rows: int = 128,
    ) -> None:
        import torch

        assert windows.ndim == 2 and len(windows) and windows.shape[1] > first_counted, (windows.shape, first_counted)
        subject.refuse_long_context(windows.shape[1])
        self._subject, self._batch_rows, self._first = subject, batch_rows, first_counted
        self._dictionary = dictionary.to(subject.device)
        self._written = all_written_points(subject, written_hooks(dictionary))
        self._windows = torch.as_tensor(np.asarray(windows, dtype=np.int64)).to(subject.device)
        self._clamped = torch.ones(windows.shape[1], device=subject.device)
        self._clamped[: 0 if clamps_all else first_counted] = 0
        before = [blocks_before(to.point, subject.block_paths) for to in self._written]
        self._blocks = [subject.model.get_submodule(path) for path in min(before, key=len)]
        self._unembedding = self._linear_unembedding()
        self._clean = self._run_clean()
        if self._blocks and not self._resumes():
            self._blocks = []

    @property
    def n_positions(self) -> int:
        """Tokens that logits are averaged over."""
        return len(self._windows) * (self._windows.shape[1] - self._first)

    @property
    def vocabulary_size(self) -> int:
        return int(self._subject.model.config.get_text_config().vocab_size)

    def mean_changes(self, features: np.ndarray, values: np.ndarray) -> "torch.Tensor":
        """float32 Tensor[n, vocabulary]: mean over tokens of the logits with each feature clamped to its value, less the clean logits.

        `features` and `values` are [n], n > 0. NaN or infinite where the model overflows.
        """
        import torch

        device, n_windows = self._subject.device, len(self._windows)
        rows = torch.stack([self._dictionary.decoder_row(feature).float() for feature in np.asarray(features).tolist()]).to(device)
        wanted = torch.as_tensor(np.asarray(values, dtype=np.float32)).to(device)
        distinct, place = np.unique(features, return_inverse=True)
        own, place = self._activations_of(distinct), torch.from_numpy(place).to(device)
        sums = torch.zeros(len(rows), self._clean.sums.shape[1], dtype=torch.float64, device=device)
        for part in torch.arange(len(rows) * n_windows, device=device).split(self._rows_at_once):
            clamp, window = part // n_windows, part % n_windows
            amount = (wanted[clamp, None] - own[place[clamp], window]) * self._clamped
            scale = self._clean.scale[window] if isinstance(self._clean.scale, torch.Tensor) else self._clean.scale
            written = rows_by_hook(self._dictionary, rows[clamp, None])

            def change(to: Written, amount: Any = amount, written: Any = written, scale: Any = scale) -> "torch.Tensor":
                return amount[..., None] * written[to.place] * scale

            with added(self._subject, self._written, change), self._resumed(window):
                sums.index_add_(0, clamp, self._summed_outputs(self._windows[window]) - self._clean.sums[window])
        means = (sums / self.n_positions).float()
        return self._unembedding.logits(means) if self._unembedding else means

    @property
    def _rows_at_once(self) -> int:
        by_logits = max(LOGIT_BYTES // (4 * self._windows.shape[1] * self.vocabulary_size), 1)
        return self._batch_rows if self._unembedding else min(by_logits, self._batch_rows)

    def _run_clean(self) -> _Clean:
        import torch

        hooks = read_hooks(self._dictionary)
        reads = [self._subject.resolve_hook(hook) for hook in hooks]
        nothing = torch.zeros_like(self._dictionary.decoder_row(0), dtype=torch.float32, device=self._subject.device)
        values: dict[str, list[torch.Tensor]] = {hook: [] for hook in hooks}
        ends: list[Any] = []

        def unchanged(read: Read, to: Written) -> "torch.Tensor":
            rows, tokens = next(iter(read.values())).shape[:2]
            return rows_by_hook(self._dictionary, nothing)[to.place].expand(rows, tokens, -1)

        def keep(hook: str, value: "torch.Tensor") -> "torch.Tensor":
            values[hook].append(value)
            return value

        handles = [block.register_forward_hook(lambda _module, _inputs, output: ends.append(output)) for block in self._blocks[-1:]]
        try:
            for hook, read in zip(hooks, reads, strict=True):
                handles.append(reading(self._subject, read, lambda value, hook=hook: keep(hook, value)))
            with edited(self._subject, reads, self._written, unchanged):
                sums = torch.cat([self._summed_outputs(part) for part in self._windows.split(self._rows_at_once)])
        finally:
            for handle in handles:
                handle.remove()
        contexts = side_by_side(hooks, {hook: torch.cat(parts) for hook, parts in values.items()})
        x = contexts.flatten(0, 1)
        given = contexts if getattr(self._dictionary, "whole_contexts", False) else x
        with torch.inference_mode():
            scale_of = getattr(self._dictionary, "output_scale", None)
            scale: Any = 1.0 if scale_of is None else scale_of(x)
            if isinstance(scale, torch.Tensor):
                scale = scale.view(*self._windows.shape, 1)
            return _Clean(sums, self._dictionary.encode(given), scale, _joined(ends))

    def _activations_of(self, features: np.ndarray) -> "torch.Tensor":
        """float32 Tensor[n, windows, length]: activations of distinct features [n], ascending, on the clean windows."""
        import torch

        found, device = self._clean.activations, self._subject.device
        wanted = torch.from_numpy(features.astype(np.int64)).to(device)
        here = torch.isin(found.feature, wanted)
        dense = torch.zeros(len(wanted), self._windows.numel(), device=device)
        dense[torch.searchsorted(wanted, found.feature[here]), found.token[here]] = found.value[here].float()
        return dense.view(-1, *self._windows.shape)

    def _linear_unembedding(self) -> Unembedding | None:
        """The unembedding without biases, if its output is the logits; None if the model changes the output further."""
        import torch

        layer = self._subject.model.get_output_embeddings()
        if type(layer) is not torch.nn.Linear:
            return None
        outputs: list[Any] = []
        handle = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        try:
            with torch.inference_mode():
                logits = self._subject.model(input_ids=self._windows[:1], use_cache=False).logits
        finally:
            handle.remove()
        return Unembedding(layer.weight, None, None) if torch.equal(logits.float(), outputs[0].float()) else None

    def _summed_outputs(self, token_ids: "torch.Tensor") -> "torch.Tensor":
        """float64 Tensor[rows, outputs]: sums over the counted tokens of the input of the unembedding, or of the logits themselves."""
        import torch

        read: list[torch.Tensor] = []

        def end(_module: Any, inputs: tuple, named: dict) -> None:
            read.append(inputs[0] if inputs else named["input"])
            raise _UnembeddingReached

        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self._unembedding:
                layer = self._subject.model.get_output_embeddings()
                assert layer is not None
                stack.callback(layer.register_forward_pre_hook(end, with_kwargs=True).remove)
                stack.enter_context(suppress(_UnembeddingReached))
            read.append(self._subject.model(input_ids=token_ids, use_cache=False).logits.float())
        with torch.inference_mode():
            return read[0][:, self._first :].sum(1, dtype=torch.float64)

    def _resumes(self) -> bool:
        """Whether a pass without the blocks before the hook gives the same results on the first window.

        In some families later blocks need more than the stream from these blocks, such as keys that layers share.
        """
        import torch

        first = torch.zeros(1, dtype=torch.long, device=self._subject.device)
        try:
            with self._resumed(first):
                found = self._summed_outputs(self._windows[first])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError):
            return False
        expected = self._clean.sums[first]
        tolerance = 0.05 if self._subject.model.dtype.itemsize < 4 else 1e-4
        return bool((found - expected).abs().max() <= tolerance * expected.abs().max())

    @contextmanager
    def _resumed(self, window: "torch.Tensor") -> Iterator[None]:
        """While open, the blocks before the hook return at once the stored output of the last of these blocks for the windows
        Tensor[rows]."""
        held, before = self._clean.block_output, [block.__dict__.get("forward") for block in self._blocks]
        if held is not None:
            held = type(held)([held[0][window], *held[1:]]) if isinstance(held, tuple | list) else held[window]
        try:
            for block in self._blocks:
                block.forward = lambda *args, **named: held
            yield
        finally:
            for block, forward in zip(self._blocks, before, strict=True):
                del block.forward
                if forward is not None:
                    block.forward = forward


def _joined(outputs: list[Any]) -> Any:
    """The outputs of a block on all batches as one: Tensor[rows, tokens, d], or a tuple that begins with it; None for no batches."""
    import torch

    if not outputs:
        return None
    if isinstance(outputs[0], tuple | list):
        return type(outputs[0])([torch.cat([output[0] for output in outputs]), *outputs[0][1:]])
    return torch.cat(outputs)
