"""Fixtures of the pure code's tests, and the golden prompt files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from domain_toys import WORDS, make_example

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.prompts import Choices, Prompt
from interp_assets.domain.trials import ScorerInput

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def held_out() -> list[Example]:
    """Six activating windows (token 1 " cat" or 9 " dog" fires) and six silent ones."""
    activating = [make_example([0, 1, 2, 3, 4, 5, 13], [0, 4.0 - i / 2, 0, 0, 0, 0, 0], row=i, stratum=i) for i in range(5)]
    activating.append(make_example([8, 9, 10, 11, 12, 6, 7], [0, 1.0, 0.5, 0, 0.1, 0, 0], row=5, stratum=9))
    return activating + [make_example([0, 4, 5, 6, 7, 8, 10 + i % 4], [0.0] * 7, row=6 + i) for i in range(6)]


@pytest.fixture
def scorer_input(held_out: list[Example]) -> ScorerInput:
    """Feature 7 under one explanation, with the held-out windows."""
    return ScorerInput(7, "max_act", "words for animals", (), tuple(held_out), WORDS)


@pytest.fixture
def check_golden() -> Callable[[str, Prompt], None]:
    """Compare a prompt with tests/domain/golden/<name>.txt; run with UPDATE_GOLDEN=1 to write it, and read the difference."""

    def check(name: str, prompt: Prompt) -> None:
        head = f"shared_messages={prompt.shared_messages} answer_count={prompt.choices and prompt.choices.count}"
        head += f" max_reply_tokens={prompt.max_reply_tokens}"
        if prompt.choices is not None and prompt.choices != Choices(prompt.choices.count):
            head += f" options={','.join(prompt.choices.options)}"
        if prompt.json_schema is not None:
            head += f" json_schema={prompt.json_schema}"
        if prompt.suffix_choices is not None:
            head += f" placeholder={prompt.suffix_choices.placeholder} options={','.join(prompt.suffix_choices.options)}"
        suffix = [f"--- suffix\n{prompt.suffix}"] if prompt.suffix else []
        text = "\n\n".join([head, *(f"--- {role}\n{content}" for role, content in prompt.messages), *suffix]) + "\n"
        path = GOLDEN / f"{name}.txt"
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text

    return check
