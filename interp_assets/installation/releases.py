"""The records of a whole release: many dictionaries with one token sample and the same settings.

The fields that the records share stand in a record without `key`, `kind`, `source` and `width`; its `hook` and `output_hook` may hold
`{layer}`. Layers, hooks, widths and the model come from the release where the shared fields do not say them.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from interp_assets.config.base import UserError, validated
from interp_assets.config.records import DictionaryRecord
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.releases import Described, Listed, described, is_width, layer_in, listed_in

OF_ONE = ("key", "kind", "source", "width", "imported", "rules")
"""Fields of one dictionary, which the records of a release cannot share."""
NAMED = 8


def release_records(
    place: str,
    shared: Mapping[str, Any],
    layers: Collection[int] | None,
    width: str | None,
    only: str | None,
    name: str | None,
    say: Callable[[str], None],
) -> list[DictionaryRecord]:
    """A record for each dictionary of a release in `layers` and of `width` (16384 or 16k) whose name matches the pattern `only`.

    `name` stands for the release in the keys. Raises `UserError` for a place that is no release, where nothing is left, and where neither
    the release nor the shared fields say the hook or the model.
    """
    if wrong := [field for field in OF_ONE if field in shared]:
        raise UserError(f"the shared fields hold {', '.join(wrong)}, which each dictionary of a release has of its own: leave them out")
    try:
        listed = listed_in(place)
        chosen = _chosen(place, listed, layers, width, only)
        found = [(one, _described(one, shared)) for one in chosen]
    except DictionaryError as error:
        raise UserError(f"--release {place}: {error}") from None
    found = [(one, told) for one, told in found if width is None or is_width(width, told.width)]
    found = [(one, told) for one, told in found if layers is None or told.layer in layers]
    if not found:
        raise UserError(f"--release {place}: none of {len(chosen)} dictionaries has the layer and the width; {_held(listed)}")
    for line in _notes(found, layers):
        say(line)
    records = [_record(one, told, shared, _stem(place, name)) for one, told in found]
    keys = [record.key for record in records]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError(f"--release {place}: more than one dictionary would be called {', '.join(twice[:NAMED])}; choose some by --only")
    return records


def records_of_list(content: Sequence[Any], where: str) -> list[DictionaryRecord]:
    """The records in a YAML list. Raises `UserError` with the place of each that is no record."""
    records = [validated(DictionaryRecord, one, f"{where}, record {number}") for number, one in enumerate(content, 1)]
    keys = [record.key for record in records]
    if not records:
        raise UserError(f"{where} is an empty list: write one record or more into it")
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError(f"{where} holds more than one record of {', '.join(twice)}: give each a key of its own")
    return records


def parse_layers(text: str | None) -> tuple[int, ...] | None:
    """The layers in a list such as 0-25,30; None where there is no list. Raises `UserError` for any other text."""
    if text is None:
        return None
    layers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part)
        if not found or (found[2] and int(found[2]) < int(found[1])):
            raise UserError(f"--layers {text!r} is not a list of layers and intervals at {part!r}; write it as 0-25,30")
        layers.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return tuple(sorted(layers))


def _chosen(place: str, listed: Sequence[Listed], layers: Collection[int] | None, width: str | None, only: str | None) -> list[Listed]:
    """The dictionaries that their names do not rule out. A name that says nothing of layer or width rules nothing out."""

    def fits(one: Listed) -> bool:
        in_layers = layers is None or one.layer is None or one.layer in layers
        return (
            in_layers
            and (width is None or one.width is None or _same_width(width, one.width))
            and (only is None or fnmatch(one.name, only))
        )

    chosen = [one for one in listed if fits(one)]
    if not chosen:
        asked = {"--layers": layers is not None, "--width": width is not None, "--only": only is not None}
        raise UserError(
            f"--release {place}: none of its {len(listed)} dictionaries fits {' and '.join(name for name, given in asked.items() if given)}"
            f"; {_held(listed)}"
        )
    return chosen


def _same_width(asked: str, stated: str) -> bool:
    """Whether a width in a name, such as 16k, is the width that is asked for, 16k or 16384."""
    asked = asked.lower()
    return asked == stated or (asked.isdecimal() and is_width(stated, int(asked)))


def _held(listed: Sequence[Listed]) -> str:
    """What a release holds: its layers, widths and some names."""
    layers = sorted({one.layer for one in listed if one.layer is not None})
    widths = sorted({one.width for one in listed if one.width is not None}, key=lambda text: (text[-1], int(text[:-1])))
    names = ", ".join(one.name for one in listed[:3])
    told = [f"the layers {layers_text(layers)}"] * bool(layers) + [f"the widths {', '.join(widths)}"] * bool(widths)
    return f"it holds {' and '.join(told) or 'no layers and widths by name'}; names are such as {names}"


def layers_text(layers: Sequence[int]) -> str:
    """Layers in short, such as 0-25,30."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _described(one: Listed, shared: Mapping[str, Any]) -> Described:
    hook, output_hook = (_filled(shared.get(name), one.layer) for name in ("hook", "output_hook"))
    return described(one, hook, output_hook)


