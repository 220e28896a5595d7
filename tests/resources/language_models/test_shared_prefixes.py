"""How much of each prompt an earlier prompt begins with, against a plain search among all earlier prompts."""

from hypothesis import given
from hypothesis import strategies as st

from resources.language_models.interface import Message, Request
from resources.language_models.shared_prefixes import prompt_text, shareable_shares


@given(st.lists(st.text("ab", max_size=9), max_size=14))
def test_the_longest_common_beginning_with_any_earlier_text_counts(texts: list[str]) -> None:
    def longest(text: str, earlier: list[str]) -> int:
        return max(n for n in range(len(text) + 1) if n == 0 or any(other[:n] == text[:n] for other in earlier))

    assert shareable_shares(texts) == [longest(text, texts[:i]) / max(len(text), 1) for i, text in enumerate(texts)]


def test_turns_and_their_roles_count_and_the_suffix_comes_last() -> None:
    def request(text: str, suffix: str = "") -> Request:
        return Request((Message("system", "judge"), Message("user", text)), 5, suffix=suffix)

    # "system judge" + a separator + "user " are 18 characters; then "ab" or "ac", a separator, and the suffix.
    assert shareable_shares([prompt_text(request(text)) for text in ("ab", "ac")]) == [0, 19 / 21]
    assert shareable_shares([prompt_text(request("ab", suffix)) for suffix in ("xy", "xz")]) == [0, 22 / 23]
    assert shareable_shares([prompt_text(Request((Message(role, "a"),), 5)) for role in ("user", "assistant")]) == [0, 0]  # type: ignore[arg-type]
