"""Reads the files of a dictionary: tensors from safetensors, ae.pt or npz, and the configuration from JSON or YAML.

The files may come from anywhere. No code in them is run. Any fault of a file ends as a `DictionaryError` of one sentence: a truncated file,
a wrong header, another format under this name, objects instead of numbers.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.checkpoint_files import SCALES, instead_of_weights
from resources.dictionaries.interface import DictionaryError

if TYPE_CHECKING:
    import torch

MAX_REASON = 160
CONFIG_BYTES = 16 << 20


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises `DictionaryError`."""
    try:
        size = path.stat().st_size
        if size > CONFIG_BYTES:
            raise DictionaryError(f"{path} has {size:,} bytes, which is no configuration. Copy or download it again.")
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repetition)
    except (ValueError, OSError, RecursionError) as error:
        if isinstance(error, DictionaryError):
            raise
        raise DictionaryError(f"{path} cannot be read: {_reason(error, path)}. Copy or download it again.") from error
    if not isinstance(content, dict):
        raise DictionaryError(f"{path} holds a JSON {type(content).__name__} instead of an object. Copy or download it again.")
    return _with_plain_values(content, path)


def read_yaml_config(path: Path) -> dict[str, Any]:
    """The YAML mapping in a file. Raises `DictionaryError`."""
    import yaml

    try:
        size = path.stat().st_size
        if size > CONFIG_BYTES:
            raise DictionaryError(f"{path} has {size:,} bytes, which is no configuration. Copy or download it again.")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError, yaml.YAMLError) as error:
        if isinstance(error, DictionaryError):
            raise
        raise DictionaryError(f"{path} cannot be read: {_reason(error, path)}. Copy or download it again.") from error
    if not isinstance(content, dict):
        raise DictionaryError(f"{path} holds a YAML {type(content).__name__} instead of a mapping. Copy or download it again.")
    return _with_plain_values(content, path)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a key that stands twice with different values: a reader would take the last of them."""
    content = dict(pairs)
    repeated = sorted({name for name, value in pairs if value != content[name] and value == value})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} stands twice in it with different values")
    return content


def _with_plain_values(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The content. Raises `DictionaryError` for the texts "true" and "false": a text is true, whatever it says."""
    texts = sorted(f"{name}: {value!r}" for name, value in content.items() if isinstance(value, str) and value.lower() in ("true", "false"))
    if texts:
        raise DictionaryError(f"{path} has texts where true or false belong ({', '.join(texts)}). Write true or false without quotes.")
    return content


def whole_number(source: str, name: str, value: Any) -> int:
    """The value of `name` in a configuration as a whole number. Raises `DictionaryError` for any other value, for true and for 4.7."""
    try:
        found = int(value)
        if isinstance(value, bool) or float(value) != found:
            raise ValueError
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise DictionaryError(f"dictionary {source} has {name} {value!r}, which is no whole number. Correct its configuration.") from None
    return found


def read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """The tensors in a file by name, on the CPU; numbers of any type become float32. Raises `DictionaryError`."""
    return read_checkpoint(path)[0]


def read_some_tensors(path: Path, names: Sequence[str]) -> "dict[str, torch.Tensor]":
    """These tensors of a safetensors file, float32 on the CPU; the rest of the file is not read. Raises `DictionaryError`."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            held = {name: file.get_tensor(name) for name in names}
            return _numbers({**held, **{name: None for name in file.keys() if name not in held}})  # noqa: SIM118
    except Exception as error:
        why = _reason(error, path)
        raise DictionaryError(f"{path} cannot be read: {why}. Copy or download it again; it must hold plain weights.") from error


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in a safetensors file, from its header. Raises `DictionaryError`."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise DictionaryError(f"{path} cannot be read: {_reason(error, path)}. Copy or download it again.") from error


def read_checkpoint(path: Path, under: Sequence[str] = ()) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
    """The tensors in a file by name, as `read_tensors` returns them, and the rest of the file.

    Where the file has a dict under one of the names in `under`, as a backup of a training has, the tensors are the tensors of the
    first such dict, and the rest is all that stands beside it. Otherwise the rest is all that is no tensor. Raises `DictionaryError`.
    """
    import torch

    try:
        content = _content(path)
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__} instead of tensors by name")
        wrapped = next((name for name in under if isinstance(content.get(name), dict)), None)
        if wrapped is not None:
            rest = {str(name): value for name, value in content.items() if name != wrapped}
            content = content[wrapped]
        else:
            rest = {str(name): value for name, value in content.items() if not isinstance(value, torch.Tensor)}
        tensors = _numbers({str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)})
        if content and not tensors:
            raise TypeError("it holds no tensors")
    except Exception as error:  # loaders of foreign bytes raise anything: EOFError, KeyError, MemoryError, BadZipFile, …
        why = _reason(error, path)
        raise DictionaryError(f"{path} cannot be read: {why}. Copy or download it again; it must hold plain weights.") from error
    return tensors, rest


def _numbers(tensors: "Mapping[str, torch.Tensor | None]") -> "dict[str, torch.Tensor]":
    """The tensors as plain float32; None stands for a tensor of this name that is not read.

    Raises TypeError for tensors whose numbers are not the weights themselves: quantised weights, matrices of whole numbers, complex
    numbers, and tensors without content.
    """
    import torch

    scaled = {found["weight"] for name in tensors if (found := SCALES.fullmatch(name))}
    plain = {}
    for name, value in tensors.items():
        if value is None:
            continue
        kind = str(value.dtype).removeprefix("torch.")
        eight_bits = value.dtype.is_floating_point and value.element_size() == 1
        if value.is_quantized or (eight_bits and {name, name.removesuffix(".weight")} & scaled):
            raise TypeError(f"its {name} is quantised ({kind}), and its numbers are not the weights themselves. Save it dequantised")
        if value.is_complex() or (not value.dtype.is_floating_point and value.ndim > 1):
            raise TypeError(f"its {name} is of {kind} numbers, which are not the weights themselves. Save it as float32")
        if value.is_meta:
            raise TypeError(f"its {name} has a shape and no content (device meta)")
        plain[name] = (value if value.layout is torch.strided else value.to_dense()).detach().float()
    return plain


def _content(path: Path) -> Any:
    """The content of a file, by the format of its name."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if path.suffix == ".npz":
        import numpy as np
        import torch

        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise TypeError("it is no npz archive")
            arrays = {name: file[name] for name in file.files}
            return {name: torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False)) for name, array in arrays.items()}
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: BaseException, path: Path) -> str:
    """The problem as a short phrase; torch's advice to load unsafely is left out."""
    text = str(error)
    if (instead := instead_of_weights(path)) is not None:
        return instead
    if "weights_only" in text or "Unpickler" in type(error).__name__ or "Unsupported global" in text or "Unsupported operand" in text:
        if "GLOBAL" in text or "global" in text:
            return "it holds code or objects, which are not run"
        return "it is no file of weights, or is cut short"
    if isinstance(error, EOFError):
        return "it is cut short"
    line = " ".join(text.replace(str(path), "it").split()) or type(error).__name__
    line = line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"
    return line.rstrip(".")
