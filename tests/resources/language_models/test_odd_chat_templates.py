"""Chat templates that people bring: each gives a prompt with every text of the chat, or a refusal of one question in a sentence."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_judges import save_tiny_judge, tiny_tokenizer

from resources.language_models.interface import ChoiceList, Message, Request
from resources.language_models.tokens.prompt_tokens import prompt_token_ids
from resources.language_models.transformers_local.model import TransformersModel
from resources.subject import chat_texts
from resources.subject.chat_texts import ChatTemplateError
from resources.subject.rendering_time import TookTooLong, at_most

TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
PARTS = (
    "{% for m in messages %}[{{ m.role }}]{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}[assistant]"
)
ONE_USER = (
    "{% if messages | selectattr('role', 'equalto', 'user') | list | length > 1 %}{{ raise_exception('one turn of the user') }}{% endif %}"
)
ADJACENT = (
    "{% for m in messages %}{% if not loop.first and m.role == loop.previtem.role %}{{ raise_exception('two turns') }}{% endif %}"
    "{% endfor %}"
)
CHAT = (Message("system", "Judge."), Message("user", "one"), Message("assistant", "1"), Message("user", "two"))
WHOLE, FOLDED = "[system]Judge.[user]one[assistant]1[user]two[assistant]", "[user]Judge.\n\none[assistant]1[user]two[assistant]"


def written(template: Any, request: Request | None = None, **options: int) -> str:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer.decode(prompt_token_ids(tokenizer, request or Request(CHAT, 4), **options))


@pytest.mark.parametrize(("template", "expected"), [
    (PARTS, WHOLE),
    (TURNS.replace("m.content", "m.content | trim | upper"), "[system]JUDGE.[user]ONE[assistant]1[user]TWO[assistant]"),
    ("{% if tools is not none %}{{ tools | tojson }}{% endif %}" + TURNS, WHOLE),
    ("{% if date_string is defined %}{{ date_string }}{% else %}{{ strftime_now('%d %b %Y') }}{% endif %}" + TURNS, "26 Jul 2024" + WHOLE),
    ("{% if enable_thinking %}T{% endif %}" + TURNS, WHOLE),
    ({"default": TURNS, "tool_use": "x"}, WHOLE),
    ("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PARTS, FOLDED),
])  # fmt: skip
def test_every_text_of_the_chat_stands_in_the_prompt(template: Any, expected: str) -> None:
    assert written(template) == expected


def test_adjacent_turns_of_the_user_become_one_where_the_template_refuses_them() -> None:
    request = Request((Message("user", "one"), Message("user", "two")), 4)
    assert written(ADJACENT + TURNS, request) == "[user]one\n\ntwo[assistant]"
    assert written(TURNS, request) == "[user]one[user]two[assistant]"


@pytest.mark.parametrize(("template", "said"), [
    ("[{{ messages[-1].role }}]{{ messages[-1].content }}[assistant]", "leaves out the text of a turn"),
    (TURNS.replace("{{ m.content }}", ""), r"leaves out the text of a turn \(role user\)"),
    ("{{ ''.__class__.__mro__ }}" + TURNS, "unsafe"), ("{{ 1 / 0 }}" + TURNS, "ZeroDivisionError: division by zero"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    ("{{ 'a'.index('b') }}" + TURNS, "ValueError: substring not found"),
    ("{% for i in range(10 ** 9) %}{% endfor %}" + TURNS, "OverflowError: Range too big"), ("{% for m in messages %}", "end of template"),
    ({"tool_use": TURNS}, "no default"), ("{{ messages[9].content }}" + TURNS, "has no element 9"),
    (ONE_USER + TURNS, "one turn of the user"),
])  # fmt: skip
def test_a_template_that_cannot_write_the_chat_is_refused_in_a_sentence(template: Any, said: str) -> None:
    with pytest.raises(ChatTemplateError, match=said) as caught:
        written(template)
    assert "\n" not in str(caught.value)


def test_a_template_that_loops_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_texts, "LONGEST_RENDERING_SECONDS", 0.1)
    started = time.monotonic()
    with pytest.raises(ChatTemplateError, match=r"has not ended within 0\.1 seconds"):
        written("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}" + TURNS)
    assert time.monotonic() - started < 10


def test_a_block_in_time_is_not_ended_after_it() -> None:
    for seconds in (0.01, 30.0):
        with at_most(seconds):
            pass
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        pass
    with pytest.raises(TookTooLong), at_most(0.05):
        while True:
            pass


@pytest.mark.parametrize(("opening", "end"), [
    ("<think>\n", "\n</think>\n\n"), ("<think>", "\n\n</think>\n\n"), ("<thinking>\n", "\n</thinking>\n\n"),
    ("<seed:think>", "\n\n</seed:think>\n\n"),
])  # fmt: skip
def test_an_answer_is_no_part_of_a_thought_that_the_template_begins(opening: str, end: str) -> None:
    template = TURNS + "{% if add_generation_prompt %}" + opening.replace("\n", "{{ '\\n' }}") + "{% endif %}"
    asked = [Request(CHAT, 4), Request(CHAT, 4, reply_format=ChoiceList(1)), Request(CHAT, 0, suffix="two")]
    assert [written(template, request, thinking_tokens=9) for request in asked] == [WHOLE + opening, *[WHOLE + opening + end] * 2]
    assert written(template) == WHOLE + opening + end
    assert written(TURNS + "<think></think>") == WHOLE + "<think></think>"


@pytest.fixture
def judge(tmp_path: Path) -> Any:
    model = TransformersModel(str(save_tiny_judge(tmp_path, "llama")), device="cpu")
    yield model
    model.close()


def ask(model: TransformersModel, texts: list[str]) -> list[Any]:
    requests = [Request((Message("user", text),), 4, reply_format=ChoiceList(1)) for text in texts]
    return [reply for _, reply in sorted(model.ask(requests), key=lambda pair: pair[0])]


def test_a_template_that_refuses_one_question_stops_no_other(judge: TransformersModel) -> None:
    judge._tokenizer.chat_template = "{% if 'odd' in messages[-1].content %}{{ raise_exception('not this') }}{% endif %}" + TURNS
    first, odd, last = ask(judge, ["one", "an odd one", "three"])
    assert odd.finish_reason == "error" and odd.error == "the model's chat template refuses the question: not this"
    assert first.text in ("[0]", "[1]") and last.text in ("[0]", "[1]")
    judge._tokenizer.chat_template = "{{ raise_exception('no chats') }}"
    with pytest.raises(ChatTemplateError, match="no chats"):
        ask(judge, ["one", "two"])


@pytest.mark.parametrize("template", [PARTS, TURNS + "<think>", "{{ strftime_now('%Y') }}" + TURNS, None])
def test_the_back_end_answers_as_a_plain_forward_pass_of_the_prompt(judge: TransformersModel, template: str | None) -> None:
    """A model without a template reads the messages' texts one after the other."""
    judge._tokenizer.chat_template = template
    for reply, text in zip(ask(judge, ["one two", "three"]), ["one two", "three"], strict=True):
        prompt = {PARTS: f"[user]{text}[assistant]", None: f"{text}\n\n"}.get(template, f"[user]{text}[assistant]")
        prompt = "2024" + prompt if template and "strftime" in template else prompt
        prompt = prompt + "<think>\n\n</think>\n\n" if template and "think" in template else prompt
        ids = judge._tokenizer(prompt + "[", return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = judge._model(ids).logits[0, -1, judge._tokenizer.convert_tokens_to_ids(["0", "1"])]
        torch.testing.assert_close(torch.tensor(reply.answer_probabilities[0]), logits.softmax(-1), atol=1e-5, rtol=1e-4)


def test_a_thought_that_the_template_begins_is_told_from_the_answer(tmp_path: Path) -> None:
    from interp_assets.domain.prompting.final_answer import final_answer

    folder = save_tiny_judge(tmp_path, "llama")
    for thinking_tokens in (0, 5):
        model = TransformersModel(str(folder), device="cpu", thinking_tokens=thinking_tokens)
        before = model.identity.revision
        model._tokenizer.chat_template = TURNS + "<think>"
        model._tokenizer.save_pretrained(folder)
        ((_, reply),) = model.ask([Request((Message("user", "one"),), 4)])
        model.close()
        assert reply.completion_tokens <= 4 + thinking_tokens and reply.text.startswith("<think>\n") == bool(thinking_tokens)
        assert not thinking_tokens or final_answer(reply.text) == ""
        assert before.endswith("closed-thought") == bool(thinking_tokens)  # the folder's template begins a thought from the second time on
