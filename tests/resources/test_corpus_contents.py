"""Corpora people have: chats through the model's own template, rows of token ids, halves of characters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizer_kinds import loaded

from resources.corpus import CorpusError, Document, read_documents
from resources.corpus.encoding import DocumentEncoder
from resources.subject.tokenizer import Tokenizer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "user"},
    {"role": "assistant", "content": "The cat <|im_end|> sat."},
]


def tokenizer(kind: str = "byte_level") -> Tokenizer:
    return Tokenizer(loaded(kind), "1")


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts_of(found: Tokenizer, ids: np.ndarray, is_text: np.ndarray | None) -> list[str]:
    """The text of each run of tokens that are text."""
    assert is_text is not None
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_text, [False]]).astype(int))).reshape(-1, 2)
    return [found.text(ids[first:end]) for first, end in edges.tolist()]


@pytest.mark.parametrize("kind", ["byte_level", "metaspace_strip"])
def test_of_a_chat_the_chosen_turns_are_text_and_nothing_of_the_template(tmp_path: Path, kind: str) -> None:
    """The user's turn is the word "user", which the template writes too."""
    path = written(tmp_path, [{"messages": CHAT}])
    (document,) = read_documents([f"jsonl:{path}#messages"], 0)
    own = tokenizer(kind)
    contents = [message["content"] for message in CHAT]
    assert [text.strip() for text in texts_of(own, *DocumentEncoder(own)(document))] == contents
    assert [text.strip() for text in texts_of(own, *DocumentEncoder(own, ("assistant",))(document))] == contents[2:]
    ids, is_text = DocumentEncoder(own)(document)
    assert not set(ids[is_text].tolist()) & own.special_token_ids
    assert own.text(ids).replace(" ", "") == loaded(kind).apply_chat_template(CHAT, tokenize=False).replace(" ", "")


def test_chats_of_other_forms_are_read(tmp_path: Path) -> None:
    """ShareGPT's names, contents in parts, a call of a tool without content, and Parquet's lists of structs."""
    rows = [
        {"messages": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image"}]},
                {"role": "assistant", "content": None},
            ]
        },
    ]
    documents = {document.title[-1]: document.messages for document in read_documents([f"jsonl:{written(tmp_path, rows)}#messages"], 0)}
    assert documents == {"1": (("user", "hi"), ("assistant", "ho")), "2": (("user", "hi"), ("assistant", ""))}
    pq.write_table(pa.table({"messages": [CHAT]}), tmp_path / "chat.parquet")
    (document,) = read_documents([f"parquet:{tmp_path}/chat.parquet#messages"], 0)
    assert document.messages == tuple((message["role"], message["content"]) for message in CHAT)


def test_a_template_that_leaves_out_a_content_loses_that_turn_alone() -> None:
    raw = loaded("byte_level")
    template = raw.chat_template
    raw.chat_template = template.replace("{{ message.content }}", "{{ message.content.split('</think>')[-1] }}")
    try:
        found = Tokenizer(raw, "1")
        messages = (("user", "please tell me the colour of the cat"), ("assistant", "hm</think>The cat that you mean is black."))
        texts = texts_of(found, *DocumentEncoder(found)(Document("s", "t", "x", messages)))
    finally:
        raw.chat_template = template
    assert texts == ["please tell me the colour of the cat"]


def test_a_chat_needs_a_template_and_one_that_takes_it() -> None:
    document = Document("s", "chat:1", "x", (("user", "x"),))
    with pytest.raises(CorpusError, match="chat:1 holds messages, but the model's tokenizer has no chat template"):
        DocumentEncoder(tokenizer("byte_fallback"))(document)
    raw = loaded("byte_level")
    template, raw.chat_template = raw.chat_template, "{{ raise_exception('roles must alternate') }}"
    try:
        with pytest.raises(CorpusError, match="chat:1: the model's chat template refuses these messages: roles must alternate"):
            DocumentEncoder(Tokenizer(raw, "1"))(document)
    finally:
        raw.chat_template = template


def test_rows_of_ids_are_taken_as_they_are_without_the_special_tokens_around_them(tmp_path: Path) -> None:
    own = tokenizer("metaspace_strip")
    inner = own.encode("The cat sat on the mat.").tolist()
    row = [own.bos_token_id, *inner, own.eos_token_id, own.eos_token_id]
    (document,) = read_documents([f"jsonl:{written(tmp_path, [{'input_ids': row}])}#input_ids"], 0)
    ids, is_text = DocumentEncoder(own)(document)
    assert ids.tolist() == inner and is_text is not None and is_text.all()
    two, is_text = DocumentEncoder(own)(Document("s", "t", "", token_ids=(*inner, own.eos_token_id or 0, *inner)))
    assert texts_of(own, two, is_text) == ["The cat sat on the mat."] * 2


def test_rows_of_ids_of_another_tokenizer_are_refused() -> None:
    own = tokenizer("metaspace_strip")
    with pytest.raises(CorpusError, match=r"t:1 has token 99999, but the model's tokenizer has tokens 0 to \d+: these ids are another"):
        DocumentEncoder(own)(Document("s", "t:1", "", token_ids=(5, 99_999)))
    others = np.random.default_rng(0).integers(3, 259, 400).tolist()  # bytes in any order are no text
    with pytest.raises(CorpusError, match=r"of the first [0-9,]+ tokens \d+% come out again .* They read"):
        DocumentEncoder(own)(Document("s", "t:1", "", token_ids=tuple(others)))


