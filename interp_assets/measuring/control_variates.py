"""What predicts a judge's answers: cheap columns about every window of scorer inputs, from activations, the sentence encoder and the
matcher."""

import re
from collections.abc import Sequence

import numpy as np

from interp_assets.config.settings import SentenceEncoderSettings
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.machine_readable import MachineReadable, matched_in_windows, readable
from interp_assets.domain.prompting.rendering import marked_positions, plain_text, token_strings
from interp_assets.domain.prompting.similarity import query
from interp_assets.domain.scoring.shared.prediction_powered import ControlVariate
from interp_assets.domain.trials import ScorerInput, TrialItem
from resources.model_provider import ModelProvider
from resources.sentence_encoder import SentenceEncoder

N_COLUMNS: dict[ControlVariate, int] = {"activation": 1, "embedding": 3, "matcher": 1}
STRONG = 0.3
"""Tokens at or above this share of the window's largest activation are its strongest tokens, as fuzzing marks them."""
NEAREST_WORDS = 3
_WORD = re.compile(r"[^\W_]+")


class ControlVariates:
    """Columns for the items of scorer inputs; the encoder is loaded for the first scorer input that needs it."""

    def __init__(self, settings: SentenceEncoderSettings, models: ModelProvider) -> None:
        self._settings, self._models = settings, models
        self._encoder: SentenceEncoder | None = None

    def close(self) -> None:
        """Free the encoder."""
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = None

    def columns(
        self, which: Sequence[ControlVariate], asked: Sequence[tuple[ScorerInput, Sequence[TrialItem]]], instruction: str
    ) -> list[np.ndarray]:
        """Columns [items, columns] for the items of each scorer input, each of which has an explanation.

        activation: the place of the item's activation among the activating items, from 0 to 1, and 0 for silent items. embedding: cosines
        of the explanation with the window, with its strongest tokens (0 for silent items), and with its NEAREST_WORDS nearest words (their
        mean). matcher: the number of tokens that the explanation matches, 0 where a machine cannot read it. `instruction` stands before
        an explanation that is embedded.
        """
        makers = {
            "activation": lambda: [_activation_places(items)[:, None] for _, items in asked],
            "embedding": lambda: self._cosines(asked, instruction),
            "matcher": lambda: [one[:, None] for one in _matches(asked)],
        }
        made = [makers[name]() for name in which]
        return [np.concatenate(parts, axis=1) for parts in zip(*made, strict=True)]

    def _cosines(self, asked: Sequence[tuple[ScorerInput, Sequence[TrialItem]]], instruction: str) -> list[np.ndarray]:
        """The three columns of "embedding"; every distinct text is embedded once."""
        if self._encoder is None:
            self._encoder = self._models.sentence_encoder(self._settings.source, self._settings.revision)
        queries = [query(scorer_input.explanation or "", instruction) for scorer_input, _ in asked]
        texts = [[_texts(scorer_input, example) for example in _examples(scorer_input, items)] for scorer_input, items in asked]
        distinct = dict.fromkeys(queries)
        for windows in texts:
            for window, strongest, words in windows:
                distinct |= dict.fromkeys([window, *([strongest] if strongest else []), *words])
        vectors = self._encoder.embed(list(distinct)).astype(np.float64)
        place = {text: number for number, text in enumerate(distinct)}
        found = []
        for text, windows in zip(queries, texts, strict=True):
            cosine = vectors @ vectors[place[text]]
            rows = []
            for window, strongest, words in windows:
                nearest = np.sort(cosine[[place[word] for word in words]])[-NEAREST_WORDS:] if words else np.zeros(1)
                rows.append((cosine[place[window]], cosine[place[strongest]] if strongest else 0.0, nearest.mean()))
            found.append(np.array(rows, dtype=np.float64))
        return found


def _examples(scorer_input: ScorerInput, items: Sequence[TrialItem]) -> list[Example]:
    by_id = {example.example_id: example for example in scorer_input.held_out}
    return [by_id[item.example_id] for item in items]


def _texts(scorer_input: ScorerInput, example: Example) -> tuple[str, str, tuple[str, ...]]:
    """(the window, its strongest tokens or nothing, its distinct words)."""
    tokens = token_strings(example.token_ids, scorer_input.token_texts)
    window = plain_text(tokens)
    strong = plain_text([token for token, on in zip(tokens, marked_positions(example.activations, STRONG), strict=True) if on])
    return window, strong, tuple(dict.fromkeys(_WORD.findall(window)))


def _activation_places(items: Sequence[TrialItem]) -> np.ndarray:
    places = np.zeros(len(items))
    firing = np.array([number for number, item in enumerate(items) if item.truth], dtype=np.int64)
    activations = np.array([items[number].activation or 0.0 for number in firing.tolist()])
    places[firing] = np.searchsorted(np.sort(activations), activations) / max(len(firing), 1)
    return places


def _matches(asked: Sequence[tuple[ScorerInput, Sequence[TrialItem]]]) -> list[np.ndarray]:
    """The number of matched tokens of each item; 0 for explanations that no machine can read."""
    read: list[MachineReadable | None] = [readable(scorer_input.explanation or "") for scorer_input, _ in asked]
    questions = [
        (explanation, tuple(token_strings(example.token_ids, scorer_input.token_texts) for example in _examples(scorer_input, items)))
        for explanation, (scorer_input, items) in zip(read, asked, strict=True)
        if explanation is not None
    ]
    found = iter(matched_in_windows(questions))
    return [
        np.zeros(len(items)) if explanation is None else np.array([float(one.sum()) for one in next(found)])
        for explanation, (_, items) in zip(read, asked, strict=True)
    ]
