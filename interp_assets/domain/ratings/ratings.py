"""Ratings of explanations: the columns of a rating file, and the score that raters give an explanation.

A rating judges an explanation as a whole, or how well it describes one context (a window of text on which the feature fires). P1 (arXiv
2410.13928) rates contexts on the scale 1 unrelated, 2 vaguely related, 3 incomplete, 4 describes it. The score of an explanation is the
mean over at least five contexts.
"""

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from interp_assets.domain.prompting.rendering import one_line

P1_SCALE = {1: "unrelated", 2: "vaguely related", 3: "incomplete", 4: "describes it"}
RATER_KINDS = ("human", "generated")
COLUMNS = {
    "rater": "who rated: a name or code; needed",
    "rater_kind": "human | generated (by a model or a script); human when empty",
    "model": "first part of the dictionary's key; may be empty",
    "dictionary": "key of a registered dictionary, <model>/<layer>/<name>, or <layer>/<name> beside a model; needed",
    "feature": "index in the dictionary; needed",
    "explanation_id": "which explanation: its id, as in a rating task; or",
    "explanation_method": "the method that wrote it, such as max_act; or",
    "explanation": "its text, word for word, or the method's name; one of the three is needed",
    "context": "what the rating is about: the window's id; empty where the explanation is rated as a whole",
    "scale_min": "lowest value of the scale; needed",
    "scale_max": "highest value of the scale; needed",
    "rating": "the rating, scale_min to scale_max; a row without one is not yet rated",
    "seconds": "how long it took; may be empty",
    "source": "where the rating comes from; may be empty",
}
"""The columns of a rating file, and what each column holds. Further columns of a file are not read."""

NAMED_CHOICES = 12
"""Most allowed values that a message lists; further values are counted."""


