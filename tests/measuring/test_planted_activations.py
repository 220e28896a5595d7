"""Rules applied to the tokens of a sample and to texts, with the stand-in's tokenizer."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from interp_assets.config.base import UserError
from interp_assets.config.keys import N_FEATURE_RANGES
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.planted.rules import LEVELS
from interp_assets.measuring.planted import PlantedActivations, firing_line, largest_on_texts
from interp_assets.reading.token_sample import TokenSample
from resources.fakes import FakeTokenizer

TOKENIZER: Any = FakeTokenizer()


def claims(truth: str, narrowed: str, broadened: str) -> dict[str, dict[str, str]]:
    parts = {"truth": truth, "narrowed": narrowed, "broadened": broadened}
    return {name: {"text": f"the words {pattern}", "pattern": rf"\b(?:{pattern})\b"} for name, pattern in parts.items()}


RULES = [
    {"name": "royal", **claims("king|war", "king", "king|war|law")}, {"name": "silent", **claims("zebra", "zebra", "zebra")},
    {"name": "bos", **claims("bos|ship", "bos", "bos|ship|water")},
]  # fmt: skip
RECORD = DictionaryRecord.model_validate({"key": "m/planted/a", "kind": "planted", "rules": RULES})
TOKENS = np.array([[1, *TOKENIZER.encode("the king of war and water ship")], [1, *TOKENIZER.encode("a law for the king and ship")]])


def groups(record: DictionaryRecord) -> dict[int, tuple[list[int], list[float]]]:
    """Positions and values by feature, over all ranges."""
    activations = PlantedActivations(record, TokenSample("s", TOKENS), TOKENIZER)
    found = {}
    for index in range(N_FEATURE_RANGES):
        for group in activations.sorted_groups(record.key, index):
            ((feature, position, value),) = group.chunks()
            assert (feature == group.first_feature).all() and (group.n, group.end_feature) == (len(feature), group.first_feature + 1)
            found[group.first_feature] = position.tolist(), value.tolist()
    return found


def test_activations_stand_at_the_tokens_that_a_rule_speaks_of_never_at_bos() -> None:
    # "<bos> the king of war and water ship" and "<bos> a law for the king and ship", eight tokens each; no claim reads "<bos>" itself.
    found = groups(RECORD)
    assert {feature: positions for feature, (positions, _) in found.items()} == {0: [2, 4, 13], 1: [], 2: [7, 15]}
    assert all(value in LEVELS.tolist() for _, values in found.values() for value in values)


def test_a_narrowed_claim_that_is_not_true_stops_with_the_dictionary_and_the_rule() -> None:
    royal = RECORD.planted_rules[0]
    wrong = replace(royal, narrowed=RECORD.planted_rules[2].truth)
    with pytest.raises(
        UserError, match=r"dictionary m/planted/a: rule royal: its narrowed explanation .* speaks of 2 tokens on which the rule"
    ):
        groups(RECORD.model_copy(update={"rules": (wrong,), "width": 1}))


def test_selected_features_alone_are_applied() -> None:
    assert list(groups(RECORD.model_copy(update={"features": (2,)}))) == [2]


def test_the_largest_on_a_text_is_of_its_first_tokens() -> None:
    found = largest_on_texts(RECORD, TOKENIZER, [(0, "the king"), (0, "ship"), (2, "ship"), (0, ""), (0, "the water king")], 2)
    assert [value > 0 for value in found] == [True, False, True, False, False]


def test_which_rules_fire_is_told_before_registration() -> None:
    assert firing_line(RECORD, TOKENS, TOKENIZER) == "2 of 3 rules fire in the first 16 tokens of the sample; silent there: silent"
    assert firing_line(RECORD.model_copy(update={"features": (0,)}), TOKENS, TOKENIZER).startswith(
        "1 of 1 rules fire in the first 16 tokens"
    )
