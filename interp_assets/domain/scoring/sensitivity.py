"""The sensitivity scorer: does the feature fire on new texts like the texts on which it fires? (arXiv 2509.23717)

It reads no explanation. A generator sees some of the feature's shown windows, with the tokens on which the feature fires marked, and writes
new texts with the same content; the subject model is run on them. With M the largest activation on the shown windows:

    sensitivity   share of the texts on which the feature fires. Floor: the share that would by chance, at the texts' lengths and the
                  beginning of a context
    hit_rate      share of the texts with an activation of at least `hit_share` · M. No floor: it depends on how strongly the feature fires

Both have Wilson's interval. A text that copies a shown window says nothing of new texts: it ends as "copied" and does not count. A text is
a copy where `copied_words` words of it in a row stand in a window, or all its words where it is shorter. Marks in a text are taken out
before the subject reads it.

The paper has the texts written by a large model and then checked by people. A small model writes texts that have little to do with the
windows, so that its sensitivities are lower bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from interp_assets.domain.bounds import Count, PositiveCount, Share, Temperature
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.outcomes import ScoreOutcome
from interp_assets.domain.prompting.instructions import Instructed, instructions
from interp_assets.domain.prompting.prompts import Prompt, Turn
from interp_assets.domain.prompting.rendering import MARK_CLOSE, MARK_OPEN, marked_positions
from interp_assets.domain.prompting.window_texts import marked_window, window_text
from interp_assets.domain.scoring.shared import generated
from interp_assets.domain.scoring.shared.classifier import score_row
from interp_assets.domain.seeds import generator
from interp_assets.domain.statistics.metrics import UNDEFINED, Estimate, wilson
from interp_assets.domain.trials import AnsweredTrial, Model, Reads, ScorerInput, ScoreRow, Trial, Verdict, of_kind

NAME: str = "sensitivity"
VERSION: str = "sensitivity/4"
MODEL: Model = "generator"
HEADLINE: str = "sensitivity"
READS: frozenset[Reads] = frozenset()
METRICS = ("sensitivity", "hit_rate")
KIND = "text"


@dataclass(frozen=True)
class SensitivitySettings(Instructed):
    """How texts are asked for, and what counts as a hit and as a copy."""

    n_texts: PositiveCount = 10
    """Texts that are written. Unit: texts of a feature."""
    n_shown: PositiveCount = 10
    """Most shown windows that the generator sees. Windows are taken at even steps from strongest to weakest. Unit: windows."""
    few_shot: Count = 1
    """Worked examples before the question. Unit: examples, 0 to 2."""
    threshold: Share = 0.3
    """Tokens at or above this share of the window's maximum are marked. Unit: share."""
    hit_share: Share = 0.3
    """Least activation of a hit, as a share of the largest activation on the shown windows. Unit: share."""
    copied_words: PositiveCount = 6
    """Words in a row that make a text a copy of a window. Unit: words."""
    temperature: Temperature = 0.7
    """Temperature of the reply. Unit: temperature."""
    max_reply_tokens: PositiveCount = 600
    """Most tokens of a reply. Unit: tokens."""


_WORKED: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("the ferry leaves on <<Tuesday>> at noon", "closed every <<Sunday>> in winter", "we talked about it last <<Friday>>"),
        (
            "Her exam is next Thursday, or so they say.",
            "By Monday all of the bread was gone.",
            "a market that is held on Wednesday mornings",
            "On Saturday the whole town goes to the lake.",
            "The letter came on a Sunday, of all days.",
        ),
    ),
    (
        ("the pump was <<replaced>> by an electric one", "letters <<written>> by her uncle"),
        (
            "a song composed by a blind musician",
            "The roof had been repaired by two of the neighbours.",
            "pictures taken by satellites every hour",
            "It was signed by nobody.",
            "The wall, painted by children, is bright blue.",
        ),
    ),
)


