"""Features that mean nothing on real text: they fire at random places of documents, so that no window says more than any other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np

from interp_assets.domain.examples.drawing import WindowedSample, draw_activating
from interp_assets.domain.examples.negative_draws import build_examples
from interp_assets.domain.examples.negatives import TokenIndex, TokensOfFeature, placed_around
from interp_assets.domain.examples.neighbour_windows import neighbour_places
from interp_assets.domain.examples.passages import Passages, SampleText
from interp_assets.domain.examples.sampling import Example, ExampleSettings
from interp_assets.domain.examples.similar_windows import similar_to_each
from interp_assets.domain.examples.windows import WindowShape
from interp_assets.domain.trials import ScorerInput
from resources.corpus import python_source, sotu

CONTEXT, ROWS = 128, 400
_PIECES = re.compile(r" ?[A-Za-z]{1,4}|\s|[^A-Za-z\s]")


@dataclass(frozen=True)
class RealText:
    """Token rows of real documents, long and short, packed as a token sample packs them; words are cut into pieces of four letters."""

    rows: np.ndarray
    text: SampleText
    token_texts: tuple[str, ...]


@cache
def real_text() -> RealText:
    """400 rows of 128 tokens, each after a token that begins the row: speeches and program code in documents of 12 to 300 tokens."""
    rng = np.random.default_rng(0)
    known: dict[str, int] = {"<s>": 0}
    rows, starts, words = np.zeros((ROWS, CONTEXT), dtype=np.int64), [[1] for _ in range(ROWS)], np.zeros(ROWS * CONTEXT, dtype=bool)
    place, n_places = 0, ROWS * (CONTEXT - 1)
    for document in chain.from_iterable(zip(sotu.documents(), python_source.documents(), strict=False)):
        pieces = _PIECES.findall(document.text)
        at = int(rng.integers(0, max(len(pieces) - 300, 1)))
        at += next((i for i, piece in enumerate(pieces[at:]) if piece == "\n"), 0) + 1  # documents begin with a line
        for number, piece in enumerate(pieces[at : at + int(rng.integers(12, 300))]):
            if place == n_places:
                break
            row, position = place // (CONTEXT - 1), place % (CONTEXT - 1) + 1
            if number == 0:
                starts[row].append(position)
            rows[row, position] = known.setdefault(piece, len(known))
            words[row * CONTEXT + position] = number > 0 and piece[0].isalpha() and pieces[at + number - 1][-1].isalpha()
            place += 1
        if place == n_places:
            break
    is_text = np.ones((ROWS, CONTEXT), dtype=bool)
    is_text[:, 0] = False
    passages = Passages.of(is_text, starts)
    words[passages.begin] = False
    return RealText(rows, SampleText(passages, words), tuple(known))


def fires_at_random(seed: int, n_peaks: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """(places, activations) of a feature that fires at random places of the text, on one to three tokens in a row."""
    rng = np.random.default_rng([seed, 1])
    is_text = np.flatnonzero(real_text().text.passages.is_text(ROWS).ravel())
    peaks = rng.choice(is_text, n_peaks, replace=False)
    places, values = [peaks], [rng.lognormal(1, 0.7, n_peaks)]
    for step in (1, 2):
        going = (rng.random(n_peaks) < 0.4) & np.isin(peaks + step, is_text)
        places.append(peaks[going] + step)
        values.append(values[0][going] * rng.uniform(0.1, 0.9, int(going.sum())))
    order = np.argsort(np.concatenate(places), kind="stable")
    place, value = np.concatenate(places)[order], np.concatenate(values)[order]
    first = np.concatenate([[True], place[1:] != place[:-1]])
    return place[first], value[first]


@cache
def embeddings(shape: WindowShape) -> np.ndarray:
    """float32 [cells, 32] of length 1: each cell's mean of random vectors of its tokens, rarer tokens having longer vectors. So cells of
    like words lie near each other, as by a sentence encoder."""
    rows = real_text().rows
    rarity = np.log(rows.size / (1 + np.bincount(rows.ravel())))
    vectors = np.random.default_rng(0).standard_normal((len(rarity), 32)) * rarity[:, None]
    cells = shape.cells_at(np.arange(shape.n_cells(ROWS)))
    at = cells.row * CONTEXT + cells.start
    summed = np.concatenate([np.zeros((1, 32)), np.cumsum(vectors[rows.ravel()], axis=0)])
    sums = summed[at + cells.length] - summed[at]
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)


SETTINGS = ExampleSettings(n_shown=10, n_held_out=40, n_non_activating=40, min_activating=60, n_strata=4, n_shown_non_activating=5)


def examples_of(seed: int, settings: ExampleSettings = SETTINGS, n_peaks: int = 160) -> tuple[Example, ...]:
    """The examples of a feature that fires at random, in all roles."""
    text = real_text()
    places, values = fires_at_random(seed, n_peaks)
    candidates = {}
    if settings.non_activating != "random":
        sample = WindowedSample.of(text.rows, settings.shape(CONTEXT, 1, text.text))
        (draw,) = draw_activating([(seed, places, values)], sample, settings, 0)
        rng, shape, counts = np.random.default_rng(seed), draw.shape, settings.negative_counts
        near = [fires_at_random(1000 + 7 * seed + number) for number in range(3)]
        windows = [shape.windows(p // CONTEXT, p % CONTEXT, v) for p, v in near]
        candidates = {
            "neighbour": neighbour_places([windows], [draw.positions], counts["neighbour"], shape, [rng])[0],
            "token": TokensOfFeature.of(draw.positions, draw.values, draw.scored_peaks, text.rows, settings.n_peak_tokens).places(
                draw.positions, TokenIndex.of(text.rows, shape), 0, counts["token"], shape, rng
            ),
            "similar": placed_around(
                similar_to_each([draw.shown_cells], [draw.active_cells], embeddings(shape), counts["similar"], shape)[0],
                draw.positions,
                shape,
                rng,
            ),
        }
    return build_examples(places, values, text.rows, 1, settings, 0, seed, candidates, text.text).examples


def scorer_input(seed: int, settings: ExampleSettings = SETTINGS, n_peaks: int = 160) -> ScorerInput:
    """A scorer input about a feature that fires at random, with an explanation that is as good as any."""
    examples = examples_of(seed, settings, n_peaks)
    shown, held_out = (tuple(e for e in examples if e.role == role) for role in ("shown", "held_out"))
    return ScorerInput(seed, "max_act", "words about ships and harbours", shown, held_out, real_text().token_texts)


def signs(text: str) -> list[float]:
    """All that can be seen of a text without reading it: its length, its ends, its lines, and its marks with their places."""
    plain = text.replace("<<", "").replace(">>", "")
    marked = re.findall(r"<<(.*?)>>", text, re.S)
    first, last = (len(part) if marked else 0 for part in (text.partition("<<")[0], text.rpartition(">>")[2]))
    head, tail = plain.lstrip("…")[:1], plain.rstrip("…")[-1:]
    return [
        len(plain), len(plain.split()), len(plain.splitlines()), text.startswith("…"), text.endswith("…"), head.isupper(), head.islower(),
        head.isdigit(), head.isspace(), tail.isalpha(), tail in ".!?", tail in ",;:", tail.isspace(), len(marked), sum(map(len, marked)),
        first, last, first / max(len(plain), 1), (first / max(len(plain), 1) - 0.5) ** 2, any(not mark.strip() for mark in marked),
        text.startswith("<<"), text.endswith(">>"),
    ]  # fmt: skip


class Signs:
    """A judge that reads nothing: it learns from other features which signs go with the right answers, and answers by the signs alone."""

    def __init__(self, texts: Sequence[Sequence[float]], truths: Sequence[float]) -> None:
        self._x = np.array(texts, dtype=np.float64)
        self._mean, self._spread = self._x.mean(axis=0), self._x.std(axis=0) + 1e-9
        x = self._scaled(self._x)
        y = np.array(truths, dtype=np.float64)
        self._bias = y.mean()
        self._weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ (y - self._bias))
        self.middle = float(np.median(self(self._x)))

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return (x - self._mean) / self._spread

    def __call__(self, texts: Sequence[Sequence[float]]) -> np.ndarray:
        """A number for each text [n]: the higher, the likelier right."""
        return self._bias + self._scaled(np.array(texts, dtype=np.float64)) @ self._weights
