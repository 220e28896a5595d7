"""From the files of a cross-layer transcoder or crosscoder to the dictionary that a record describes: some layers' features, some writes.

A record's `hook` or `reads` say which layers' features the dictionary holds: the layer is the number in a hook. `writes` say at which hooks
their rows are taken; without it, all hooks that these features write at. With one `writes`, the rows at that hook alone are left.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resources.dictionaries.cross_layer import CrossLayerDictionary, FeatureGroup, RowsInFile, Together, checked_groups
from resources.dictionaries.interface import DictionaryError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LayerSet:
    """A set of files by layer. Features of layer N read in layer N, and write at `write_hooks[M]` for each layer M from N on.

    `group` loads a layer's encoder, with the rows of every layer by its place among `layers`, None where nothing is written. `b_dec` is the
    bias of a layer's write. `here` says whether the files of a layer's features are on this machine.
    """

    kind: str
    source: str
    what: str
    layers: tuple[int, ...]
    write_hooks: dict[int, str]
    group: Callable[[int], FeatureGroup]
    b_dec: Callable[[int], "torch.Tensor"]
    here: Callable[[int], bool]
    l0: float | None = None


def layer_number(hook: str) -> int | None:
    """The first number in a hook, which is its layer; None for a hook without one."""
    found = re.search(r"(?:^|\.)(\d+)(?=[.:]|$)", hook)
    return int(found[1]) if found else None


def dictionary_of_layers(
    found: LayerSet, reads: Sequence[str], writes: Sequence[str] | None, width: int | None, d_in: int | None
) -> CrossLayerDictionary:
    """The dictionary of the features that read `reads`, with their rows at `writes`. Raises `DictionaryError`."""
    import torch

    of_reads = _layers_of(found, reads, "reads")
    missing = [layer for layer in of_reads if not found.here(layer)]
    if missing:
        raise DictionaryError(f"{found.what} {found.source} has no files of layer {missing[0]} here. Copy them, or correct the hook.")
    whole = [found.group(layer) for layer in of_reads]
    written = [layer for place, layer in enumerate(found.layers) if any(group.rows[place] is not None for group in whole)]
    of_writes = written if writes is None else _layers_of(found, writes, "writes")
    for layer in of_writes:
        if layer not in written:
            raise DictionaryError(
                f"{found.what} {found.source}: features that read {', '.join(reads)} write nothing in layer {layer}; they write in "
                f"{_told(written)}. Correct writes."
            )
    places = [found.layers.index(layer) for layer in of_writes]
    groups = tuple(_with_rows(group, (number,), places) for number, group in enumerate(whole))
    read_widths = tuple(group.W_enc.shape[0] for group in whole)
    checked_groups(found.source, found.what, groups, width, d_in, sum(read_widths))
    others = [layer for layer in found.layers if layer not in of_reads and _may_write(found, layer, of_writes)]
    together, notes = None, ()
    if others:
        together, notes = _together(found, of_writes[0], reads[0], writes[0] if writes else found.write_hooks[of_writes[0]])
    return CrossLayerDictionary(
        kind=found.kind,
        reads=tuple(reads),
        writes=tuple(writes) if writes is not None else tuple(found.write_hooks[layer] for layer in of_writes),
        read_widths=read_widths,
        groups=groups,
        b_dec=torch.stack([found.b_dec(layer) for layer in of_writes]),
        l0_expected=found.l0 if not others and len(of_reads) == len(found.layers) else None,
        share=bool(others),
        together=together,
        notes=notes,
    )


def _together(found: LayerSet, layer: int, read: str, hook: str) -> tuple[Together | None, tuple[str, ...]]:
    """All that is written in a layer, where the files of all earlier layers are here; otherwise a note that the encoder alone is checked.

    Hooks of the other layers are named as `read` is, with their own numbers.
    """
    earlier = [one for one in found.layers if one <= layer]
    absent = [one for one in earlier if not found.here(one)]
    if absent:
        note = (
            "the self-check has not verified the hook, since it has checked the encoder alone: "
            f"what is written at {hook} is the sum of the features of layers "
            f"{_told(earlier)}, and the files of {_told(absent)} are not on this machine. Compare the "
            "L0 above with the published L0, or copy these files and register again"
        )
        return None, (note,)
    place = found.layers.index(layer)
    loads = tuple((lambda one=one: found.group(one)) for one in earlier)
    number = str(layer_number(read))
    named = tuple(re.sub(rf"(^|\.){number}(?=[.:]|$)", rf"\g<1>{one}", read, count=1) for one in earlier)
    return Together(hook, named, loads, place, found.b_dec(layer)), ()


def _layers_of(found: LayerSet, hooks: Sequence[str], key: str) -> list[int]:
    layers = [layer_number(hook) for hook in hooks]
    for hook, layer in zip(hooks, layers, strict=True):
        if layer not in found.layers:
            raise DictionaryError(
                f"{found.what} {found.source} has the layers {_told(found.layers)}; {hook!r} in {key} is in none of them. Name hooks with "
                "the number of a layer, such as blocks.20.mlp.hook_in."
            )
    if len(set(layers)) != len(layers):
        raise DictionaryError(f"{found.what} {found.source}: {key} names a layer twice: {', '.join(hooks)}. Name each layer once.")
    return [layer for layer in layers if layer is not None]


def _may_write(found: LayerSet, layer: int, of_writes: Sequence[int]) -> bool:
    """Whether features of a layer write in one of these layers: features write in their own layer and in later layers."""
    return any(layer <= one for one in of_writes)


def _with_rows(group: FeatureGroup, reads: tuple[int, ...], places: Sequence[int]) -> FeatureGroup:
    """The group with rows at some places of the set, by place in the dictionary."""
    skip = None
    if group.skip is not None and group.skip[0] in places:
        skip = (places.index(group.skip[0]), group.skip[1])
    rows: tuple[RowsInFile | None, ...] = tuple(group.rows[place] for place in places)
    return replace(group, reads=reads, rows=rows, skip=skip)


def _told(layers: Sequence[int]) -> str:
    """Layers as people read them: 0 to 25, or 5, 9 and 12."""
    found = list(layers)
    if len(found) > 2 and found == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return ", ".join(map(str, found[:-1])) + (" and " if len(found) > 1 else "") + str(found[-1]) if found else "none"
