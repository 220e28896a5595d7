from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.explaining import SHUFFLED, baseline_of
from interp_assets.domain.trials import Explanation


def explained(
    features: list[int], seed: int = 0, failed: set[int] | frozenset[int] = frozenset(), deals: int = 1
) -> tuple[Explanation, ...]:
    """What is dealt to features of which those that `failed` have no explanation."""
    sources = {
        f: Explanation(f, "max_act", None, "unparsable", "?", "v") if f in failed else Explanation(f, "max_act", f"text {f}", "ok", "", "v")
        for f in features
    }
    return SHUFFLED[0].explain(features, {"max_act": sources}, seed, deals)


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


@given(st.lists(st.integers(0, 500), min_size=2, max_size=30, unique=True), st.integers(0, 99), st.integers(1, 40))
def test_deals_repeat_no_text_and_begin_with_the_only_deal(features: list[int], seed: int, deals: int) -> None:
    dealt, once = explained(features, seed, deals=deals), explained(features, seed)
    for several, one in zip(dealt, once, strict=True):
        assert (several.text, several.donor_feature) == (one.text, one.donor_feature) and one.further_deals == ()
        assert len(set(several.donors)) == len(several.donors) == min(deals, len(features) - 1) and several.feature not in several.donors
        assert several.texts == tuple(f"text {donor}" for donor in several.donors)
    for number in range(min(deals, len(features) - 1)):
        assert sorted(e.donors[number] or 0 for e in dealt) == sorted(features)  # in each deal each text is used once


def test_texts_are_shuffled_within_their_method() -> None:
    assert [baseline.NAME for baseline in SHUFFLED[:3]] == ["shuffled", "shuffled_token_list", "shuffled_max_act_cot"]
    for baseline in SHUFFLED:
        (source,) = baseline.SOURCES
        given_by = {f: Explanation(f, source, f"{source} {f}", "ok", "", "v") for f in (3, 8)}
        dealt = baseline.explain([3, 8], {source: given_by}, 0)
        assert [(e.method, e.text) for e in dealt] == [(baseline_of(source), f"{source} 8"), (baseline_of(source), f"{source} 3")]
