"""Attacks on what results depend on: records that nobody meant, keys that share a file, inputs that change in place, servers that move."""

import os
from pathlib import Path

import pyarrow as pa

from benchmarks.faults.attacks import REFUSED, RIGHT, WRONG, Result, attack
from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord, TokenSampleSettings
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import LanguageModelSettings, PlatformSettings
from interp_assets.orchestration.versions import sample_version
from resources.corpus.files import read_jsonl, read_text
from resources.corpus.interface import CorpusError

PLAIN = {"key": "m/09/bad", "hook": "h", "kind": "topk_neurons", "width": "64", "k": "4"}
BAD: dict[str, dict[str, str]] = {
    "an impossible date": {"description": "2024-13-45"},
    "a number of 5,000 digits": {"width": "9" * 5000},
    "a number of 9,000 hex digits": {"width": "0x" + "f" * 9000},
    "a width that exhausts memory": {"width": "1000000000000"},
    "a width as a power": {"width": "10**12"},
    "width: true": {"width": "true"},
    "width: .inf": {"width": ".inf"},
    "width: 1e9": {"width": "1e9"},
    "seed: -1": {"seed": "-1"},
    "seed: true": {"seed": "true"},
    "k: 10^9": {"k": "1000000000"},
    "k above the width": {"k": "65"},
    "a feature of 40 digits": {"features": f"[{'9' * 40}]"},
    "a negative feature": {"features": "[-1]"},
    "features: [true]": {"features": "[true]"},
    "200,000 brackets": {"stages": "[" * 200_000},
    "an alias of itself": {"stages": "&a {b: *a}"},
    "NUL bytes": {"description": "'\0'"},
    "a sample of 10^15 tokens": {"token_sample": "{n_tokens: 1000000000000000}"},
    "a sample's seed of -1": {"token_sample": "{seed: -1}"},
    "a subset of 10^12": {"features": "{count: 1000000000000}"},
    "a tag of Python's": {"description": "!!python/object/apply:os.getpid []"},
    "a width in base 8": {"width": "0100"},
    "features in base 8": {"features": "[7, 010]"},
    "features in base 60": {"features": "[1:03]"},
    "a sample in base 60": {"token_sample": "{n_tokens: 10:00}"},
    "two merged keys": {"stages": "{examples: {<<: {n_shown: 5}, <<: {n_shown: 7}}}"},
    "a count of 10^12": {"stages": "{examples: {n_held_out: 1000000000000}}"},
}
RAW = {
    "a key that stands twice": "key: m/09/bad\nhook: h\nhook: g\nkind: neurons\nwidth: 8\n",
    "a key that stands twice, nested": "key: m/09/bad\nhook: h\nkind: neurons\nwidth: 8\nstages: {seed: 1, seed: 2}\n",
    "an alias bomb": "a: &a [1]\n"
    + "".join(f"{y}: &{y} [{','.join([f'*{x}'] * 99)}]\n" for x, y in zip("abcdefg", "bcdefgh", strict=True)),
    "no text": b"\xff\xfe\x00",
    "nothing": "",
    "a list": "[1]",
    "two documents": "a: 1\n---\nb: 2\n",
    "40 MB": "x" * 40_000_000,
}


