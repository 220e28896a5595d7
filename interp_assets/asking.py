"""Plan, ask, grade: turns planned questions into requests, asks them in one flat batch, and hands each range back when it is whole."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
import pyarrow as pa

from interp_assets.domain.prompts import Prompt
from interp_assets.partitions import RangeKey
from interp_assets.settings import BudgetSettings, LanguageModelSettings
from interp_assets.tables import LEDGER
from resources.language_models.asking import Budget, BudgetExhausted, Source, Spending, ask_all
from resources.language_models.interface import ChoiceList, FreeText, Message, Reply, Request, refuse_missing, request_key
from resources.language_models.ledger import price_usd
from resources.language_models.reply_store import ReplyStore
from resources.model_provider import ModelProvider
from resources.progress import Progress


@dataclass(frozen=True)
class Question:
    """One planned prompt, and what it is about."""

    feature: int
    explanation_method: str
    prompt: Prompt


@dataclass(frozen=True)
class Answer:
    """A question with its reply, the reply's content address and where the reply came from."""

    question: Question
    reply: Reply
    key: str
    source: Source


def request_of(prompt: Prompt) -> Request:
    """The back-end request for a pure prompt."""
    return Request(
        messages=tuple(Message(role, content) for role, content in prompt.messages),
        max_reply_tokens=prompt.max_reply_tokens,
        temperature=prompt.temperature,
        reply_format=FreeText() if prompt.answer_count is None else ChoiceList(prompt.answer_count),
        line_prefix=prompt.line_prefix,
        shared_messages=prompt.shared_messages,
    )


class RunSpending:
    """What each run of this process has spent, all its stages together, under the site's budget."""

    def __init__(self, budget: BudgetSettings) -> None:
        self._budget = Budget(budget.tokens, budget.usd)
        self._runs: dict[str, Spending] = {}

    def of_run(self, context: dg.AssetExecutionContext) -> Spending:
        """The spending of the run of `context`; none yet where it is new."""
        return self._runs.setdefault(context.run.run_id, Spending(self._budget))


def answers_by_range(
    planned: Mapping[RangeKey, Sequence[Question]],
    settings: LanguageModelSettings,
    models: ModelProvider,
    store: ReplyStore,
    spending: Spending,
    on_progress: Callable[[Progress], None],
) -> Iterator[tuple[RangeKey, list[Answer], str]]:
    """(range, its answers in planned order, name of the model), each range as soon as its last reply is in.

    All questions of all ranges go to the model as one batch. The model is loaded once, and not at all when nothing is planned.
    Raises `dg.Failure`, which is not retried, when the budget is spent, and `UnsupportedRequest` before anything is asked.
    """
    cells = [cell for cell, questions in planned.items() for _ in questions]
    questions = [question for group in planned.values() for question in group]
    for cell, group in planned.items():
        if not group:
            yield cell, [], ""
    if not questions:
        return
    model = models.language_model(settings.backend, settings.model, settings.revision, settings.options)
    try:
        refuse_missing(model, settings.require, "`require` in settings.yaml")
        requests = [request_of(question.prompt) for question in questions]
        keys = [request_key(model.identity, request) for request in requests]
        first = {cell: cells.index(cell) for cell in planned if planned[cell]}
        waiting = {cell: len(planned[cell]) for cell in first}
        answers: dict[int, Answer] = {}
        for index, reply, source in ask_all(model, requests, store, on_progress, spending):
            answers[index] = Answer(questions[index], reply, keys[index], source)
            cell = cells[index]
            waiting[cell] -= 1
            if waiting[cell] == 0:
                span = range(first[cell], first[cell] + len(planned[cell]))
                yield cell, [answers.pop(i) for i in span], model.identity.model
    except BudgetExhausted as error:
        spent = {"tokens": spending.tokens, "price_usd": round(spending.usd, 4)}
        raise dg.Failure(str(error), metadata=spent, allow_retries=False) from None
    finally:
        model.close()


def ledger_rows(asset: str, cell: RangeKey, answers: Sequence[Answer], model: str) -> pa.Table:
    """Ledger of one range: a row per question, in planned order; empty when nothing was asked.

    A reply counts with what it cost when it was asked, in this run or an earlier one; a question that stands twice costs once.
    """
    rows = []
    for number, answer in enumerate(answers):
        reply, paid = answer.reply, answer.source != "repeated"
        tokens = [count if paid else 0 for count in (reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens)]
        rows.append(
            {
                "asset": asset, "dictionary": cell.dictionary, "feature_range": cell.feature_range, "question": number,
                "feature": answer.question.feature, "explanation_method": answer.question.explanation_method, "model": model,
                "reply": None if reply.error else answer.key, "source": answer.source,
                "prompt_tokens": tokens[0], "cached_tokens": tokens[1], "completion_tokens": tokens[2],
                "seconds": reply.seconds if paid else 0.0, "price_usd": price_usd(model, *tokens),
            }
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=LEDGER.schema)


def ledger_sums(ledger: pa.Table) -> dict[str, float]:
    """What a range's questions cost in all, for its materialisation; zeros when nothing was asked."""
    sources = Counter(ledger.column("source").to_pylist())
    names = ("prompt_tokens", "cached_tokens", "completion_tokens", "seconds", "price_usd")
    return {
        "questions": ledger.num_rows,
        "from_store": sources["store"],
        "repeated": sources["repeated"],
        **{name: round(float(sum(value or 0 for value in ledger.column(name).to_pylist())), 4) for name in names},
    }
