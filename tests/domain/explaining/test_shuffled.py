from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.explaining import shuffled
from interp_assets.domain.trials import Explanation


def explained(features: list[int], seed: int = 0, failed: set[int] = frozenset()) -> tuple[Explanation, ...]:
    """What is dealt to features of which those that `failed` have no explanation."""
    sources = {
        f: Explanation(f, "max_act", None, "unparsable", "?", "v") if f in failed else Explanation(f, "max_act", f"text {f}", "ok", "", "v")
        for f in features
    }
    return shuffled.explain(features, {"max_act": sources}, seed)


@given(st.lists(st.integers(0, 500), min_size=2, max_size=30, unique=True), st.integers(0, 99))
def test_everyone_gets_the_text_of_one_other_feature(features: list[int], seed: int) -> None:
    dealt = explained(features, seed)
    assert [e.feature for e in dealt] == features
    assert all(e.donor_feature != e.feature and e.text == f"text {e.donor_feature}" and e.outcome == "ok" for e in dealt)
    assert sorted(e.donor_feature or 0 for e in dealt) == sorted(features)


def test_unexplained_features_neither_give_nor_get() -> None:
    dealt = {e.feature: e for e in explained([1, 2, 3], failed={2})}
    assert dealt[2].outcome == "no_donor"
    assert (dealt[1].donor_feature, dealt[3].donor_feature) == (3, 1)


def test_alone_there_is_no_donor() -> None:
    assert [e.outcome for e in explained([1])] == ["no_donor"]
    assert explained([]) == ()


def test_the_deal_depends_on_the_seed_and_not_on_the_order() -> None:
    group = list(range(20))
    forward, backward = explained(group), explained(group[::-1])
    assert forward == backward[::-1]
    assert forward != explained(group, 1)
