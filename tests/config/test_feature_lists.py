"""Features as a person asks for them: an interval holds the features that are there, and a named feature must be there."""

import numpy as np
import pytest

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures, parse_features, selected_among
from interp_assets.config.records import DictionaryRecord

RECORD = DictionaryRecord.model_validate({"key": "m/00/n", "hook": "h", "kind": "neurons", "width": 64, "features": [3, 7, 40]})


@pytest.mark.parametrize(
    ("text", "features"),
    [("7", (7,)), ("0-3, 40", (3, 40)), ("3,3-7", (3, 7)), ("0-999999999999999999", (3, 7, 40)), ("40,3", (3, 40)), ("5-7,6-41", (7, 40))],
)
def test_the_features_of_a_list(text: str, features: tuple[int, ...]) -> None:
    chosen = selected_among(RECORD, RECORD.selected_features, parse_features(text))
    assert chosen.tolist() == list(features) and chosen.dtype == np.uint32
    assert AskedFeatures.parse(str(AskedFeatures.parse(text))) == AskedFeatures.parse(text)


def test_no_list_asks_for_all() -> None:
    assert parse_features(None) is None and selected_among(RECORD, RECORD.selected_features, None).tolist() == [3, 7, 40]


@pytest.mark.parametrize("text", ["", "a", "3-", "-3", "9-3", "1,,2", "1.5", "٣", "²", "0x3", "1-2-3", "9" * 5000, "0-" + "9" * 19])
def test_a_text_that_is_no_list_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(UserError, match="write it as 0-99,205") as refused:
        parse_features(text)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4", "m/00/n does not select feature 4; it selects 3 of 64 features, between 3 and 40"),
        ("3,0-99,4,64", "does not select feature 4 and 1 others; it selects 3 of 64"),
        ("8-39,41-63", "selects none of these features .'8-39,41-63'.; it selects 3 of 64"),
    ],
)
def test_features_that_are_not_selected_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        selected_among(RECORD, RECORD.selected_features, parse_features(text))


def test_a_range_of_python_is_an_interval_and_a_list_names_features() -> None:
    assert AskedFeatures.of(range(5)) == AskedFeatures.parse("0-4")
    assert AskedFeatures.of(range(0, 9, 4)) == AskedFeatures((0, 4, 8))
    assert AskedFeatures.of(np.array([3, 7])) == AskedFeatures.of((3, 7)) == AskedFeatures.parse("3,7")
    assert AskedFeatures.of(np.int64(3)) == AskedFeatures.of(3) == AskedFeatures.parse("3")  # type: ignore[arg-type]  # a number of numpy
    assert AskedFeatures.of("404") == AskedFeatures.of(404.0) == AskedFeatures((404,))
    assert AskedFeatures.of("0-9") == AskedFeatures.of(range(10))
    for wrong in (4.5, True, np.True_, None, -1, ["4"], [[4]], float("nan")):
        with pytest.raises(UserError, match="is no feature: features are whole numbers from 0"):
            AskedFeatures.of(wrong)  # type: ignore[arg-type]
    assert AskedFeatures.of(range(0)).among(RECORD.selected_features).tolist() == []
