"""Reasoning in the marks of many families of models, and replies that go on with further turns."""

import pytest
from growth import assert_linear
from hypothesis import given
from hypothesis import strategies as st

from interp_assets.domain.prompting.answer_lists import BINARY, ParseFailure
from interp_assets.domain.prompting.final_answer import final_answer

MARKS = [
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<thought>", "</thought>"), ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"), ("<analysis>", "</analysis>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|START_THINKING|>", "<|END_THINKING|>"), ("<unused94>thought", "<unused95>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|start|>assistant<|channel|>commentary to=x<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("analysis", "assistantfinal"),
]  # fmt: skip


@pytest.mark.parametrize(("opening", "closing"), MARKS)
@pytest.mark.parametrize("between", ["", "\n"])
def test_reasoning_is_no_answer(opening: str, closing: str, between: str) -> None:
    thought = "We try [0, 0, 0] first."
    glued = "" if opening == "analysis" else between
    assert BINARY.read(f"{opening}{glued}{thought}{between}{closing}{between}[1, 0, 1]", 3) == (1, 0, 1)
    assert BINARY.read(f"{opening}{glued}{thought} So", 3) == ParseFailure("no_list"), "the reasoning did not end"
    if opening != "analysis":
        assert BINARY.read(f"{thought}{between}{closing}{between}[1, 0", 3) == (1, 0), "the template wrote the opening"


def test_several_thoughts_are_skipped() -> None:
    assert final_answer("<think>a</think>\n[THINK]b[/THINK]\n<thought>c</thought>\nd") == "\nd"
    assert final_answer("<think>a</think>[1]\n<think>b") == ""


@pytest.mark.parametrize(
    "after",
    [
        "</s>", "<|im_end|>\n", "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nNext [0, 0, 0]",
        "<end_of_turn>\n<start_of_turn>user\n[0, 0, 0]",
        "assistant\n\n[0, 0, 0]", "\nuser\nNext\nassistant\n[0, 0, 0]", "\n\nHuman: next\n[0, 0, 0]", "\n### Instruction:\n[0, 0, 0]",
        "</s>\n[INST] next [/INST] [0, 0, 0]", "<｜end▁of▁sentence｜><｜User｜>\n[0, 0, 0]", "<|return|>",
    ],
)  # fmt: skip
def test_a_further_turn_is_no_answer(after: str) -> None:
    assert BINARY.read(f"[1, 0, 1]{after}", 3) == (1, 0, 1)
    assert final_answer(f"[1, 0, 1]{after}").rstrip() == "[1, 0, 1]"


@pytest.mark.parametrize("text", ["<|im_start|>assistant\n[1, 0, 1]", "assistant\n[1, 0, 1]", "Assistant: [1, 0, 1]", "<|end|> [1, 0, 1]"])
def test_marks_before_the_answer_do_not_end_it(text: str) -> None:
    assert BINARY.read(text, 3) == (1, 0, 1)


@given(st.text(alphabet="[]</>|think analysis\nfinal01", max_size=80))
def test_the_answer_is_a_part_of_the_reply(reply: str) -> None:
    assert final_answer(reply) in reply


@pytest.mark.parametrize(
    "unit",
    ["<think>", "</think>\n", "\n</think>", "\n<think>", "[/THINK][", "x<|end|>", "]assistant", "\nuser\n", " ", "analysis", "<|channel|>"],
)
@pytest.mark.parametrize("head", ["", "analysisW", "1"])
def test_a_long_reply_takes_linear_time(head: str, unit: str) -> None:
    assert_linear(lambda n: final_answer(head + unit * (n // len(unit)) + "x"), 10_000)
