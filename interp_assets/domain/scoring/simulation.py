"""The simulation scorer: how strongly would a neuron that the explanation is true of react to each token? (OpenAI 2023)

For each token of every held-out window the judge gives a level, 0 to `max_level`. The score is Pearson's correlation between simulated and
true activations over the tokens of all windows end to end. It is not the mean of the correlations of the windows: so it tests which windows
a feature fires on as well as which tokens.

In mode `all_at_once` a window is one question without a reply. Its tokens stand one on a line, each with a placeholder for its level. At
every placeholder the probabilities of all levels are read; the mean level is the simulated activation. A token's level cannot depend on the
levels of earlier tokens, since placeholders stand there, also in the worked examples. So all tokens of a window are asked at once. Before
the tokens all windows of an explanation have the same text. Mode `json` asks for a list of levels, for back ends that cannot read
log-probabilities of a prompt.
"""

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from interp_assets.domain.bounds import ADDED_LATER, Bounded, Count
from interp_assets.domain.outcomes import ScoreOutcome, VerdictOutcome
from interp_assets.domain.prompting.final_answer import final_answer
from interp_assets.domain.prompting.instructions import Instructed, instructions
from interp_assets.domain.prompting.prompts import Prompt, SuffixChoices, Turn
from interp_assets.domain.prompting.rendering import ELLIPSIS, plain_text, token_strings, visible
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.token_metrics import TOKEN_METRICS, place_floor, token_metrics
from interp_assets.domain.trials import (
    AnsweredTrial,
    Model,
    Reads,
    ScorerInput,
    ScoreRow,
    Trial,
    Verdict,
    as_item,
    evenly_mixed,
    verdict_of,
)

NAME: str = "simulation"
VERSION: str = "simulation/6"
MODEL: Model = "scorer"
HEADLINE: str = "pearson"
READS: frozenset[Reads] = frozenset({"explanation"})

STRATUM_METRIC = "pearson@stratum"
PLACEHOLDER = "unknown"
_LIST = re.compile(r"\[([^\[\]]*)(\]|$)")
_LEVEL = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,6})?")
_LINE = re.compile(rf"^[ \t*\-]{{0,8}}Token (\d{{1,4}}):[ \t]{{0,8}}({_LEVEL.pattern})[ \t]{{0,8}}$", re.I | re.M)


@dataclass(frozen=True)
class SimulationSettings(Instructed):
    """How activations are simulated."""

    mode: Literal["all_at_once", "json"] = "all_at_once"
    """`all_at_once`: levels are read from the log-probabilities of the prompt. `json`: the model writes the levels."""
    max_level: Bounded = 10
    """Strongest level: 10 as published. A tokenizer that spells 10 in two tokens needs 9 in mode `all_at_once`. Unit: level, 1 to 10."""
    few_shot: Count = 2
    """Worked examples before the question. Unit: examples, 0 to 3."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_level <= 10:
            raise ValueError(f"max_level is the strongest level and must be 1 to 10, got {self.max_level}; take 10, or 9 for single digits")

    json_instructions: Annotated[str | None, ADDED_LATER] = None
    """Instructions for the mode `json`, in place of the packaged ones. None means the site's file or the packaged instructions."""


@dataclass(frozen=True)
class WorkedWindow:
    """A hand-written window: tokens with levels 0 to 10; the levels of the first `hidden` tokens are not shown."""

    explanation: str
    tokens: tuple[tuple[str, int], ...]
    hidden: int


_WORKED = (
    WorkedWindow(
        "names of days of the week",
        (
            ("The", 0), (" ferry", 0), (" to", 0), (" the", 0), (" island", 0), (" leaves", 0), (" on", 1), (" Tuesday", 10), (" at", 0),
            (" noon", 0), (",", 0), (" and", 0), (" since", 0), (" the", 0), (" old", 0), (" pier", 0), (" was", 0), (" closed", 0),
            (" in", 0), (" autumn", 0), (" another", 0), (" boat", 0), (" sails", 0), (" on", 1), (" Friday", 9), (" night", 2), (".", 0),
            ("\n", 0),
        ),
        5,
    ),
    WorkedWindow(
        "words for family members",
        (
            ("return", 0), (" the", 0), (" first", 0), (" item", 0), (" of", 0), (" the", 0), (" list", 0), (",", 0), (" or", 0),
            (" nothing", 0), (" where", 0), (" the", 0), (" list", 0), (" is", 0), (" empty", 0), (";", 0), (" a", 0), (" caller", 0),
            (" that", 0), (" needs", 0), (" all", 0), (" of", 0), (" them", 0), (" has", 0), (" to", 0), (" ask", 0), (" again", 0),
            (" later", 0),
        ),
        9,
    ),
    WorkedWindow(
        "numbers written as digits",
        (
            ("412", 10), (" votes", 1), (" were", 0), (" counted", 0), (" before", 0), (" the", 0), (" hall", 0), (" was", 0),
            (" closed", 0), (",", 0), (" more", 0), (" than", 0), (" in", 0), (" any", 0), (" of", 0), (" the", 0), (" other", 0),
            (" towns", 0), (" along", 0), (" the", 0), (" river", 0), (",", 0), (" by", 1), (" 20", 8), (" or", 0), (" so", 0),
        ),
        3,
    ),
)  # fmt: skip
"""Windows as long as the windows asked about, with peaks at different places; one is silent."""


