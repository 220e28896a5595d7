"""Rows of rating files: what is a rating, what is wrong with the others, and the score that an explanation gets."""

import pytest

from interp_assets.domain.ratings.ratings import (
    Explained,
    Place,
    Rateable,
    Rating,
    Rejection,
    checked_rating,
    explanation_id,
    is_unrated,
    listed,
    rated_explanations,
    without_repeats,
)

KEY = "m/00/n"
CATS = Explained(explanation_id(KEY, 3, "words for cats"), "words for cats", ("max_act", "candidates"))
DOGS = Explained(explanation_id(KEY, 3, "dogs, mostly"), "dogs, mostly", ("human",))
THERE = Rateable(
    {KEY: range(10), "m/01/some": [2, 5]}, lambda dictionary, feature: (CATS, DOGS) if (dictionary, feature) == (KEY, 3) else ()
)
PLACE = Place("r.csv", 7)
ROW = {
    "rater": "ada", "dictionary": KEY, "feature": "3", "explanation": "words for cats", "scale_min": "1", "scale_max": "4", "rating": "3",
}  # fmt: skip


def accepted(**changes: str) -> Rating:
    found = checked_rating({**ROW, **changes}, PLACE, THERE)
    assert isinstance(found, Rating), found
    return found


def rejected(**changes: str) -> list[tuple[str, str]]:
    found = checked_rating({**ROW, **changes}, PLACE, THERE)
    assert isinstance(found, list) and found and all(isinstance(one, Rejection) and one.place == PLACE for one in found), found
    return [(one.column, one.allowed) for one in found]


def test_a_rating_keeps_its_scale_and_has_one_from_0_to_1() -> None:
    rating = accepted(seconds="12.5", context="w1", source="pilot")
    assert (rating.rating, rating.scale_min, rating.scale_max, rating.normalised) == (3, 1, 4, 2 / 3)
    assert (rating.seconds, rating.context, rating.source, rating.rater_kind) == (12.5, "w1", "pilot", "human")
    assert accepted(rating="1").normalised == 0 and accepted(rating="4").normalised == 1
    assert accepted(scale_min="-2", scale_max="2", rating="0.5").normalised == 0.625
    assert accepted(rater_kind="generated").rater_kind == "generated" and accepted().context is None and accepted().seconds is None


@pytest.mark.parametrize(
    "named",
    [
        {"explanation": " words\n for  cats "}, {"explanation": "max_act"}, {"explanation": "", "explanation_method": "candidates"},
        {"explanation": "mangled in a spreadsheet", "explanation_id": CATS.explanation_id},
    ],
)  # fmt: skip
def test_an_explanation_goes_by_text_method_or_id(named: dict[str, str]) -> None:
    assert accepted(**named).explained == CATS


def test_a_dictionary_goes_by_its_key_or_beside_its_model() -> None:
    assert accepted(model="m").dictionary == accepted(model="m", dictionary="00/n").dictionary == KEY
    assert rejected(model="other") == [("model", "m, the model of m/00/n, or nothing")]
    assert rejected(dictionary="00/n") == [("dictionary", "a registered dictionary: m/00/n, m/01/some")]


def test_what_is_wrong_is_named_with_what_is_there() -> None:
    assert rejected(feature="10") == [("feature", "a feature that m/00/n selects: 0 to 9")]
    assert rejected(feature="-1") == rejected(feature="3.0") == rejected(feature="") == rejected(feature="10")
    assert rejected(dictionary="m/01/some") == [("feature", "a feature that m/01/some selects: 2, 5")]
    assert rejected(feature="4") == [("explanation", "an explanation of feature 4 of m/00/n: it has none")]
    there = f"{CATS.explanation_id} (max_act, candidates: 'words for cats'), {DOGS.explanation_id} (human: 'dogs, mostly')"
    for wrong in ({"explanation": "ships"}, {"explanation": ""}, {"explanation_id": "0" * 12}, {"explanation_method": "shuffled"}):
        ((column, allowed),) = rejected(**wrong)
        assert column == next(iter(wrong)) and allowed == f"an explanation of feature 3 of m/00/n: {there}"


