"""Files of other tools as the graph reads them: tokens and activations of a delphi cache, windows of a Neuronpedia export.

A record names the files and a hash of their content at the import. The files are read only while their content is unchanged.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.examples.imported_examples import ImportedWindow, imported_examples
from interp_assets.domain.examples.sampling import ExampleSettings, FeatureExamples
from interp_assets.domain.examples.token_numbers import TokenNumbers
from interp_assets.reading.token_sample import TokenSample
from resources.formats import delphi, neuronpedia
from resources.formats.interface import BadRow, content_hash
from resources.store.activation_spill import Activations, SortedGroup
from resources.store.stored_values import fits_float16
from resources.subject.interface import SubjectTokenizer
from resources.subject.token_texts import whole_characters

GROUP_ACTIVATIONS = 8 << 20
"""Activations that are sorted at once: each takes about 40 bytes of memory."""

FLOAT16 = np.finfo(np.float16)


def require_unchanged(record: DictionaryRecord, folder: Path, files: Sequence[Path]) -> None:
    """Raise `UserError` when the record's files have changed since they were imported."""
    assert record.imported is not None, record.key
    found = content_hash(folder, files)
    if found != record.imported.content:
        raise UserError(
            f"dictionary {record.key}: the files in {folder} have changed since they were imported (content {found}, imported "
            f"{record.imported.content}). Restore them, or import them again: interp import {record.kind} {folder} --key {record.key} …"
        )


def open_delphi(record: DictionaryRecord) -> delphi.DelphiCache:
    """The cache of a record, which must be unchanged since its import."""
    cache = delphi.open_cache(Path(str(record.source)))
    require_unchanged(record, cache.folder, cache.files)
    return cache


class DelphiActivations:
    """The activations of a cache on the tokens of `sample`, by feature range as the harvest has them.

    Activations on special tokens are left out, as in a harvest. Values become float16 without rounding to zero; values that float16 does
    not hold stay float32. Opening reads the whole cache once, and raises `ExchangeError` where the cache is not sound.
    """

    def __init__(self, record: DictionaryRecord, sample: TokenSample, tokenizer: SubjectTokenizer) -> None:
        self._record, self._rows, self._context = record, *sample.tokens.shape
        self._special = np.isin(sample.tokens.reshape(-1), list(tokenizer.special_token_ids))
        self._cache = open_delphi(record)
        self._findings = delphi.check_cache(self._cache, sample.tokens.shape)
        self._n_special = 0

    def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
        """The groups of one range, in order of feature. Each group has one chunk of at most GROUP_ACTIVATIONS activations, or of one
        feature."""
        features = self._record.features_of(RangeKey(name, FEATURE_RANGE_KEYS[range_index])).astype(np.int64)
        ends = np.cumsum(np.append(self._findings.firing_counts, np.zeros(self._record.width - self._cache.width, np.int64))[features])
        first = 0
        while first < len(features):
            before = ends[first - 1] if first else 0
            end = max(first + 1, int(np.searchsorted(ends, before + GROUP_ACTIVATIONS, side="right")))
            chunk = self._chunk(features[first:end])
            yield SortedGroup(int(features[first]), int(features[end - 1]) + 1, len(chunk[0]), lambda chunk=chunk: iter([chunk]))
            first = end

    def _chunk(self, features: np.ndarray) -> Activations:
        feature, row, place, value = delphi.read_activations(self._cache, features, self._rows, self._context)
        position = row.astype(np.int64) * self._context + place
        ordinary = ~self._special[position]
        self._n_special += len(ordinary) - int(ordinary.sum())
        stored = np.maximum(value, FLOAT16.smallest_subnormal)
        stored = stored.astype(np.float16) if fits_float16(stored) else stored.astype(np.float32)
        return feature[ordinary], position[ordinary].astype(np.uint32), stored[ordinary]

    @property
    def provenance(self) -> dict[str, Any]:
        """The source of the activations and the counts of what was left out, for the materialisation; complete once all ranges were
        read."""
        assert self._record.imported is not None
        return {
            "imported_from": str(self._cache.folder),
            "imported_content": self._record.imported.content,
            "unverified_tokens": self._record.imported.unverified_tokens,
            "left_out_not_above_1e-5": self._findings.n_small,
            "left_out_negative": self._findings.n_negative,
            "left_out_on_special_tokens": self._n_special,
            "delphi_config": dict(self._cache.config),
        }


class NeuronpediaExamples:
    """The examples of a Neuronpedia export, by feature range, and the texts of their tokens."""

    def __init__(self, record: DictionaryRecord, tokenizer: SubjectTokenizer) -> None:
        self._record, self._tokenizer = record, tokenizer
        self._numbers = TokenNumbers()
        self._export = neuronpedia.open_export(Path(str(record.source)))
        require_unchanged(record, self._export.folder, self._export.activation_files)
        self._spans: dict[Path, tuple[int, int, int]] = {}  # file: (smallest feature, largest feature, good rows) of a file that was read

    def of_range(self, key: RangeKey, settings: ExampleSettings, run_seed: int) -> list[FeatureExamples]:
        """Examples of every selected feature of a range. A file that is known to hold none of these features is not read again."""
        features = self._record.features_of(key)
        windows = self._windows(set(features.tolist()))
        return [imported_examples(windows[feature], settings, run_seed, feature) for feature in features.tolist()]

    def tokens(self, numbers: Sequence[int] | np.ndarray) -> list[str]:
        """The texts of tokens: by the tokenizer for a token with an id, from the export for a token without one."""
        return [self._numbers.texts[number] for number in numbers]

    texts = tokens

    def is_plain(self, numbers: np.ndarray) -> np.ndarray:
        """Bool [n], all True: a number stands for one text."""
        return np.ones(len(numbers), dtype=bool)

    def _windows(self, wanted: set[int]) -> Mapping[int, list[ImportedWindow]]:
        windows: dict[int, list[ImportedWindow]] = defaultdict(list)
        first_number = 0
        for file in self._export.activation_files:
            low, high, good = self._spans.get(file, (min(wanted, default=0), max(wanted, default=0), 0))
            if not wanted or high < min(wanted) or low > max(wanted):
                first_number += good
                continue
            read = list(self._kept(file, first_number, wanted, windows))
            self._spans[file] = (min(read, default=0), max(read, default=-1), len(read))
            first_number += len(read)
        return windows

    def _kept(self, file: Path, first_number: int, wanted: set[int], windows: dict[int, list[ImportedWindow]]) -> Iterator[int]:
        """The feature of every good row of a file. Windows of the wanted features are added to `windows`."""
        for row in neuronpedia.read_batch(file, self._record.width, first_number):
            if isinstance(row, BadRow):
                continue
            if row.feature in wanted:
                ids = self._tokenizer.ids_of(row.tokens)
                known = iter(self._tokenizer.texts([token_id for token_id in ids if token_id >= 0]))
                texts = whole_characters([next(known) if token_id >= 0 else text for token_id, text in zip(ids, row.tokens, strict=True)])
                values = tuple(max(value, 0.0) for value in row.values)
                windows[row.feature].append(ImportedWindow(row.number, self._numbers.numbered(ids, texts), values, row.bin_top))
            yield row.feature


def import_provenance(record: DictionaryRecord) -> dict[str, Any]:
    """The source of a dictionary's examples, for its materialisations; empty for a dictionary that was not imported."""
    if record.imported is None:
        return {}
    return {"imported_from": str(record.source), "imported_content": record.imported.content}
