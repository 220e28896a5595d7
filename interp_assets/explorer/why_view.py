"""Why a score is as it is: every item that a scorer judged, with the key, the verdict and the question that was asked."""

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from interp_assets.config.keys import RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.prompting.prompts import Comparison, Prompt
from interp_assets.domain.prompting.rendering import one_line
from interp_assets.domain.scoring import SAMPLED, Scorer
from interp_assets.domain.scoring.shared.asked_again import asked_again, sampled_items
from interp_assets.domain.trials import NO_EXPLANATION, ScorerInput, deal_of, of_deal
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.feature_view import largest_activation, range_of
from interp_assets.explorer.shading import shaded
from interp_assets.reading.examples import examples_of_feature
from interp_assets.tables import (
    DICTIONARY_SAMPLES,
    EXAMPLES,
    EXPLANATIONS,
    FEATURE_EXAMPLES,
    FEATURE_STATISTICS,
    LEDGER,
    SCORER_VALIDITY,
    SCORES,
    TRIALS,
    VERDICTS,
)


@dataclass(frozen=True)
class JudgedItem:
    """One item of a trial. `html` is its window, `text` the item where it is no window, `seen` the line of the question that shows it; each
    is None where there is none. `place` is the share of the items whose value is smaller, where the scorer measured values."""

    example_id: str
    truth: bool
    prediction: bool | None
    probability: float | None
    value: float | None
    activation: float | None
    variant: str
    outcome: str
    trial: int
    html: Markup | None
    text: str | None
    seen: str | None
    place: float | None = None

    @property
    def correct(self) -> bool | None:
        """Whether the judge was right."""
        return None if self.prediction is None else self.prediction == self.truth

    @property
    def order(self) -> tuple[int, float]:
        """Wrong answers first, the surest of them first, then items without an answer, then right answers, the least sure first."""
        likely = self.probability if self.probability is not None else self.place
        surprise = abs((1.0 if self.truth else 0.0) - likely) if likely is not None else 0.0
        return {False: 0, None: 1, True: 2}[self.correct], -surprise


@dataclass(frozen=True)
class TrialView:
    """One question: `messages` are (role, text) as it is planned from the lake's rows, empty where it cannot be planned here."""

    number: int
    name: str
    outcome: str
    messages: tuple[tuple[str, str], ...]
    reply: str
    error: str | None
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class WhyView:
    """A score with all that it rests on. `further_deals` are the texts of later deals of a shuffled baseline, with their donors.
    `validity` are the scorer's results on planted features, of every planted dictionary."""

    explanation: str | None
    donor: int | None
    further_deals: tuple[dict[str, Any], ...]
    metrics: tuple[dict[str, Any], ...]
    items: tuple[JudgedItem, ...]
    trials: tuple[TrialView, ...]
    validity: tuple[dict[str, Any], ...]
    seconds: float
    usd: float | None

    @property
    def n_wrong(self) -> int:
        """Items on which the judge was wrong."""
        return sum(item.correct is False for item in self.items)


def why_view(explorer: Explorer, record: DictionaryRecord, feature: int, scorer: Scorer, method: str) -> WhyView:
    """All that one score of one explanation rests on; without items where the scorer has not run."""
    where = range_of(record, feature)
    partition, rows = lake_partition(where), explorer.rows
    judged = {"scorer": scorer.NAME, **partition}

    def of_method(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in found if row["explanation_method"] == method]

    trials = of_method(rows.of(TRIALS, judged, feature))
    verdicts = of_method(rows.of(VERDICTS, judged, feature))
    metrics = of_method(rows.of(SCORES, judged, feature))
    explained = next(iter(rows.of(EXPLANATIONS, {"explanation_method": method, **partition}, feature)), None)
    examples = rows.of(EXAMPLES, partition, feature)
    largest = largest_activation(next(iter(rows.of(FEATURE_STATISTICS, partition, feature)), None), examples)
    windows = {row["example_id"]: row for row in examples}
    number = {row["trial"]: place for place, row in enumerate(trials)}
    asked = _prompts(explorer, record, where, feature, scorer, method, explained, examples, trials) if trials else {}
    measured = sorted(row["value"] for row in verdicts if row["value"] is not None)
    items = [_item(row, windows, number, largest, asked.get(row["trial"])) for row in verdicts]
    items = [one if one.value is None else replace(one, place=bisect_left(measured, one.value) / len(measured)) for one in items]
    ledger = of_method(rows.of(LEDGER, {"asset": f"scores/{scorer.NAME}", **partition}, feature))
    prices = [row["price_usd"] for row in ledger if row["price_usd"] is not None]
    return WhyView(
        explained["explanation"] if explained else None, explained["donor_feature"] if explained else None,
        tuple(explained["further_deals"] or ()) if explained else (),
        tuple(sorted(metrics, key=lambda row: (not row["headline"], row["stratum"] is not None, row["metric"], row["stratum"] or 0))),
        tuple(sorted(items, key=lambda one: one.order)), tuple(_trial(row, place, asked) for place, row in enumerate(trials)),
        _validity(explorer, scorer.NAME),
        sum(row["seconds"] for row in ledger), sum(prices) if prices else None,
    )  # fmt: skip


