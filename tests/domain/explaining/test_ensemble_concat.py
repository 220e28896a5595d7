from interp_assets.domain.explaining import ensemble_concat
from interp_assets.domain.trials import Explanation


def explained(method: str, *texts: str | None) -> dict[int, Explanation]:
    """Explanations of features 0, 1, …; None is a reply that could not be read."""
    return {f: Explanation(f, method, text, "unparsable" if text is None else "ok", "?", "v") for f, text in enumerate(texts)}


SOURCES = {
    "vocab_proj": explained("vocab_proj", "leashes", "tails", None, None, "mice"),
    "max_act": explained("max_act", "dogs", None, "cats", None, "mice"),
}


def test_texts_are_joined_where_there_are_any() -> None:
    made = ensemble_concat.explain(range(5), SOURCES, 0)
    assert [e.text for e in made] == ["dogs; leashes", "tails", "cats", None, "mice"]
    assert [e.outcome for e in made] == ["ok", "ok", "ok", "no_parts", "ok"]
    assert [e.feature for e in made] == [0, 1, 2, 3, 4]
    assert {(e.method, e.prompt_version, e.donor_feature) for e in made} == {("ensemble_concat", ensemble_concat.VERSION, None)}


def test_features_come_back_in_the_order_asked_whatever_the_seed() -> None:
    assert ensemble_concat.explain([2, 0], SOURCES, 0) == ensemble_concat.explain([0, 2], SOURCES, 5)[::-1]
    assert ensemble_concat.explain([], SOURCES, 0) == ()


def test_token_change_is_taken_in_where_it_is_there() -> None:
    three = {**SOURCES, "token_change": explained("token_change", "barks", "tails", None, None, None)}
    assert [e.text for e in ensemble_concat.explain(range(5), three, 0)] == ["dogs; leashes; barks", "tails", "cats", None, "mice"]