@dataclass(frozen=True)
class Explained:
    """An explanation that can be rated: its id, its text, and all methods that wrote this text about the feature."""

    explanation_id: str
    text: str
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a row stands: the file's name, and the row's line, in a JSON file the number of its entry."""

    file: str
    line: int


@dataclass(frozen=True)
class Rejection:
    """Why a row is not a rating: the column, its value, and what is allowed there."""

    place: Place
    column: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.place.file} line {self.place.line}, {self.column} {self.value!r}: allowed is {self.allowed}"


@dataclass(frozen=True)
class Rating:
    """One rating, on its own scale, of an explanation in one context, or of the explanation as a whole where `context` is None."""

    rater: str
    rater_kind: str
    dictionary: str
    feature: int
    explained: Explained
    context: str | None
    scale_min: float
    scale_max: float
    rating: float
    seconds: float | None
    source: str | None
    place: Place

    @property
    def normalised(self) -> float:
        """The rating on a scale from 0 to 1: (rating - scale_min) / (scale_max - scale_min)."""
        return (self.rating - self.scale_min) / (self.scale_max - self.scale_min)

    @property
    def key(self) -> tuple[str, str, int, str, str | None]:
        """(rater, dictionary, feature, explanation id, context): a rater gives one rating for each such key."""
        return self.rater, self.dictionary, self.feature, self.explained.explanation_id, self.context


@dataclass(frozen=True)
class Rateable:
    """What can be rated: the selected features of every dictionary, and the explanations of a feature of a dictionary. `renamed` has the
    present key of each dictionary by its former keys."""

    features: Mapping[str, Sequence[int]]
    explanations: Callable[[str, int], Sequence[Explained]]
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])


def explanation_id(dictionary: str, feature: int, text: str) -> str:
    """12 hex digits that name a text as the explanation of a feature. Equal texts of a feature have equal ids, whatever the method."""
    return hashlib.sha256(f"{dictionary}\0{feature}\0{text}".encode()).hexdigest()[:12]


def is_unrated(row: Mapping[str, str]) -> bool:
    """Whether a row of a rating task has no rating yet."""
    return not row.get("rating", "").strip()


def checked_rating(row: Mapping[str, str], place: Place, rateable: Rateable) -> Rating | list[Rejection]:
    """The rating in a row of COLUMNS, or everything that is wrong with the row: at least one rejection."""
    row = {name: str(row.get(name) or "").strip() for name in COLUMNS}
    wrong: list[Rejection] = []

    def reject(column: str, allowed: str) -> None:
        wrong.append(Rejection(place, column, row[column], allowed))

    if not row["rater"]:
        reject("rater", "a name or code; agreement cannot be told without one")
    if row["rater_kind"] not in ("", *RATER_KINDS):
        reject("rater_kind", " or ".join(RATER_KINDS))
    low, high, value = (_number(row[name]) for name in ("scale_min", "scale_max", "rating"))
    if low is None:
        reject("scale_min", "a number")
    if high is None or (low is not None and high <= low):
        reject("scale_max", f"a number above scale_min {row['scale_min']}")
    elif low is not None and (value is None or not low <= value <= high):
        reject("rating", f"{low:g} to {high:g}")
    seconds = _number(row["seconds"])
    if row["seconds"] and (seconds is None or seconds < 0):
        reject("seconds", "a number of at least 0, or nothing")
    dictionary = _dictionary(row, rateable, reject)
    feature = None if dictionary is None else _feature(row["feature"], rateable.features[dictionary], dictionary, reject)
    explained = None if dictionary is None or feature is None else _explained(row, dictionary, feature, rateable, reject)
    if wrong or dictionary is None or feature is None or explained is None or low is None or high is None or value is None:
        return wrong
    return Rating(
        row["rater"], row["rater_kind"] or "human", dictionary, feature, explained, row["context"] or None, low, high, value, seconds,
        row["source"] or None, place,
    )  # fmt: skip


def without_repeats(ratings: Iterable[Rating]) -> tuple[list[Rating], list[Rejection]]:
    """The ratings, each key once, and a rejection for every further rating of a key that differs from the first.

    A further rating that equals the first is left out without a rejection.
    """
    kept: dict[tuple[str, str, int, str, str | None], Rating] = {}
    wrong: list[Rejection] = []
    for rating in ratings:
        first = kept.setdefault(rating.key, rating)
        if (first.rating, first.scale_min, first.scale_max) != (rating.rating, rating.scale_min, rating.scale_max):
            what = "this explanation" if rating.context is None else f"this explanation in context {rating.context}"
            where = f"{first.place.file} line {first.place.line}"
            allowed = f"one rating; {rating.rater} has rated {what} with {first.rating:g} at {where} already"
            wrong.append(Rejection(rating.place, "rating", f"{rating.rating:g}", allowed))
    return list(kept.values()), wrong


@dataclass(frozen=True)
class RatedExplanation:
    """An explanation with the mean of its ratings, on a scale from 0 to 1.

    `raters` has each rater's own mean. `of_contexts` says whether the ratings are of contexts; else they are of the explanation as a whole.
    `score` is None where too few contexts were rated.
    """

    dictionary: str
    feature: int
    explained: Explained
    raters: Mapping[str, float]
    score: float | None
    of_contexts: bool
    n_contexts: int
    n_ratings: int


def rated_explanations(ratings: Iterable[Rating], min_contexts: int) -> list[RatedExplanation]:
    """Every rated explanation with its score, by dictionary, feature and id.

    Ratings are averaged within each context first, then over contexts, so that a context with more raters does not count more. Where at
    least `min_contexts` contexts were rated, the score is the mean over contexts. Else it is the mean of the ratings of the explanation as
    a whole, and None where there are no such ratings.
    """
    found: dict[tuple[str, int, str], list[Rating]] = defaultdict(list)
    for rating in ratings:
        found[rating.dictionary, rating.feature, rating.explained.explanation_id].append(rating)
    return [_rated(of_one, min_contexts) for _, of_one in sorted(found.items())]


def _rated(ratings: list[Rating], min_contexts: int) -> RatedExplanation:
    contexts = {rating.context for rating in ratings} - {None}
    whole = [rating for rating in ratings if rating.context is None]
    of_contexts = len(contexts) >= min_contexts or not whole
    counted = [rating for rating in ratings if (rating.context is not None) == of_contexts]
    enough = not of_contexts or len(contexts) >= min_contexts
    first = ratings[0]
    by_rater: defaultdict[str, list[float]] = defaultdict(list)
    by_context: defaultdict[str | None, list[float]] = defaultdict(list)
    for rating in counted:
        by_rater[rating.rater].append(rating.normalised)
        by_context[rating.context].append(rating.normalised)
    raters = {rater: math.fsum(values) / len(values) for rater, values in sorted(by_rater.items())}
    means = [math.fsum(values) / len(values) for values in by_context.values()]
    score = math.fsum(means) / len(means) if enough else None
    n_contexts = len(contexts) if of_contexts else 0
    return RatedExplanation(first.dictionary, first.feature, first.explained, raters, score, of_contexts, n_contexts, len(counted))


def _number(text: str) -> float | None:
    """The finite number in a text; None where there is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _dictionary(row: Mapping[str, str], rateable: Rateable, reject: Callable[[str, str], None]) -> str | None:
    named, model = row["dictionary"], row["model"]
    key = named if named in rateable.features or named in rateable.renamed else f"{model}/{named}"
    key = rateable.renamed.get(key, key)
    if key not in rateable.features:
        reject("dictionary", f"a registered dictionary: {listed(sorted(rateable.features)) or 'none is registered yet'}")
        return None
    if model and model != key.split("/")[0]:
        reject("model", f"{key.split('/')[0]}, the model of {key}, or nothing")
    return key


def _feature(text: str, features: Sequence[int], dictionary: str, reject: Callable[[str, str], None]) -> int | None:
    feature = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
    if feature is not None and feature in features:
        return feature
    whole = len(features) > 0 and features[0] == 0 and features[-1] == len(features) - 1
    there = f"0 to {features[-1]}" if whole else listed(features)
    reject("feature", f"a feature that {dictionary} selects: {there}")
    return None


def _explained(
    row: Mapping[str, str], dictionary: str, feature: int, rateable: Rateable, reject: Callable[[str, str], None]
) -> Explained | None:
    """The explanation that a row names, by id, method or text, in this order."""
    there = rateable.explanations(dictionary, feature)
    text = one_line(row["explanation"])
    if row["explanation_id"]:
        column, found = "explanation_id", [one for one in there if one.explanation_id == row["explanation_id"]]
    elif row["explanation_method"]:
        column, found = "explanation_method", [one for one in there if row["explanation_method"] in one.methods]
    else:
        column, found = "explanation", [one for one in there if text and (one_line(one.text) == text or text in one.methods)]
    if found:
        return found[0]
    choices = listed([f"{one.explanation_id} ({', '.join(one.methods)}: {one_line(one.text)[:60]!r})" for one in there])
    reject(column, f"an explanation of feature {feature} of {dictionary}: {choices or 'it has none'}")
    return None


def listed(choices: Sequence[object]) -> str:
    """The first NAMED_CHOICES choices, and how many more there are; an empty text without choices."""
    more = len(choices) - NAMED_CHOICES
    return ", ".join(str(choice) for choice in choices[:NAMED_CHOICES]) + (f" and {more:,} more" if more > 0 else "")
