"""`interp prompts compare`: two versions of a prompt on the same windows of the same features, and the paired difference of the score.

An explainer's prompt is compared by the scores of the explanations that it leads to, a scorer's prompt by the scores that it gives to the
lake's explanations. Nothing is written but replies, so the same comparison again asks nothing. Each feature counts once, with the
difference of its two scores; the interval is Student's interval of the mean difference over features.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import dagster as dg
import numpy as np

from interp_assets.asking.asker import Asker
from interp_assets.asking.questions import request_of
from interp_assets.assets.explanations.asked import answered_features, planned_features
from interp_assets.assets.scores.scorer_inputs import planned_cases, windows_in_sample
from interp_assets.config.base import UserError
from interp_assets.config.directions import DirectedRecord, Directions
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import LanguageModelSettings, PlatformSettings, StageSettings
from interp_assets.domain.explaining import BASELINES, EXPLAINERS, METHODS, Explainer
from interp_assets.domain.prompting.instructions import NamedPrompt
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.rendering import one_line
from interp_assets.domain.scoring import SCORERS, Scorer
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.intervals import Estimate, mean_interval
from interp_assets.domain.trials import NO_EXPLANATION, ScorerInput
from interp_assets.installation.home import Home
from interp_assets.measuring.answerer import Planned, answerer_of
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.reading.examples import read_examples
from interp_assets.tables import EXPLANATIONS, FEATURE_EXAMPLES
from resources.language_models.budget import Budget, Spending
from resources.language_models.ledger import price_usd
from resources.language_models.openai_server.usage import MESSAGE_TOKENS, bytes_estimate
from resources.language_models.openai_server.wire import most_reply_tokens
from resources.model_provider import ModelProvider
from resources.progress import Progress

STAND_IN = "names of days of the week, and of months, in dates and in opening hours"
"""Stands for explanations that are not written yet, where the cost of judging them is told."""
LOG = cast(dg.DagsterLogManager, logging.getLogger(__name__))  # of a log, `error` alone is used


@dataclass(frozen=True)
class Cost:
    """The most that the questions of one model take; dollars are None without a price."""

    model: str
    questions: int
    tokens: int
    usd: float | None


@dataclass(frozen=True)
class Compared:
    """Scores of the same features under two versions of a prompt, and why features have none. NaN stands for no score."""

    features: tuple[int, ...]
    present: np.ndarray
    other: np.ndarray
    outcomes: Counter[str]
    tokens: int
    usd: float

    @cached_property
    def both(self) -> np.ndarray:
        """Whether each feature has both scores, bool [features]."""
        return ~np.isnan(self.present) & ~np.isnan(self.other)

    @property
    def difference(self) -> Estimate:
        """The mean of other minus present over features with both scores, with its 95 % interval."""
        return mean_interval((self.other - self.present)[self.both])

    @property
    def means(self) -> tuple[float, float]:
        """The mean scores under the present and under the other version, over features with both; NaN without any."""
        both = self.both
        return (float(self.present[both].mean()), float(self.other[both].mean())) if both.any() else (float("nan"), float("nan"))


@dataclass(frozen=True)
class PromptComparison:
    """What is compared: two stage settings that differ in one text, a scorer, the explanation method, and the features."""

    home: Home
    platform: PlatformSettings
    record: DictionaryRecord
    prompt: NamedPrompt
    versions: tuple[StageSettings, StageSettings]
    scorer: Scorer
    method: str
    features: tuple[int, ...]

    @property
    def explainer(self) -> Explainer | None:
        """The explainer whose prompt is compared; None for a scorer's prompt."""
        return next((one for one in EXPLAINERS if self.prompt.block == "explaining" and self.prompt.method == one.NAME), None)

    def partitions(self, version: int) -> list[RangePartition]:
        """The ranges of the features, narrowed to the features, with the settings of one of the two versions."""
        directed = DirectedRecord.of(self.record, Directions(frozenset(self.features)))
        ranges = dict.fromkeys(self.record.range_of(feature) for feature in self.features)
        return [RangePartition(one, directed, self.versions[version], "", {}) for one in ranges]

    def costs(self) -> list[Cost]:
        """The most that asking takes, model by model, kept replies not taken off: bytes of prompts, and the longest replies."""
        asked: dict[str, tuple[LanguageModelSettings, list[Prompt]]] = {}
        for version in (0, 1):
            if self.explainer is not None:
                work = planned_features(self.home.lake, self.explainer, self.partitions(version), LOG)
                _ask(asked, self.platform.explainer, (one.prompt for features in work for one in features.questions(self.method)))
            judge = self.platform.model_of(self.scorer.MODEL)
            if isinstance(judge, LanguageModelSettings):
                cases = self._cases(version, dict.fromkeys(self.features, STAND_IN))
                _ask(asked, judge, (trial.question for case in cases for trial in case.trials if isinstance(trial.question, Prompt)))
        return [_cost(settings, prompts) for settings, prompts in asked.values()]

    def ask(self, models: ModelProvider, say: Callable[[str], None]) -> Compared:
        """Ask both versions and score them. The budget of the site bounds the spending."""
        spending = Spending(Budget(self.platform.budget.tokens, self.platform.budget.usd))
        outcomes: Counter[str] = Counter()
        written: list[dict[int, str | None]] = [{}, {}]
        if self.explainer is not None:
            with Asker(self.platform.explainer, models, self.home.replies, spending, _said(say, "explanations")) as asker:
                for version in (0, 1):
                    work = planned_features(self.home.lake, self.explainer, self.partitions(version), LOG)
                    for _, _, made in answered_features(self.explainer, asker, work, models, self.platform, LOG):
                        if made is not None:
                            written[version][made.feature] = made.text
                            outcomes.update([] if made.text is not None else [f"{_NAMES[version]}: {made.outcome}"])
        who = answerer_of(
            self.scorer, self.platform, models, self.home.replies, spending, lambda what: _said(say, what), self.home.lake
        )  # fmt: skip
        scores: list[dict[int, float]] = [{}, {}]
        try:
            for version in (0, 1):
                for feature, value, outcome in self._scored(who, version, written[version]):
                    if value is None:
                        outcomes[f"{_NAMES[version]}: {outcome}"] += outcome != "no_explanation"
                    else:
                        scores[version][feature] = value
        finally:
            who.close()
        present, other = (np.array([own.get(feature, np.nan) for feature in self.features], dtype=float) for own in scores)
        return Compared(self.features, present, other, +outcomes, spending.tokens, spending.usd)

    def _scored(self, who: Any, version: int, written: dict[int, str | None]) -> Iterator[tuple[int, float | None, str]]:
        """(feature, headline score, outcome) of each feature under one version."""
        stages = self.versions[version]
        own = stages.scoring.of(self.scorer)
        for answered in who.answer(self._cases(version, written)):
            case = answered.planned.scorer_input
            if case is None:
                continue
            if answered.planned.failure:
                raise UserError(f"{self.scorer.NAME} failed on feature {case.feature}:\n{answered.planned.failure}")
            verdicts = self.scorer.grade(case, answered.trials, own)
            rows = self.scorer.summarise(case, verdicts, own, stages.scoring.n_bootstrap, stages.seed)
            (headline,) = (row for row in rows if row.metric == self.scorer.HEADLINE)
            yield case.feature, headline.value if headline.outcome == "ok" else None, headline.outcome

    def _cases(self, version: int, written: dict[int, str | None]) -> Iterator[Planned]:
        """The scorer inputs: with the explanations in `written` for an explainer's prompt, else with those in the lake."""
        for partition in self.partitions(version):
            if self.explainer is None:
                yield from planned_cases(self.home.lake, self.scorer, partition)
                continue
            n_windows = windows_in_sample(self.home.lake, partition)
            for item in read_examples(self.home.lake, partition.key, partition.only):
                text = written.get(item.feature)
                case = ScorerInput(
                    item.feature, self.method, None if text is None else one_line(text), item.shown, item.held_out, item.token_texts,
                    item.firing_share(n_windows), item.start_shares,
                )  # fmt: skip
                yield Planned(partition, case, self.scorer.plan(case, partition.settings.scoring.of(self.scorer), partition.settings.seed))


