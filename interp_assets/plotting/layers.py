"""Mean headline scores from the first layer to the last, a panel a scorer, a line an explanation method."""

from typing import TYPE_CHECKING, Any

from interp_assets.domain.explaining import BASELINES
from interp_assets.plotting.drawing import legend_below, offsets, panels, title
from interp_assets.plotting.figure import COLOURS, FAINT, MARKERS, Asked, Figure, Query, condition, judges, refuse_empty, span, words

if TYPE_CHECKING:
    import polars as pl

NAME = "layers"
SUBJECT = "headline scores by layer"
LINES = ("-", "--", ":", "-.")
"""A colour and a marker for each explanation method, a line for each model and kind."""

NEEDS = "needs scores of dictionaries whose keys name layers: interp backfill KEY of each"


def figure(query: Query, asked: Asked) -> Figure:
    """The figure; its numbers are rows of the view scores_by_layer, of the models and kinds that the dictionaries are of."""
    methods = condition("explanation_method", (*asked.methods, "none") if asked.methods else ())
    kin = f"(model, kind) IN (SELECT model, kind FROM dictionaries WHERE {condition('dictionary', asked.dictionaries)})"
    rows = query(f"SELECT * FROM scores_by_layer WHERE n_features > 0 AND {kin} AND {condition('scorer', asked.scorers)} AND {methods}")
    refuse_empty(rows, "scores_by_layer", asked, NEEDS)
    scorers = sorted(set(rows["scorer"]))
    of = ", ".join(f"{kind} dictionaries of {model}" for model, kind in sorted(set(zip(rows["model"], rows["kind"], strict=True))))
    caption = (
        f"Mean headline scores by layer: {of}. Bands are Student's 95 % intervals over features ({span(rows['n_features'].to_list())} "
        f"features a point; none below 4). Dashed: what a judge that reads nothing reaches. {judges(query, Asked(), scorers)}"
    )
    return Figure(caption, rows, lambda: _drawn(rows, scorers))


def layer_places(layers: list[str]) -> list[str]:
    """Names of layers in order: numbers by their size, then other names."""
    return sorted(set(layers), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def _drawn(rows: "pl.DataFrame", scorers: list[str]) -> Any:
    import polars as pl

    order = layer_places(rows["layer"].to_list())
    series = sorted(set(zip(rows["model"], rows["kind"], rows["explanation_method"], strict=True)))
    groups = sorted({one[:2] for one in series})
    one_model = len({model for model, _ in groups}) == 1
    beside = offsets(len(series)) if len(order) == 1 else [0.0] * len(series)
    methods = sorted({one[2] for one in series} - set(BASELINES))
    drawn, axes = panels(scorers, [7] * len(scorers))
    for one, scorer in zip(axes, scorers, strict=True):
        part = rows.filter(pl.col("scorer") == scorer)
        for (model, kind, method), moved in zip(series, beside, strict=True):
            own = part.filter((pl.col("model") == model) & (pl.col("kind") == kind) & (pl.col("explanation_method") == method))
            places = [order.index(layer) + moved for layer in own["layer"]]
            line = sorted(zip(places, own["mean"], own["ci_low"], own["ci_high"], strict=True))
            if not line:
                continue
            x, mean = [place[0] for place in line], [place[1] for place in line]
            colour = FAINT if method in BASELINES else COLOURS[methods.index(method) % len(COLOURS)]
            marker = MARKERS[(methods.index(method) if method in methods else -1) % len(MARKERS)]
            name = "no explanation read" if method == "none" else words(method)
            shape = {"linewidth": 1.3, "markersize": 4, "markeredgecolor": "white", "markeredgewidth": 0.5}
            of = words(kind) if one_model else f"{model} {words(kind)}"
            label = f"{name}, {of}" if len(groups) > 1 else name
            style = LINES[groups.index((model, kind)) % len(LINES)]
            one.plot(x, mean, marker=marker, linestyle=style, color=colour, label=label, **shape)
            bounded = [place for place in line if place[2] is not None]
            edges = [[place[part] for place in bounded] for part in (0, 2, 3)]
            one.fill_between(*edges, color=colour, alpha=0.13, linewidth=0)
            if len(line) == 1 and bounded:  # a band over one layer has no width
                one.plot([x[0], x[0]], [edges[1][0], edges[2][0]], color=colour, linewidth=1.2, alpha=0.6)
        floors = part["floor"].drop_nulls()
        if len(floors):
            one.axhline(float(floors.mean()), color=FAINT, linewidth=0.9, linestyle=(0, (4, 2.5)), label="a judge that reads nothing")  # type: ignore[arg-type]
        title(one, words(scorer))
        one.set(xlabel="layer", ylabel=words(part["metric"][0]))
        step = max(1, -(-len(order) // 9))
        one.set_xticks(range(0, len(order), step), [name.lstrip("0") or "0" for name in order[::step]])
        if len(order) == 1:
            one.set_xlim(-0.5, 0.5)
        one.grid(axis="y", color="#e6e8eb")
        one.grid(axis="x", visible=False)
    legend_below(drawn, axes)
    return drawn
