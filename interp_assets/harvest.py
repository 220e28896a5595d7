"""One forward pass over a token sample for all dictionaries that read it: sparse activations to disk, then sorted by range."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from interp_assets.dictionaries import DictionaryRecord
from interp_assets.domain.feature_statistics import FeatureStatistics
from interp_assets.partitions import N_FEATURE_RANGES, RangeKey, range_bounds
from interp_assets.samples import TokenSample
from interp_assets.settings import HarvestSettings, UserError
from interp_assets.tables import ACTIVATIONS, FEATURE_STATISTICS
from resources.activation_spill import ActivationSpill
from resources.dictionaries import DictionaryError, refuse_bad_dictionary
from resources.tokenizer import Tokenizer

ROW_GROUP_ROWS = 65_536
"""Small row groups: their statistics let a reader touch one feature's rows alone."""

FLUSH_SECONDS = 20.0
"""A killed harvest repeats at most this much."""

REPORT_SECONDS = 10.0

WRITER_OPTIONS = {
    "use_dictionary": ["dictionary", "feature"],
    "column_encoding": {"position": "DELTA_BINARY_PACKED", "value": "PLAIN"},
    "compression_level": 3,
}


@dataclass(frozen=True)
class LoadedDictionary:
    """A dictionary with its record and what the self-check measured on the first contexts of the sample."""

    record: DictionaryRecord
    dictionary: Any
    l0: float
    fvu: float | None


def checked_dictionaries(
    subject: Any, sample: TokenSample, records: Mapping[str, DictionaryRecord], models: Any, settings: HarvestSettings
) -> dict[str, LoadedDictionary]:
    """Each record's dictionary, loaded and checked on real activations before the long pass.

    Raises with the measured numbers when one explains less than nothing or contradicts its record.
    """
    import torch

    probe = sample.tokens[: settings.self_check_rows]
    ordinary = torch.from_numpy(~np.isin(probe, list(subject.special_token_ids)))
    loaded = {}
    for key, record in records.items():
        subject.resolve_hook(record.hook)
        try:
            dictionary = models.dictionary(kind=record.kind, **record.loader_fields, device=str(subject.device))
            values = subject.hook_values(probe, sorted({dictionary.hook, dictionary.output_hook}))
            x, y = (values[hook][ordinary.to(subject.device)].float() for hook in (dictionary.hook, dictionary.output_hook))
            check = refuse_bad_dictionary(dictionary, x, y)
        except DictionaryError as error:
            raise UserError(f"{key}: {error}") from None
        loaded[key] = LoadedDictionary(record, dictionary, check.l0, check.fvu)
    return loaded


def spill_activations(
    subject: Any,
    sample: TokenSample,
    loaded: Mapping[str, LoadedDictionary],
    spill: ActivationSpill,
    settings: HarvestSettings,
    say: Callable[[str], None],
) -> None:
    """Run the subject once over the contexts that `spill` does not have yet and put every dictionary's activations there."""
    done, total = spill.rows_done, len(sample.tokens)
    if done:
        say(f"continuing at context {done} of {total}")
    started = reported = flushed = time.monotonic()
    last_name = list(loaded)[-1]
    batches = subject.sparse_activations(
        sample.tokens,
        {key: item.dictionary for key, item in loaded.items()},
        {key: item.record.selected_features for key, item in loaded.items()},
        settings.batch_rows,
        first_row=done,
    )
    for batch in batches:
        spill.append(batch.name, batch)
        if batch.name != last_name:
            continue
        now = time.monotonic()
        if now - flushed > FLUSH_SECONDS:
            spill.flush()
            flushed = now
        if now - reported > REPORT_SECONDS or batch.rows_done == total:
            reported = now
            rate = (batch.rows_done - done) * sample.tokens.shape[1] / (now - started)
            eta = (total - batch.rows_done) * sample.tokens.shape[1] / rate
            say(f"harvested {batch.rows_done}/{total} contexts, {rate:,.0f} tokens/s, ETA {eta:.0f} s")
    spill.flush()


def range_tables(
    record: DictionaryRecord, spill: ActivationSpill, sample: TokenSample, tokenizer: Tokenizer, key: RangeKey
) -> tuple[Iterator[pa.Table], pa.Table]:
    """(activations in row groups, statistics) of one range, sorted by feature then position.

    Statistics are over the values as stored (float16). Every selected feature has a row, dead ones too.
    """
    feature, position, value = spill.sorted_range(key.dictionary, key.index)
    context_tokens = sample.tokens.shape[1]
    statistics = FeatureStatistics(record.features_of(key))
    flat = sample.tokens.reshape(-1)
    statistics.update(position // context_tokens, feature, value, flat[position])
    n_tokens = int((~np.isin(sample.tokens, list(tokenizer.special_token_ids))).sum())
    frame = statistics.compute(n_tokens, len(sample.tokens))
    rows = [
        {
            "dictionary": key.dictionary, "feature_range": key.feature_range, "feature": row["feature"], "sample": sample.sample,
            "n_tokens": n_tokens, "firing_count": row["firing_count"], "token_density": row["token_density"],
            "context_count": row["context_count"], "context_density": row["context_density"],
            "mean_activation": row["mean"], "max_activation": row["max"], "histogram": row["histogram"],
            "top_tokens": [
                {"token_id": token_id, "token": token, "mass": mass}
                for token_id, token, mass in zip(
                    row["top_tokens"], tokenizer.tokens(row["top_tokens"]), row["top_token_masses"], strict=True
                )
            ],
            "top_token_share": row["top_token_share"],
        }
        for row in frame.to_dicts()
    ]  # fmt: skip
    return _batches(key.dictionary, feature, position, value), pa.Table.from_pylist(rows, schema=FEATURE_STATISTICS.schema)


def feature_edges(record: DictionaryRecord) -> np.ndarray:
    """int64 [N_FEATURE_RANGES + 1]: range i holds the features from edge i up to edge i+1."""
    selected = record.selected_features.astype(np.int64)
    padded = np.append(selected, record.width)
    firsts = [range_bounds(i, len(selected))[0] for i in range(N_FEATURE_RANGES)]
    return np.append(padded[firsts], record.width)


def _batches(dictionary: str, feature: np.ndarray, position: np.ndarray, value: np.ndarray) -> Iterator[pa.Table]:
    step = 64 * ROW_GROUP_ROWS
    for first in range(0, max(len(feature), 1), step):
        part = slice(first, first + step)
        names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(feature[part]), np.int32)), pa.array([dictionary]))
        yield pa.table(
            {"dictionary": names, "feature": feature[part], "position": position[part], "value": value[part]},
            schema=ACTIVATIONS.schema,
        )
