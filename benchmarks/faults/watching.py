"""Attacks by what a site watches and is told by: folders of checkpoints, prompt files, and webhooks that hang."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "resources" / "language_models"))

from odd_server import Answer, OddServer

from benchmarks.faults.attacks import BLOCKS, HANG, REFUSED, RIGHT, WRONG, Result, attack
from interp_assets.alerting import sending
from interp_assets.alerting.sending import Alert, send
from interp_assets.config.alerts import AlertSettings
from interp_assets.config.base import UserError
from interp_assets.config.checkpoints import WatchedFolder
from interp_assets.config.prompt_files import site_prompts
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.prompting.instructions import PROMPTS
from interp_assets.graph.sensors import register_checkpoints

ALERT = Alert("run_failed", "a run has failed", "why", "http://127.0.0.1:3000/runs/1")
PROMPT = next(iter(PROMPTS))


def alerted(address: str, seconds: float) -> Result:
    """Whether an alert ends within the bound, with the reason; the address, which is often a secret, is not in the reason."""
    sending.SECONDS, sending.MOST_SECONDS, sending.REST_SECONDS = 1.0, 3.0, 0.0
    started = time.monotonic()
    why = send(AlertSettings(webhook_env="FAULT_WEBHOOK"), ALERT)["webhook"]
    if time.monotonic() - started > seconds:
        return Result(HANG, f"{time.monotonic() - started:.0f} s")
    return Result(REFUSED, why) if why and address not in why else Result(WRONG, why or "taken")


WEBHOOKS = {
    "answers 500": Answer(b"broken", 500),
    "answers 404 with 50 MB": Answer(b"x" * 50_000_000, 404),
    "redirects": Answer(b"", 302, {"Location": "/"}),
    "redirects to a file": Answer(b"", 307, {"Location": "file:///etc/passwd"}),
    "lies about its length": Answer(b"{}", 500, announced=999),
    "sends a byte each 0.5 s": Answer(b"x" * 400, 500, piece_seconds=0.5),
    "answers bytes that are no text": Answer(b"\xff\x00" * 99, 400),
}


def odd_webhook(folder: Path, quick: bool, answer: Answer) -> Result:
    with OddServer(lambda question, seen: answer) as server:
        os.environ["FAULT_WEBHOOK"] = server.url + "?secret=hunter2"
        return alerted("hunter2", 20)


for name, answer in WEBHOOKS.items():
    attack(f"a webhook that {name}", seconds=60, answer=answer)(odd_webhook)


@attack("a webhook that never answers", seconds=60, address="http://127.0.0.1:{silent}/hunter2")
@attack("a webhook where nothing listens", seconds=60, address="http://127.0.0.1:1/hunter2")
@attack("a webhook that is a file", seconds=60, address="file:///etc/passwd?hunter2")
@attack("a webhook that is no address", seconds=60, address="http://[hunter2")
@attack("a webhook with a line break", seconds=60, address="http://127.0.0.1:1/\r\nX: hunter2")
@attack("a webhook whose variable is empty", seconds=60, address="")
def no_webhook(folder: Path, quick: bool, address: str) -> Result:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        os.environ["FAULT_WEBHOOK"] = address.format(silent=silent.getsockname()[1]) if "{" in address else address
        return alerted("hunter2", 20)


PROMPT_FILES: dict[str, tuple[str, bytes | Callable[[Path], object]]] = {
    "nothing": (f"{PROMPT}.md", b""),
    "NUL bytes": (f"{PROMPT}.md", b"a\0b" * 50),
    "bytes that are no text": (f"{PROMPT}.md", b"\xff\xfe\x00" * 99),
    "1 GB": (f"{PROMPT}.md", lambda path: os.truncate(path, 1 << 30) if path.touch() is None else None),
    "unknown placeholders": (f"{PROMPT}.md", b"Explain {feature} and {{nothing}} of ${HOME}"),
    "a name of no prompt": ("nothing.md", b"Explain."),
    "a pipe": (f"{PROMPT}.md", os.mkfifo),
    "a folder": (f"{PROMPT}.md", Path.mkdir),
    "a link to itself": (f"{PROMPT}.md", lambda path: path.symlink_to(path)),
    "a device": (f"{PROMPT}.md", lambda path: path.symlink_to("/dev/zero")),
}


def odd_prompt(folder: Path, quick: bool, name: str, content: bytes | Callable[[Path], object]) -> Result:
    (folder / "prompts").mkdir()
    path = folder / "prompts" / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    try:
        found = site_prompts(folder)
    except UserError as error:
        return Result(REFUSED, str(error)) if name in str(error) else Result(WRONG, str(error))
    return Result(RIGHT) if isinstance(content, bytes) and found[PROMPT][0].encode() == content else Result(WRONG, str(found)[:100])


for name, (file, content) in PROMPT_FILES.items():
    attack(f"a prompt file of {name}", seconds=30, name=file, content=content)(odd_prompt)


SETTLE_SECONDS = 3.0


def watched(folder: Path, pattern: str = "{step}") -> WatchedFolder:
    record = {"key": "m/09/run-{step}", "hook": "blocks.0.mlp.hook_post", "kind": "sae_lens", "width": 64}
    return WatchedFolder(folder=str(folder), pattern=pattern, record=record, settle_seconds=SETTLE_SECONDS)


def checkpoint(folder: Path, step: int) -> Path:
    place = folder / str(step)
    place.mkdir(parents=True)
    (place / "cfg.json").write_text("{}")
    (place / "sae_weights.safetensors").write_bytes(b"\0" * 64)
    return place


def _half(place: Path) -> None:
    (place / "more.tmp").write_bytes(b"x")


def _crowd(place: Path) -> None:
    for number in range(10_000):
        (place.parent / f"{number}.log").touch()


AROUND: dict[str, tuple[Callable[[Path], object], bool | None]] = {
    "half written": (_half, False),
    "with a link loop": (lambda place: (place / "loop").symlink_to(place), None),
    "that is a link to nowhere": (lambda place: [os.rename(place, place.with_name("away")), place.symlink_to("nowhere")], False),
    "that is a link to itself": (lambda place: [os.rename(place, place.with_name("away")), place.symlink_to(place)], False),
    "that is empty": (lambda place: [one.unlink() for one in place.iterdir()], False),
    "that is a pipe": (lambda place: [os.rename(place, place.with_name("away")), os.mkfifo(place)], False),
    "with a pipe in it": (lambda place: os.mkfifo(place / "pipe"), None),
    "whose files an old copy replaces": (lambda place: [os.utime(one, (1e9, 1e9)) for one in place.iterdir()], False),
    "of the year 2400": (lambda place: [os.utime(one, (13_569_465_600, 13_569_465_600)) for one in place.iterdir()], False),
    "beside 10,000 files that are none": (_crowd, True),
    "with a name of 10^40": (lambda place: place.rename(place.with_name("9" * 40)), False),
}


def odd_checkpoint(folder: Path, quick: bool, change: Callable[[Path], object], becomes: bool | None) -> Result:
    """Step 1 is sound and is registered; step 2 was, and has just become odd. `becomes` says whether step 2 is registered; None: either."""
    place = folder / "runs"
    checkpoint(place, 1)
    odd = checkpoint(place, 2)
    time.sleep(SETTLE_SECONDS)
    change(odd)
    registry = DictionaryRegistry(folder / "dictionaries")
    settings = PlatformSettings.model_validate({"watch": [watched(place).model_dump(mode="json")]})
    written, _, refused = register_checkpoints(registry, settings)
    if "m/09/run-1" not in written:
        return Result(BLOCKS, f"the sound checkpoint is not registered: {str(written)[:80]} {refused}")
    if becomes is not None and ("m/09/run-2" in written) != becomes:
        return Result(WRONG, f"step 2 is {'' if 'm/09/run-2' in written else 'not '}registered")
    again, _, _ = register_checkpoints(registry, settings)
    return Result(RIGHT) if not again else Result(WRONG, f"registered twice: {again[:3]}")


for name, (change, becomes) in AROUND.items():
    attack(f"a checkpoint {name}", seconds=120, change=change, becomes=becomes)(odd_checkpoint)


@attack("checkpoints that vanish while they are looked at", seconds=60)
def vanishing(folder: Path, quick: bool) -> Result:
    place, over = folder / "runs", threading.Event()
    checkpoint(place, 1)
    time.sleep(SETTLE_SECONDS)

    def churn() -> None:
        number = 2
        while not over.is_set():
            one = checkpoint(place, number)
            for file in one.iterdir():
                file.unlink()
            one.rmdir()
            number += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        settings = PlatformSettings.model_validate({"watch": [watched(place).model_dump(mode="json")]})
        for _ in range(20 if quick else 200):
            register_checkpoints(DictionaryRegistry(folder / "dictionaries"), settings)
    finally:
        over.set()
        thread.join()
    keys = DictionaryRegistry(folder / "dictionaries").keys()
    return Result(RIGHT) if keys == ["m/09/run-1"] else Result(WRONG, json.dumps(keys)[:200])