def plan(scorer_input: ScorerInput, settings: SensitivitySettings, run_seed: int) -> tuple[Trial, ...]:
    """One trial with an item for each text to be written; none without shown windows on which the feature fires."""
    shown = of_kind(scorer_input.shown, "activating")
    if not shown:
        return ()
    places: list[int] = np.linspace(0, len(shown) - 1, min(settings.n_shown, len(shown))).round().astype(int).tolist()
    head: list[Turn] = [("system", instructions("sensitivity", settings.instructions))]
    for texts_shown, written in _WORKED[: settings.few_shot]:
        head.append(("user", _question(texts_shown, len(written))))
        head.append(("assistant", generated.written(KIND, written)))
    prompt = Prompt(
        messages=(*head, ("user", _question([_marked(shown[i], scorer_input, settings) for i in places], settings.n_texts))),
        shared_messages=len(head),
        max_reply_tokens=settings.max_reply_tokens,
        json_schema=generated.schema(KIND, settings.n_texts),
        temperature=settings.temperature,
        seed=int(generator(run_seed, scorer_input.feature, NAME).integers(1 << 31)),
    )
    items = generated.items_of(KIND, True, 0, settings.n_texts)
    return (Trial.about(scorer_input, NAME, 0, prompt, items),)


def texts(answered: AnsweredTrial) -> tuple[str, ...]:
    """The texts in a reply without marks, in the order of the items: see `generated.texts`."""
    return tuple(_unmarked(text) for text in generated.texts(answered))


def grade(scorer_input: ScorerInput, answered: Sequence[AnsweredTrial], settings: SensitivitySettings) -> tuple[Verdict, ...]:
    """One verdict a text, with the text and its activation; "copied" for a text that copies a shown window: see `generated.grade`."""
    windows = [_words(window_text(example, scorer_input.token_texts)) for example in of_kind(scorer_input.shown, "activating")]
    verdicts: list[Verdict] = []
    for verdict in generated.grade(answered):
        if verdict.text is not None and _is_copied(_words(_unmarked(verdict.text)), windows, settings.copied_words):
            verdict = replace(verdict, outcome="copied", value=None, activation=None, text=None)
        verdicts.append(verdict if verdict.text is None else replace(verdict, text=_unmarked(verdict.text)))
    return tuple(verdicts)


def summarise(
    scorer_input: ScorerInput, verdicts: Sequence[Verdict], settings: SensitivitySettings, n_bootstrap: int, run_seed: int
) -> tuple[ScoreRow, ...]:
    """A row for each of METRICS; `n_positive` counts the texts that count.

    "no_examples" where nothing was asked, "no_answers" where no new text was written, "undefined" for a hit rate without a largest
    activation.
    """
    values = np.array([verdict.value for verdict in verdicts if verdict.value is not None], dtype=np.float64)
    counts = (len(values), 0, len(verdicts) - len(values))
    largest = max((max(example.activations, default=0.0) for example in scorer_input.shown), default=0.0)
    found: dict[str, Estimate] = dict.fromkeys(METRICS, UNDEFINED)
    if len(values):
        found["sensitivity"] = wilson(int((values > 0).sum()), len(values))
        if largest > 0:
            hits = (values > 0) & (values >= settings.hit_share * largest)
            found["hit_rate"] = wilson(int(hits.sum()), len(values))
    otherwise: ScoreOutcome = "no_examples" if not verdicts else "no_answers" if not len(values) else "undefined"
    written = [verdict.text or "" for verdict in verdicts if verdict.value is not None]
    floors = {"sensitivity": generated.mean_chance(written, scorer_input), "hit_rate": None}
    return tuple(score_row(NAME, scorer_input, metric, found[metric], floors[metric], counts, otherwise) for metric in METRICS)


def _marked(example: Example, scorer_input: ScorerInput, settings: SensitivitySettings) -> str:
    return marked_window(example, scorer_input.token_texts, marked_positions(example.activations, settings.threshold))


def _question(shown: Sequence[str], n: int) -> str:
    return "\n".join([*(f"Text {number}: {text}" for number, text in enumerate(shown, start=1)), f"New texts: {n}"])


def _unmarked(text: str) -> str:
    """The text without marks; a text of marks alone stays as it is."""
    return text.replace(MARK_OPEN, "").replace(MARK_CLOSE, "").strip() or text


def _words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation around them."""
    return [word for piece in text.lower().split() if (word := piece.strip(".,;:!?…\"'()[]{}«»“”‘’-–—"))]


def _is_copied(words: Sequence[str], windows: Sequence[Sequence[str]], n: int) -> bool:
    """Whether `n` words in a row, or all words of a shorter text, stand in a row in one of the windows; a text without words does not."""
    n = min(n, len(words))
    runs = {tuple(words[i : i + n]) for i in range(len(words) - n + 1)} if n else set[tuple[str, ...]]()
    return any(tuple(window[i : i + n]) in runs for window in windows for i in range(len(window) - n + 1))
