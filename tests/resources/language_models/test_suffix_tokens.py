"""Tokens of suffixes and of the options in them: with the small model's own tokenizer, and with one that merges."""

import re
from typing import ClassVar

import pytest

from resources.language_models.interface import Message, Request, SuffixChoices, UnsupportedRequest
from resources.language_models.tokens.suffix_tokens import SuffixTokens, suffix_tokens
from resources.weights import load_hf_tokenizer, resolve_model_folder


class Splitting:
    """A tokenizer whose tokens are what a regular expression matches; the id of a token is the sum of its characters' codes."""

    is_fast = True
    unk_token = chat_template = None
    added_tokens_decoder: ClassVar[dict] = {}
    all_special_tokens: ClassVar[list] = []
    all_special_ids: ClassVar[list] = []

    def get_vocab(self) -> dict[str, int]:
        """No token has a name."""
        return {}

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __call__(self, text: str, add_special_tokens: bool, return_offsets_mapping: bool = False) -> dict[str, list]:
        found = list(re.finditer(self.pattern, text, re.DOTALL))
        return {"input_ids": [sum(map(ord, m.group())) for m in found], "offset_mapping": [m.span() for m in found]}


def asked(suffix: str, options: str | tuple[str, ...], placeholder: str = "_") -> Request:
    return Request((Message("user", "Rate."),), 0, suffix=suffix, suffix_choices=SuffixChoices(placeholder, tuple(options)))


def test_each_placeholder_has_its_first_token_and_the_options_theirs() -> None:
    found = suffix_tokens(Splitting("[a-z]+|."), asked("ship\t_\nten\t_", "01"))
    assert found.places == (2, 6)
    assert found.option_ids == ((ord("0"), ord("1")),) * 2
    assert len(found.ids) == 7


def test_a_token_that_a_placeholder_shares_with_what_is_before_it_is_an_options_too() -> None:
    # "\t_" and "\t0" are one token each here.
    found = suffix_tokens(Splitting("[a-z]+|\t?."), asked("ship\t_", "01"))
    assert (found.places, found.option_ids) == ((1,), ((ord("\t") + ord("0"), ord("\t") + ord("1")),))


def test_a_placeholder_at_the_beginning_and_one_of_several_tokens() -> None:
    assert suffix_tokens(Splitting("."), asked("_ is it", "01")).option_ids == ((ord("0"), ord("1")),)
    assert suffix_tokens(Splitting("."), asked("a\t<?>\nb\t<?>", "01", "<?>")).places == (2, 8)
    assert suffix_tokens(Splitting("."), asked("nothing here", "01")).places == ()


def test_options_that_cannot_be_told_apart_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedRequest, match=r"option '10' begins with the same token as option '1'.*such as 0-9"):
        suffix_tokens(Splitting("."), asked("a\t_", ("0", "1", "10")))
    with pytest.raises(UnsupportedRequest, match=r"option 'x' merges with the text before it \('a'\).*put a tab before"):
        suffix_tokens(Splitting("[a-z]+|."), asked("a_", "0x"))
    slow = Splitting(".")
    slow.is_fast = False
    with pytest.raises(UnsupportedRequest, match="fast tokenizer"):
        suffix_tokens(slow, asked("a\t_", "01"))


def test_no_suffix_has_no_tokens() -> None:
    assert suffix_tokens(Splitting("."), Request((Message("user", "Rate."),), 5)) == SuffixTokens(())


@pytest.mark.real_model
def test_places_among_tokens_of_the_real_tokenizer_beside_letters_of_several_bytes() -> None:
    tokenizer = load_hf_tokenizer(resolve_model_folder("embedded:smollm2-135m-instruct"))
    found = suffix_tokens(tokenizer, asked("“déjà”\t_\n 雪\t_\n", "0123456789"))
    assert [tokenizer.decode([found.ids[place]]) for place in found.places] == ["_", "_"]
    assert tokenizer.decode(found.ids) == "“déjà”\t_\n 雪\t_\n"
    assert [tokenizer.decode([token]) for token in found.option_ids[1]] == list("0123456789")
