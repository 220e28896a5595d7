"""The transformers back end on the real small model: batches and shared prefixes change nothing but the time."""

from dataclasses import replace

import pytest

from resources.language_models.interface import ChoiceList, Message, Request, SuffixChoices, UnsupportedRequest
from resources.language_models.tokens.prefix_batches import MIN_PREFIX_TOKENS, common_prefix
from resources.language_models.transformers_local import decoder
from resources.language_models.transformers_local.model import TransformersModel
from resources.weights import resolve_model_folder

pytestmark = pytest.mark.real_model
EMBEDDED = "embedded:smollm2-135m-instruct"
SYSTEM = Message("system", "You judge whether texts contain what is described. Answer with a list of 0 and 1, one number for each text.")
TEXTS = (
    "the ship sailed at dawn",
    "bread and butter",
    "a long winter in the north, and nobody came to the harbour any more",
    "two plus two",
)


@pytest.fixture(scope="module")
def model():
    loaded = TransformersModel(EMBEDDED, dtype="float32", device="cpu")
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def plain():
    """(tokenizer, model) as transformers itself loads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve_model_folder(EMBEDDED).location
    return AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def judging(texts=TEXTS, description="ships and the sea"):
    """One request a text, three answers each, all with the same system message."""
    questions = [f"Description: {description}\nText 0: {text}\nText 1: {text[::-1]}\nText 2: {text[:5]}" for text in texts]
    return [Request((SYSTEM, Message("user", q)), 16, reply_format=ChoiceList(3), shared_messages=1) for q in questions]


def prompt_ids(tokenizer, request):
    turns = [{"role": m.role, "content": m.content} for m in request.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def by_hand(plain, request):
    """P(0), P(1) at each of the answers, from one whole forward pass an answer: no cache, no batch, no padding."""
    import torch

    tokenizer, network = plain
    ids = [*prompt_ids(tokenizer, request), *tokenizer("[", add_special_tokens=False)["input_ids"]]
    zero, one = (tokenizer(o, add_special_tokens=False)["input_ids"][0] for o in "01")
    comma = tokenizer(", ", add_special_tokens=False)["input_ids"]
    answers = []
    for _ in range(request.reply_format.count):
        with torch.inference_mode():
            logits = network(torch.tensor([ids])).logits[0, -1]
        shares = torch.softmax(logits[[zero, one]], 0).tolist()
        answers.append(tuple(shares))
        ids += [zero if shares[0] >= shares[1] else one, *comma]
    return answers


def test_batched_answers_with_a_shared_prefix_equal_plain_forward_passes(model, plain):
    requests = judging()
    replies = dict(model.ask(requests))
    assert sorted(replies) == [0, 1, 2, 3]
    for index, request in enumerate(requests):
        expected = by_hand(plain, request)
        reply = replies[index]
        assert reply.finish_reason == "stop"
        assert reply.text == "[" + ", ".join(str(int(p[1] > p[0])) for p in expected) + "]"
        for found, wanted in zip(reply.answer_probabilities, expected, strict=True):
            assert found == pytest.approx(wanted, abs=1e-4)
            assert sum(found) == pytest.approx(1.0, abs=1e-6)


def test_answers_do_not_depend_on_the_batch(model):
    requests = judging()
    together = dict(model.ask(requests))
    for index, request in enumerate(requests):
        ((_, alone),) = model.ask([request])
        assert alone.text == together[index].text
        for a, b in zip(alone.answer_probabilities, together[index].answer_probabilities, strict=True):
            assert a == pytest.approx(b, abs=1e-4)


def test_prefix_tokens_are_counted_as_cached_for_all_but_the_first(model, plain):
    requests = judging()
    replies = [reply for _, reply in sorted(model.ask(requests))]
    ids = [prompt_ids(plain[0], request) for request in requests]
    shared = next(i for i, column in enumerate(zip(*ids, strict=False)) if len(set(column)) > 1)
    assert [reply.prompt_tokens for reply in replies] == [len(prompt) for prompt in ids]
    assert sorted(reply.cached_tokens for reply in replies) == [0, shared, shared, shared]


def given(suffix, question="How much is each word about the sea, from 0 to 9?", **options):
    """A request for the log-probabilities of a text after a question that others share."""
    return Request((SYSTEM, Message("user", question)), 0, suffix=suffix, shared_messages=2, **options)


def whole_pass(plain, request):
    """(suffix ids, [suffix tokens, vocabulary] log-probabilities of what stands there) by one forward pass over prompt and suffix."""
    import torch

    tokenizer, network = plain
    prompt, suffix = prompt_ids(tokenizer, request), tokenizer(request.suffix, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = network(torch.tensor([prompt + suffix])).logits[0]
    return suffix, torch.log_softmax(logits[len(prompt) - 1 : -1], -1)


SUFFIXES = ("ship\t_\nbread\t_", "The sea is “wide” and déjà vu.", "ship\t_\nbread\t_\nharbour\t_\nten\t_", "T")


@pytest.mark.parametrize("positions", [512, 3])
def test_suffixes_of_a_shared_prompt_equal_whole_forward_passes(model, plain, monkeypatch, positions):
    monkeypatch.setattr(decoder, "HEAD_POSITIONS", positions)
    requests = [*(given(suffix) for suffix in SUFFIXES), given(SUFFIXES[1], "Name a colour.")]
    replies = dict(model.ask(requests))
    for index, request in enumerate(requests):
        ids, logprobs = whole_pass(plain, request)
        reply = replies[index]
        assert reply.suffix_logprobs == pytest.approx([logprobs[i, token].item() for i, token in enumerate(ids)], abs=1e-4)
        assert (reply.text, reply.finish_reason, reply.completion_tokens, reply.suffix_choices) == ("", "stop", 0, None)
        assert reply.prompt_tokens == len(prompt_ids(plain[0], request)) + len(ids)
    # The four share their prompt but for its last token, from which each goes on by itself.
    n_prompt = len(prompt_ids(plain[0], requests[0]))
    assert sorted(replies[i].cached_tokens for i in range(4)) == [0, n_prompt - 1, n_prompt - 1, n_prompt - 1]
    # The fifth has its beginning in common with the four, the system text and a part of the question.
    assert replies[4].cached_tokens == common_prefix([prompt_ids(plain[0], request) for request in requests]) >= MIN_PREFIX_TOKENS


@pytest.mark.parametrize("positions", [512, 2])
def test_choices_in_a_suffix_are_read_where_each_placeholder_stands(model, plain, monkeypatch, positions):
    import torch

    monkeypatch.setattr(decoder, "HEAD_POSITIONS", positions)
    options = tuple("0123456789")
    requests = [given(SUFFIXES[i], suffix_choices=SuffixChoices("_", options)) for i in (0, 2)] + [given("no place")]
    requests.append(given("none here", suffix_choices=SuffixChoices("_", options)))
    replies = dict(model.ask(requests))
    digits = [plain[0](option, add_special_tokens=False)["input_ids"][0] for option in options]
    for index in (0, 1):
        ids, logprobs = whole_pass(plain, requests[index])
        places = [i for i, token in enumerate(ids) if plain[0].decode([token]) == "_"]
        expected = torch.softmax(logprobs[places][:, digits], -1).tolist()
        assert len(expected) == len(replies[index].suffix_choices) == (2, 4)[index]
        for found, wanted in zip(replies[index].suffix_choices, expected, strict=True):
            assert found == pytest.approx(wanted, abs=1e-4)
    assert (replies[2].suffix_choices, replies[3].suffix_choices) == (None, ())


def test_text_goes_on_after_a_suffix(model, plain):
    import torch

    tokenizer, network = plain
    request = replace(given("Once upon a time, the sea"), max_reply_tokens=6)
    ((_, reply),) = model.ask([request])
    ids, logprobs = whole_pass(plain, request)
    start = torch.tensor([prompt_ids(tokenizer, request) + ids])
    made = network.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=6, do_sample=False)[0, start.shape[1] :]
    assert reply.text == tokenizer.decode(made, skip_special_tokens=True)
    assert reply.suffix_logprobs == pytest.approx([logprobs[i, token].item() for i, token in enumerate(ids)], abs=1e-4)


def test_a_list_of_choices_after_a_suffix_leaves_its_logprobs_alone(model):
    alone, before_list = given("Here they are: "), replace(given("Here they are: "), max_reply_tokens=8, reply_format=ChoiceList(2))
    replies = dict(model.ask([alone, before_list]))
    assert replies[1].suffix_logprobs == pytest.approx(replies[0].suffix_logprobs, abs=1e-4)
    assert len(replies[1].answer_probabilities) == 2


def test_options_that_begin_alike_are_refused_in_a_suffix(model):
    scale = SuffixChoices("_", tuple(map(str, range(11))))
    with pytest.raises(UnsupportedRequest, match=r"option '10' begins with the same token as option '1'.*such as 0-9"):
        next(model.ask([given("ship"), given("ship\t_", suffix_choices=scale)]))


def scaled_by_hand(plain, request, text):
    """Probabilities of each answer's options by the rule of `ChoiceList`, one forward pass a token, the answers before it as in `text`."""
    import torch

    tokenizer, network = plain
    options, count = request.reply_format.options, request.reply_format.count
    start = prompt_ids(tokenizer, request)

    def after(written):
        with torch.inference_mode():
            logits = network(torch.tensor([start + tokenizer(written, add_special_tokens=False)["input_ids"]])).logits[0, -1]
        return lambda character: logits[tokenizer(character, add_special_tokens=False)["input_ids"][0]].exp().item()

    answers = []
    for number in range(count):
        written = "[" + "".join(f"{answer}, " for answer in text.strip("[]").split(", ")[:number])
        shares = []
        for option in options:
            share, ending = 1.0, option + ("," if number + 1 < count else "]")
            for depth in range(len(ending)):
                begun = option[:depth]
                allowed = {o[depth] for o in options if o.startswith(begun) and len(o) > depth} | (
                    {ending[-1]} if begun in options else set()
                )
                if len(allowed) > 1:
                    weight = after(written + begun)
                    share *= weight(ending[depth]) / sum(weight(character) for character in allowed)
            shares.append(share)
        answers.append(shares)
    return answers


