"""Answers to a scorer's trials: of a language model, of the subject model on a language model's texts, of the sentence encoder, or of the
machine itself."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

from interp_assets.asking.asker import Asker, answered_in_order, waves
from interp_assets.asking.encoder import cosines
from interp_assets.asking.questions import Answer, Question
from interp_assets.config.settings import PlatformSettings, SentenceEncoderSettings
from interp_assets.domain.machine_readable import MachineReadable, matched_in_windows, readable
from interp_assets.domain.prompting.prompts import Comparison, Matching
from interp_assets.domain.scoring import GeneratorScorer, Scorer
from interp_assets.domain.scoring.shared.sequential import is_known, next_round
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, Trial, TrialItem
from interp_assets.measuring.texts import TextMeasure, heard
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.reading.activations import silence_levels
from resources.language_models.budget import Spending
from resources.language_models.reply_store import ReplyStore
from resources.model_provider import ModelProvider
from resources.progress import Progress
from resources.store.lake import Lake


@dataclass(frozen=True)
class Planned:
    """A scorer input with its trials; without a scorer input, the end of its partition. `failure` is the traceback where planning
    failed. `left_out` are the items that are estimated from the trials' items and not asked about."""

    partition: RangePartition
    scorer_input: ScorerInput | None
    trials: tuple[Trial, ...] = ()
    failure: str = ""
    deals_left: int = 0
    """Scorer inputs that follow on further deals of the same feature and method."""
    left_out: tuple[TrialItem, ...] = ()


@dataclass(frozen=True)
class AnsweredInput:
    """A planned scorer input with the answers to its trials, in order, without the trials that were not asked. `answers` are the replies of
    a language model as they came."""

    planned: Planned
    trials: tuple[AnsweredTrial, ...]
    answers: tuple[Answer, ...]
    model: str


class Answerer(Protocol):
    """Answers planned scorer inputs in their order. A wave of scorer inputs is in memory at a time."""

    def answer(self, planned: Iterator[Planned]) -> Iterator[AnsweredInput]: ...

    def close(self) -> None: ...


def answerer_of(
    scorer: Scorer,
    settings: PlatformSettings,
    models: ModelProvider,
    replies: ReplyStore,
    spending: Spending,
    progress: Callable[[str], Callable[[Progress], None]],
    lake: Lake,
) -> Answerer:
    """The answerer for the scorer, by its MODEL. No model is loaded before there is something to answer. `progress` gives a callback for
    the progress of what it is called with."""
    who = settings.model_of(scorer.MODEL)
    if who is None:
        return Matcher()
    if isinstance(who, SentenceEncoderSettings):
        return Encoding(who, models)
    asker = Asker(who, models, replies, spending, progress("questions"))
    if scorer.MODEL == "generator":
        return Generating(cast(GeneratorScorer, scorer), asker, TextMeasure(models, progress("texts run on the subject")), lake)
    return Judging(scorer, asker)


class Judging:
    """A language model answers every trial, or answers in rounds until the score of a scorer input is known well enough."""

    def __init__(self, scorer: Scorer, asker: Asker) -> None:
        self._scorer, self._asker = scorer, asker

    def answer(self, planned: Iterator[Planned]) -> Iterator[AnsweredInput]:
        """Answers in planned order: a scorer input is yielded once its own trials and all trials before them are answered."""
        for wave in waves(planned, lambda work: len(work.trials)):
            answers: list[list[Answer]] = [[] for _ in wave]
            done = [False] * len(wave)
            head = 0
            while head < len(wave):
                rounds = [[] if over else self._next(work, given) for over, work, given in zip(done, wave, answers, strict=True)]
                for i, found in enumerate(answered_in_order(self._asker, rounds)):
                    answers[i] += found
                    done[i] = done[i] or self._is_done(wave[i], answers[i])
                    while head < len(wave) and done[head]:
                        yield self._with_replies(wave[head], answers[head])
                        answers[head] = []
                        head += 1

    def close(self) -> None:
        """Free the model."""
        self._asker.close()

    def _next(self, work: Planned, given: Sequence[Answer]) -> list[Question]:
        """The questions of the next round of a scorer input: all its questions, unless it may be stopped early."""
        chosen = next_round(len(work.trials), len(given), work.partition.settings.scoring.sequential)
        return [Question(t.feature, t.explanation_method, t.prompt) for t in (work.trials[i] for i in chosen)]

    def _is_done(self, work: Planned, given: Sequence[Answer]) -> bool:
        """Whether nothing is left to ask, or the interval of the headline metric is as narrow as the settings ask for.

        Also True where the scorer's own code fails on the answers: no further answers are worth asking for, and grading meets the failure
        again.
        """
        settings = work.partition.settings.scoring
        if len(given) == len(work.trials) or settings.sequential is None or work.scorer_input is None:
            return True
        own, seed = settings.of(self._scorer), work.partition.settings.seed
        try:
            verdicts = self._scorer.grade(work.scorer_input, self._with_replies(work, given).trials, own)
            rows = self._scorer.summarise(work.scorer_input, verdicts, own, settings.n_bootstrap, seed)
        except Exception:
            return True
        return is_known(rows, self._scorer.HEADLINE, settings.sequential)

    def _with_replies(self, work: Planned, answers: Sequence[Answer]) -> AnsweredInput:
        trials = tuple(_trial_with_reply(trial, answer) for trial, answer in zip(work.trials, answers, strict=False))
        return AnsweredInput(work, trials, tuple(answers), answers[0].model if answers else "")


