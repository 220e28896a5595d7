"""Hostile files of weights: each is refused in one sentence that names the file, and no code in it is run."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_bytes

from resources.dictionaries import DictionaryError, load_dictionary
from resources.dictionaries.weight_files import read_config, read_tensors

RAN = Path("/tmp/interp-assets-ran-code")


class Code:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (RAN,))


def as_pt(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def as_npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def lying_header(**changes: object) -> bytes:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}
    header = json.dumps({"W_enc": entry}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 16


def lying_npy() -> bytes:
    """An array that says it has 10^13 numbers."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("W_enc.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    return buffer.getvalue()


WHOLE_PT, WHOLE_TENSORS, WHOLE_NPZ = as_pt({"a": torch.ones(300)}), safetensors_bytes({"a": torch.ones(300)}), as_npz(a=np.ones(300))
HOSTILE: dict[str, tuple[str, bytes]] = {
    "empty pt": ("ae.pt", b""),
    "truncated pt": ("ae.pt", WHOLE_PT[: len(WHOLE_PT) // 2]),
    "a byte of a pt": ("ae.pt", WHOLE_PT[:1]),
    "pt of code": ("ae.pt", as_pt({"a": Code()})),
    "bare pickle of code": ("ae.pt", pickle.dumps({"a": Code()})),
    "cut pickle": ("ae.pt", pickle.dumps({"a": [1.0] * 99})[:50]),
    "text as pt": ("ae.pt", b"version https://git-lfs.github.com/spec/v1\n"),
    "pt of a list": ("ae.pt", as_pt([torch.ones(3)])),
    "pt of numbers": ("ae.pt", as_pt({"a": 1})),
    "HTML as pt": ("ae.pt", b"<html></html>"),
    "empty safetensors": ("s.safetensors", b""),
    "truncated safetensors": ("s.safetensors", WHOLE_TENSORS[:-7]),
    "header too long": ("s.safetensors", struct.pack("<Q", 2**60) + b"{}"),
    "header of no JSON": ("s.safetensors", struct.pack("<Q", 2) + b"{]"),
    "offsets outside": ("s.safetensors", lying_header(data_offsets=[0, 10**12])),
    "shape that lies": ("s.safetensors", lying_header(shape=[999])),
    "shape of 10^30": ("s.safetensors", lying_header(shape=[10**15, 10**15])),
    "unknown dtype": ("s.safetensors", lying_header(dtype="F7")),
    "negative offsets": ("s.safetensors", lying_header(data_offsets=[-16, 0])),
    "empty npz": ("params.npz", b""),
    "truncated npz": ("params.npz", WHOLE_NPZ[: len(WHOLE_NPZ) // 2]),
    "npz that lies": ("params.npz", lying_npy()),
    "npz of objects": ("params.npz", as_npz(a=np.array([Code()], dtype=object))),
    "npz of text": ("params.npz", as_npz(a=np.array(["x"]))),
    "a bare npy": ("params.npz", b"\x93NUMPY\x01\x00"),
    "a flipped npz": ("params.npz", WHOLE_NPZ.replace(b"\x00\xf0\x3f", b"\x00\xf1\x3f", 1)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_sentence_and_no_code_runs(name: str, tmp_path: Path) -> None:
    RAN.unlink(missing_ok=True)
    file, content = HOSTILE[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DictionaryError) as raised:
        read_tensors(tmp_path / file)
    text = str(raised.value)
    assert text.startswith(f"{tmp_path / file} cannot be read: ") and "\n" not in text and len(text) < 400 and "weights_only" not in text
    assert not RAN.exists()


def test_whole_files_are_read_in_each_format(tmp_path: Path) -> None:
    for file, content in (("ae.pt", WHOLE_PT), ("s.safetensors", WHOLE_TENSORS), ("params.npz", WHOLE_NPZ)):
        (tmp_path / file).write_bytes(content)
        tensors = read_tensors(tmp_path / file)
        assert list(tensors) == ["a"] and tensors["a"].dtype == torch.float32 and float(tensors["a"].sum()) == 300


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b'{"k": ' + b"1" * 6000 + b"}"])
def test_a_configuration_that_is_none_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cfg.json"
    path.write_bytes(content)
    with pytest.raises(DictionaryError, match="again") as raised:
        read_config(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def no_numbers(folder: Path) -> None:
    (folder / "cfg.json").write_text('{"k": "many"}')


def wrong_shapes(folder: Path) -> None:
    (folder / "cfg.json").write_text('{"k": 2}')
    flat = {name: torch.ones(3) for name in ("encoder.weight", "encoder.bias", "W_dec", "b_dec")}
    (folder / "sae.safetensors").write_bytes(safetensors_bytes(flat))


@pytest.mark.parametrize("spoil", [no_numbers, wrong_shapes])
def test_files_that_do_not_fit_together_are_one_sentence(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    weights = {"encoder.weight": torch.ones(4, 3), "encoder.bias": torch.ones(4), "W_dec": torch.ones(4, 3), "b_dec": torch.ones(3)}
    (tmp_path / "sae.safetensors").write_bytes(safetensors_bytes(weights))
    spoil(tmp_path)
    with pytest.raises(DictionaryError) as raised:
        load_dictionary("sparsify", source=str(tmp_path), hook="blocks.0.hook_resid_post")
    assert "\n" not in str(raised.value)
