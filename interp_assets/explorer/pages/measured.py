"""What is measured of a feature's weights when it is asked for: its decoder direction, and how it moves the logits of the vocabulary."""

import io

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interp_assets.explorer.charts import histogram
from interp_assets.explorer.explorer import not_found
from interp_assets.explorer.requests import explorer_of, key_of, known_feature, page
from interp_assets.explorer.shading import number
from interp_assets.measuring.logit_histograms import MeasuredWeights, weights_of


def weights(request: Request) -> MeasuredWeights:
    """The measured weights of the feature in the address; a page that says why where there are none."""
    explorer, feature = explorer_of(request), request.path_params["feature"]
    record = known_feature(request)
    if not record.reads_hook:
        not_found(f"{record.key} is of kind {record.kind}, which has no weights here.")
    final_norm = explorer.home.settings.stage_settings(record.stages).projection.final_norm

    def work() -> MeasuredWeights | None:
        held = explorer.models.loaded
        return weights_of(held.subject(record.model), held.dictionary(record), np.array([feature]), final_norm).get(feature)

    found = explorer.ask(("weights", record.key, feature), f"{record.model.source} and {record.key} are being loaded.", work)
    if found is None:
        not_found(f"{record.key} is of kind {record.kind}, whose features have no decoder direction.")
    return found


def logits(request: Request) -> Response:
    """How the feature moves the logits of the whole vocabulary, as a part of its page."""
    found, feature = weights(request), request.path_params["feature"]
    chart = None
    if found.heights:
        step = found.middles[1] - found.middles[0]
        edges = [found.middles[0] - step / 2 + step * place for place in range(len(found.heights) + 1)]
        ticks = [(0.0, number(edges[0])), (-edges[0] / step, "0"), (float(len(found.heights)), number(edges[-1]))]
        title = f"Logits of all {sum(found.heights):,.0f} tokens along the direction of feature {feature}, counts on a logarithmic axis"
        sides = ["suppressed" if middle < 0 else "promoted" for middle in found.middles]
        chart = histogram(found.heights, edges, title, ticks, logarithmic=True, classes=[f"bar {side}" for side in sides])
    return page(request, "logits.html", key=key_of(request), feature=feature, chart=chart)


def decoder(request: Request) -> Response:
    """The feature's decoder direction as a NumPy file, float32."""
    found, feature = weights(request), request.path_params["feature"]
    content = io.BytesIO()
    np.save(content, np.array(found.vector, dtype=np.float32))
    name = f"{key_of(request).replace('/', '_')}_{feature}_decoder.npy"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content.getvalue(), media_type="application/octet-stream", headers=headers)


AT = "/d/{model}/{layer}/{name}/{feature:number}"
ROUTES = (Route(f"{AT}/logits", logits), Route(f"{AT}/decoder.npy", decoder))
