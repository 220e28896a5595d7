"""One forward pass over a token sample for all dictionaries that read it, its sparse activations spilled to disk."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import HarvestSettings
from interp_assets.reading.token_sample import TokenSample
from resources.dictionaries import DictionaryError, checked_hooks, read_hooks, refuse_bad_dictionary, side_by_side, written_hooks
from resources.dictionaries.temporal import AtTokens
from resources.prefetch import prefetched
from resources.progress import Progress
from resources.store.activation_spill import ActivationSpill
from resources.subject.hook_points import ContextTooLong, UnknownFamily, UnknownHook

if TYPE_CHECKING:
    from resources.subject.model import SparseBatch

FLUSH_SECONDS = 20.0
"""A killed harvest repeats at most this much. Unit: seconds."""

REPORT_SECONDS = 10.0
KEPT_BYTES = 256 << 20
"""Most bytes of hook values that the self-checks leave for the first batch of the pass."""


@dataclass(frozen=True)
class LoadedDictionary:
    """A dictionary with its record and the measurements of the self-check on the first contexts of the sample.

    `agreement` is the `Agreement` of a dictionary that writes a share of the value, None for any other.
    """

    record: DictionaryRecord
    dictionary: Any
    l0: float
    fvu: float | None
    agreement: Any = None


def dictionary_of(record: DictionaryRecord, models: Any) -> Any:
    """A record's dictionary on the CPU. It is read before its model, since it says how deep the model is needed. Raises `UserError`."""
    try:
        return models.dictionary(kind=record.kind, **record.loader_fields, device="cpu")
    except DictionaryError as error:
        raise UserError(f"{record.key}: {error}") from None


def weight_bytes(dictionary: Any) -> int:
    """Bytes of a dictionary's tensors, of those in its parts too; 0 for a dictionary without tensors, such as neurons."""
    import torch

    parts = getattr(dictionary, "__dict__", {}).values()
    return sum(
        one.numel() * one.element_size() if isinstance(one, torch.Tensor) else weight_bytes(one) if is_dataclass(one) else 0
        for one in parts
    )


def memory_for_dictionaries(settings: HarvestSettings) -> int:
    """Bytes that the weights of dictionaries that are harvested together may have: the setting, or half of the memory of this machine, or
    of its GPU where that is less. The whole memory is counted, and not what is free at the moment, so that a run that continues another
    makes the same passes."""
    if settings.dictionaries_gib is not None:
        return int(settings.dictionaries_gib * (1 << 30))
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        with contextlib.suppress(OSError, ValueError):
            memory = min(memory, int(limit.read_text()))
    if torch.cuda.is_available():
        memory = min(memory, torch.cuda.mem_get_info()[1])
    return memory // 2


def hooks_of(dictionaries: Iterable[Any]) -> tuple[str, ...]:
    """All hooks that dictionaries read and write: they say how deep a harvest with its self-check runs."""
    return tuple(sorted({hook for dictionary in dictionaries for hook in checked_hooks(dictionary)}))


def notes_of(dictionary: Any) -> tuple[str, ...]:
    """Sentences that a dictionary's files give reason for, such as that it was trained on some positions alone; none for most."""
    return tuple(getattr(dictionary, "notes", ()))


def checked_dictionary(
    subject: Any,
    sample: TokenSample,
    record: DictionaryRecord,
    dictionary: Any,
    settings: HarvestSettings,
    probed: dict[str, Any] | None = None,
) -> LoadedDictionary:
    """A record's dictionary, checked on real activations before the long pass, on the subject's device.

    `probed` are values by hook of the first contexts, or of more contexts. Earlier self-checks on the same sample and subject have left
    them there, and this one leaves its own: dictionaries at one hook share a pass.
    Raises with the measured numbers when the dictionary explains less than nothing or contradicts its record.
    """
    import torch

    probe = sample.tokens[: settings.self_check_rows]
    ordinary = torch.from_numpy(sample.is_text()[: len(probe)] & ~np.isin(probe, list(subject.special_token_ids)))
    try:
        subject.resolve_hook(record.hook)
        dictionary = dictionary.to(subject.device)
        found = {} if probed is None else probed
        if left := [hook for hook in checked_hooks(dictionary) if hook not in found]:
            found |= subject.hook_values(probe, left)
        probes = {hook: found[hook][: len(probe)] for hook in checked_hooks(dictionary)}
        values = {hook: value[ordinary.to(subject.device)].float() for hook, value in probes.items()}
        x, y = (side_by_side(hooks, values) for hooks in (read_hooks(dictionary), written_hooks(dictionary)))
        checked: Any = dictionary
        if getattr(dictionary, "whole_contexts", False):
            checked = AtTokens(dictionary, probes[dictionary.hook].float(), ordinary.to(subject.device))
        check = refuse_bad_dictionary(checked, x, y, values)
    except (DictionaryError, UnknownHook, UnknownFamily, ContextTooLong) as error:
        raise UserError(f"{record.key}: {error}") from None
    return LoadedDictionary(record, dictionary, check.l0, check.fvu, check.agreement)


