"""Activations of planted dictionaries: rules applied to the text of a token sample, or to any text, without a model."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.planted.rules import ClaimCounts, readable_tokens
from interp_assets.reading.token_sample import TokenSample
from resources.store.activation_spill import SortedGroup
from resources.subject.interface import SubjectTokenizer


class PlantedActivations:
    """The activations of a planted dictionary on the tokens of `sample`, by feature range as the harvest has them.

    Raises `UserError`, when a rule is applied, where the narrowed and broadened explanations do not bound the true explanation on this
    sample: see the message.
    """

    def __init__(self, record: DictionaryRecord, sample: TokenSample, tokenizer: SubjectTokenizer) -> None:
        self._record, self._tokens, self._is_text, self._tokenizer = record, sample.tokens, sample.is_text(), tokenizer

    def sorted_groups(self, name: str, range_index: int) -> Iterator[SortedGroup]:
        """A group of one chunk for each selected feature of a range, in order; empty for a rule that never fires."""
        for feature in self._record.features_of(RangeKey(name, FEATURE_RANGE_KEYS[range_index])).tolist():
            position, value = self._activations(feature)
            chunk = np.full(len(position), feature, dtype=np.uint32), position, value
            yield SortedGroup(feature, feature + 1, len(position), lambda chunk=chunk: iter([chunk]))

    def _activations(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions uint32 and values float16 of a feature, both [n], ascending by position."""
        rule, counts = self._record.planted_rules[feature], ClaimCounts()
        positions, values = [np.empty(0, dtype=np.uint32)], [np.empty(0, dtype=np.float16)]
        for row, token_ids in enumerate(self._tokens):
            tokens = _read(token_ids, self._tokenizer)
            counts.add(rule, tokens)
            found = rule.activations(tokens)
            places = np.flatnonzero((found > 0) & self._is_text[row])
            positions.append((row * len(tokens) + places).astype(np.uint32))
            values.append(found[places])
        if fault := counts.fault(rule):
            raise UserError(
                f"dictionary {self._record.key}: {fault}, on its token sample. The true explanation must match all that the narrowed "
                "one matches and more, and the broadened one all tokens that the true one matches and more: change patterns or sample"
            )
        return np.concatenate(positions), np.concatenate(values)


def largest_on_texts(
    record: DictionaryRecord, tokenizer: SubjectTokenizer, wanted: Sequence[tuple[int, str]], max_tokens: int
) -> list[float]:
    """For each (feature, text) the largest activation of a planted feature on the first `max_tokens` tokens of the text, or 0.0."""
    found = []
    for feature, text in wanted:
        values = record.planted_rules[feature].activations(_read(tokenizer.encode(text)[:max_tokens], tokenizer))
        found.append(float(values.max(initial=0)))
    return found


def firing_line(record: DictionaryRecord, sample: np.ndarray, tokenizer: SubjectTokenizer) -> str:
    """How many of a planted dictionary's selected rules fire in int [rows, context], and the names of the silent rules."""
    fires: Counter[str] = Counter()
    rules = [record.planted_rules[feature] for feature in record.selected_features.tolist()]
    for token_ids in sample:
        tokens = _read(token_ids, tokenizer)
        fires.update({rule.name: int((rule.activations(tokens) > 0).sum()) for rule in rules})
    silent = [rule.name for rule in rules if not fires[rule.name]]
    note = f"; silent there: {', '.join(silent)}" if silent else ""
    return f"{len(rules) - len(silent)} of {len(rules)} rules fire in the first {sample.size:,} tokens of the sample{note}"


def _read(token_ids: np.ndarray, tokenizer: SubjectTokenizer) -> list[str]:
    return readable_tokens(token_ids.tolist(), tokenizer.tokens(token_ids), tokenizer.special_token_ids)