_NAMES = ("present", "other")


def planned_comparison(
    home: Home, key: str, prompt: NamedPrompt, text: str, n: int, scorer: str | None, method: str | None
) -> PromptComparison:
    """A comparison of the present text of a prompt with another text over `n` features of a dictionary that have examples.

    `scorer` judges the explanations of an explainer's prompt, detection by default; `method` names the explanations that a scorer's prompt
    judges, by default the first that the lake has. Raises `UserError` where there is nothing to compare.
    """
    record, platform = home.registry.get(key), home.settings
    stages = platform.stage_settings(record.stages)
    judge = _judge(prompt, scorer)
    chosen = _method(home, record, prompt, judge, method)
    scored = {**stages.scores, judge.NAME: "all" if chosen == NO_EXPLANATION else (chosen,)}
    explained = tuple(dict.fromkeys((*stages.explanations, *(() if chosen == NO_EXPLANATION else (chosen,)))))
    present = stages.model_copy(update={"explanations": explained, "scores": scored})
    block = getattr(present, prompt.block)
    own = getattr(block, prompt.method)
    if text == (getattr(own, prompt.setting) or prompt.text):
        raise UserError(f"both texts of the prompt {prompt.method} are the same: change the file, or name another by --with")
    other = present.model_copy(update={prompt.block: replace(block, **{prompt.method: replace(own, **{prompt.setting: text})})})
    features = _features(home, record, n, stages.seed, None if prompt.block == "explaining" or chosen == NO_EXPLANATION else chosen)
    return PromptComparison(home, platform, record, prompt, (present, other), judge, chosen, features)


