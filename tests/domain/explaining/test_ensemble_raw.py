from dataclasses import replace

from explaining_toys import INPUT

from interp_assets.domain.explaining import ensemble_raw, max_act, token_change, vocab_proj
from interp_assets.domain.explaining.ensemble_raw import EnsembleRawSettings
from interp_assets.domain.explaining.max_act import MaxActSettings
from interp_assets.domain.explaining.token_change import TokenChangeExplainerSettings
from interp_assets.domain.explaining.vocab_proj import VocabProjSettings


def test_prompt(check_golden) -> None:
    (prompt,) = ensemble_raw.plan(INPUT, EnsembleRawSettings(), 0)
    check_golden("ensemble_raw", prompt)


def test_it_shows_what_max_act_and_vocab_proj_show() -> None:
    settings = EnsembleRawSettings(n_shown=1, with_activations=True, n_tokens=2)
    (prompt,) = ensemble_raw.plan(INPUT, settings, 0)
    (texts,) = max_act.plan(INPUT, MaxActSettings(n_shown=1, with_activations=True), 0)
    (tokens,) = vocab_proj.plan(INPUT, VocabProjSettings(n_tokens=2), 0)
    assert prompt.messages[-1][1] == f"Input side:\n{texts.messages[-1][1]}\nOutput side:\n{tokens.messages[-1][1]}"


def test_what_is_missing_is_named() -> None:
    silent, mute = replace(INPUT, shown=()), replace(INPUT, promoted=(), suppressed=())
    assert ensemble_raw.plan(silent, EnsembleRawSettings(), 0) == "no_examples"
    assert ensemble_raw.plan(mute, EnsembleRawSettings(), 0) == "no_projection"
    assert ensemble_raw.plan(replace(mute, shown=()), EnsembleRawSettings(), 0) == "no_examples"


def test_token_changes_are_a_third_side_where_they_are_asked_for(check_golden) -> None:
    (prompt,) = ensemble_raw.plan(INPUT, EnsembleRawSettings(with_token_changes=True), 0)
    check_golden("ensemble_raw_with_token_changes", prompt)
    (without,) = ensemble_raw.plan(INPUT, EnsembleRawSettings(), 0)
    (changes,) = token_change.plan(INPUT, TokenChangeExplainerSettings(n_tokens=1), 0)
    (prompt,) = ensemble_raw.plan(INPUT, EnsembleRawSettings(with_token_changes=True, n_changed_tokens=1), 0)
    assert prompt.messages[-1][1] == f"{without.messages[-1][1]}\nOutput side, held in many texts:\n{changes.messages[-1][1]}"
    assert EnsembleRawSettings(with_token_changes=True).unread == frozenset() and EnsembleRawSettings().unread == {"token_changes"}
    unclamped = replace(INPUT, clamped=())
    assert ensemble_raw.plan(unclamped, EnsembleRawSettings(with_token_changes=True), 0) == "no_changes"
    assert ensemble_raw.plan(unclamped, EnsembleRawSettings(), 0) == (without,)
