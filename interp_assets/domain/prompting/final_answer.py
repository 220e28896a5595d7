"""The part of a reply that is its answer: without the model's reasoning, and without turns that the model went on to write.

Servers leave reasoning in a reply where no parser of theirs takes it out, each family of models in marks of its own. A model whose end of
turn is not known to its server goes on with the next question and answers that too.
"""

import re

_THOUGHT = r"(?:\w{1,12}:)?(?:think(?:ing)?|thoughts?|reasoning|analysis|scratchpad)"
_CHANNEL = r"<\|channel\|>[ \t]{0,2}"
_OPENS = (
    rf"<{_THOUGHT}>|\[THINK\]|◁think▷|<\|(?:begin_of_thought|START_THINKING)\|>|<unused94>"
    rf"|(?:<\|start\|>assistant)?{_CHANNEL}(?:analysis|commentary)[^<\n]{{0,40}}<\|message\|>"
)
_CLOSES = rf"</{_THOUGHT}>|\[/THINK\]|◁/think▷|<\|(?:end_of_thought|END_THINKING)\|>|<unused95>|{_CHANNEL}final[^<\n]{{0,40}}<\|message\|>"
_HEAD = r"^[ \t]{0,8}"
# Only at the head of a line: an explanation may be about these marks.
_OPENING = re.compile(_HEAD + f"(?:{_OPENS})", re.M)
_CLOSING = re.compile(_CLOSES)
# The chat template may have written the opening.
_CLOSING_ALONE = re.compile(rf"{_HEAD}(?:{_CLOSES})|(?:{_CLOSES})(?=[ \t]{{0,8}}(?:\n|\[))", re.M)
# gpt-oss where its special tokens were left out of the text.
_BARE_OPENING = re.compile(r"\s{0,8}analysis(?=[A-Z\"'(\[])")
_BARE_CLOSING = "assistantfinal"

_TOKEN = (
    r"(?:<\|(?:im_(?:end|start)|e(?:ot|om)_id|end_of_text|endoftext|end|return|call|start|start_header_id|(?:start|end)_of_role|user"
    r"|assistant|system|END_OF_TURN_TOKEN)\|>|<(?:end|start)_of_turn>|<｜(?:end▁of▁sentence|User|Assistant)｜>|</s>|\[/?INST\]|<turn\|>"
    r"|<\|turn>)"
)
# A token of a turn's end stands right behind the answer. Behind a space, a quote or a colon it is a word of the answer.
_NEXT_TURN = re.compile(
    rf"(?:(?<=[^\s:`\"'“‘(\[{{*_])|{_HEAD}){_TOKEN}(?=\s|\Z|{_TOKEN})"
    r"|(?:(?<=[\]).!?])|^)(?:assistant|user|model)[ \t]{0,8}$|^(?:User|Human|USER|HUMAN|### ?(?:Instruction|Input|User|Human)):",
    re.M,
)


def final_answer(text: str) -> str:
    """The text behind the reasoning, up to the next turn: "" where the reasoning did not end.

    Reasoning stands between <think> and </think>, or between the marks of another family. The opening mark may be missing, since some chat
    templates write it for the model.
    """
    return _one_turn(_without_reasoning(text))


def _without_reasoning(text: str) -> str:
    if _BARE_OPENING.match(text):
        return text.rpartition(_BARE_CLOSING)[2] if _BARE_CLOSING in text else ""
    openings, alone = list(_OPENING.finditer(text)), list(_CLOSING_ALONE.finditer(text))
    openings.reverse()
    alone.reverse()
    begin = 0
    while True:
        while openings and openings[-1].start() < begin:
            openings.pop()
        while alone and alone[-1].start() < begin:
            alone.pop()
        closing = alone[-1] if alone else None
        if openings and (closing is None or openings[-1].start() < closing.start()):
            closing = _CLOSING.search(text, openings[-1].end())
            if closing is None:
                return ""
        if closing is None:
            return text[begin:]
        begin = closing.end()


def _one_turn(text: str) -> str:
    """The text before the first mark of a next turn that stands behind a letter or a digit."""
    first = next((i for i, character in enumerate(text) if character.isalnum()), len(text))
    for found in _NEXT_TURN.finditer(text):
        if found.start() > first:
            return text[: found.start()]
    return text