def _judge(prompt: NamedPrompt, scorer: str | None) -> Scorer:
    if prompt.block == "scoring":
        if scorer not in (None, prompt.method):
            raise UserError(
                f"--scorer {scorer}: the prompt of the scorer {prompt.method} is compared by its own scores; leave --scorer out"
            )
        return next(one for one in SCORERS if prompt.method == one.NAME)
    able = {one.NAME: one for one in SCORERS if {"explanation"} == one.READS}
    if scorer is not None and scorer not in able:
        raise UserError(f"--scorer {scorer}: explanations are compared by a scorer that reads nothing else: {', '.join(able)}")
    return able[scorer or "detection"]


def _method(home: Home, record: DictionaryRecord, prompt: NamedPrompt, judge: Scorer, method: str | None) -> str:
    """The explanation method whose explanations are scored."""
    if prompt.block == "explaining" or "explanation" not in judge.READS:
        if method is not None:
            raise UserError("--method names explanations of the lake, and this comparison reads none: leave it out")
        return prompt.method if prompt.block == "explaining" else NO_EXPLANATION
    manifests = [one.partition for one in home.lake.manifests(EXPLANATIONS.name)]
    there = {one["explanation_method"] for one in manifests if one["dictionary"] == record.key}
    able = [one for one in METHODS if one in there and one not in BASELINES]
    if method is None and able:
        return able[0]
    if method is not None and method in there:
        return method
    raise UserError(
        f"{record.key} has explanations by {', '.join(sorted(there)) or 'no method'}{'' if method is None else f', not by {method}'}: make "
        f"some with interp run {record.key}, or name a method by --method"
    )


def _features(home: Home, record: DictionaryRecord, n: int, seed: int, method: str | None) -> tuple[int, ...]:
    """Up to n features with examples, and with an explanation by `method` where it is given, drawn at random by the seed, ascending."""
    found: list[int] = []
    for name in FEATURE_RANGE_KEYS:
        here = lake_partition(RangeKey(record.key, name))
        if home.lake.manifest(FEATURE_EXAMPLES.name, here) is not None:
            with_examples = _ok(home, FEATURE_EXAMPLES.name, here)
            explained = with_examples if method is None else _ok(home, EXPLANATIONS.name, {"explanation_method": method, **here})
            found += with_examples & explained
    if not found:
        what = "examples" if method is None else f"examples and an explanation by {method}"
        raise UserError(f"no feature of {record.key} has {what}: interp run {record.key}")
    drawn = generator(seed, 0, "compared prompts").permutation(np.array(sorted(found)))[:n]
    return tuple(sorted(drawn.tolist()))


def _ok(home: Home, table: str, partition: dict[str, str]) -> set[int]:
    """Features of a partition with the outcome "ok"; none where the partition is missing."""
    if home.lake.manifest(table, partition) is None:
        return set()
    rows = home.lake.read(table, partition, columns=["feature", "outcome"]).to_pylist()
    return {row["feature"] for row in rows if row["outcome"] == "ok"}


def _ask(asked: dict[str, tuple[LanguageModelSettings, list[Prompt]]], model: LanguageModelSettings, prompts: Iterable[Prompt]) -> None:
    asked.setdefault(f"{model.backend} {model.model}", (model, []))[1].extend(prompts)


def _cost(settings: LanguageModelSettings, prompts: Sequence[Prompt]) -> Cost:
    requests = [request_of(prompt) for prompt in dict.fromkeys(prompts)]
    told = sum(sum(bytes_estimate(m.content) + MESSAGE_TOKENS for m in one.messages) + bytes_estimate(one.suffix) for one in requests)
    replies = sum(most_reply_tokens(one, int(settings.options.get("thinking_tokens", 0))) for one in requests)
    return Cost(settings.model, len(requests), told + replies, price_usd(settings.model, told, 0, replies))


def _said(say: Callable[[str], None], what: str) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.done == progress.total:
            say(f"{what}: {progress}")

    return report
