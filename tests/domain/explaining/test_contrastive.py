from dataclasses import replace

from domain_toys import WORDS, make_example
from explaining_toys import CONTRAST, INPUT

from interp_assets.domain.explaining import contrastive
from interp_assets.domain.explaining.contrastive import ContrastiveSettings
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput


def test_prompts(check_golden) -> None:
    (prompt,) = contrastive.plan(INPUT, ContrastiveSettings(), 0)
    check_golden("contrastive", prompt)
    (prompt,) = contrastive.plan(INPUT, ContrastiveSettings(few_shot=1, with_activations=True, n_contrast=1), 0)
    check_golden("contrastive_with_activations", prompt)


def test_fifteen_of_forty_keep_their_spread() -> None:
    """Steps of 39 / 14 from the strongest to the weakest: 0, 2.79, 5.57, … 39, rounded."""
    shown = tuple(make_example([1], [40.0 - i], role="shown", row=i) for i in range(40))
    explainer_input = ExplainerInput(7, shown, WORDS, contrast=CONTRAST)
    (prompt,) = contrastive.plan(explainer_input, ContrastiveSettings(few_shot=0, with_activations=True), 0)
    levels = [int(line.rstrip(")").split(", ")[1]) for line in prompt.messages[-1][1].splitlines() if line.startswith("Strengths")]
    assert levels == [-(-(40 - i) // 4) for i in (0, 3, 6, 8, 11, 14, 17, 20, 22, 25, 28, 31, 33, 36, 39)]


def test_at_most_five_silent_ones_without_marks() -> None:
    explainer_input = replace(INPUT, contrast=tuple(make_example([0, 1], [0.0, 0.0], role="shown", row=i) for i in range(9)))
    (prompt,) = contrastive.plan(explainer_input, ContrastiveSettings(), 0)
    _, silent = prompt.messages[-1][1].split("Not switched on by:\n")
    assert silent == "\n".join(f"Text {number}: the cat" for number in range(3, 8))


def test_what_is_missing_is_named() -> None:
    assert contrastive.plan(replace(INPUT, contrast=()), ContrastiveSettings(), 0) == "no_contrast"
    assert contrastive.plan(replace(INPUT, shown=()), ContrastiveSettings(), 0) == "no_examples"
    assert contrastive.plan(ExplainerInput(7, (), WORDS), ContrastiveSettings(), 0) == "no_examples"