def bad_record(folder: Path, quick: bool, content: str | bytes) -> Result:
    registry = DictionaryRegistry(folder)
    (folder / "m__09__bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "m__09__good.yaml").write_text("key: m/09/good\nhook: h\nkind: neurons\nwidth: 8\n")
    records, broken = registry.read_all()
    broken |= registry.refused(records, PlatformSettings())
    if "m/09/good" not in records or "m__09__bad.yaml" not in broken:
        return Result(WRONG, f"{list(records)} are read, {list(broken)} are not")
    return Result(REFUSED, broken["m__09__bad.yaml"][:200])


for name, change in BAD.items():
    text = "".join(f"{key}: {value}\n" for key, value in {**PLAIN, **change}.items())
    attack(f"a record with {name}", seconds=30, content=text)(bad_record)
for name, raw in RAW.items():
    attack(f"a record's file with {name}", seconds=30, content=raw)(bad_record)


@attack("a pipe, a folder and a link to nowhere among the records", seconds=20)
def odd_records(folder: Path, quick: bool) -> Result:
    os.mkfifo(folder / "m__09__pipe.yaml")
    (folder / "m__09__folder.yaml").mkdir()
    (folder / "m__09__link.yaml").symlink_to("nowhere")
    (folder / "m__09__good.yaml").write_text("key: m/09/good\nhook: h\nkind: neurons\nwidth: 8\n")
    records, broken = DictionaryRegistry(folder).read_all()
    return Result(REFUSED) if list(records) == ["m/09/good"] and len(broken) == 3 else Result(WRONG, str(broken))


@attack("keys that differ in underscores alone")
def similar_keys(folder: Path, quick: bool) -> Result:
    keys = ("a__b/c/d", "a/b__c/d", "a_/b/c", "a/_b/c", "a/b/c", "a/b_/c", "a/b/_c", "a___b/c/d")
    registry = DictionaryRegistry(folder)
    for key in keys:
        registry.write(DictionaryRecord(key=key, hook="h", kind="neurons", width=8))
    return Result(RIGHT) if sorted(registry.keys()) == sorted(keys) else Result(WRONG, str(registry.keys()))


def _rewrite(file: Path, text: str) -> None:
    """Other content of the same size under the same times, as a copy that keeps times leaves it."""
    status = file.stat()
    file.write_text(text)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@attack("a callable that changes in place", kind="callable")
@attack("an SAE that is trained again into the same folder", kind="sae_lens")
@attack("a sparsify folder that changes in place", kind="sparsify")
@attack("a dictionary_learning folder that changes in place", kind="dictionary_learning")
def changed_source(folder: Path, quick: bool, kind: str) -> Result:
    file = folder / "cfg.py"
    file.write_text("0.05")
    source = f"{file}:f" if kind == "callable" else str(folder)
    fields = {"d_in": 4} if kind == "callable" else {}
    record = DictionaryRecord(key="m/09/a", hook="h", kind=kind, source=source, width=8, **fields)  # type: ignore[arg-type]
    first = record.fingerprint
    if record.fingerprint != first:
        return Result(WRONG, "the version changes by itself")
    _rewrite(file, "0.20")
    return Result(RIGHT) if record.fingerprint != first else Result(WRONG, "the version stays")


@attack("a module changes that a callable imports", changed="norms.py")
@attack("a module changes that a module of a callable imports", changed="deep.py")
@attack("a file of weights changes that a callable names", changed="w.npy")
def changed_neighbour(folder: Path, quick: bool, changed: str) -> Result:
    (folder / "probe.py").write_text("import norms\nNAME = 'w.npy'\n")
    (folder / "norms.py").write_text("from deep import x\n")
    for name in ("deep.py", "w.npy", "other.py"):
        (folder / name).write_text("x = 1  # \n")
    source = f"{folder}/probe.py:f"
    record = DictionaryRecord(key="m/09/a", hook="h", kind="callable", source=source, width=8, d_in=4)
    first = record.fingerprint
    _rewrite(folder / "other.py", "x = 2  # \n")
    if record.fingerprint != first:
        return Result(WRONG, "a file that nothing imports is another version")
    _rewrite(folder / changed, (folder / changed).read_text().replace("#", "!").replace("x\n", "y\n"))
    return Result(RIGHT) if record.fingerprint != first else Result(WRONG, "the version stays")


@attack("a corpus file that changes in place", corpus="text:{folder}/a.txt")
@attack("a corpus file that changes in place, of a glob", corpus="text:{folder}/*.txt")
@attack("a corpus file that changes in place, of a folder", corpus="text:{folder}")
@attack("a corpus file of JSON lines that changes in place", corpus="jsonl:{folder}/a.txt#text")
@attack("a corpus file of a local data set that changes in place", corpus="hf:{folder}#text")
def changed_corpus(folder: Path, quick: bool, corpus: str) -> Result:
    (folder / "a.txt").write_text("one")
    sample = TokenSampleSettings(corpus=(corpus.format(folder=folder),))
    record = DictionaryRecord(key="m/09/a", hook="h", kind="neurons", width=8, token_sample=sample)
    first = sample_version(record, "r")
    _rewrite(folder / "a.txt", "two")
    return Result(RIGHT) if sample_version(record, "r") != first else Result(WRONG, "the version stays")


@attack("a judge's weights that change in their folder")
def changed_judge(folder: Path, quick: bool) -> Result:
    (folder / "config.json").write_text("{} ")
    settings = LanguageModelSettings(model=str(folder))
    first = settings.versioned_settings
    _rewrite(folder / "config.json", "[1]")
    return Result(RIGHT) if settings.versioned_settings != first else Result(WRONG, "the version stays")


@attack("a server that moves to another port")
def moved_server(folder: Path, quick: bool) -> Result:
    one, other = (
        LanguageModelSettings(backend="openai", model="m", options={"base_url": f"http://127.0.0.1:{port}/v1"}) for port in (8000, 8001)
    )
    return Result(RIGHT) if one.versioned_settings == other.versioned_settings else Result(WRONG, "another version")


@attack("settings with a key that stands twice", content="explainer: {model: a}\nexplainer: {model: b}\n")
@attack("settings with a budget of true", content="budget: {tokens: true}\n")
@attack("settings with a seed of -1", content="stages: {seed: -1}\n")
@attack("settings with a count of 10^12", content="stages: {examples: {n_held_out: 1000000000000}}\n")
@attack("settings with an impossible date", content="explainer: {model: 2024-13-45}\n")
@attack("settings with 200,000 brackets", content="explainer: " + "[" * 200_000)
def bad_settings(folder: Path, quick: bool, content: str) -> Result:
    (folder / "settings.yaml").write_text(content)
    try:
        PlatformSettings.read(folder / "settings.yaml")
    except UserError as error:
        return Result(REFUSED, str(error)[:200])
    return Result(WRONG, "they are taken")


LINES = {
    "200,000 brackets": b"[" * 200_000,
    "a number of 5,000 digits": b'{"text": "x", "n": ' + b"9" * 5_000 + b"}",
    "a text of NaN": b'{"text": NaN}',
    "token ids beyond 64 bits": b'{"text": [99999999999999999999999]}',
}


def odd_line(folder: Path, quick: bool, line: bytes) -> Result:
    file = folder / "a.jsonl"
    file.write_bytes(b'{"text": "one"}\n' + line)
    try:
        return Result(WRONG, f"read: {len(list(read_jsonl(f'{file}#text')))} documents")
    except CorpusError as error:
        return Result(REFUSED, str(error)[:160]) if "line 2" in str(error) else Result(WRONG, str(error)[:160])


for name, line in LINES.items():
    attack(f"a line of a corpus with {name}", seconds=20, line=line)(odd_line)


@attack("a corpus behind links in a circle, in a name that is not UTF-8", seconds=20)
def odd_paths(folder: Path, quick: bool) -> Result:
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("one")
    (folder / "here").symlink_to(folder)
    documents = list(read_text(f"{folder}/**/*.txt"))
    titles = pa.array([document.title for document in documents])
    return Result(RIGHT) if len(titles) == 1 else Result(WRONG, f"one file is {len(titles)} documents")
