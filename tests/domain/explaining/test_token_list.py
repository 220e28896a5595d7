"""The token list: heaviest tokens first, next tokens where those say more."""

from dataclasses import replace

from domain_toys import make_example
from explaining_toys import INPUT

from interp_assets.domain.explaining import token_list
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput
from interp_assets.domain.explaining.token_list import TokenListSettings, contrast


def text_of(explainer_input: ExplainerInput, **settings) -> str | None:
    return token_list.explain(explainer_input, TokenListSettings(**settings)).text


def test_the_heaviest_tokens_of_the_shown_windows_in_order() -> None:
    """Sums: " cat" 4.0, " ran" 0.4 and so on; window 2 has " dog" 2.0 (see SHOWN of the toys)."""
    assert text_of(INPUT) == 'the tokens "cat", "dog", "sat", "<b>", "ran"'
    assert text_of(INPUT, n_tokens=2) == 'the tokens "cat", "dog"'


def test_tokens_that_look_alike_are_one_and_their_activations_are_summed() -> None:
    words = (" cat", "cat", " dog", "\n", "�")
    shown = (make_example([0, 1, 2, 3, 4], [1.0, 1.5, 2.0, 0.5, 9.0], role="shown"),)
    assert text_of(ExplainerInput(7, shown, words)) == 'the tokens "cat", "dog", "↵"'


def test_tokens_of_one_character_are_its_first_token() -> None:
    shown = (make_example([0, 1, 2], [0.0, 3.0, 1.0], role="shown"),)
    assert text_of(ExplainerInput(7, shown, ("é", "", " x"))) == 'the tokens "é", "x"'


def test_the_next_tokens_where_they_say_more() -> None:
    """The feature fires on whatever stands before "York": no two windows share the token on which it fires."""
    words = [f" w{i}" for i in range(40)] + [" York"]
    shown = tuple(make_example([i, i + 10, 40, i + 20], [0, 5.0, 0, 0], role="shown", row=i) for i in range(10))
    york = ExplainerInput(7, shown, words)
    assert text_of(york) == 'tokens before "York"'
    assert text_of(york, next_tokens=False, n_tokens=2) == 'the tokens "w10", "w11"'
    windows = [tuple(zip([words[i].strip() for i in e.token_ids], e.activations, strict=True)) for e in shown]
    assert (contrast(windows, 1, 10), contrast(windows, 0, 10)) == (1.0, 0.0)


def test_a_windows_own_tokens_do_not_count_for_it() -> None:
    """Two windows with nothing in common: each list is made from the other window, and fits nothing."""
    windows = ((("a", 3.0), ("b", 0.0)), (("c", 2.0), ("d", 0.0)))
    assert contrast(windows, 0, 10) == 0.0
    assert contrast((*windows, (("a", 1.0), ("b", 0.0))), 0, 10) == 4 / 6


def test_without_examples_the_outcome_says_so() -> None:
    for shown in ((), (make_example([0], [2.0], role="shown"),)):
        found = token_list.explain(ExplainerInput(7, shown, ("�",)), TokenListSettings())
        assert (found.text, found.outcome, found.method) == (None, "no_examples", "token_list")


def test_nothing_but_the_shown_examples_is_read() -> None:
    other = replace(INPUT, contrast=(), promoted=(), suppressed=(), top_token=None, top_token_share=None, clamped=(), steered=())
    assert token_list.explain(other, TokenListSettings()) == token_list.explain(INPUT, TokenListSettings())