def first_batch(subject: Any, sample: TokenSample, dictionaries: Iterable[Any], settings: HarvestSettings) -> dict[str, Any]:
    """Values by hook, Tensor[contexts, tokens, d], of the first batch of contexts, for the self-checks of all dictionaries and the pass.

    They are of one forward pass. Empty where they may have more than KEPT_BYTES, where a self-check reads more contexts than a batch has,
    and where some hook is refused: then each self-check makes a pass, and its dictionary fails alone.
    """
    dictionaries = list(dictionaries)
    hooks, batch = hooks_of(dictionaries), sample.tokens[: settings.batch_rows]
    widest = max((one.d_in for one in dictionaries), default=0)
    if settings.self_check_rows > settings.batch_rows or 4 * widest * batch.size * len(hooks) > KEPT_BYTES:
        return {}
    try:
        return subject.hook_values(batch, hooks)
    except (UnknownHook, UnknownFamily, ContextTooLong):
        return {}


def spill_activations(
    subject: Any,
    sample: TokenSample,
    loaded: Mapping[str, LoadedDictionary],
    spill: ActivationSpill,
    settings: HarvestSettings,
    say: Callable[[str], None],
    on_progress: Callable[[Progress], None],
    first_values: Mapping[str, Any] | None = None,
) -> None:
    """Run the subject once over the contexts that `spill` does not hold yet, and spill the activations of every dictionary.

    `first_values` are the values of `first_batch`: the pass begins after it.
    """
    done, (total, context) = spill.rows_done, sample.tokens.shape
    is_text = sample.is_text()
    masked = (~is_text & ~np.isin(sample.tokens, list(subject.special_token_ids))).any()  # the subject leaves special tokens out itself
    counted = is_text if masked else None
    if done:
        say(f"continuing at context {done} of {total}")
    started = reported = flushed = time.monotonic()
    last_name = list(loaded)[-1]
    batches = subject.sparse_activations(
        sample.tokens,
        {key: item.dictionary for key, item in loaded.items()},
        {key: item.record.selected_features for key, item in loaded.items()},
        settings.batch_rows,
        first_row=done,
        first_values=first_values,
    )
    if subject.device.type != "cpu":
        batches = prefetched(batches, len(loaded))  # a GPU goes on while this thread writes; a CPU has no time to spare
    with closing(batches):  # however the block ends, nothing runs on the model after it
        for batch in batches:
            spill.append(batch.name, batch if counted is None else _counted(batch, counted))
            if batch.name != last_name:
                continue
            now = time.monotonic()
            if now - flushed > FLUSH_SECONDS:
                spill.flush()
                flushed = now
            if now - reported > REPORT_SECONDS or batch.rows_done == total:
                reported = now
                rate = (batch.rows_done - done) * context / max(now - started, 1e-9)
                left = (total - batch.rows_done) * context / rate
                on_progress(Progress(batch.rows_done * context, total * context, done * context, rate, left))
    spill.flush()


def _counted(batch: "SparseBatch", is_text: np.ndarray) -> "SparseBatch":
    """The activations of a batch on tokens of text; `is_text` is bool [rows, context]."""
    kept = is_text[batch.row, batch.position]
    return replace(batch, row=batch.row[kept], position=batch.position[kept], feature=batch.feature[kept], value=batch.value[kept])
