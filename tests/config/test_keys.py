"""The two axes: keys, ranges and bounds."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.config.keys import FEATURE_RANGE_KEYS, N_FEATURE_RANGES, RangeKey, check_dictionary_key, range_bounds, range_holding


@given(st.integers(0, 300_000))
def test_ranges_cover_every_selected_feature_once(n_selected: int) -> None:
    bounds = [range_bounds(i, n_selected) for i in range(N_FEATURE_RANGES)]
    assert bounds[0][0] == 0 and bounds[-1][1] == n_selected
    assert all(end == start for (_, end), (start, _) in pairwise(bounds))
    sizes = [end - start for start, end in bounds]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 300_000), st.data())
def test_the_range_that_holds_an_entry_is_the_one_whose_bounds_do(n_selected: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, n_selected - 1))
    first, end = range_bounds(range_holding(place, n_selected), n_selected)
    assert first <= place < end


def test_bounds_by_hand() -> None:
    # 20 features over 16 ranges: range 3 covers entries 3*20//16 = 3 up to 4*20//16 = 5
    assert range_bounds(3, 20) == (3, 5)
    assert range_bounds(0, 5) == (0, 0)  # fewer features than ranges leaves some empty


@pytest.mark.parametrize("key", ["smollm2-135m/09/res-2k", "gemma-2-2b/20/gemmascope-16k", "m/blocks:9/x@1"])
def test_legal_dictionary_keys(key: str) -> None:
    assert check_dictionary_key(key) == key


@pytest.mark.parametrize("key", ["", "a/b", "a/b/c/d", "a/b/c|00of16", "a b/c/d", "a/../c d", "ä/b/c"])
def test_illegal_dictionary_keys_name_a_legal_one(key: str) -> None:
    with pytest.raises(ValueError, match="smollm2-135m/09/res-2k"):
        check_dictionary_key(key)


def test_range_key_reads_a_partition_key() -> None:
    partition = RangeKey.of("m/09/a|03of16")
    assert (partition.dictionary, partition.index, str(partition)) == ("m/09/a", 3, "m/09/a|03of16")
    with pytest.raises(ValueError, match=FEATURE_RANGE_KEYS[-1]):
        RangeKey.of("m/09/a|99of16")
