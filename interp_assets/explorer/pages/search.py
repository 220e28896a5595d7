"""`/search`: features by words, by meaning, or by example."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.ratings.ratings import explanation_id
from interp_assets.explorer.columns import FeatureColumns
from interp_assets.explorer.example_search import ExampleView, fired_on
from interp_assets.explorer.explorer import Explorer, refused, waiting
from interp_assets.explorer.meaning import MeaningIndex, meaning_index, of_texts
from interp_assets.explorer.readiness import NotReadYet
from interp_assets.explorer.requests import explorer_of, page
from interp_assets.explorer.word_index import WordIndex, word_index

SHOWN = 60
MOST_QUERY = 2_000
EMBEDDED_HERE = 4_000
"""Up to so many explanations are embedded by the explorer itself, in memory; `interp embed` embeds more, once."""

WAYS = {"words": "in their words", "meaning": "by meaning", "example": "by example"}


@dataclass(frozen=True)
class Hit:
    """One feature that was found; `weight` orders hits of one way alone."""

    dictionary: str
    feature: int
    method: str
    explanation: str
    weight: float
    density: float | None


def show(request: Request) -> Response:
    """The page of a search."""
    explorer, asked = explorer_of(request), request.query_params
    query, by, only = asked.get("q", "").strip()[:MOST_QUERY], asked.get("by", "words"), asked.get("dictionary", "")
    if by not in WAYS:
        refused(f"Features are searched by {', '.join(WAYS)}, not by {by[:40]}.")
    records = [explorer.record(only)] if only else list(explorer.home.registry.read_all()[0].values())
    hits: list[Hit] = []
    notes: list[str] = []
    example: ExampleView | None = None
    density_to = _percent(asked.get("density_to", "1"))
    if query and by == "example":
        if only:
            example = fired_on(explorer, records[0], explorer.columns(only), query, density_to)
    elif query:
        find = by_words if by == "words" else by_meaning
        for record in records:
            try:
                columns = explorer.dictionaries.columns(record.key)
            except NotReadYet:
                waiting(f"The features of {record.key} are being read for the first time.")
            hits += find(explorer, record, columns, query, notes)
    hits = sorted(hits, key=lambda hit: -hit.weight)[:SHOWN]
    chosen: dict[str, Any] = {"key": only} if only else {}
    return page(
        request, "search.html", query=query, by=by, ways=WAYS, only=only, hits=hits, notes=notes, example=example,
        density_to=100 * density_to, dictionaries=sorted(explorer.home.registry.read_all()[0]), **chosen,
    )  # fmt: skip


def by_words(explorer: Explorer, record: DictionaryRecord, columns: FeatureColumns, query: str, notes: list[str]) -> Iterator[Hit]:
    """Features with an explanation that holds all words of the query, the rarest words first."""
    if not columns.telling:
        return

    def made() -> tuple[FeatureColumns, WordIndex]:
        texts = {method: columns.texts(f"explanation:{method}") for method in columns.telling}
        return columns, word_index(texts, explorer.prepared / f"words_{record.key.replace('/', '_')}-{columns.told_state}.arrow")

    try:
        columns, index = explorer.background.newest(("words", record.key), columns.told_state, made)
    except NotReadYet:
        waiting(f"The words of the explanations of {record.key} are being indexed, once. This page opens as soon as they are.")
    numbers, weights = index.found(query)
    seen: set[int] = set()
    for number, weight in zip(numbers.tolist(), weights.tolist(), strict=True):
        method, at = index.methods[number // index.n], number % index.n
        if at not in seen:
            seen.add(at)
            yield _hit(record, columns, at, method, columns.texts(f"explanation:{method}")[at].as_py(), weight)
        if len(seen) == SHOWN:
            return


def by_meaning(explorer: Explorer, record: DictionaryRecord, columns: FeatureColumns, query: str, notes: list[str]) -> Iterator[Hit]:
    """Features with an explanation near the query in meaning, by cosine."""
    index = _meanings(explorer, record, columns)
    if index is None:
        notes.append(f"{record.key}: its explanations are not embedded yet. Run: interp embed {record.key}")
        return
    vector = explorer.ask(("query", query), "The sentence encoder is being loaded.", lambda: explorer.models.encoder().embed([query])[0])
    rows, cosines = index.nearest(vector, 2 * SHOWN)
    seen: set[int] = set()
    for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True):
        at, method = columns.place_of(int(index.features[row])), str(index.methods[row])
        said = columns.texts(f"explanation:{method}")[at].as_py() if at is not None and method in columns.methods else None
        if at is None or said is None or at in seen:
            continue
        if explanation_id(record.first_key, int(index.features[row]), said) == index.ids[row].as_py():  # else it says something else by now
            seen.add(at)
            yield _hit(record, columns, at, method, said, cosine)


def _meanings(explorer: Explorer, record: DictionaryRecord, columns: FeatureColumns) -> MeaningIndex | None:
    """The embedded explanations: of the lake, or of a small dictionary embedded here."""
    state = explorer.embedded_state(record.key)
    try:
        read = explorer.background.newest(("meaning", record.key), state, lambda: meaning_index(explorer.home.lake, record.key))
    except NotReadYet:
        waiting(f"The embedded explanations of {record.key} are being read. This page opens as soon as they are.")
    if read is not None:
        return read
    told = [
        (int(columns.features[place]), method, text)
        for method in columns.telling
        for place, text in enumerate(columns.texts(f"explanation:{method}").to_pylist() if len(columns.features) <= EMBEDDED_HERE else ())
        if text is not None
    ]
    if not told or len(told) > EMBEDDED_HERE:
        return None

    def embed() -> MeaningIndex:
        encoder = explorer.models.encoder()
        vectors = encoder.embed([text for _, _, text in told])
        ids = [explanation_id(record.first_key, feature, text) for feature, _, text in told]
        return of_texts(np.array([f for f, _, _ in told]), np.array([m for _, m, _ in told], dtype=object), ids, vectors, encoder.revision)

    return explorer.ask(("embed", record.key, columns.state), f"The {len(told):,} explanations of {record.key} are being embedded.", embed)


def _hit(record: DictionaryRecord, columns: FeatureColumns, at: int, method: str, said: str, weight: float) -> Hit:
    density = float(columns.numbers("density")[at])
    return Hit(record.key, int(columns.features[at]), method, said, weight, None if np.isnan(density) else density)


def _percent(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text) / 100))
    except ValueError:
        return 0.01


ROUTES = (Route("/search", show),)
