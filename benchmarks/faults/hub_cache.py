"""Attacks on the Hugging Face hub's cache on this machine: files cut short, changed, gone or half downloaded, links that lead nowhere, and
locks and notes that killed downloads left. No request leaves this machine."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "resources"))

from benchmarks.faults.attacks import REFUSED, RIGHT, WRONG, Result, attack

COMMIT, MODEL, WEIGHTS = "7" * 40, "owner/model", "model.safetensors"
UP = "model.layers.0.mlp.up_proj.weight"


def sound_cache(folder: Path) -> Path:
    """The snapshot of a small model in a cache, which the process uses from here on; its files are links, as the hub makes them."""
    import torch
    from huggingface_hub import constants
    from tiny_models import tiny_model

    constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE = str(folder / "hub"), True
    place = folder / "hub" / "models--owner--model"
    snapshot = place / "snapshots" / COMMIT
    for one in (snapshot, place / "blobs", place / "refs"):
        one.mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as made:
        tiny_model("llama").save_pretrained(made)
        for path in Path(made).iterdir():
            put(snapshot, path.name, path.read_bytes())
    return snapshot


def put(snapshot: Path, name: str, content: bytes) -> None:
    """A file of the snapshot, named after its content as the hub names it."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    blob = snapshot.parents[1] / "blobs" / (hashlib.sha256(content).hexdigest() if name.endswith(".safetensors") else git)
    blob.write_bytes(content)
    (snapshot / name).unlink(missing_ok=True)
    (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))


def weights(snapshot: Path) -> Path:
    """The file that the link to the weights leads to."""
    return (snapshot / WEIGHTS).resolve()


def instead(content: Callable[[bytes], bytes], name: str = WEIGHTS) -> Callable[[Path], object]:
    """A damage: a file gets another content, and keeps its name."""
    return lambda snapshot: (snapshot / name).resolve().write_bytes(content((snapshot / name).read_bytes()))


def linked_to(target: str) -> Callable[[Path], object]:
    """A damage: the link to the weights leads elsewhere."""
    return lambda snapshot: ((snapshot / WEIGHTS).unlink(), (snapshot / WEIGHTS).symlink_to(target))


def noted(content: bytes) -> Callable[[Path], object]:
    """A damage: the note of the main branch says something else."""
    return lambda snapshot: (snapshot.parents[1] / "refs" / "main").write_bytes(content)


def packed(snapshot: Path) -> None:
    """Weights of whole numbers, sound as a file."""
    import torch
    from safetensors.torch import load_file, save

    held = load_file(snapshot / WEIGHTS)
    put(snapshot, WEIGHTS, save({**held, UP: (held[UP] * 100).to(torch.int8)}, {"format": "pt"}))


def copied(snapshot: Path) -> None:
    """A file in the place of a link, as on disks without links."""
    held = weights(snapshot)
    (snapshot / WEIGHTS).unlink()
    shutil.move(held, snapshot / WEIGHTS)


def left_by_a_download(snapshot: Path) -> None:
    """A lock and half a file."""
    locks = snapshot.parents[2] / ".locks" / "models--owner--model"
    locks.mkdir(parents=True)
    (locks / f"{weights(snapshot).name}.lock").touch()
    Path(f"{weights(snapshot)}.1a2b3c.incomplete").write_bytes(b"x" * 100)


def index_alone(snapshot: Path) -> None:
    """An index that names a part which was never downloaded."""
    (snapshot / WEIGHTS).unlink()
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    put(snapshot, f"{WEIGHTS}.index.json", json.dumps(index).encode())


DAMAGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "weights cut short": (instead(lambda held: held[:1000]), False),
    "weights that are empty": (instead(lambda held: b""), False),
    "zeros at the end of the weights": (instead(lambda held: held[:-500] + bytes(500)), False),
    "one bit of a weight": (instead(lambda held: held[:-5] + bytes([held[-5] ^ 1]) + held[-4:]), False),
    "packed numbers": (packed, False),
    "weights that are gone": (lambda snapshot: weights(snapshot).unlink(), False),
    "weights that are half downloaded": (lambda snapshot: weights(snapshot).rename(f"{weights(snapshot)}.incomplete"), False),
    "an index without its parts": (index_alone, False),
    "a link in a circle": (linked_to(WEIGHTS), False),
    "a link of a cache that was moved": (linked_to("/gone/models--owner--model/blobs/x"), False),
    "a folder for the weights": (lambda snapshot: ((snapshot / WEIGHTS).unlink(), (snapshot / WEIGHTS).mkdir()), False),
    "another number in config.json": (instead(lambda held: held.replace(b"1e-", b"2e-"), "config.json"), False),
    "an empty config.json": (instead(lambda held: b"", "config.json"), False),
    "no config.json": (lambda snapshot: (snapshot / "config.json").unlink(), False),
    "a note of a commit that is not there": (noted(b"8" * 40), False),
    "an empty note": (noted(b""), True),
    "a note of bytes": (noted(b"\xff\xfe\0"), True),
    "a note with a line's end": (noted(f"{COMMIT}\r\n".encode()), True),
    "what a killed download left": (left_by_a_download, True),
    "copies for links": (copied, True),
    "nothing at all": (lambda snapshot: None, True),
}  # fmt: skip


def in_the_cache(folder: Path, quick: bool, damage: Callable[[Path], object], sound: bool) -> Result:
    """The model is loaded as it is, or refused in a sentence, and so it is before an engine reads it."""
    import torch

    from resources.engine_checkpoint import refuse_for_engine
    from resources.model_loading import load_text_model
    from resources.weights import WeightsError, resolve_model_folder

    snapshot = sound_cache(folder)
    expected = load_text_model(resolve_model_folder(MODEL)).model.norm.weight.clone()
    damage(snapshot)
    try:
        found = load_text_model(resolve_model_folder(MODEL))
        refuse_for_engine(resolve_model_folder(MODEL))
    except WeightsError as error:
        return Result(WRONG if sound or "\n" in str(error) else REFUSED, str(error))
    return Result(RIGHT if sound and torch.equal(found.model.norm.weight, expected) else WRONG, "loaded")


for name, (damage, sound) in DAMAGES.items():
    attack(f"the hub's cache has {name}", damage=damage, sound=sound)(in_the_cache)
