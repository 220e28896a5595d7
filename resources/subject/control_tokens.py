"""Text is text: a tokenizer's control tokens are never made out of text, only out of a chat template.

A tokenizer takes the string `<|im_end|>` for its end of turn wherever it stands: in a document, in a window that a judge is shown. Here
such a string is spelt with the tokens of its characters. Control tokens are the tokens flagged as special, tokens kept in reserve
(`<unused7>`), tokens of the form `<|…|>`, `<|…>` or `<…|>`, and added tokens in brackets that the chat template writes (`<think>`). Other
added tokens (`<table>`, runs of spaces) are text.
"""

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

_RESERVED = re.compile(r"<\|?(unused|reserved)|\[(unused|control_)\d+\]$", re.IGNORECASE)
_CONTROL_FORM = re.compile(r"<[|｜][^\s<>]+>|<[^\s<>]+[|｜]>")  # <|im_end|>, <｜User｜>, <|turn>, <turn|>
_BRACKETED = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NAME_OPEN, _NAME_CLOSE = "\U0010fffe", "\U0010ffff"  # noncharacters: no text has them
_NONCHARACTER = re.compile(f"[{_NAME_OPEN}{_NAME_CLOSE}]")
_LOOKS_LIKE_CONTROL = re.compile(
    r"<[|｜][^\s<>]{1,80}>|<[^\s<>]{1,80}[|｜]>|</?s>|<(?:bos|eos|pad|unk|mask|sep|cls)>|</?(?:start|end)_of_[a-z_]+>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>|</?think>|</?tool_(?:call|response)>"
)


def encodable(text: str) -> str:
    """The text with U+FFFD for lone surrogates (halves of characters that were escaped in JSON), which no tokenizer can hold."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def disarmed(text: str) -> str:
    """The text with a space after the first character of every string that models use as a control token: `< |im_end|>`.

    This is for servers, which take such a string in a message for the token. Every reader sees the space, and nothing is hidden.
    """
    return _LOOKS_LIKE_CONTROL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def control_tokens(tokenizer: Any) -> dict[str, int]:
    """Id of each control token, by its string. The token for unknown characters is left out: it stands for text."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    found = {
        token.content: token_id
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.special or _CONTROL_FORM.fullmatch(token.content) or (_BRACKETED.fullmatch(token.content) and token.content in template)
    }
    found |= {token: token_id for token, token_id in tokenizer.get_vocab().items() if _RESERVED.match(token)}
    found |= dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    found.pop(tokenizer.unk_token, None)
    return found


def text_encoder(tokenizer: Any) -> "TextEncoder":
    """The encoder of a Hugging Face tokenizer; each tokenizer has one encoder."""
    if tokenizer not in _ENCODERS:
        _ENCODERS[tokenizer] = TextEncoder(tokenizer)
    return _ENCODERS[tokenizer]


class TextEncoder:
    """Encodes text as text with a Hugging Face tokenizer.

    Text without a control token's string gets the ids of the tokenizer. Text with such a string is encoded by a copy of the tokenizer:
    there the control tokens have other names, and everything else is as in the tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        # The tokenizer is given to every call: an encoder with the tokenizer would keep it alive for ever, in the table of encoders.
        self.control = control_tokens(tokenizer)
        self.control_ids = frozenset(self.control.values())
        self._unknown: str | None = tokenizer.unk_token
        self._renamed: Any = None

    def encode(self, tokenizer: Any, text: str) -> list[int]:
        """Ids of a text without added special tokens; empty for an empty text."""
        if not self.has_control(text):
            return self._plain(tokenizer, text)
        if self._unknown is None or self._unknown not in text:
            # Most tokenizers can do this themselves; a unigram model with `</s>` as a word, or with unflagged control tokens, cannot.
            ids = self._plain(tokenizer, text, split_special_tokens=True)
            if self.control_ids.isdisjoint(ids):
                return ids
        return self.encode_with_spans(tokenizer, text)[0]

    def has_control(self, text: str) -> bool:
        """Whether the text has a control token's string."""
        return self._strings.search(text) is not None

    def disarmed(self, text: str) -> str:
        """The text with a space after the first character of every control token's string."""
        return self._strings.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def encode_with_spans(self, tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text, and the characters that each id covers."""
        return self.encode_pieces(tokenizer, [(text, False)])

    def encode_pieces(self, tokenizer: Any, pieces: Sequence[tuple[str, bool]]) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of the joined pieces, and the characters of the joined pieces that each id covers.

        A piece is (text, whether the piece is a template's). A control token's string becomes the token only in pieces of a template.
        """
        if not getattr(tokenizer, "is_fast", False):
            joined = "".join(text if own else self.disarmed(encodable(text)) for text, own in pieces)
            return list(tokenizer(joined, add_special_tokens=False)["input_ids"]), []
        renamed, places = [], [0]  # places[i]: where character i of the renamed text stands in the joined pieces
        for text, own in pieces:
            for part in self._strings.split(text) if own else [text]:
                name = self._names.get(part) if own else None
                shown = _NONCHARACTER.sub("\ufffd", encodable(part)) if name is None else name
                step = [*range(1, len(part) + 1)] if name is None else [len(part)] * len(name)
                before = places[-1]
                places += [before + done for done in step]
                renamed.append(shown)
        encoding = self._copy(tokenizer).encode("".join(renamed), add_special_tokens=False)
        return encoding.ids, [(places[first], places[end]) for first, end in encoding.offsets]

    def _plain(self, tokenizer: Any, text: str, **options: bool) -> list[int]:
        return list(tokenizer(encodable(text), add_special_tokens=False, verbose=False, **options)["input_ids"])

    @cached_property
    def _strings(self) -> re.Pattern[str]:
        """Matches the string of any control token, or of the unknown token. It is a group, so that splitting keeps the strings."""
        strings = sorted(set(self._names), key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, strings))})") if strings else re.compile(r"((?!))")

    @cached_property
    def _names(self) -> dict[str, str]:
        """The name of each control token in the copy."""
        strings = [*self.control, *([self._unknown] if self._unknown else [])]
        return {string: f"{_NAME_OPEN}{number}{_NAME_CLOSE}" for number, string in enumerate(dict.fromkeys(strings))}

    def _copy(self, tokenizer: Any) -> Any:
        """The tokenizer with its control tokens renamed; their ids are the same."""
        if self._renamed is None:
            from tokenizers import Tokenizer

            content = json.loads(tokenizer.backend_tokenizer.to_str())
            _rename(content, self._names)
            self._renamed = Tokenizer.from_str(json.dumps(content))
            moved = {s: i for s, i in self.control.items() if self._renamed.token_to_id(self._names[s]) != i}
            assert not moved, f"control tokens {moved} have other ids once they are renamed"
        return self._renamed


def _rename(content: dict[str, Any], names: dict[str, str]) -> None:
    """Give tokens other names in a tokenizer's JSON, wherever the way from a text to its ids reads the names."""
    content |= {"post_processor": None, "truncation": None, "padding": None}
    for token in content["added_tokens"]:
        if token["content"] in names:
            token.update(content=names[token["content"]], special=True, normalized=False)
    model = content["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(token, token): token_id for token, token_id in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(token, token), score] for token, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]


_ENCODERS: "WeakKeyDictionary[Any, TextEncoder]" = WeakKeyDictionary()
