"""Plan, ask, grade: turns planned questions into requests, asks them in flat batches, and hands the answers back in planned order."""

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import TypeVar

import dagster as dg

from interp_assets.alerting.sending import Alert, send
from interp_assets.asking.questions import Answer, Question, request_of
from interp_assets.config.alerts import AlertSettings
from interp_assets.config.settings import BudgetSettings, LanguageModelSettings
from interp_assets.domain.prompting.rendering import encodable
from interp_assets.orchestration.watching import ASKED_SECONDS, watchers
from resources.language_models.ask_all import ask_all
from resources.language_models.budget import Budget, BudgetExhausted, Spending
from resources.language_models.interface import LanguageModel, Reply, refuse_missing, request_key
from resources.language_models.reply_store import ReplyStore
from resources.language_models.shared_prefixes import prompt_text, shareable_shares
from resources.model_provider import ModelProvider
from resources.progress import Progress

Work = TypeVar("Work")

WAVE_QUESTIONS = 20_000
"""Questions that are planned and asked together: enough to keep an engine busy for minutes, few enough for memory."""


class RunSpending:
    """The spending of each run of this process under the site's budget; all stages of a run count together.

    A run that has spent most of its budget sends an alert, where the settings name a channel.
    """

    def __init__(self, budget: BudgetSettings, alerts: AlertSettings) -> None:
        self._budget, self._alerts = Budget(budget.tokens, budget.usd), alerts
        self._runs: dict[str, Spending] = {}

    def of_run(self, context: dg.AssetExecutionContext) -> Spending:
        """The spending of the run of `context`; zero for a new run."""
        return self.of(context.run.run_id)

    def of(self, run_id: str) -> Spending:
        """The spending of a run; zero for a new run."""
        if run_id not in self._runs:
            alert = partial(self._alert, run_id) if self._alerts.wants("budget") else None
            self._runs[run_id] = Spending(self._budget, near_share=self._alerts.budget_share, on_near=alert)
        return self._runs[run_id]

    def _alert(self, run_id: str, spent: str) -> None:
        """Send the alert beside the run, which goes on meanwhile."""
        alert = Alert("budget", f"run {run_id[:8]}: {spent}", "The run ends at its budget.", f"{self._alerts.ui_url}/runs/{run_id}")
        log = logging.getLogger(__name__)
        log.warning(alert.subject)

        def deliver() -> None:
            for channel, problem in send(self._alerts, alert).items():
                if problem:
                    log.error(f"no alert by {channel}: {problem}")

        threading.Thread(target=deliver).start()


class Asker:
    """Puts questions to one language model. The model is loaded for the first question, and not at all without questions; `close` frees
    it."""

    def __init__(
        self,
        settings: LanguageModelSettings,
        models: ModelProvider,
        store: ReplyStore,
        spending: Spending,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._settings, self._models, self._store, self._spending, self._on_progress = settings, models, store, spending, on_progress
        self._model: LanguageModel | None = None
        self._under_way: list[Generator] = []
        self._noticed: set[str] = set()

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """(index, answer) of every question, in the order in which answers come: stored replies first, the remaining questions as one flat
        batch.

        Raises `dg.Failure`, which is not retried, when the budget is spent, and `UnsupportedRequest` before anything is asked.
        """
        if not questions:
            return
        model = self._loaded()
        requests = [request_of(question.prompt) for question in questions]
        shareable = shareable_shares([prompt_text(request) for request in requests])
        name = model.identity.model
        try:
            pause = ASKED_SECONDS if watchers() else None
            replies = ask_all(model, requests, self._store, self._on_progress, self._spending, pause)
            self._under_way.append(replies)
            for index, reply, source in replies:
                reply = replace(reply, text=encodable(reply.text), error=encodable(reply.error) if reply.error else reply.error)
                self._notice(reply, name)
                yield index, Answer(questions[index], reply, request_key(model.identity, requests[index]), source, name, shareable[index])
        except BudgetExhausted as error:
            spent = {"tokens": self._spending.tokens, "price_usd": round(self._spending.usd, 4)}
            raise dg.Failure(str(error), metadata=spent, allow_retries=False) from None
        self._under_way.remove(replies)

    def _notice(self, reply: Reply, name: str) -> None:
        """Warn once that the server does not count tokens, and once that another model answers. The materialisation says how often."""
        oddities = {
            f"the server of {name} sends no counts of tokens that can be true; they are estimated": reply.tokens_are_estimated,
            f"the server of {name} answers as {reply.other_model}; `refuse_other_models` ends a batch there": bool(reply.other_model),
        }
        for oddity in [text for text, here in oddities.items() if here and text not in self._noticed]:
            self._noticed.add(oddity)
            logging.getLogger(__name__).warning(oddity)

    def close(self) -> None:
        """End the batches that a caller left in the middle, with their replies kept, and free the model; it is loaded again for the next
        question."""
        while self._under_way:
            self._under_way.pop().close()
        if self._model is not None:
            self._model.close()
        self._model = None

    def _loaded(self) -> LanguageModel:
        settings = self._settings
        if self._model is None:
            self._model = self._models.language_model(settings.backend, settings.model, settings.revision, settings.options)
            refuse_missing(self._model, settings.require, "`require` in settings.yaml")
        return self._model


def waves(planned: Iterable[Work], questions_of: Callable[[Work], int]) -> Iterator[list[Work]]:
    """The planned work in order, in waves of at least WAVE_QUESTIONS questions: memory holds one wave, and the model is kept busy."""
    wave: list[Work] = []
    waiting = 0
    for work in planned:
        wave.append(work)
        waiting += questions_of(work)
        if waiting >= WAVE_QUESTIONS:
            yield wave
            wave, waiting = [], 0
    if wave:
        yield wave


def answered_in_order(asker: Asker, groups: Sequence[Sequence[Question]]) -> Iterator[list[Answer]]:
    """The answers to each group of questions, in order: a group comes once its own and all earlier questions are answered. One flat
    batch."""
    group_of = [number for number, group in enumerate(groups) for _ in group]
    first = list(accumulate((len(group) for group in groups), initial=0))
    missing = [len(group) for group in groups]
    answers: dict[int, Answer] = {}
    head = 0
    for index, answer in asker.ask([question for group in groups for question in group]):
        answers[index] = answer
        missing[group_of[index]] -= 1
        while head < len(groups) and missing[head] == 0:
            yield [answers.pop(i) for i in range(first[head], first[head + 1])]
            head += 1
    while head < len(groups):
        yield []
        head += 1