@pytest.mark.parametrize(
    ("wrong", "column", "allowed"),
    [
        ({"rater": " "}, "rater", "a name or code; agreement cannot be told without one"),
        ({"rating": "5"}, "rating", "1 to 4"),
        ({"rating": "three"}, "rating", "1 to 4"),
        ({"rating": "nan"}, "rating", "1 to 4"),
        ({"scale_min": ""}, "scale_min", "a number"),
        ({"scale_max": "1"}, "scale_max", "a number above scale_min 1"),
        ({"scale_max": "inf"}, "scale_max", "a number above scale_min 1"),
        ({"seconds": "-3"}, "seconds", "a number of at least 0, or nothing"),
        ({"rater_kind": "gpt"}, "rater_kind", "human or generated"),
    ],
)
def test_wrong_values(wrong: dict[str, str], column: str, allowed: str) -> None:
    assert rejected(**wrong) == [(column, allowed)]


def test_everything_wrong_with_a_row_is_said_at_once() -> None:
    assert [column for column, _ in rejected(rater="", rating="9", seconds="x", feature="99")] == ["rater", "rating", "seconds", "feature"]
    assert str(Rejection(PLACE, "rating", "9", "1 to 4")) == "r.csv line 7, rating '9': allowed is 1 to 4"
    assert is_unrated({**ROW, "rating": " "}) and is_unrated({}) and not is_unrated(ROW)
    assert listed(range(15)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more" and listed([]) == ""


def test_an_id_tells_dictionary_feature_and_text_apart_and_nothing_else() -> None:
    assert len({explanation_id(d, f, t) for d in ("a", "b") for f in (1, 11) for t in ("x", "1x")}) == 8


def test_a_second_rating_of_the_same_is_rejected_unless_it_says_the_same() -> None:
    other = checked_rating({**ROW, "rating": "4"}, Place("s.csv", 2), THERE)
    assert isinstance(other, Rating)
    kept, wrong = without_repeats([accepted(), accepted(seconds="9"), accepted(context="w1"), accepted(rater="bob"), other])
    assert len(kept) == 3
    assert list(map(str, wrong)) == [
        "s.csv line 2, rating '4': allowed is one rating; ada has rated this explanation with 3 at r.csv line 7 already"
    ]


def test_scores_average_raters_within_a_context_and_then_contexts() -> None:
    """Context w1 rated 1 and 2 of 1 to 4 (mean ⅙), w2 rated 4 by one (1): mean 7/12; by rater: ada (0 + 1) / 2, bob ⅓."""
    ratings = [accepted(context="w1", rating="1"), accepted(context="w1", rater="bob", rating="2"), accepted(context="w2", rating="4")]
    (found,) = rated_explanations(ratings, 2)
    assert found.score == pytest.approx(7 / 12) and found.raters == {"ada": 0.5, "bob": pytest.approx(1 / 3)}
    assert (found.n_contexts, found.n_ratings, found.of_contexts) == (2, 3, True)


def test_too_few_contexts_give_no_score_but_ratings_as_a_whole_do() -> None:
    by_context = [accepted(context="w1", rating="1"), accepted(context="w2", rating="1")]
    (few,) = rated_explanations(by_context, 5)
    assert few.score is None and few.of_contexts and few.n_contexts == 2
    (whole,) = rated_explanations([*by_context, accepted(rating="4")], 5)
    assert whole.score == 1.0 and not whole.of_contexts and whole.n_contexts == 0 and whole.n_ratings == 1
    (enough,) = rated_explanations([*by_context, accepted(rating="4")], 2)
    assert enough.score == 0.0 and enough.of_contexts
    assert rated_explanations([], 5) == []


def test_explanations_come_by_dictionary_feature_and_id_on_any_scales() -> None:
    dogs = accepted(explanation="dogs, mostly", scale_max="10", rating="10")
    found = rated_explanations([dogs, accepted(rating="1")], 1)
    assert {one.explained: one.score for one in found} == {CATS: 0.0, DOGS: 1.0}
    assert [one.explained.explanation_id for one in found] == sorted([CATS.explanation_id, DOGS.explanation_id])