class Generating:
    """A language model writes texts. Then the language model is freed, and the subject model is run on the texts."""

    def __init__(self, scorer: GeneratorScorer, asker: Asker, measure: TextMeasure, lake: Lake) -> None:
        self._scorer, self._asker, self._measure, self._lake = scorer, asker, measure, lake

    def answer(self, planned: Iterator[Planned]) -> Iterator[AnsweredInput]:
        """Answers in planned order, wave by wave. Only one of the two models is loaded at a time."""
        for wave in waves(planned, lambda work: len(work.trials)):
            self._measure.close()
            groups = [[Question(t.feature, t.explanation_method, t.prompt) for t in work.trials] for work in wave]
            answers = list(answered_in_order(self._asker, groups))
            self._asker.close()
            replied = [
                [_trial_with_reply(trial, answer) for trial, answer in zip(work.trials, given, strict=True)]
                for work, given in zip(wave, answers, strict=True)
            ]
            texts = [[self._texts(trial) for trial in trials] for trials in replied]
            wanted = [
                (work.partition.record, trial.trial.feature, text)
                for work, trials, own in zip(wave, replied, texts, strict=True)
                for trial, written in zip(trials, own, strict=True)
                for text in written
            ]
            found = iter(self._measure.largest_activations(wanted))
            for work, trials, own, given in zip(wave, replied, texts, answers, strict=True):
                levels = self._levels(work.partition, {trial.trial.feature for trial in trials})
                measured = tuple(
                    replace(t, activations=tuple(heard(next(found), levels[t.trial.feature]) for _ in w))
                    for t, w in zip(trials, own, strict=True)
                )
                yield AnsweredInput(work, measured, tuple(given), given[0].model if given else "")

    def _levels(self, partition: RangePartition, features: set[int]) -> dict[int, float]:
        """For each feature the activation below which a text counts as silent, as for a stored window."""
        share = partition.settings.examples.silent_share
        return silence_levels(self._lake, partition.record, features, share) if share else dict.fromkeys(features, 0.0)

    def _texts(self, trial: AnsweredTrial) -> tuple[str, ...]:
        """The texts in a reply; none where the scorer's own code fails on the reply. Grading then meets the same failure."""
        try:
            return self._scorer.texts(trial)
        except Exception:
            return ()

    def close(self) -> None:
        """Free both models."""
        self._asker.close()
        self._measure.close()


class Encoding:
    """The sentence encoder compares texts; a text in several trials of a wave is embedded once."""

    def __init__(self, settings: SentenceEncoderSettings, models: ModelProvider) -> None:
        self._encoder = models.sentence_encoder(settings.source, settings.revision)
        self._name = settings.source

    def answer(self, planned: Iterator[Planned]) -> Iterator[AnsweredInput]:
        """Answers in planned order, wave by wave."""
        for wave in waves(planned, lambda work: sum(len(_comparison(t).texts) for t in work.trials)):
            cosine = cosines(self._encoder.embed, [_comparison(trial) for work in wave for trial in work.trials])
            for work in wave:
                trials = tuple(AnsweredTrial(trial, cosines=next(cosine)) for trial in work.trials)
                yield AnsweredInput(work, trials, (), self._name if trials else "")

    def close(self) -> None:
        """Free the encoder."""
        self._encoder.close()


class Matcher:
    """Machine-readable explanations are matched with windows; the token lists of a wave of scorer inputs are matched together."""

    def answer(self, planned: Iterator[Planned]) -> Iterator[AnsweredInput]:
        """Answers in planned order, wave by wave."""
        for wave in waves(planned, lambda work: sum(len(trial.items) for trial in work.trials)):
            questions = [_matching(trial) for work in wave for trial in work.trials]
            found = iter(matched_in_windows([(_readable(one), one.windows) for one in questions]))
            for work in wave:
                trials = tuple(AnsweredTrial(trial, matches=tuple(tuple(own.tolist()) for own in next(found))) for trial in work.trials)
                yield AnsweredInput(work, trials, (), "")

    def close(self) -> None:
        """There is nothing to free."""


def _matching(trial: Trial) -> Matching:
    assert isinstance(trial.question, Matching), trial.trial_id
    return trial.question


def _readable(question: Matching) -> MachineReadable:
    found = readable(question.explanation)
    assert found is not None, question.explanation
    return found


def _comparison(trial: Trial) -> Comparison:
    assert isinstance(trial.question, Comparison), trial.trial_id
    return trial.question


def _trial_with_reply(trial: Trial, answer: Answer) -> AnsweredTrial:
    reply = answer.reply
    return AnsweredTrial(
        trial, reply.text, reply.answer_probabilities, reply.finish_reason, reply.error,
        suffix_logprobs=reply.suffix_logprobs, suffix_choices=reply.suffix_choices,
    )  # fmt: skip