def test_options_of_several_tokens_have_the_probabilities_of_their_spelling(model, plain):
    form = ChoiceList(2, ("1", "3", "10", "100"))
    asked = "Rate from 1 to 100 how much the text is about the sea. Answer with a list of two ratings, such as [10, 100].\nText: "
    requests = [
        Request((SYSTEM, Message("user", asked + text)), 8, reply_format=form, shared_messages=1, temperature=4.0, seed=seed)
        for seed, text in enumerate(TEXTS)
    ]
    replies = dict(model.ask(requests))
    assert len({len(reply.text) for reply in replies.values()}) > 1  # rows go on with unequally many tokens
    for index, request in enumerate(requests):
        for found, wanted in zip(replies[index].answer_probabilities, scaled_by_hand(plain, request, replies[index].text), strict=True):
            assert found == pytest.approx(wanted, abs=1e-4)
            assert sum(found) == pytest.approx(1.0, abs=1e-9)


def test_an_index_is_a_list_of_one_answer(model, plain):
    form = ChoiceList(1, ("1", "2", "3", "4", "5"))
    request = Request((SYSTEM, Message("user", "Which text is about bread? Answer with its number, such as [4].")), 8, reply_format=form)
    ((_, reply),) = model.ask([request])
    (wanted,) = scaled_by_hand(plain, request, reply.text)
    assert reply.answer_probabilities[0] == pytest.approx(wanted, abs=1e-4)
    assert reply.text == f"[{1 + wanted.index(max(wanted))}]"


