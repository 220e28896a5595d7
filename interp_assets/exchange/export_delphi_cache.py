"""Exports a dictionary's activations and tokens as a delphi cache."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures, selected_among
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import PlatformSettings
from interp_assets.exchange.import_dictionary import SELECTED
from interp_assets.orchestration.versions import activations_version
from interp_assets.reading.token_sample import read_token_sample
from interp_assets.tables import ACTIVATIONS
from resources.formats.delphi_writing import Written, split_bounds, write_cache
from resources.store.lake import Lake

DEFAULT_SPLITS = 5
FILE_ACTIVATIONS = 20_000_000
"""Most activations of a file where the number of files is not given: a file is in memory whole while it is written."""


def export_delphi(
    lake: Lake,
    record: DictionaryRecord,
    settings: PlatformSettings,
    folder: Path,
    *,
    hookpoint: str | None = None,
    features: AskedFeatures | None = None,
    n_splits: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Written:
    """Write the dictionary's activations as the cache `folder`/latents/<hookpoint>, which must not exist yet, and return what was written.

    `features` None stands for all features that the record selects. Raises `UserError` for features that the record does not select, for
    activations that are not up to date, and for a dictionary without activations; `LakeError` where activations were never made.
    """
    if not record.has_activations:
        raise UserError(f"dictionary {record.key} has imported examples and no activations. Export a dictionary that was harvested.")
    sample = read_token_sample(lake, record.key)
    keys = [RangeKey(record.key, feature_range) for feature_range in FEATURE_RANGE_KEYS]
    manifests = [lake.require(ACTIVATIONS.name, lake_partition(key)) for key in keys]
    stages = settings.stage_settings(record.stages)
    if any(manifest.data_version != activations_version(record, stages, sample.sample) for manifest in manifests):
        raise UserError(
            f"the activations of {record.key} are older than its record. Make them again: "
            f"interp backfill {record.key} --only activation_shards"
        )
    chosen = selected_among(record, record.selected_features, features)
    total = sum(manifest.rows for manifest in manifests)
    n_splits = n_splits or min(record.width, max(DEFAULT_SPLITS, -(-total // FILE_ACTIVATIONS)))
    hookpoint = legal_hookpoint(hookpoint or record.hook)
    bounds = split_bounds(record.width, n_splits)
    config = {
        "dataset_repo": ", ".join(record.token_sample.corpus), "dataset_split": "", "dataset_name": "", "dataset_column": "",
        "batch_size": stages.harvest.batch_rows, "cache_ctx_len": sample.tokens.shape[1], "n_tokens": int(sample.tokens.size),
        "n_splits": n_splits, "model_name": record.model.source, "dictionary": record.key, "token_sample": sample.sample,
        **({} if len(chosen) == record.width else {SELECTED: chosen.tolist()}),
    }  # fmt: skip
    say(f"writing {n_splits} files for {len(chosen):,} features to {folder / 'latents' / hookpoint}")

    if stages.harvest.max_activations is not None:
        say(
            f"note: features with more than {stages.harvest.max_activations:,} activations are in the cache on a share of the contexts only"
        )

    def activations_of(first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _activations(lake, record, keys, chosen[(chosen >= first) & (chosen <= last)])

    return write_cache(folder / "latents" / hookpoint, sample.tokens, bounds, activations_of, config)


def legal_hookpoint(name: str) -> str:
    """`name` itself, where it can be the name of a folder or file. Raises `UserError` otherwise."""
    if not name or any(part in ("", ".", "..") for part in name.split("/")):
        raise UserError(f"--hookpoint {name!r} is no folder name; write it as layers.9")
    return name


def _activations(
    lake: Lake, record: DictionaryRecord, keys: list[RangeKey], features: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(feature uint32, position uint32, value float16) of `features` (ascending), sorted by feature and then by position."""
    parts = [(np.empty(0, np.uint32), np.empty(0, np.uint32), np.empty(0, np.float16))]
    for key in keys:
        of_range = np.intersect1d(record.features_of(key), features)
        if not len(of_range):
            continue
        bounds = [("feature", ">=", int(of_range[0])), ("feature", "<=", int(of_range[-1]))]
        table = lake.read(ACTIVATIONS.name, lake_partition(key), columns=["feature", "position", "value"], filters=bounds)
        feature, position, value = (table.column(name).to_numpy() for name in ("feature", "position", "value"))
        kept = np.isin(feature, of_range)
        parts.append((feature[kept], position[kept], value[kept]))
    feature, position, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return feature, position, value