def _item(row: dict[str, Any], windows: Mapping[str, dict[str, Any]], number: Mapping[str, int], largest: float, asked: Any) -> JudgedItem:
    window, html = windows.get(row["example_id"]), None
    if window is not None:
        measured = row["values"] if row["values"] and len(row["values"]) == len(window["tokens"]) else None
        html = shaded(window["tokens"], window["activations"], largest)
        if measured:
            html += Markup('<span class="simulated">') + shaded(window["tokens"], measured, max(*measured, 1e-9)) + Markup("</span>")
    return JudgedItem(
        row["example_id"], row["truth"], row["prediction"], row["probability"], row["value"], row["activation"], row["variant"],
        row["outcome"], number.get(row["trial"], -1), html, row["text"], _seen(asked, row["item"]),
    )  # fmt: skip


def _seen(asked: Any, item: int) -> str | None:
    """The numbered line of a question that shows an item; None where the question numbers no texts."""
    if not isinstance(asked, Prompt):
        return None
    found = re.search(rf"^Text {item + 1}: (.*?)(?=\nText \d+: |\Z)", asked.messages[-1][1], re.MULTILINE | re.DOTALL)
    return found[1] if found else None


def _trial(row: dict[str, Any], place: int, asked: Mapping[str, Any]) -> TrialView:
    question = asked.get(row["trial"])
    messages: tuple[tuple[str, str], ...] = ()
    if isinstance(question, Prompt):
        messages = tuple(question.messages)
        messages += (("suffix", question.suffix),) if question.suffix else ()
    elif isinstance(question, Comparison):
        messages = (("queries", "\n".join(question.queries)), ("texts", "\n".join(question.texts)))
    return TrialView(
        place, row["trial"], row["outcome"], messages, row["reply_text"], row["error"], row["model"], row["prompt_tokens"],
        row["cached_tokens"], row["completion_tokens"],
    )  # fmt: skip


def _prompts(
    explorer: Explorer, record: DictionaryRecord, where: RangeKey, feature: int, scorer: Scorer, method: str,
    explained: dict[str, Any] | None, examples: list[dict[str, Any]], rows: list[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """The questions by trial name, planned again from the rows that they were planned from. None for scorers that read other features or
    steered texts besides. `rows` are those of the table
    `trials`, which name the items asked about where some were left out."""
    if not {"explanation"} >= scorer.READS:
        return {}
    drawn = next(iter(explorer.rows.of(FEATURE_EXAMPLES, lake_partition(where), feature)), None)
    if drawn is None:
        return {}
    settings = explorer.home.settings.stage_settings(record.stages)
    stored = examples_of_feature(drawn, examples)
    texts = [explained["explanation"], *(deal["explanation"] for deal in explained["further_deals"] or ())] if explained else [None]
    use = explorer.home.lake.read(DICTIONARY_SAMPLES.name, {"dictionary": record.key}, columns=["n_rows", "context_tokens"]).to_pylist()
    n_windows = sum(row["n_rows"] * row["context_tokens"] // settings.examples.window_tokens for row in use)
    often = stored.firing_share(n_windows), stored.start_shares
    asked: dict[str, Any] = {}
    own, sampler = settings.scoring.of(scorer), next((one for one in SAMPLED if one.NAME == scorer.NAME), None)
    for deal, text in enumerate(texts if method != NO_EXPLANATION else [None]):
        explanation = None if text is None else one_line(text)
        scorer_input = ScorerInput(feature, method, explanation, stored.shown, stored.held_out, stored.token_texts, *often)
        items = sampled_items([row for row in rows if deal_of(row["trial"]) == deal])
        if items is None or sampler is None:
            planned = of_deal(scorer.plan(scorer_input, own, settings.seed), deal)
        else:
            planned = of_deal(asked_again(sampler, scorer_input, items, own, settings.seed), deal)
        asked |= {trial.trial_id: trial.question for trial in planned}
    return asked


def _validity(explorer: Explorer, scorer: str) -> tuple[dict[str, Any], ...]:
    """How the scorer did on planted features: its headline rows of every planted dictionary."""
    found = []
    for manifest in explorer.home.lake.manifests(SCORER_VALIDITY.name):
        rows = explorer.home.lake.read(SCORER_VALIDITY.name, manifest.partition).to_pylist()
        found += [row for row in rows if row["scorer"] == scorer and row["headline"]]
    return tuple(found)
