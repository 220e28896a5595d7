"""Explanations written again and judged again: the rows of repeated_scores, and the answers that they cost."""

import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from interp_assets.asking.asker import Asker, answered_in_order
from interp_assets.asking.questions import Answer, Question
from interp_assets.assets.score_stability.asked import ledger_name, method_of
from interp_assets.assets.score_stability.redrawn import Redrawn
from interp_assets.config.keys import RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.domain.explaining import Explainer
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, ExplainerReply
from interp_assets.domain.outcomes import FAILED, ExplanationOutcome
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.prompting.rendering import one_line
from interp_assets.domain.scoring import Scorer
from interp_assets.domain.stability import Replicate, again, replicates, seed_of
from interp_assets.domain.trials import Explanation, ScorerInput, ScoreRow
from interp_assets.measuring.answerer import AnsweredInput, Answerer, Planned
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.reading.examples import StoredExamples

Written = dict[tuple[int, int, int], Explanation]
"""Explanations by feature, draw and number."""


@dataclass
class Repeated:
    """What came of asking again: rows of repeated_scores, and answers by the name in the ledger and the feature's range.

    `undone` counts explanations and judged windows that ended in a model's error or a failure of our own code, which a rerun tries again.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[tuple[str, RangeKey], list[Answer]] = field(default_factory=lambda: defaultdict(list))
    judges: dict[str, str] = field(default_factory=dict)
    undone: Counter[str] = field(default_factory=Counter)


class Repeater:
    """Asks again about some features of one dictionary."""

    def __init__(
        self, record: DictionaryRecord, stages: StageSettings, features: Sequence[int], drawn: Redrawn | None, log: dg.DagsterLogManager
    ) -> None:
        """`drawn` is None for a dictionary without activations, whose windows cannot be drawn again."""
        self._record, self._stages, self._features, self._drawn, self._log = record, stages, features, drawn, log
        self._range_of = {feature: record.range_of(feature) for feature in features}
        self.found = Repeated()

    def written(self, explainer: Explainer, asker: Asker) -> Written:
        """Every explanation of every draw of every feature."""
        settings, stability = self._stages.explaining.of(explainer), self._stages.stability
        names = [
            (feature, draw, number)
            for feature in self._features
            for draw in range(stability.n_draws)
            for number in range(stability.n_explanations)
        ]
        inputs = [_explainer_input(self._examples(feature, draw)) for feature, draw, _ in names]
        planned: list[tuple[Prompt, ...] | ExplanationOutcome] = []
        for name, one in zip(names, inputs, strict=True):
            seed = seed_of(self._stages.seed, *name[1:])
            try:
                prompts = explainer.plan(one, settings, seed)
                planned.append(prompts if isinstance(prompts, str) else again(prompts, stability.temperature, seed))
            except Exception:
                self._failed(explainer.NAME, name[0])
                planned.append(FAILED)
        groups = [
            [] if isinstance(prompts, str) else [Question(feature, explainer.NAME, prompt) for prompt in prompts]
            for (feature, *_), prompts in zip(names, planned, strict=True)
        ]
        made: Written = {}
        for name, one, prompts, answers in zip(names, inputs, planned, answered_in_order(asker, groups), strict=True):
            self.found.answers[ledger_name(explainer.NAME), self._range_of[name[0]]] += answers
            made[name] = self._graded(explainer, one, prompts, answers)
            if made[name].outcome in ("model_error", FAILED):
                self.found.undone[made[name].outcome] += 1
        return made

    def _graded(
        self, explainer: Explainer, one: ExplainerInput, prompts: tuple[Prompt, ...] | ExplanationOutcome, answers: Sequence[Answer]
    ) -> Explanation:
        if isinstance(prompts, str):
            return Explanation(one.feature, explainer.NAME, None, prompts, "", explainer.VERSION)
        try:
            replies = [ExplainerReply(answer.reply.text, answer.reply.error) for answer in answers]
            return explainer.grade(one, replies, self._stages.explaining.of(explainer))
        except Exception:
            self._failed(explainer.NAME, one.feature)
            return Explanation(one.feature, explainer.NAME, None, FAILED, "", explainer.VERSION)

    def judge(self, scorer: Scorer, who: Answerer, written: Written) -> None:
        """Judge every replicate by a scorer, and keep its rows."""
        works = [(feature, one) for feature in self._features for one in replicates(scorer, self._stages.stability)]
        answered = who.answer(self._planned(scorer, works, written))
        for (feature, replicate), work in zip(works, answered, strict=True):
            name = ledger_name(scorer.NAME)
            self.found.answers[name, self._range_of[feature]] += work.answers
            self.found.judges[scorer.NAME] = self.found.judges.get(scorer.NAME) or work.model
            row = self._scored(scorer, replicate, work)
            self.found.rows.append(self._row(scorer, replicate, work, row))

    def _planned(self, scorer: Scorer, works: Sequence[tuple[int, Replicate]], written: Written) -> Iterator[Planned]:
        settings = self._stages.scoring.of(scorer)
        for feature, replicate in works:
            evidence = self._examples(feature, replicate.draw)
            explanation = written.get((feature, replicate.draw, replicate.explanation)) if "explanation" in scorer.READS else None
            one = ScorerInput(
                feature=feature,
                method=method_of(scorer, self._stages),
                explanation=None if explanation is None or explanation.text is None else one_line(explanation.text),
                shown=evidence.shown,
                held_out=evidence.held_out,
                token_texts=evidence.token_texts,
                firing_share=evidence.firing_share(0),
                start_shares=evidence.start_shares,
            )
            partition = RangePartition(self._range_of[feature], self._record, self._stages, "", {})
            seed = seed_of(self._stages.seed, replicate.draw, replicate.explanation, replicate.judgement)
            try:
                yield Planned(partition, one, scorer.plan(one, settings, seed))
            except Exception:
                yield Planned(partition, one, failure=traceback.format_exc())

    def _scored(self, scorer: Scorer, replicate: Replicate, work: AnsweredInput) -> ScoreRow | None:
        """The headline score of a replicate; None where the scorer's own code fails."""
        one, settings = work.planned.scorer_input, self._stages.scoring.of(scorer)
        assert one is not None
        failure = work.planned.failure
        if not failure:
            try:
                verdicts = scorer.grade(one, work.trials, settings)
                self.found.undone.update(v.outcome for v in verdicts if v.outcome in ("model_error", FAILED))
                rows = scorer.summarise(one, verdicts, settings, self._stages.scoring.n_bootstrap, self._stages.seed)
                return next(row for row in rows if row.metric == scorer.HEADLINE)
            except Exception:
                failure = traceback.format_exc()
        self._log.error(f"{self._record.key}: {scorer.NAME} failed on feature {one.feature}, {replicate}:\n{failure}")
        self.found.undone[FAILED] += 1
        return None

    def _row(self, scorer: Scorer, replicate: Replicate, work: AnsweredInput, score: ScoreRow | None) -> dict[str, Any]:
        one = work.planned.scorer_input
        assert one is not None
        drawn = self._examples(one.feature, replicate.draw)
        outcome = FAILED if score is None else score.outcome
        if not drawn.examples:
            outcome = "no_activations" if self._drawn is None else drawn.outcome
        return {
            "dictionary": self._record.key, "feature": one.feature, "scorer": scorer.NAME, "explanation_method": one.method,
            "draw": replicate.draw, "writing": replicate.explanation, "judgement": replicate.judgement, "metric": scorer.HEADLINE,
            "explanation": one.explanation, "value": None if score is None else score.value,
            "n_positive": 0 if score is None else score.n_positive, "n_negative": 0 if score is None else score.n_negative,
            "n_unanswered": 0 if score is None else score.n_unanswered, "outcome": outcome,
        }  # fmt: skip

    def _examples(self, feature: int, draw: int) -> StoredExamples:
        """The examples of a feature in a draw; none for a dictionary without activations."""
        return self._drawn.examples[feature, draw] if self._drawn else StoredExamples(feature, "dead", 0, (), {})

    def _failed(self, name: str, feature: int) -> None:
        """Log the error being handled."""
        self._log.error(f"{self._record.key}: {name} failed on feature {feature}:\n{traceback.format_exc()}")


def _explainer_input(evidence: StoredExamples) -> ExplainerInput:
    return ExplainerInput(
        feature=evidence.feature,
        shown=evidence.shown,
        token_texts=evidence.token_texts,
        contrast=evidence.shown_non_activating,
        validation=evidence.validation,
    )
