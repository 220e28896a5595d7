"""What the files of a checkpoint say of themselves, before anything is loaded: kinds of numbers, blocks, and files that are no weights."""

import json
import re
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/"
WEIGHT_FILES = (("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json"))
"""The one file of weights, and the index of several files, in the order in which transformers looks for them."""
MAX_HEADER_BYTES = 100 << 20
SCALES = re.compile(r"(?P<weight>.+?)[._](?:weight_)?(?:scales?|scale_inv|SCB|absmax|zero_points?)")
"""Name of a tensor of scales beside the weight that it belongs to, as quantised checkpoints have it."""


@dataclass(frozen=True)
class TensorHeader:
    """The kind of a tensor's numbers, in the words of safetensors (F32, BF16, I8, F8_E4M3), and its shape."""

    dtype: str
    shape: tuple[int, ...]


def instead_of_weights(path: Path) -> str | None:
    """The content of a file that holds something else in the place of weights, as a phrase; None where it is unknown."""
    try:
        with path.open("rb") as file:
            start = file.read(200)
    except OSError:
        return None
    if not start:
        return "it is empty"
    if start.startswith(POINTER):
        return "it is a pointer of Git LFS and not the file itself (git lfs install, then git lfs pull)"
    return "it is a page of HTML" if start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")) else None


def weight_files(folder: Path) -> list[Path]:
    """The files of weights in a model's folder that transformers reads, as far as they are there; empty for none of a known name."""
    for whole, index in WEIGHT_FILES:
        if (folder / whole).is_file():
            return [folder / whole]
        if parts := parts_of(folder / index):
            return sorted(path for name in parts if (path := folder / name).is_file())
    return []


def parts_of(index: Path) -> list[str]:
    """Names of the files that an index of weights lists; empty where it is not there or cannot be read."""
    try:
        return sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def tensor_headers(files: Iterable[Path]) -> dict[str, TensorHeader]:
    """The tensors by name in the safetensors files among `files`, from their headers; a file that cannot be read has none."""
    found: dict[str, TensorHeader] = {}
    for path in files:
        if path.suffix != ".safetensors":
            continue
        try:
            with path.open("rb") as file:
                (size,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(size)) if size <= MAX_HEADER_BYTES else {}
            found |= {name: TensorHeader(str(one["dtype"]), tuple(one["shape"])) for name, one in header.items() if name != "__metadata__"}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            continue
    return found


def packed_weight(headers: dict[str, TensorHeader], weights: Collection[str]) -> str | None:
    """The first of a model's `weights` whose numbers are not the weights themselves, with its kind, such as "up_proj.weight of I8"; None
    where there is none.

    Such are whole numbers, and numbers of eight bits with a tensor of scales beside them.
    """
    scaled = {match["weight"] for name in headers if (match := SCALES.fullmatch(name))}
    for name in weights:
        one = headers.get(name)
        if one is None:
            continue
        whole = one.dtype[0] in "IUB" and one.dtype != "BF16"
        if whole or (one.dtype.startswith("F8") and {name, name.removesuffix(".weight")} & scaled):
            return f"{name} of {one.dtype}"
    return None


def blocks_in(headers: Iterable[str], path: str) -> int:
    """Number of blocks that tensors by these names have in the list at `path`, such as model.layers, with or without its first name; 0
    where no name fits."""
    places = "|".join(re.escape(place) for place in {path, path.partition(".")[2] or path})
    numbers = [int(match[1]) for name in headers if (match := re.match(rf"(?:{places})\.(\d+)\.", name))]
    return max(numbers) + 1 if numbers else 0