def _filled(template: Any, layer: int | None) -> str | None:
    """A hook of the shared fields with the layer in the place of `{layer}`."""
    if template is None or "{layer}" not in str(template):
        return template
    if layer is None:
        return None
    return str(template).replace("{layer}", str(layer))


def _notes(found: Sequence[tuple[Listed, Described]], layers: Collection[int] | None) -> list[str]:
    by_layer: dict[int | None, list[str]] = defaultdict(list)
    for one, told in found:
        by_layer[told.layer].append(one.name)
    notes = []
    if absent := sorted(set(layers or ()) - set(by_layer)):
        notes.append(f"the release has no such dictionary in the layers {layers_text(absent)}")
    several = max(by_layer.values(), key=len)
    if len(several) > 1:
        named = ", ".join(several[:NAMED])
        notes.append(f"a layer has up to {len(several)} dictionaries ({named}): --only with a pattern of names takes some of them")
    return notes


def _stem(place: str, name: str | None) -> str:
    return _slug(name or place.rstrip("/").rpartition("/")[2])


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")


def _record(one: Listed, told: Described, shared: Mapping[str, Any], stem: str) -> DictionaryRecord:
    """The record of one dictionary. Raises `UserError` naming what neither the release nor the shared fields say."""
    model = dict(shared.get("model") or {})
    model.setdefault("source", told.model)
    missing = [name for name, value in (("hook", told.hook), ("model: {source: …}", model["source"])) if not value]
    if missing:
        raise UserError(
            f"{one.source} does not say its {' and '.join(missing)}: name it in the shared fields, such as "
            "hook: blocks.{layer}.hook_resid_post, and give their file before --release"
        )
    layer = "all" if told.layer is None else f"{told.layer:02d}"
    content = {
        **shared,
        "key": f"{_model_name(model['source'])}/{layer}/{'-'.join(filter(None, (stem, _rest(one.name))))}",
        "model": model,
        "hook": told.hook,
        "output_hook": told.output_hook,
        "kind": one.kind,
        "source": one.source.rpartition("#")[0] if one.kind == "circuit_tracer" and layer_in(told.hook or "") == one.layer else one.source,
        "width": told.width,
    }
    return validated(DictionaryRecord, {name: value for name, value in content.items() if value is not None}, f"the record of {one.source}")


def _model_name(source: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", source.removeprefix("embedded:").rstrip("/").rpartition("/")[2]).lower()


def _rest(name: str) -> str:
    """A dictionary's name without its layer and its hook's `blocks.`."""
    rest = re.sub(
        r"(?:^|(?<=[^A-Za-z0-9]))(?:layers?|blocks?)[._-]?\d+(?![0-9])|^l\d+(?![0-9])|(?:^|(?<=/))\d+(?=/|$)", "", name, flags=re.I
    )
    return _slug(re.sub(r"[^A-Za-z0-9]*[/.][^A-Za-z0-9]*", "-", rest))