def plan(scorer_input: ScorerInput, settings: SimulationSettings, run_seed: int) -> tuple[Trial, ...]:
    """A trial for every held-out window, both kinds evenly mixed; none without an explanation or without examples.

    The order depends on the run's seed and the feature, not on the explanation.
    """
    if scorer_input.explanation is None:
        return ()
    head: list[Turn] = [("system", _instructions(settings))]
    for worked in _WORKED[: settings.few_shot]:
        head += _worked_turns(worked, settings)
    trials: list[Trial] = []
    for number, example in enumerate(evenly_mixed(scorer_input.held_out, generator(run_seed, scorer_input.feature, f"{NAME} order"))):
        tokens = token_strings(example.token_ids, scorer_input.token_texts)
        prompt = (_all_at_once if settings.mode == "all_at_once" else _as_json)(head, scorer_input.explanation, tokens, settings)
        trials.append(Trial.about(scorer_input, NAME, number, prompt, (as_item(example),)))
    return tuple(trials)


def _instructions(settings: SimulationSettings) -> str:
    if settings.mode == "json":
        return instructions("simulation_json", settings.json_instructions, top=settings.max_level)
    return instructions("simulation", settings.instructions, top=settings.max_level)


def _all_at_once(head: Sequence[Turn], explanation: str, tokens: Sequence[str], settings: SimulationSettings) -> Prompt:
    """A prompt without a reply: it asks for the probabilities of the levels at each placeholder. All windows share all its messages."""
    question: Turn = ("user", f"Description: {explanation}\n\n")  # a base model's suffix follows its last message directly
    messages = (*head, question)
    levels = tuple(str(level) for level in range(settings.max_level + 1))
    lines = _lines(tokens, [PLACEHOLDER] * len(tokens))
    return Prompt(messages, len(messages), 0, suffix=lines, suffix_choices=SuffixChoices(PLACEHOLDER, levels))


def _as_json(head: Sequence[Turn], explanation: str, tokens: Sequence[str], settings: SimulationSettings) -> Prompt:
    """A prompt for a list with one level a token. The list stands in an object, since hosted APIs take no schema of a bare list."""
    n = len(tokens)
    one = {"type": "integer", "minimum": 0, "maximum": settings.max_level}
    levels = {"type": "array", "items": one, "minItems": n, "maxItems": n}
    schema = {"type": "object", "properties": {"levels": levels}, "required": ["levels"], "additionalProperties": False}
    question: Turn = ("user", _numbered(explanation, tokens))
    return Prompt((*head, question), len(head), 4 * n + 16, json_schema=json.dumps(schema, sort_keys=True))


def _worked_turns(worked: WorkedWindow, settings: SimulationSettings) -> list[Turn]:
    """A worked example in the form of the question, with its levels on the scale 0 to `max_level`."""
    tokens = [token for token, _ in worked.tokens]
    levels = [str(math.ceil(level * settings.max_level / 10)) for _, level in worked.tokens]
    if settings.mode == "json":
        return [("user", _numbered(worked.explanation, tokens)), ("assistant", f'{{"levels": [{", ".join(levels)}]}}')]
    shown = [PLACEHOLDER] * worked.hidden + levels[worked.hidden :]
    return [("user", f"Description: {worked.explanation}"), ("assistant", _lines(tokens, shown))]


def _lines(tokens: Sequence[str], levels: Sequence[str]) -> str:
    """A line for each token: its text, a tab, its level. No token's text holds a tab, a line break or the placeholder."""
    return "\n".join(f"{_cell(token)}\t{level}" for token, level in zip(tokens, levels, strict=True))


def _cell(token: str) -> str:
    """The token's text on one line. The word of the placeholder in it gets a capital, so that placeholders stand only where levels stand.

    A character of several tokens is shown at its first token; its further tokens are shown as an ellipsis.
    """
    return (visible(token) or ELLIPSIS).replace(PLACEHOLDER, PLACEHOLDER.capitalize())


def _numbered(explanation: str, tokens: Sequence[str]) -> str:
    """The question of mode `json`: the description, the text, and its tokens by number."""
    numbered = [f"Token {number}: {visible(token) or ELLIPSIS}" for number, token in enumerate(tokens, start=1)]
    return "\n".join([f"Description: {explanation}", f"Text: {plain_text(tokens)}", *numbered])


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: SimulationSettings) -> tuple[Verdict, ...]:
    """One verdict per window, whatever the answers; its `values` are the simulated levels, one a token.

    "no_probabilities" unless every token has probabilities of levels. In mode `json` a list that is too short is "truncated"; a list that
    is too long, or holds anything but levels, is "unparsable".
    """
    lengths = {example.example_id: len(example.token_ids) for example in scorer_input.held_out}
    return tuple(_graded(one, lengths[one.trial.items[0].example_id], settings) for one in answered)


