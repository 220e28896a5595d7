"""The transformers back end on the real small model: batches and shared prefixes change nothing but the time."""

import pytest

from resources.language_models.interface import ChoiceList, Message, Request
from resources.language_models.transformers import TransformersModel
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


def test_prompt_logprobs_equal_a_plain_forward_pass(model, plain):
    import torch

    request = Request((Message("user", "The capital of France is Paris."),), 1, prompt_logprobs=True)
    ((_, reply),) = model.ask([request])
    ids = torch.tensor([prompt_ids(plain[0], request)])
    with torch.inference_mode():
        logprobs = torch.log_softmax(plain[1](ids).logits[0, :-1], -1)
    assert reply.prompt_logprobs == pytest.approx(logprobs.gather(1, ids[0, 1:, None])[:, 0].tolist(), abs=1e-3)


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
