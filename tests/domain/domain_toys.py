"""A toy vocabulary, hand-made examples and scripted judges."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from interp_assets.domain.examples.drawing import ActivatingDraw, WindowedSample, draw_activating
from interp_assets.domain.examples.negatives import TokenIndex, TokensOfFeature
from interp_assets.domain.examples.neighbour_windows import neighbour_places
from interp_assets.domain.examples.passages import SampleText
from interp_assets.domain.examples.sampling import Example, ExampleSettings, FeatureExamples
from interp_assets.domain.examples.similar_windows import similar_to_each
from interp_assets.domain.examples.windows import Places
from interp_assets.domain.trials import AnsweredTrial, Trial

WORDS = ("the", " cat", " sat", " on", " a", " mat", ",", " and", " the", " dog", " ran", " in", " snow", ".", "\n", " <b>")


def make_example(
    tokens: Sequence[int],
    activations: Sequence[float],
    role: str = "held_out",
    row: int = 0,
    stratum: int | None = 0,
) -> Example:
    kind = "activating" if any(activations) else "non_activating"
    stratum = stratum if kind == "activating" else None
    return Example(
        f"7/{row}/0", 7, role, kind, "quantiles" if stratum is not None else "random", stratum, row, 0, tuple(tokens), tuple(activations)
    )


def ask(trials: Sequence[Trial], judge: Callable[[str], float]) -> list[AnsweredTrial]:
    """Every trial answered by `judge`, a function from the text of an item to P(1)."""
    answered = []
    for trial in trials:
        texts = split_texts(trial.prompt.messages[-1][1])
        assert len(texts) == len(trial.items)
        probabilities = [judge(text) for text in texts]
        reply = str([int(p >= 0.5) for p in probabilities])
        answered.append(AnsweredTrial(trial, reply, tuple((1 - p, p) for p in probabilities)))
    return answered


def split_texts(question: str) -> list[str]:
    """The numbered texts of a question, in order."""
    pieces = []
    for number in range(1, 100):
        head, found, question = question.partition(f"\nText {number}: ")
        pieces.append(head)
        if not found:
            break
    return pieces[1:]


MIXED = {"random": 0.25, "similar": 0.25, "neighbour": 0.25, "token": 0.25}


def draw_of(
    positions: np.ndarray,
    values: np.ndarray,
    rows: np.ndarray,
    first: int,
    asked: ExampleSettings,
    seed: int,
    feature: int,
    text: SampleText | None = None,
) -> tuple[ActivatingDraw, WindowedSample]:
    """The activating windows of one feature, and the sample that they are drawn from."""
    sample = WindowedSample.of(rows, asked.shape(rows.shape[1], first, text))
    return draw_activating([(feature, positions, values)], sample, asked, seed)[0], sample


def candidates_of(draw: ActivatingDraw, rows: np.ndarray, asked: ExampleSettings, seed: int) -> dict:
    """Candidates of every kind, from random embeddings and two random neighbours."""
    source, shape = np.random.default_rng(seed + 7), draw.shape
    embeddings = source.standard_normal((shape.n_cells(len(rows)), 4)).astype(np.float32)
    near = [np.sort(source.choice(rows.size, 40, replace=False)) for _ in range(2)]
    cut = [shape.windows(p // rows.shape[1], p % rows.shape[1], np.ones(len(p))) for p in near]
    counts = asked.negative_counts
    similar = similar_to_each([draw.shown_cells], [draw.active_cells], embeddings, counts["similar"], shape)
    index = TokenIndex.of(rows, shape)
    return {
        "similar": Places.joined(similar),
        "neighbour": neighbour_places([cut], [draw.positions], counts["neighbour"], shape, [np.random.default_rng(seed)])[0],
        "token": TokensOfFeature.of(draw.positions, draw.values, draw.scored_peaks, rows, asked.n_peak_tokens).places(
            draw.positions, index, asked.negative_counts_of("shown")["token"], counts["token"], shape, np.random.default_rng(seed)
        ),
    }


def digest(found: FeatureExamples) -> str:
    """16 hex digits that change when any example or count does."""
    lines = [f"{found.outcome} {found.n_windows} {found.n_filled}"]
    lines += [f"{e.example_id} {e.role} {e.kind} {e.sampling} {e.stratum} {e.token_ids} {e.activations}" for e in found.examples]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
