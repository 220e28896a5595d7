"""`/d/<dictionary>/<feature>/context/<row>`: a whole context of the token sample, its documents, and a feature's activations on it."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.config.keys import lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.explorer.explorer import Explorer, not_found
from interp_assets.explorer.feature_view import range_of
from interp_assets.explorer.requests import explorer_of, key_of, known_feature, page
from interp_assets.explorer.shading import shaded
from interp_assets.tables import ACTIVATIONS, DICTIONARY_SAMPLES, DOCUMENTS, FEATURE_STATISTICS, TOKEN_SAMPLES
from resources.store.lake import LakeError


@dataclass(frozen=True)
class PassageView:
    """A run of tokens of one document."""

    source: str
    title: str
    html: Markup


def show(request: Request) -> Response:
    """The page of a context."""
    explorer, feature, row = explorer_of(request), request.path_params["feature"], request.path_params["row"]
    record = known_feature(request)
    use = explorer.home.lake.read(DICTIONARY_SAMPLES.name, {"dictionary": record.key}).to_pylist()[0]
    if row >= use["n_rows"]:
        not_found(f"The token sample of {record.key} has {use['n_rows']:,} contexts, and none of number {row}.")
    passages, largest = _passages(explorer, record, feature, row, use["sample"], use["context_tokens"])
    return page(
        request, "context.html", key=key_of(request), feature=feature, row=row, n_rows=use["n_rows"], passages=passages, largest=largest
    )


def _passages(
    explorer: Explorer, record: DictionaryRecord, feature: int, row: int, sample: str, context_tokens: int
) -> tuple[list[PassageView], float]:
    """The documents of a context in order, and the largest activation of the feature on it."""
    rows = explorer.rows.of(TOKEN_SAMPLES, {"sample": sample}, row, key="row")
    if not rows:
        raise LakeError(f"the token sample {sample} of {record.key} has no context {row} that can be read: interp backfill {record.key}")
    found = rows[0]
    ids = np.asarray(found["token_ids"], dtype=np.int64)
    partition = lake_partition(range_of(record, feature))
    fired = explorer.rows.table(ACTIVATIONS, partition, feature, ["position", "value"])
    position, value = fired["position"].to_numpy(), fired["value"].to_numpy().astype(np.float64)
    here = slice(*np.searchsorted(position, [row * context_tokens, (row + 1) * context_tokens]))
    values = np.zeros(len(ids))
    values[position[here].astype(np.int64) - row * context_tokens] = value[here]
    statistics = explorer.rows.of(FEATURE_STATISTICS, partition, feature, ["max_activation"])
    deepest = (statistics[0]["max_activation"] if statistics else None) or float(values.max(initial=0))
    source = record.model.source

    def texts() -> list[str]:
        return explorer.models.tokenizer(source, record.model.revision).tokens(ids)

    tokens = explorer.ask(("context", source, record.model.revision, sample, row), f"The tokenizer of {source} is being loaded.", texts)
    starts = found["document_starts"] or [0]
    documents = found["document_ids"]
    bounds = [*starts, len(ids)]
    shown = []
    for place, (first, end) in enumerate(pairwise(bounds)):
        own = explorer.rows.of(DOCUMENTS, {"sample": sample}, documents[place], key="document_id") if place < len(documents) else []
        said = own[0] if own else {"source": "", "title": ""}
        html = shaded(tokens[first:end], values[first:end].tolist(), deepest, whole=True)
        shown.append(PassageView(said["source"], said["title"], html))
    return shown, float(values.max(initial=0))


ROUTES = (Route("/d/{model}/{layer}/{name}/{feature:number}/context/{row:number}", show),)