def test_drawn_answers_depend_on_their_seeds_and_come_again(model):
    def asked(seed):
        return replace(judging(TEXTS[:1])[0], temperature=2.0, seed=seed)

    requests = [asked(seed) for seed in range(8)]
    texts = [reply.text for _, reply in sorted(model.ask(requests))]
    assert len(set(texts)) > 1
    assert [reply.text for _, reply in sorted(model.ask(requests))] == texts


def test_greedy_text_equals_the_librarys_own_generation(model, plain):
    import torch

    tokenizer, network = plain
    requests = [Request((Message("user", q),), 12) for q in ("Name a colour.", "Write one sentence about the sea and its ships.")]
    replies = dict(model.ask(requests))
    for index, request in enumerate(requests):
        ids = torch.tensor([prompt_ids(tokenizer, request)])
        made = network.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        assert replies[index].text == tokenizer.decode(made, skip_special_tokens=True)
        assert replies[index].finish_reason == ("stop" if made[-1] == tokenizer.eos_token_id else "length")


def test_rows_that_have_ended_leave_the_batch_and_change_no_other(model, monkeypatch):
    """Replies of 1 to 24 tokens: the forward passes of the last ones carry them alone, and every text is what it is by itself."""
    requests = [
        Request((SYSTEM, Message("user", f"Tell me about {subject}.")), length, shared_messages=1)
        for subject, length in (("the sea", 3), ("bread", 24), ("winter", 1), ("numbers", 6), ("ships", 2))
    ]
    alone = [dict(model.ask([request]))[0].text for request in requests]
    rows: list[int] = []
    forward = decoder.Decoder.append
    monkeypatch.setattr(decoder.Decoder, "append", lambda self, tokens: (rows.append(len(tokens)), forward(self, tokens))[1])
    assert [reply.text for _, reply in sorted(model.ask(requests))] == alone
    # The first of 24 tokens comes out of the pass over the prompts, the other 23 each out of a pass over the tokens before.
    assert rows[0] == 5 and rows == sorted(rows, reverse=True) and len(rows) == 23 and rows.count(1) >= 23 - 5