def test_halves_of_characters_are_replaced_and_nothing_fails(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a\\ud83d b"}\n')
    (document,) = read_documents([f"jsonl:{path}#text"], 0)
    assert document.text == "a\ufffd b"
    assert tokenizer().text(DocumentEncoder(tokenizer())(document)[0]) == "a\ufffd b"


@pytest.mark.parametrize("value", [{"a": 1}, ["x"], [{"role": "user", "content": 3}], [{"content": "x"}], [1, "x"], [True]])
def test_what_is_no_content_is_named(tmp_path: Path, value: object) -> None:
    with pytest.raises(CorpusError, match=r"rows.jsonl line 1.* at 'text'"):
        list(read_documents([f"jsonl:{written(tmp_path, [{'text': value}])}#text"], 0))


def chat(*messages: dict[str, Any]) -> Any:
    return list(messages)


CHATS: dict[str, tuple[Any, tuple[tuple[str, str], ...]]] = {
    "a call of a tool without content": (
        chat({"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}),
        (("user", "hi"), ("assistant", "")),
    ),
    "a null beside a value": (chat({"role": None, "from": "human", "content": None, "value": "hi"}), (("user", "hi"),)),
    "ShareGPT with other models and tools": (
        chat(*({"from": role, "value": "x"} for role in ("human", "function_call", "observation", "chatgpt", "bard", "bing"))),
        (("user", "x"), ("assistant", "x"), ("tool", "x"), *[("assistant", "x")] * 3),
    ),
    "OpenAssistant": (chat({"role": "prompter", "text": "hi"}, {"role": "assistant", "text": "ho"}), (("user", "hi"), ("assistant", "ho"))),
    "Gemini": (chat({"role": "user", "content": "hi"}, {"role": "model", "content": "ho"}), (("user", "hi"), ("assistant", "ho"))),
    "capitals": (chat({"role": "User", "content": "hi"}, {"role": " Assistant", "content": "ho"}), (("user", "hi"), ("assistant", "ho"))),
    "parts of every form": (
        chat({"role": "user", "content": ["a", {"type": "text", "text": "b"}, {"type": "text", "text": {"value": "c"}}, {"type": "image"},
                                          {"type": "image_url", "image_url": {"url": "x"}}, {"type": "input_text", "text": "d"}, None]}),
        (("user", "abcd"),),
    ),
    "an object": (chat({"role": "user", "content": {"text": "what"}}), (("user", "what"),)),
    "JSON in a text": (json.dumps([{"from": "human", "value": "hi"}, {"from": "gpt", "value": ""}]), (("user", "hi"), ("assistant", ""))),
}  # fmt: skip


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_of_any_form_is_read_with_the_roles_that_templates_know(tmp_path: Path, name: str) -> None:
    value, expected = CHATS[name]
    (document,) = read_documents([f"jsonl:{written(tmp_path, [{'chat': value}])}#chat"], 0)
    assert document.messages == expected
    if name.startswith("ShareGPT"):
        own = tokenizer()
        assert [text.strip() for text in texts_of(own, *DocumentEncoder(own, ("assistant",))(document))] == ["x"] * 4


@pytest.mark.parametrize(
    "value", ["[1, 0]", '[{"a": 1}]', "[{]}]", '[{"role": "user"}]', "[" * 100_000 + "}]", '[{"role": "u", "content": 1}, 2]']
)
def test_a_text_that_begins_like_a_chat_is_a_text(tmp_path: Path, value: str) -> None:
    (document,) = read_documents([f"jsonl:{written(tmp_path, [{'text': value}])}#text"], 0)
    assert document.text == value and not document.messages


def test_padding_beside_ids_is_left_out_by_the_mask(tmp_path: Path) -> None:
    """The tokenizer's token 0 is a word: rows padded with it would read as a text of that word."""
    own = tokenizer("byte_level")
    inner = own.encode("The cat sat on the mat.").tolist()
    left, right = [0] * 9 + inner, inner + [0] * 9
    masks = [0] * 9 + [1] * len(inner), [1] * len(inner) + [0] * 9
    rows = [{"input_ids": ids, "attention_mask": mask} for ids, mask in zip((left, right), masks, strict=True)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    nested = [{"a": row} for row in rows] + [{"a": {"input_ids": [right], "attention_mask": [masks[1]]}}]
    sources = [f"parquet:{tmp_path}/rows.parquet#input_ids", f"jsonl:{written(tmp_path, nested)}#a.input_ids"]
    documents = list(read_documents(sources, 0))
    assert len(documents) == 5
    for document in documents:
        ids, is_text = DocumentEncoder(own)(document)
        assert ids.tolist() == inner and is_text is not None and is_text.all()


@pytest.mark.parametrize(("ids", "said"), [
    ([-100, -100, 5], "has -100 at 'input_ids', which is no token id. -100 marks what a training leaves out of its labels"),
    ([5, 10**30], "which is no token id"), (["5", "6"], "not text"), ([5.0], "not text"), ([5, None], "not text"), ([[5], [6]], "not text"),
])  # fmt: skip
def test_numbers_that_are_no_ids_are_named(tmp_path: Path, ids: Any, said: str) -> None:
    with pytest.raises(CorpusError, match=said):
        list(read_documents([f"jsonl:{written(tmp_path, [{'input_ids': ids}])}#input_ids"], 0))
