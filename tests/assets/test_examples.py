"""What stands between the drawn examples and their tables: the check that no text has two roles."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.examples.sampling import ROLES, ExampleColumns
from interp_assets.domain.examples.windows import Places
from interp_assets.measuring.drawn_examples import features_with_a_text_in_two_roles


def two_of_each(equal: tuple[int, ...]) -> ExampleColumns:
    """Two activating windows of each role, then two silent ones of each, three tokens long, all different but for those in `equal`."""
    tokens = np.arange(36).reshape(12, 3)
    tokens[list(equal)] = 99
    places = Places(np.arange(12), np.zeros(12, dtype=np.int64), np.full(12, 3))
    return ExampleColumns(7, "ok", 6, 1.0, 0, 2, 2, 2, 2, 2, places, np.zeros(6, dtype=np.int64), ("random",) * 6, token_ids=tokens.ravel())


@pytest.mark.parametrize("pair", combinations(range(12), 2), ids=str)
def test_a_text_in_two_roles_is_found_whatever_the_roles(pair: tuple[int, int]) -> None:
    columns = two_of_each(pair)
    assert columns.roles == [role for _ in ("activating", "non_activating") for role in ROLES for _ in range(2)]
    sound = replace(two_of_each(()), feature=3)
    assert features_with_a_text_in_two_roles([sound, columns, sound]) == [7] * (pair[0] // 2 % 3 != pair[1] // 2 % 3)


def test_texts_that_differ_have_one_role_each() -> None:
    assert features_with_a_text_in_two_roles([two_of_each(()), ExampleColumns(8, "dead", 0, None)]) == []
    assert features_with_a_text_in_two_roles([]) == features_with_a_text_in_two_roles([ExampleColumns(8, "dead", 0, None)]) == []


@given(st.data())
def test_texts_in_two_roles_are_those_that_a_set_for_each_role_finds(data: st.DataObject) -> None:
    """Windows of 1 to 3 of the tokens 0 and 1, so that many are equal, and some are the beginnings of others."""
    found: list[ExampleColumns] = []
    expected: list[int] = []
    for feature in range(data.draw(st.integers(0, 4))):
        texts = data.draw(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=3), min_size=6, max_size=6))
        lengths = np.array([len(text) for text in texts])
        places = Places(np.arange(6), np.zeros(6, dtype=np.int64), lengths)
        columns = ExampleColumns(
            feature, "ok", 3, 1.0, 0, 1, 1, 1, 1, 1, places, np.zeros(3, dtype=np.int64), ("random",) * 3, token_ids=np.concatenate(texts)
        )
        found.append(columns)
        of_role = [{tuple(text) for text, own in zip(texts, columns.roles, strict=True) if own == role} for role in ROLES]
        expected += [feature] * any(one & other for one, other in combinations(of_role, 2))
    assert features_with_a_text_in_two_roles(found) == expected
