"""Continues many prompts at once, each as if it were alone: with a cache of their beginnings, or text by text where no cache is exact.

    prompts ─▶ groups, padded on the left ─▶ cache of all but their last tokens ─▶ one token a pass       (`CachedPrefixes`)
    prompts ─▶ groups of equal length ─▶ the whole text a pass, neither padding nor cache                 (`WholePrefixes`)

Models that carry a state (Mamba, RWKV, linear attention) take padding for text, and some families count padding among their positions. A
model is tried once (`cache_is_exact`): the cache serves it if padded and cached passes say what plain passes of the same texts say.
"""

import copy
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from resources.subject.model import SubjectModel

if TYPE_CHECKING:
    import torch

Edit = Callable[[int], Any]
"""A context manager for a number n of tokens: while open, the last n tokens of each row are changed in a pass."""

TRIAL_LENGTHS = (3, 23, 12)
"""Tokens of the texts on which a cache is tried: short texts beside longer texts, to whose length they are padded."""

HALF_TOLERANCE, SINGLE_TOLERANCE = 0.05, 1e-4
"""Largest difference of cached from plain log-probabilities, as a share of the largest, in 16-bit and in float32 models."""


class Continuation(Protocol):
    """Sequences whose prefixes have been read."""

    def next_logits(self, tokens: "torch.Tensor | None" = None) -> "torch.Tensor":
        """float32 Tensor[n, vocabulary] after `tokens`, Tensor[n]; None: after the last tokens of the prompts."""
        ...


class Prefixes(Protocol):
    """Some prompts up to their last tokens. `members` [n] are the numbers of the prompts."""

    @property
    def members(self) -> np.ndarray: ...

    def continued(self, subject: SubjectModel, rows: "torch.Tensor", edit: Edit) -> Continuation:
        """The sequences at `rows`, Tensor[m] of indices into the members, changed by `edit` from their prompts' last tokens on."""
        ...


def prefixes_of(subject: SubjectModel, prompts: Sequence[np.ndarray], most_rows: int) -> tuple[Prefixes, ...]:
    """All `prompts`, token ids [length] of at least one token, in groups of at most `most_rows`."""
    if not len(prompts):
        return ()
    by_length = np.argsort([len(prompt) for prompt in prompts], kind="stable")
    if cache_is_exact(subject):
        groups = [by_length[first : first + most_rows] for first in range(0, len(prompts), most_rows)]
        return tuple(cached_prefixes(subject, members, [prompts[i] for i in members]) for members in groups)
    lengths = np.array([len(prompts[i]) for i in by_length])
    alike = np.split(by_length, np.flatnonzero(np.diff(lengths)) + 1)
    groups = [group[first : first + most_rows] for group in alike for first in range(0, len(group), most_rows)]
    return tuple(WholePrefixes(members, np.stack([prompts[i] for i in members])) for members in groups)


@dataclass(frozen=True, eq=False)
class CachedPrefixes:
    """Prompts without their last tokens, padded on the left and run through the model: the beginnings of all their continuations.

    `cache` holds their keys and values (None where no prompt has more than one token), `mask` Tensor[n, longest] says which entries are
    tokens, `last` Tensor[n] are the last tokens.
    """

    members: np.ndarray
    cache: Any
    mask: "torch.Tensor"
    last: "torch.Tensor"

    def continued(self, subject: SubjectModel, rows: "torch.Tensor", edit: Edit) -> "CachedContinuation":
        """See `Prefixes`."""
        return CachedContinuation(subject, self, rows, edit)


