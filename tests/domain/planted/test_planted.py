"""Planted rules: each fires exactly where it says, its claims frame it, and none fires on what separates documents."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.planted.claims import Claim, any_of, tokens_of
from interp_assets.domain.planted.rules import (
    LEVELS,
    PLANTED_CLAIMS,
    PLANTED_RULES,
    ClaimCounts,
    PlantedRule,
    given_claims,
    readable_tokens,
)

# For each rule a text and, in its order, what the true, the narrowed and the broadened claim speak of there.
SPOKEN_OF = {
    "numbers": (
        "in 1912 the 12 men had three 5th places for 1,000 years",
        "1912 12 5 1 000", "1912", "1912 12 three 5 1 000 years",
    ),
    "marks": ("Who? me! yes; no: well, stop?", "? ! ?", "!", "? ! ; : ?"),
    "future": ("It will rain. Shall we go? Goodwill can, unwilling must.", "will Shall", "Shall", "will Shall can must"),
    "by": ("sold by the river, by a man, with a bystander", "by by", "by", "by by with"),
    "after-my": ("my lord and My daughters saw their boat, enemy ships", "lord daughters", "lord", "lord daughters boat"),
    "sentence-start": (
        "It rained. The sun came! Nobody saw Anna. e.g. a boat", "The Nobody", "The", "It The Nobody Anna",
    ),
    "capitals": ("PROTEUS. a USA trip to Boston, A McDonald I", "PROTEUS USA", "PROTEUS", "PROTEUS USA Boston A McDonald I"),
    "war": ("the war of soldiers and Congress, not warmth", "war soldiers", "war", "war soldiers Congress"),
    "religion": ("God and heaven and love, lordly things, singing", "God heaven", "God", "God heaven love"),
    "calls": ("self.close(x) and print(y) but self.value (my_name)", "close print", "close", "self close print self value my_name"),
    "ing": ("remembering and singing, the king walked slowly", "remembering singing king", "remembering",
        "remembering singing king walked slowly",
    ),
    "negation": ("I did not see nobody, but nothingness", "not nobody", "not", "not nobody but"),
    "first-person": ("I gave me and My dog your bone, Ian, myopic", "I me My", "I", "I me My your"),
    "thou": ("thy eyes, Thou art, you are, youth, thyme", "thy Thou", "thy", "thy Thou you"),
    "underscores": ("x = _private + a_b and obj.name or _x", "_private a_b _x", "_private _x", "_private a_b name _x"),
    "relative": ("the man, who ran, which was odd, and that who", "who which", "which", "who which that who"),
}  # fmt: skip
RULES = {rule.name: rule for rule in PLANTED_RULES}
ENDS = PlantedRule("ends", Claim("stops, commas", "[.,]"), Claim("stops", "[.]"), Claim("punctuation", "[.,;]"))


def found(claim: Claim, text: str) -> str:
    return " ".join(match.group() for match in re.finditer(claim.pattern, text))


@pytest.mark.parametrize("name", RULES)
def test_each_claim_speaks_of_exactly_what_it_says(name: str) -> None:
    rule, (text, *expected) = RULES[name], SPOKEN_OF[name]
    assert [found(claim, text) for claim in (rule.truth, rule.narrowed, rule.broadened)] == expected
    fires = [token for token, value in zip(tokens_of(text), rule.activations(tokens_of(text)), strict=True) if value > 0]
    assert all(re.search(rule.truth.pattern, text) for token in fires) and len(fires) >= 2


def test_names_and_explanations_are_all_different() -> None:
    assert len(RULES) == len(PLANTED_RULES) >= 12 and set(SPOKEN_OF) == set(RULES)
    texts = [claim.text for rule in PLANTED_RULES for claim in (rule.truth, rule.narrowed, rule.broadened)]
    assert len(set(texts)) == len(texts)


def test_values_have_several_levels_that_tokens_do_not_decide() -> None:
    values = ENDS.activations([",", " a"] * 300)
    assert values.dtype == np.float16 and (values[1::2] == 0).all()
    assert set(values[::2].tolist()) == set(LEVELS.tolist())  # one token, all levels
    assert np.array_equal(values, ENDS.activations([",", " a"] * 300))
    assert LEVELS.min() >= LEVELS.max() / 2  # the weakest is marked beside the strongest by the default threshold of 0.3


TEXTS = st.lists(st.sampled_from([" the", " by", ".", ",", "?", " I", " my", " THE", "1", "_x", "f", "(", "\n", " "]), max_size=40)


@given(TEXTS)
def test_a_narrowed_claim_is_true_and_a_true_one_is_broad(tokens: list[str]) -> None:
    for rule in PLANTED_RULES:
        counts = ClaimCounts()
        counts.add(rule, tokens)
        assert (counts.narrowed_beyond, counts.true_beyond) == (0, 0), rule.name


@given(TEXTS, st.lists(st.booleans(), min_size=40, max_size=40))
def test_no_rule_fires_on_a_special_token(tokens: list[str], special: list[bool]) -> None:
    ids = [0 if one else 5 for one, _ in zip(special, tokens, strict=False)]
    texts = ["THE_END(1)?!" if token_id == 0 else token for token_id, token in zip(ids, tokens, strict=True)]
    read = readable_tokens(ids, texts, {0})
    for rule in PLANTED_RULES:
        assert not rule.activations(read)[[token_id == 0 for token_id in ids]].any(), rule.name


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"narrowed": Claim("stops, colons", "[.:]")}, "its narrowed explanation ('stops, colons', pattern '[.:]') speaks of 1 tokens"),
        ({"broadened": Claim("commas", "[,;]")}, "its broadened explanation ('commas', pattern '[,;]') leaves out 1 of the 2 tokens"),
        ({"narrowed": Claim("both", "[,.]")}, "its narrowed explanation speaks of the same 2 tokens as the true one"),
        ({"broadened": Claim("both", "[,.!]")}, "its broadened explanation speaks of the same 2 tokens as the true one"),
        ({"truth": Claim("never", "@")}, None),
    ],
)  # fmt: skip
def test_claims_that_do_not_frame_a_rule_are_named(changes: dict[str, Claim], fault: str | None) -> None:
    rule, counts = replace(ENDS, **changes), ClaimCounts()
    counts.add(rule, ("a", ",", " b", ".", " c", ";"))
    counts.add(rule, (" d", ":"))
    said = counts.fault(rule)
    assert said is None if fault is None else fault in str(said)


def test_each_method_states_its_claim_by_the_place_of_the_rule() -> None:
    assert set(PLANTED_CLAIMS) == {"planted_true", "planted_narrowed", "planted_broadened"}
    word = PlantedRule("word", Claim("a", any_of("a")), Claim("b", "b"), Claim("c", "c"))
    assert given_claims([ENDS, word], "planted_broadened") == {0: "punctuation", 1: "c"}
    assert given_claims([ENDS, word], "planted_true")[1] == "a" and given_claims((), "planted_narrowed") == {}
