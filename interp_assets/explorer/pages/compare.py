"""`/compare`: two features, two methods or two dictionaries side by side.

`a` and `b` name what stands on each side: a dictionary's key, a feature as `<key>/<number>`, or, beside `dictionary`, a method.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.config.records import DictionaryRecord
from interp_assets.explorer.columns import FeatureColumns
from interp_assets.explorer.compare_view import compared_dictionaries, compared_methods, densities, most_different
from interp_assets.explorer.explorer import Explorer, not_found, refused
from interp_assets.explorer.feature_view import FeatureView, feature_view
from interp_assets.explorer.pages.home import dictionary_row
from interp_assets.explorer.requests import explorer_of, page

ALIKE = {"decoder_cosine": "decoder cosine", "co_occurrence": "Jaccard index of firing"}


def show(request: Request) -> Response:
    """The page of a comparison, or the forms that ask for one."""
    explorer, asked = explorer_of(request), request.query_params
    first, second, only = (asked.get(name, "").strip().strip("/") for name in ("a", "b", "dictionary"))
    values: dict[str, Any] = {"first": first, "second": second, "only": only, "dictionaries": sorted(explorer.home.registry.read_all()[0])}
    if only:
        return page(request, "compare_methods.html", key=only, **values, **_methods(explorer, only, first, second, asked.get("by", "")))
    if first and second:
        of_features = [is_feature(one) for one in (first, second)]
        if of_features[0] != of_features[1]:
            refused(f"{first} and {second} are a feature and a dictionary. Name two features, <key>/<number>, or two dictionaries.")
        if all(of_features):
            return page(request, "compare_features.html", **values, **_features(explorer, first, second))
        return page(request, "compare_dictionaries.html", **values, **_dictionaries(explorer, first, second))
    return page(request, "compare.html", **values)


def is_feature(name: str) -> bool:
    """Whether a name has four parts, of which the last is a number."""
    parts = name.split("/")
    return len(parts) == 4 and parts[3].isdecimal() and len(parts[3]) < 10


def _features(explorer: Explorer, first: str, second: str) -> dict[str, Any]:
    views = [_feature(explorer, name) for name in (first, second)]
    return {"views": views, "alike": _alike(*views), "shared_tokens": _shared_tokens(*views)}


def _feature(explorer: Explorer, name: str) -> FeatureView:
    key, _, number = name.rpartition("/")
    record, columns = explorer.record(key), explorer.columns(key)
    if columns.place_of(int(number)) is None:
        not_found(f"{key} has no feature {number} in the lake.")
    return feature_view(explorer, record, columns, int(number))


def _alike(one: FeatureView, other: FeatureView) -> list[tuple[str, float]]:
    """What the lake says of how alike two features are: stored neighbours and matches, from either side."""
    found: dict[str, float] = {}
    for view, beside in ((one, other), (other, one)):
        for by, related in [*view.neighbours.items(), *view.matches.items()]:
            for near in related:
                if (near.dictionary, near.feature) == (beside.record.key, beside.feature):
                    found.setdefault(ALIKE.get(by, ALIKE["decoder_cosine"]), near.similarity)
    return list(found.items())


def _shared_tokens(one: FeatureView, other: FeatureView) -> dict[str, list[str]]:
    """Tokens that both features fire on most, and tokens that both promote."""
    heaviest = [[token["token"] for token in (view.statistics or {}).get("top_tokens") or []] for view in (one, other)]
    promoted = [[token for token, _ in view.logits.promoted] if view.logits else [] for view in (one, other)]
    found = {"heaviest": heaviest, "promoted": promoted}
    return {name: [token for token in dict.fromkeys(sides[0]) if token in sides[1]] for name, sides in found.items()}


def _methods(explorer: Explorer, key: str, first: str, second: str, by: str) -> dict[str, Any]:
    explorer.record(key)
    columns = explorer.columns(key)
    methods = sorted({method for _, method in columns.scored if method != "none"} | set(columns.methods))
    for name in (first, second):
        if name and name not in methods:
            not_found(f"{key} has no explanations by {name[:60]}. There are {', '.join(methods) or 'none yet'}.")
    if not (first and second):
        return {"methods": methods, "scores": [], "by": "", "above": [], "below": []}
    scores = explorer.kept(("methods", key, first, second), columns.state, lambda: compared_methods(columns, first, second))
    chosen = by if by in [one.scorer for one in scores] else next((one.scorer for one in scores), "")
    differing = ("differing", key, chosen, first, second)
    above, below = explorer.kept(differing, columns.state, lambda: most_different(columns, chosen, first, second)) if chosen else ([], [])
    return {"methods": methods, "scores": scores, "by": chosen, "above": above, "below": below}


def _dictionaries(explorer: Explorer, first: str, second: str) -> dict[str, Any]:
    records: list[DictionaryRecord] = [explorer.record(name) for name in (first, second)]
    columns: list[FeatureColumns] = [explorer.columns(name) for name in (first, second)]
    names, states = (first, second), (columns[0].state, columns[1].state)
    matched = [one for one in columns[0].matches if one["other"] == second] or [one for one in columns[1].matches if one["other"] == first]
    return {
        "records": records, "rows": [dictionary_row(explorer, record) for record in records],
        "scores": explorer.kept(("scores", *names), states, lambda: compared_dictionaries(columns[0], columns[1], names)),
        "densities": explorer.kept(("densities", *names), states, lambda: densities(columns[0], columns[1], names)),
        "matched": matched[0] if matched else None,
    }  # fmt: skip


ROUTES = (Route("/compare", show),)