def cached_prefixes(subject: SubjectModel, members: np.ndarray, prompts: Sequence[np.ndarray]) -> CachedPrefixes:
    """Run `prompts` without their last tokens."""
    import torch
    from transformers import DynamicCache

    longest = max(len(prompt) for prompt in prompts) - 1
    ids, mask = np.zeros((len(prompts), longest), dtype=np.int64), np.zeros((len(prompts), longest), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        first = longest - (len(prompt) - 1)
        ids[row, first:], mask[row, first:] = prompt[:-1], 1
    device, model = subject.device, subject.model
    on_device = torch.from_numpy(mask).to(device)
    last = torch.tensor([int(prompt[-1]) for prompt in prompts], device=device)
    if not longest:
        return CachedPrefixes(members, None, on_device, last)
    cache = DynamicCache(config=model.config)
    positions = (on_device.cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        model(
            input_ids=torch.from_numpy(ids).to(device), attention_mask=on_device, position_ids=positions, past_key_values=cache,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
    return CachedPrefixes(members, cache, on_device, last)


class CachedContinuation:
    """Reads one token of each sequence a pass."""

    def __init__(self, subject: SubjectModel, prefixes: CachedPrefixes, rows: "torch.Tensor", edit: Edit) -> None:
        from transformers import DynamicCache

        self._model, self._edit = subject.model, edit
        self._mask, self._last = prefixes.mask[rows], prefixes.last[rows]
        if prefixes.cache is None:
            self._cache = DynamicCache(config=self._model.config)
        else:
            self._cache = copy.copy(prefixes.cache)
            # Selecting makes new tensors, so that the layers, copied without theirs, leave the prefixes' own as they are.
            self._cache.layers = [copy.copy(layer) for layer in prefixes.cache.layers]
            self._cache.batch_select_indices(rows)

    def next_logits(self, tokens: "torch.Tensor | None" = None) -> "torch.Tensor":
        """See `Continuation`."""
        import torch

        ids = self._last if tokens is None else tokens
        self._mask = torch.cat([self._mask, torch.ones_like(ids)[:, None]], dim=1)
        positions = self._mask.sum(1, keepdim=True) - 1
        with torch.inference_mode(), self._edit(1):
            output = self._model(
                input_ids=ids[:, None], attention_mask=self._mask, position_ids=positions, past_key_values=self._cache, use_cache=True
            )
        return output.logits[:, -1].float()


@dataclass(frozen=True, eq=False)
class WholePrefixes:
    """Prompts of one length, `prompts` [n, length]."""

    members: np.ndarray
    prompts: np.ndarray

    def continued(self, subject: SubjectModel, rows: "torch.Tensor", edit: Edit) -> "WholeContinuation":
        """See `Prefixes`."""
        import torch

        texts = torch.from_numpy(np.asarray(self.prompts, dtype=np.int64)).to(subject.device)
        return WholeContinuation(subject, texts[rows], edit)


class WholeContinuation:
    """Reads each sequence again from its beginning in every pass."""

    def __init__(self, subject: SubjectModel, texts: "torch.Tensor", edit: Edit) -> None:
        self._model, self._texts, self._edit, self._n_read = subject.model, texts, edit, 0

    def next_logits(self, tokens: "torch.Tensor | None" = None) -> "torch.Tensor":
        """See `Continuation`."""
        import torch

        if tokens is not None:
            self._texts = torch.cat([self._texts, tokens[:, None]], dim=1)
        self._n_read += 1
        with torch.inference_mode(), self._edit(self._n_read):
            return self._model(input_ids=self._texts, use_cache=False).logits[:, -1].float()


def cache_is_exact(subject: SubjectModel) -> bool:
    """Whether padded prompts with a cache continue like the same prompts alone without a cache; tried once a model."""
    if subject not in _TRIED:
        _TRIED[subject] = not getattr(subject.model, "_is_stateful", False) and _cache_agrees(subject)
    return _TRIED[subject]


_TRIED: "weakref.WeakKeyDictionary[SubjectModel, bool]" = weakref.WeakKeyDictionary()


def _cache_agrees(subject: SubjectModel) -> bool:
    """One step after each of three texts of unequal lengths, and one more step, cached and plain."""
    import torch

    limit = subject.context_limit or max(TRIAL_LENGTHS)
    texts = [np.arange(5, 5 + min(length, limit - 1)) % 17 + 3 for length in TRIAL_LENGTHS]
    order = (2, 0, 1, 1)  # a cache is of no use if its rows cannot be chosen and repeated
    after = torch.full((len(order),), 9, device=subject.device)
    try:
        rows = torch.tensor(order, device=subject.device)
        together = cached_prefixes(subject, np.arange(len(texts)), texts).continued(subject, rows, lambda _tokens: nullcontext())
        found = torch.stack([together.next_logits().log_softmax(-1), together.next_logits(after).log_softmax(-1)], dim=1)
    except (TypeError, ValueError, AttributeError, RuntimeError, KeyError, IndexError):
        return False  # the family's own code takes no such cache, mask or positions
    for row, place in zip(found, order, strict=True):
        whole = torch.from_numpy(np.append(texts[place], 9)).to(subject.device)[None]
        with torch.inference_mode():
            expected = subject.model(input_ids=whole, use_cache=False).logits[0, -2:].float().log_softmax(-1)
        tolerance = HALF_TOLERANCE if subject.model.dtype.itemsize < 4 else SINGLE_TOLERANCE
        if not (row - expected).abs().max() <= tolerance * expected.abs().max():
            return False
    return True
