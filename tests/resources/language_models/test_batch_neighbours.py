"""A reply of the transformers back end is that of plain forward passes over its own prompt, whatever family and whoever its neighbours."""

import logging
from dataclasses import replace

import pytest
import torch
from tiny_judges import ALONE, BATCHED, FAMILIES, save_tiny_judge

from resources.language_models.interface import ChoiceList, FreeText, Message, Request
from resources.language_models.tokens.prompt_tokens import prompt_token_ids
from resources.language_models.transformers_local import trying, ways
from resources.language_models.transformers_local.model import TransformersModel

SYSTEM = Message("system", "You judge short texts for what they say.")
TEXTS = (
    "a ship", "bread and butter, and a long winter in the north", "bread and butter, and a long wait", "two plus two", "w" * 20,
    "bread and butter, and a",
)  # fmt: skip
"""Of which three begin alike, so that a batch reads their beginning once."""
FORM = ChoiceList(2, ("0", "1", "10"))  # of one and two tokens, so that rows go on unequally


@pytest.fixture(scope="module", params=list(FAMILIES))
def judge(request, tmp_path_factory):
    """(family, back end); P(1) of every way is compared with plain forward passes of the same weights."""
    model = TransformersModel(str(save_tiny_judge(tmp_path_factory.mktemp("judge"), request.param)), dtype="float32", device="cpu")
    model._pass_tokens = 0  # any beginning that rows share is read once
    yield request.param, model
    model.close()


def texts_for(family):
    """Rows of a batch have other lengths; without batches two texts are enough."""
    return TEXTS if family in BATCHED else TEXTS[:2]


def asked(text, **fields):
    question = Request((SYSTEM, Message("user", text)), 8, reply_format=FORM, shared_messages=1, temperature=3.0, seed=len(text))
    return replace(question, **fields)


def after(model, ids):
    """Logits after these tokens by one plain forward pass."""
    ways.forget_longest(model._model)
    with torch.inference_mode():
        return model._model(torch.tensor([ids]), use_cache=False).logits[0].double()


def shares_by_hand(model, request, text):
    """P(0), P(1), P(10) at both answers of the reply `text`, by the rule of `ChoiceList`, one token a character."""
    tokenizer, prompt = model._tokenizer, prompt_token_ids(model._tokenizer, request)
    first = text.strip("[]").split(", ")[0]
    found = []
    for written, ending in (("[", ","), (f"[{first}, ", "]")):

        def weights(begun, *characters, written=written):
            logits = after(model, [*prompt, *tokenizer(written + begun)["input_ids"]])[-1]
            return torch.softmax(logits[tokenizer("".join(characters))["input_ids"]], 0).tolist()

        zero, one = weights("", "0", "1")
        ends, goes_on = weights("1", ending, "0")
        found.append((zero, one * ends, one * goes_on))
    return found


def test_choices_in_a_batch_alone_and_by_plain_passes(judge):
    family, model = judge
    requests = [asked(text) for text in texts_for(family)]
    together = dict(model.ask(requests))
    for index, request in enumerate(requests):
        ((_, alone),) = model.ask([request])
        assert alone.text == together[index].text
        by_hand = shares_by_hand(model, request, alone.text)
        for one, two, plain in zip(alone.answer_probabilities, together[index].answer_probabilities, by_hand, strict=True):
            assert one == pytest.approx(plain, abs=1e-4)
            assert two == pytest.approx(plain, abs=1e-4)


def test_texts_and_suffixes_in_a_batch_alone_and_by_plain_passes(judge):
    family, model = judge
    written = [asked(text, reply_format=FreeText(), temperature=0.0, max_reply_tokens=4) for text in texts_for(family)]
    given = [replace(request, suffix="and so on " * (1 + number), max_reply_tokens=0) for number, request in enumerate(written)]
    together = dict(model.ask([*written, *given]))
    for index, request in enumerate(written):
        ((_, alone),) = model.ask([request])
        ids = prompt_token_ids(model._tokenizer, request)
        start = len(ids)
        while len(ids) < start + 4 and (token := int(after(model, ids)[-1].argmax())) != model._tokenizer.eos_token_id:
            ids.append(token)
        assert alone.text == together[index].text == model._tokenizer.decode(ids[start:], skip_special_tokens=True)
    for index, request in enumerate(given):
        prompt, suffix = prompt_token_ids(model._tokenizer, request), model._tokenizer(request.suffix)["input_ids"]
        logprobs = torch.log_softmax(after(model, [*prompt, *suffix])[len(prompt) - 1 : -1], -1)
        assert together[len(written) + index].suffix_logprobs == pytest.approx(
            [logprobs[i, t].item() for i, t in enumerate(suffix)], abs=1e-4
        )


def test_a_beginning_that_rows_share_is_read_once(judge):
    """Of three texts that begin alike, two count the beginning as read: all of the shortest text but its last token."""
    family, model = judge
    if family not in BATCHED:
        pytest.skip("its prompts run one at a time")
    replies = [
        reply for _, reply in sorted(model.ask([asked(text, max_reply_tokens=0, suffix="so") for text in TEXTS]), key=lambda r: r[0])
    ]
    system = len(model._tokenizer(f"{SYSTEM.content}\n\n")["input_ids"])
    beyond = sorted(reply.cached_tokens - system for reply in replies)
    assert beyond == [-system, 0, 0, 0, *[len(TEXTS[-1]) - 1] * 2]


def test_families_of_attention_alone_run_in_batches(judge, caplog):
    family, model = judge
    if family in BATCHED:
        with caplog.at_level(logging.INFO):
            way = trying.fastest_right_way(model._model, 0)
        assert way is ways.BATCHED, caplog.text
    else:
        assert family in ALONE
        assert not model._way_of(500).batched


def test_logits_that_are_nan_are_an_error_of_their_prompt_alone(tmp_path):
    """The embedding of "~" is NaN, as after an overflow in float16: the prompt that holds it is an error, beside a sound one."""
    model = TransformersModel(str(save_tiny_judge(tmp_path / "judge", "llama")), dtype="float32", device="cpu")
    requests = [asked("a ship"), asked("~ a ship"), asked("a ship", reply_format=FreeText()), asked("a ~", suffix="so", max_reply_tokens=0)]
    before = dict(model.ask(requests))
    model._model.get_input_embeddings().weight[model._tokenizer("~")["input_ids"][0]] = float("nan")
    replies = dict(model.ask(requests))
    for sound in (0, 2):
        assert replies[sound].error is None and replies[sound].text == before[sound].text
    for broken in (1, 3):
        assert replies[broken].finish_reason == "error" and "NaN in float32" in replies[broken].error
        assert replies[broken].answer_probabilities is None and replies[broken].suffix_logprobs is None
    model.close()


def test_room_for_thought_is_beside_the_answers_own(tmp_path):
    folder = str(save_tiny_judge(tmp_path / "judge", "gpt2"))
    plain, roomy = (TransformersModel(folder, dtype="float32", device="cpu", thinking_tokens=n) for n in (0, 5))
    request = asked("a ship", reply_format=FreeText(), temperature=0.0, max_reply_tokens=3)
    ((_, short),), ((_, long),) = plain.ask([request]), roomy.ask([request])
    assert (short.completion_tokens, long.completion_tokens) == (3, 8) and long.text.startswith(short.text)
    assert plain.identity.revision != roomy.identity.revision
