import json
from dataclasses import replace

import pytest
from domain_toys import make_example

from interp_assets.domain.prompting.window_texts import window_text
from interp_assets.domain.scoring import sensitivity
from interp_assets.domain.scoring.sensitivity import SensitivitySettings
from interp_assets.domain.trials import NO_EXPLANATION, AnsweredTrial, ScorerInput, ScoreRow, Verdict

SETTINGS = SensitivitySettings(n_texts=4)


@pytest.fixture
def shown_input(scorer_input: ScorerInput) -> ScorerInput:
    """The feature without an explanation, with three shown windows; its largest activation is 4."""
    shown = tuple(make_example([8, 1, 2, 3, 4, 5, 13], [0, 4.0 - i, 0, 0, 0, 0, 0], role="shown", row=20 + i) for i in range(3))
    return replace(scorer_input, method=NO_EXPLANATION, explanation=None, shown=shown, firing_share=0.05)


def judged(scorer_input: ScorerInput, texts: list[str], activations: list[float]) -> tuple[tuple[Verdict, ...], dict[str, ScoreRow]]:
    (trial,) = sensitivity.plan(scorer_input, SETTINGS, 0)
    reply = json.dumps({f"text {i}": text for i, text in enumerate(texts, start=1)})
    answered = AnsweredTrial(trial, reply, activations=tuple(activations))
    assert len(sensitivity.texts(answered)) == len(activations)
    verdicts = sensitivity.grade(scorer_input, [answered], SETTINGS)
    return verdicts, {row.metric: row for row in sensitivity.summarise(scorer_input, verdicts, SETTINGS, 100, 0)}


def test_prompt(shown_input, check_golden) -> None:
    (trial,) = sensitivity.plan(shown_input, SensitivitySettings(n_texts=3, n_shown=2), 0)
    check_golden("sensitivity", trial.prompt)


def test_by_hand(shown_input) -> None:
    """Activations 4, 1, 0 and 2: three of four texts make it fire; two reach 0.3 · 4 = 1.2. The texts are shorter than windows, and fire by
    chance less often than one window in twenty."""
    verdicts, rows = judged(shown_input, ["a lion", "two hens", "a lorry", "<<horses>> graze"], [4.0, 1.0, 0.0, 2.0])
    assert (rows["sensitivity"].value, rows["hit_rate"].value) == (0.75, 0.5)
    windows = [window_text(example, shown_input.token_texts) for example in shown_input.held_out]
    mean = sum(map(len, windows)) / len(windows)
    chances = [1 - 0.95 ** (len(text) / mean) for text in ("a lion", "two hens", "a lorry", "horses graze")]
    assert rows["sensitivity"].floor == pytest.approx(sum(chances) / 4)
    assert rows["sensitivity"].ci_low == pytest.approx(0.3006, abs=1e-4) and rows["sensitivity"].n_positive == 4
    assert verdicts[3].text == "horses graze"


def test_copies_do_not_count(shown_input) -> None:
    """The shown windows read "the cat sat on a mat."; six words in a row are a copy, and so is a part of a window."""
    copies = ["Well: the cat sat on a mat!", "cat sat", "the cat sat on it", "a tiger"]
    verdicts, rows = judged(shown_input, copies, [4.0, 4.0, 1.0, 0.0])
    assert [v.outcome for v in verdicts] == ["copied", "copied", "answered", "answered"]
    assert rows["sensitivity"].value == 0.5 and rows["sensitivity"].n_unanswered == 2
    _, rows = judged(shown_input, ["the cat sat on a mat"] * 4, [4.0] * 4)
    assert {row.outcome for row in rows.values()} == {"no_answers"}


def test_a_reply_that_breaks_off_and_one_that_does_not_come(shown_input) -> None:
    verdicts, rows = judged(shown_input, ["a lion"], [0.0])
    assert [v.outcome for v in verdicts] == ["answered", *["truncated"] * 3] and rows["sensitivity"].value == 0.0
    (trial,) = sensitivity.plan(shown_input, SETTINGS, 0)
    failed = sensitivity.grade(shown_input, [AnsweredTrial(trial, error="timeout")], SETTINGS)
    assert {v.outcome for v in failed} == {"model_error"}


def test_without_shown_windows_nothing_is_asked(shown_input) -> None:
    nothing = replace(shown_input, shown=(), held_out=())
    assert sensitivity.plan(nothing, SETTINGS, 0) == ()
    assert {row.outcome for row in sensitivity.summarise(nothing, (), SETTINGS, 100, 0)} == {"no_examples"}


def test_windows_are_shown_at_even_steps_with_their_marks(shown_input) -> None:
    (trial,) = sensitivity.plan(shown_input, replace(SETTINGS, n_shown=2, few_shot=0), 0)
    assert trial.prompt.messages[-1][1].splitlines() == [
        "Text 1: the <<cat>> sat on a mat.",
        "Text 2: the <<cat>> sat on a mat.",
        "New texts: 4",
    ]
    assert trial == sensitivity.plan(shown_input, replace(SETTINGS, n_shown=2, few_shot=0), 0)[0]
    assert trial.prompt.seed != sensitivity.plan(shown_input, SETTINGS, 1)[0].prompt.seed
