"""Asking in one flat batch: equal questions once, stored ones never, prefixes side by side, the budget, and what is kept."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from resources.language_models import ledger, load_language_model
from resources.language_models.ask_all import ask_all
from resources.language_models.budget import Budget, BudgetExhausted, Spending
from resources.language_models.interface import (
    ChoiceList,
    Message,
    ModelIdentity,
    Reply,
    Request,
    SuffixChoices,
    UnsupportedRequest,
    refuse_missing,
    request_key,
)
from resources.language_models.replay import MissingRecording
from resources.language_models.reply_store import ReplyStore
from resources.language_models.scripted import ScriptedModel
from resources.progress import Progress


def question(text: str, **options: object) -> Request:
    return Request((Message("user", text),), max_reply_tokens=5, **options)  # type: ignore[arg-type]


def echo(request: Request) -> str:
    return f"about {request.messages[-1].content}"


def texts_of(model: ScriptedModel) -> list[str]:
    return [request.messages[-1].content for request in model.asked]


def test_equal_questions_are_asked_once_and_all_are_answered(tmp_path: Path) -> None:
    model = ScriptedModel(echo)
    answers = list(ask_all(model, [question(text) for text in "abab"], ReplyStore(tmp_path)))
    assert texts_of(model) == ["a", "b"]
    assert sorted((index, reply.text, stored) for index, reply, stored in answers) == [
        (0, "about a", "model"), (1, "about b", "model"), (2, "about a", "repeated"), (3, "about b", "repeated"),
    ]  # fmt: skip


def test_stored_questions_are_never_asked_again(tmp_path: Path) -> None:
    list(ask_all(ScriptedModel(echo), [question("a"), question("b")], ReplyStore(tmp_path)))
    again = ScriptedModel(echo)
    answers = {index: (reply.text, stored) for index, reply, stored in ask_all(again, [question(t) for t in "bca"], ReplyStore(tmp_path))}
    assert texts_of(again) == ["c"]
    assert answers == {0: ("about b", "store"), 1: ("about c", "model"), 2: ("about a", "store")}


def test_all_that_shapes_a_reply_is_part_of_its_address_and_hints_are_not() -> None:
    identity = ModelIdentity("scripted", "m", "1")
    key = request_key(identity, question("a"))
    assert key == request_key(identity, question("a", shared_messages=1))
    assert key == request_key(identity, question("a", seed=7))  # at temperature 0 the seed does nothing
    others = [
        request_key(identity, question("b")),
        request_key(identity, question("a", temperature=0.5)),
        request_key(identity, question("a", temperature=0.5, seed=7)),
        request_key(identity, question("a", stop=(".",))),
        request_key(identity, question("a", reply_format=ChoiceList(2))),
        request_key(identity, question("a", reply_format=ChoiceList(3))),
        request_key(identity, question("a", suffix="b")),
        request_key(identity, question("a", suffix="b", suffix_choices=SuffixChoices("b", ("0", "1")))),
        request_key(identity, question("a", suffix="b", suffix_choices=SuffixChoices("b", ("1", "0")))),
        request_key(ModelIdentity("scripted", "m", "2"), question("a")),
    ]
    assert len({key, *others}) == 1 + len(others)


def test_a_request_for_nothing_and_two_beginnings_are_mistakes() -> None:
    for wrong in (
        {"max_reply_tokens": 0},
        {"max_reply_tokens": 5, "suffix_choices": SuffixChoices("_", ("0", "1"))},
        {"max_reply_tokens": 5, "suffix": "the sea", "line_prefix": "It is"},
    ):
        with pytest.raises(AssertionError):
            Request((Message("user", "a"),), **wrong)  # type: ignore[arg-type]
    assert Request((Message("user", "a"),), 0, suffix="the sea").suffix_choices is None


def test_candidates_of_one_prompt_are_questions_of_their_own(tmp_path: Path) -> None:
    candidates = [question("a", temperature=1.0, seed=seed) for seed in range(3)]
    model = ScriptedModel(lambda request: f"draft {request.seed}")
    answers = {index: (reply.text, source) for index, reply, source in ask_all(model, candidates, ReplyStore(tmp_path))}
    assert answers == {seed: (f"draft {seed}", "model") for seed in range(3)}
    again = {index: (reply.text, source) for index, reply, source in ask_all(model, candidates, ReplyStore(tmp_path))}
    assert again == {seed: (f"draft {seed}", "store") for seed in range(3)}


def test_questions_with_the_same_leading_messages_stand_together(tmp_path: Path) -> None:
    def shared(prefix: str, text: str) -> Request:
        return Request((Message("system", prefix), Message("user", text)), 5, shared_messages=1)

    model = ScriptedModel(echo)
    list(ask_all(model, [shared("p", "1"), shared("q", "2"), shared("p", "3"), shared("q", "4")], ReplyStore(tmp_path)))
    assert texts_of(model) == ["1", "3", "2", "4"]


def test_an_error_is_an_answer_that_is_asked_again_next_time(tmp_path: Path) -> None:
    broken = ScriptedModel(lambda request: Reply("", "error", 0, 0, 0, 0.0, error="busy"))
    ((_, reply, _),) = ask_all(broken, [question("a")], ReplyStore(tmp_path))
    assert (reply.finish_reason, reply.error) == ("error", "busy")
    assert ReplyStore(tmp_path).size().n_replies == 0
    model = ScriptedModel(echo)
    ((_, reply, stored),) = ask_all(model, [question("a")], ReplyStore(tmp_path))
    assert (reply.text, stored) == ("about a", "model")


def test_the_budget_stops_with_numbers_and_keeps_what_is_done(tmp_path: Path) -> None:
    # Each reply costs 10 + 5 tokens, so the third one reaches a budget of 40.
    model = ScriptedModel(lambda request: Reply("yes", "stop", 10, 0, 5, 0.1))
    requests = [question(str(number)) for number in range(6)]
    answered = []
    with pytest.raises(BudgetExhausted, match=r"40 tokens is spent \(45\) after 3 of 6"):
        for index, _, _ in ask_all(model, requests, ReplyStore(tmp_path), spending=Spending(Budget(tokens=40))):
            answered.append(index)
    assert answered == [0, 1, 2]
    rest = ScriptedModel(lambda request: Reply("yes", "stop", 10, 0, 5, 0.1))
    assert len(list(ask_all(rest, requests, ReplyStore(tmp_path)))) == 6
    assert texts_of(rest) == ["3", "4", "5"]


def test_a_budget_in_dollars_goes_by_the_price_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A reply: 6 fresh prompt tokens at $2, 4 cached at $1 and 5 written at $4 a million = $36e-6, so the second reaches $60e-6.
    monkeypatch.setattr(ledger, "prices", lambda: {"priced": {"prompt": 2.0, "cached": 1.0, "completion": 4.0}})
    model = ScriptedModel(lambda request: Reply("yes", "stop", 10, 4, 5, 0.1), name="priced")
    with pytest.raises(BudgetExhausted, match=r"after 2 of 3"):
        list(ask_all(model, [question(text) for text in "abc"], ReplyStore(tmp_path), spending=Spending(Budget(usd=60e-6))))
    with pytest.raises(ValueError, match="needs a price for 'free'"):
        list(ask_all(ScriptedModel(echo, name="free"), [question("a")], ReplyStore(tmp_path), spending=Spending(Budget(usd=1.0))))


def test_two_batches_share_one_spending_and_a_spent_one_asks_nothing(tmp_path: Path) -> None:
    # 15 tokens a reply and a budget of 40: two in the first batch leave room for one more question.
    spending, store = Spending(Budget(tokens=40)), ReplyStore(tmp_path)
    model = ScriptedModel(lambda request: Reply("yes", "stop", 10, 0, 5, 0.1))
    assert len(list(ask_all(model, [question(text) for text in "ab"], store, spending=spending))) == 2
    with pytest.raises(BudgetExhausted, match="after 1 of 2"):
        list(ask_all(model, [question(text) for text in "cd"], store, spending=spending))
    with pytest.raises(BudgetExhausted, match="after 0 of 1"):
        list(ask_all(model, [question(text) for text in "abcd"], store, spending=spending))
    assert texts_of(model) == ["a", "b", "c"]
    assert len(list(ask_all(model, [question(text) for text in "abc"], store, spending=spending))) == 3  # stored ones cost nothing


class FailingModel(ScriptedModel):
    """Answers two questions and breaks."""

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        yield from super().ask(requests[:2])
        raise ConnectionError("gone")


def test_what_came_before_a_failure_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="gone"):
        list(ask_all(FailingModel(echo), [question(text) for text in "abc"], ReplyStore(tmp_path)))
    model = ScriptedModel(echo)
    list(ask_all(model, [question(text) for text in "abc"], ReplyStore(tmp_path)))
    assert texts_of(model) == ["c"]


def test_closing_the_iterator_keeps_what_came(tmp_path: Path) -> None:
    answers = ask_all(ScriptedModel(echo), [question(text) for text in "abc"], ReplyStore(tmp_path))
    next(answers)
    answers.close()
    assert ReplyStore(tmp_path).size().n_replies == 1


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[Progress] = []
    store = ReplyStore(tmp_path)
    list(ask_all(ScriptedModel(echo), [question("a")], store))
    list(ask_all(ScriptedModel(echo), [question(text) for text in "abc"], store, on_progress=seen.append))
    assert (seen[-1].done, seen[-1].total, seen[-1].kept, seen[-1].eta_seconds) == (2, 2, 1, 0.0)


def test_what_the_model_cannot_do_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    model = ScriptedModel(echo)
    model.__class__ = type("Plain", (ScriptedModel,), {"capabilities": frozenset()})
    with pytest.raises(UnsupportedRequest, match="does not offer prompt_logprobs"):
        list(ask_all(model, [question("a"), question("b", suffix="the sea")], ReplyStore(tmp_path)))
    assert model.asked == []


def test_what_a_site_requires_is_refused_by_name() -> None:
    model = ScriptedModel(echo)
    refuse_missing(model, ["answer_probabilities"], "`require`")
    model.__class__ = type("Plain", (ScriptedModel,), {"capabilities": frozenset({"prompt_logprobs"})})
    with pytest.raises(UnsupportedRequest, match=r"answer_probabilities, json_reply, which `require` asks for; it offers prompt_logprobs"):
        refuse_missing(model, ["json_reply", "answer_probabilities", "prompt_logprobs"], "`require`")


def test_replay_gives_what_was_recorded_and_names_what_was_not(tmp_path: Path) -> None:
    list(ask_all(ScriptedModel(echo), [question("a")], ReplyStore(tmp_path)))
    replay = load_language_model("replay", model="rule", revision="1", recorded_backend="scripted", folder=str(tmp_path))
    assert [reply.text for _, reply in replay.ask([question("a")])] == ["about a"]
    with pytest.raises(MissingRecording, match="unheard of"):
        list(replay.ask([question("a"), question("something unheard of")]))


def test_an_unknown_back_end_or_option_is_named() -> None:
    with pytest.raises(ValueError, match=r"'telepathy'.*transformers, vllm, openai, replay"):
        load_language_model("telepathy", model="m")
    with pytest.raises(ValueError, match="concurency"):
        load_language_model("openai", model="m", concurency=3)
