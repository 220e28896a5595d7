"""The checks of `interp doctor`: packages, device, back ends, records, and the soundness of the store."""

import importlib.metadata
import importlib.util
import os
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from interp_assets.config.keys import N_FEATURE_RANGES
from interp_assets.config.settings import PlatformSettings
from interp_assets.installation.dagster_findings import dagster_findings
from interp_assets.installation.extras import install_command
from interp_assets.installation.home import Home
from interp_assets.orchestration.narrowing import made_of
from interp_assets.tables import ACTIVATIONS, EXAMPLES, EXPLANATIONS, SCORES, TABLES
from resources.store.lake import CorruptPartition, Lake, Manifest

PACKAGES = ("dagster", "torch", "transformers", "polars", "duckdb", "pyarrow")


@dataclass(frozen=True)
class Finding:
    """The finding of one check. "FAIL" makes the command fail; "warn" names something that only some uses need; "next" is a step."""

    mark: Literal["ok", "warn", "FAIL", "next"]
    subject: str
    text: str


def findings(home: Home, verify: bool = False) -> Iterator[Finding]:
    """All findings, cheapest first; `verify` reads every file of the lake against its checksums."""
    yield Finding("ok", "python", platform.python_version())
    for package in PACKAGES:
        try:
            yield Finding("ok", package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding("FAIL", package, f"not installed: pip install {package}")
    yield _device()
    yield from _back_ends()
    yield from _embedded()
    yield from _store(home, verify)
    for mark, text in dagster_findings(home):
        yield Finding(mark, "Dagster", text)
    yield from _next(home)


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Finding("ok", "device", f"cuda: {torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
    return Finding("ok", "device", f"cpu, {torch.get_num_threads()} threads (no CUDA device)")


def _back_ends() -> Iterator[Finding]:
    yield Finding("ok", "back end transformers", "the default; runs on this device")
    if importlib.util.find_spec("vllm"):
        yield Finding("ok", "back end vllm", importlib.metadata.version("vllm"))
    else:
        yield Finding("warn", "back end vllm", f"not installed; on a GPU: {install_command('gpu')}")
    key = "OPENAI_API_KEY is set" if os.environ.get("OPENAI_API_KEY") else "OPENAI_API_KEY is not set (local servers need none)"
    yield Finding("ok", "back end openai", key)


def _embedded() -> Iterator[Finding]:
    from resources.sentence_encoder import load_sentence_encoder
    from resources.weights import WeightsError, resolve_model_folder

    try:
        folder = resolve_model_folder("embedded:smollm2-135m-instruct")
        yield Finding("ok", "embedded model", f"smollm2-135m-instruct at {folder.location}")
    except WeightsError as error:
        yield Finding("warn", "embedded model", str(error).splitlines()[0])
    try:
        encoder = load_sentence_encoder("embedded:all-minilm-l6-v2")
        yield Finding("ok", "embedded sentence encoder", f"all-minilm-l6-v2 at {encoder.folder.location}")
    except WeightsError as error:
        readers = "`similar` silent windows, the scorer `embedding` and searching by meaning need it"
        yield Finding("warn", "embedded sentence encoder", f"{error} {readers}.")


def _store(home: Home, verify: bool) -> Iterator[Finding]:
    yield Finding("ok", "home", str(home.root))
    try:
        lake = home.lake
        settings = home.settings
    except Exception as error:
        yield Finding("FAIL", "store", str(error))
        return
    yield Finding(
        "ok",
        "settings",
        f"explainer {settings.explainer.backend} {settings.explainer.model}, scorer {settings.scorer.backend} {settings.scorer.model}",
    )
    if (loss := lake.loss) is not None:
        yield Finding("FAIL", "lake", loss)
    manifests = lake_manifests(lake)
    size = sum(manifest.bytes for manifest in manifests)
    yield Finding("ok", "lake", f"{len(manifests)} complete partitions, {size / 1e6:.1f} MB, {sum(m.rows for m in manifests):,} rows")
    if verify:
        damaged = list(_damaged(lake, manifests))
        yield from damaged
        yield Finding("ok", "checksums", f"{len(manifests) - len(damaged)} of {len(manifests)} partitions read whole")
    yield from older_scores(manifests)
    for folder in lake.incomplete():
        yield Finding("warn", "incomplete partition", f"{folder} was left by a killed run or is damaged; materialise it again")
    records, broken = home.registry.read_all()
    yield Finding("ok", "dictionaries", f"{len(records)} registered in {home.registry.folder}")
    for name, error in (broken | home.registry.refused(records, settings)).items():
        yield Finding("FAIL", "broken record", f"{name}: {error}")
    replies = home.replies.size()
    yield Finding("ok", "replies", f"{replies.n_replies:,} kept, {replies.n_bytes / 1e6:.1f} MB")
    if replies.n_damaged:
        where = home.replies.folder / "damaged"
        yield Finding(
            "warn", "damaged replies", f"{replies.n_damaged} files are set aside in {where}; {replies.n_lost:,} replies of them are lost"
        )


def lake_manifests(lake: Lake) -> list[Manifest]:
    """The manifests of all complete partitions."""
    return [manifest for table in TABLES for manifest in lake.manifests(table.name)]


def older_scores(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    """A finding for each scorer and dictionary whose scores were made of explanations or windows that the lake no longer holds."""
    present: dict[tuple[str, str, str], str] = {}
    for one in manifests:
        if one.table in (EXPLANATIONS.name, EXAMPLES.name):
            name = "/".join(filter(None, (one.table, one.partition.get("explanation_method"))))
            present[name, one.partition["dictionary"], one.partition["feature_range"]] = one.data_version
    inputs = {name for name, _, _ in present}
    older: dict[tuple[str, str], Counter[str]] = {}
    for one in manifests:
        if one.table != SCORES.name:
            continue
        key, feature_range, scorer = (one.partition[column] for column in ("dictionary", "feature_range", "scorer"))
        for name in inputs.intersection(one.inputs):
            version = present.get((name, key, feature_range))
            if version is not None and not made_of(one, name, version):
                older.setdefault((scorer, key), Counter())[name] += 1
    for (scorer, key), found in sorted(older.items()):
        named = " and ".join(f"{name} in {n} of {N_FEATURE_RANGES} ranges" for name, n in sorted(found.items()))
        told = f"scores/{scorer} of {key} were made of earlier {named}, which the lake no longer holds"
        yield Finding("warn", "older scores", f"{told}: interp backfill {key} makes them again")


def _next(home: Home) -> Iterator[Finding]:
    """The next step of a user of this home, by what is there; none where the home cannot be read."""
    try:
        keys, settings, lake = home.registry.keys(), home.settings, home.lake
        harvested = {one.partition["dictionary"] for one in lake.manifests(ACTIVATIONS.name)}
        explained = {one.partition["dictionary"] for one in lake.manifests(EXPLANATIONS.name) if one.rows}
    except Exception:  # the checks of the store have said why
        return
    if not keys:
        yield Finding("next", "no dictionary yet", "interp demo registers and explains small ones in minutes")
        yield Finding("next", "or your own", "interp dictionaries --example > my-sae.yaml; edit it; interp register my-sae.yaml")
        return
    bare = [key for key in keys if key not in explained]
    if bare:
        there = "its activations are there" if bare[0] in harvested else "harvests its token sample first"
        yield Finding(
            "next", "not explained", f"interp run {bare[0]} --features firing:10 ({there}); interp backfill {bare[0]} for all of it"
        )
    default = PlatformSettings()
    if settings.explainer == default.explainer or settings.scorer == default.scorer:
        yield Finding(
            "next", "small judge", f"name real models under explainer: and scorer: in {home.settings_file} before you believe a score"
        )
    if explained:
        yield Finding("next", "results", "interp query scores_by_method; interp explore; interp ui shows the graph")


def _damaged(lake: Lake, manifests: list[Manifest]) -> Iterator[Finding]:
    for manifest in manifests:
        try:
            lake.verify(manifest)
        except CorruptPartition as error:
            yield Finding("FAIL", "damaged partition", str(error))