def _graded(answered: AnsweredTrial, n_tokens: int, settings: SimulationSettings) -> Verdict:
    if answered.error is not None:
        return verdict_of(answered.trial, 0, "model_error")
    if settings.mode == "json":
        read = parse_levels(answered.text, n_tokens, settings.max_level)
    else:
        read = expected_levels(answered.suffix_choices or (), n_tokens)
    return verdict_of(answered.trial, 0, read) if isinstance(read, str) else verdict_of(answered.trial, 0, "answered", values=read)


def expected_levels(shares: Sequence[Sequence[float]], n_tokens: int) -> tuple[float, ...] | VerdictOutcome:
    """Σ p · level / Σ p at each token, over the levels; "no_probabilities" where a token has none."""
    if len(shares) != n_tokens or not all(0 < sum(options) < math.inf for options in shares):
        return "no_probabilities"
    return tuple(sum(level * p for level, p in enumerate(options)) / sum(options) for options in shares)


def parse_levels(text: str, n_tokens: int, max_level: int) -> tuple[float, ...] | VerdictOutcome:
    """The levels in the last bracketed list of `n_tokens` entries, or else in the last bracketed list of any length, or else on lines
    "Token 1: 0", numbered as the question numbers the tokens.

    A level may have decimals. A list left open at the end of the reply counts. Reasoning is skipped. "unparsable" without a list, or where
    the list is too long or holds anything but levels; "truncated" where it is too short.
    """
    text = unicodedata.normalize("NFKC", final_answer(text))
    found = [match.group(1) for match in _LIST.finditer(text)]
    lists = [[entry.strip() for entry in content.split(",")] for content in found if content.strip()]
    if not lists:
        lines = _LINE.findall(text)
        if not lines or [int(number) for number, _ in lines] != list(range(1, len(lines) + 1)):
            return "unparsable"
        lists = [[level for _, level in lines]]
    entries = [entries for entries in lists if len(entries) == n_tokens] or lists
    read = [float(entry) for entry in entries[-1] if _LEVEL.fullmatch(entry)]
    if len(read) < len(entries[-1]) - (entries[-1][-1] == "") or len(read) > n_tokens or max(read, default=0) > max_level:
        return "unparsable"
    return tuple(read) if len(read) == n_tokens else "truncated"


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: SimulationSettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """Rows for "pearson" and "r2" over all answered windows, then a row "pearson@stratum" for each stratum.

    The row of a stratum is over the activating windows of the stratum and all silent windows. Intervals are over windows. Counts are of
    windows. Without verdicts rows end as `scorer_input.absent`, with no window answered as "no_answers", and where simulated or true
    activations do not vary as "undefined". The floor is what a simulator reaches that knows only where in a window the feature is strong
    (`token_metrics.place_floor`), for "r2" its square: about 0, but for short windows and for imported windows whose peaks stand at one
    place.

    Pearson's r is OpenAI's correlation score. "r2" is the share of the variance of the true activations that the simulated activations
    explain (`metrics.token_metrics`). A simulated activation is its level / `max_level` · the feature's largest activation on its examples.
    OpenAI's explained variance calibrates the simulated activations; "r2" does not. The R² in OpenAI's code compares with silence. "r2"
    compares with the mean: always predicting the mean scores 0.
    """
    own = [verdict for verdict in verdicts if verdict.values is not None]
    examples = {example.example_id: example for example in scorer_input.held_out}
    unit = max((max(e.activations, default=0.0) for e in (*scorer_input.shown, *scorer_input.held_out)), default=0.0) / settings.max_level
    rows: list[ScoreRow] = []
    for stratum in (None, *sorted({verdict.stratum for verdict in verdicts if verdict.stratum is not None})):
        part, asked = ([v for v in all_ if stratum is None or v.stratum in (None, stratum)] for all_ in (own, verdicts))
        truth = np.array([verdict.truth for verdict in part], dtype=bool)
        true = [np.array(examples[verdict.example_id].activations) for verdict in part]
        found = token_metrics([np.array(verdict.values) * unit for verdict in part], true, truth)
        counts = (int(truth.sum()), int((~truth).sum()), len(asked) - len(part))
        otherwise: ScoreOutcome = scorer_input.absent if not verdicts else "no_answers" if not part else "undefined"
        floor = place_floor(true) if part else None
        if stratum is not None:
            rows.append(score_row(NAME, scorer_input, STRATUM_METRIC, found["pearson"], floor, counts, otherwise, stratum))
            continue
        floors = {"pearson": floor, "r2": None if floor is None else floor**2}
        rows += [score_row(NAME, scorer_input, metric, found[metric], floors[metric], counts, otherwise) for metric in TOKEN_METRICS]
    return tuple(rows)
