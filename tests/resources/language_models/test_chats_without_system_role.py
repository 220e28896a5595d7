"""A chat template without a system role gets the system's text at the head of the first turn of the user; so does one that drops it."""

import pytest
from tiny_judges import tiny_tokenizer

from resources.language_models.interface import Message, Request
from resources.language_models.tokens.prompt_tokens import prompt_token_ids
from resources.subject.chat_texts import ChatTemplateError

TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
DROPPING = "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
)
CHAT = Request((Message("system", "Judge."), Message("user", "one"), Message("assistant", "1"), Message("user", "two")), 4)


def written(template: str, request: Request = CHAT) -> str:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer.decode(prompt_token_ids(tokenizer, request))


@pytest.mark.parametrize("template", [REFUSING, DROPPING, ALTERNATING])
def test_the_text_of_the_system_stands_in_the_first_turn_of_the_user(template: str) -> None:
    assert written(template) == "[user]Judge.\n\none[assistant]1[user]two[assistant]"


def test_a_template_with_a_system_role_is_left_alone() -> None:
    assert written(TURNS) == "[system]Judge.[user]one[assistant]1[user]two[assistant]"


def test_a_template_that_refuses_the_chat_for_another_reason_says_so() -> None:
    with pytest.raises(ChatTemplateError, match="no chats"):
        written("{{ raise_exception('no chats') }}", Request((Message("user", "one"),), 4))