def test_a_stop_string_ends_the_text_and_is_not_part_of_it(model):
    question = (Message("user", "Count from one to ten in digits: 1, 2, 3,"),)
    ((_, whole),) = model.ask([Request(question, 16)])
    stop = whole.text[4:6]
    ((_, cut),) = model.ask([Request(question, 16, stop=(stop,))])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"


def test_sampled_text_depends_on_its_seed_and_not_on_its_batch(model):
    def asked(seed):
        return Request((Message("user", "Tell me a story."),), 8, temperature=1.0, seed=seed)

    together = {seed: reply.text for seed, (_, reply) in enumerate(sorted(model.ask([asked(s) for s in range(4)])))}
    assert len(set(together.values())) > 1
    ((_, alone),) = model.ask([asked(2)])
    assert alone.text == together[2]


def test_a_prompt_that_the_context_does_not_hold_is_an_error_reply_and_stops_no_other(model, plain, monkeypatch):
    short, long, other = judging((TEXTS[0], " ".join(TEXTS), TEXTS[1]))
    longest = len(prompt_ids(plain[0], long)) + long.max_reply_tokens - 1
    whole = dict(model.ask([short, other]))
    monkeypatch.setattr(model._model.config, "max_position_embeddings", longest)
    replies = dict(model.ask([short, long, other]))
    assert f"tokens and a reply of up to 16 exceed the model's {longest}; show fewer examples" in replies[1].error
    assert replies[1].text == "" and sorted(replies) == [0, 1, 2]
    assert [replies[0].text, replies[2].text] == [whole[0].text, whole[1].text]
    assert [dict(model.ask([long]))[0].finish_reason] == ["error"]


def test_a_judge_whose_positions_are_stretched_reads_as_far_as_they_reach(model, monkeypatch):
    """Linear scaling by 40 makes 64 positions 2,560 tokens; the prompt has more than 64."""
    (short,) = judging(("word " * 100,))
    monkeypatch.setattr(model._model.config, "max_position_embeddings", 64)
    assert [reply.finish_reason for _, reply in model.ask([short])] == ["error"]
    monkeypatch.setattr(model._model.config, "rope_parameters", {"rope_type": "linear", "factor": 40.0, "rope_theta": 1e4})
    assert [reply.finish_reason for _, reply in model.ask([short])] != ["error"]
