"""`/d/<dictionary>/<feature>/why/<scorer>/<method>`: each window as the judge of a score saw it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.domain.explaining import METHODS
from interp_assets.domain.scoring import SCORERS
from interp_assets.domain.trials import NO_EXPLANATION
from interp_assets.explorer.explorer import not_found
from interp_assets.explorer.feature_view import explanation_views, headline_rows, range_of
from interp_assets.explorer.requests import explorer_of, key_of, known_feature, page
from interp_assets.explorer.why_view import why_view


def show(request: Request) -> Response:
    """The page behind one score."""
    explorer, feature = explorer_of(request), request.path_params["feature"]
    record = known_feature(request)
    scorer = next((one for one in SCORERS if request.path_params["scorer"] == one.NAME), None)
    method = request.path_params["method"]
    if scorer is None or method not in (*METHODS, NO_EXPLANATION):
        not_found(f"There is no scorer {request.path_params['scorer']} or no explanation method {method}.")
    where = range_of(record, feature)
    scores = headline_rows(explorer, where, feature)
    own = [row for row in scores if row["scorer"] == scorer.NAME and row["explanation_method"] == method]
    if not own:
        not_found(f"{scorer.NAME} has no score of feature {feature} by {method} in the lake.")
    columns = explorer.columns(record.key)
    views = explanation_views(explorer, where, feature, scores, columns)
    badge = next((badge for one in views if one.method == method for badge in one.badges if badge.scorer == scorer.NAME), None)
    others = sorted({(row["scorer"], row["explanation_method"]) for row in scores} - {(scorer.NAME, method)})
    view = why_view(explorer, record, feature, scorer, method)
    return page(
        request, "why.html", key=key_of(request), feature=feature, scorer=scorer, method=method, score=own[0], badge=badge, view=view,
        others=others, about=(scorer.__doc__ or "").strip().splitlines()[0],
    )  # fmt: skip


ROUTES = (Route("/d/{model}/{layer}/{name}/{feature:number}/why/{scorer}/{method}", show),)
