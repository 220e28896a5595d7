"""How far a dictionary's headline scores lie above the scores of its controls, a panel a scorer."""

from typing import TYPE_CHECKING, Any

from interp_assets.domain.explaining import BASELINES
from interp_assets.plotting.drawing import legend_below, name_rows, offsets, panels, point, reference, title
from interp_assets.plotting.figure import Asked, Figure, Query, condition, judges, refuse_empty, short_names, span, words

if TYPE_CHECKING:
    import polars as pl

NAME = "controls"
SUBJECT = "headline scores less the scores of controls"
CONTROLS = {
    "shuffled": "another feature's explanation", "random_topk": "random TopK SAE", "rotated_topk_neurons": "rotated neurons",
    "topk_neurons": "neurons", "neurons": "neurons",
}  # fmt: skip

NEEDS = "needs a control of the same model and layer with the same scores, such as a random_topk dictionary: see docs/trust.md"


def figure(query: Query, asked: Asked) -> Figure:
    """The figure; its numbers are rows of the view against_controls."""
    where = " AND ".join(
        (condition("dictionary", asked.dictionaries), condition("scorer", asked.scorers), condition("explanation_method", asked.methods))
    )
    rows = query(
        f"SELECT * FROM against_controls WHERE headline AND difference IS NOT NULL AND explanation_method <> 'constant' AND {where}"
    )
    refuse_empty(rows, "against_controls", asked, NEEDS)
    scorers = sorted(set(rows["scorer"]))
    counts = [*rows["n_features"].to_list(), *rows["n_control_features"].to_list()]
    caption = (
        f"Headline scores of {', '.join(sorted(set(rows['dictionary'])))} less the scores of controls, with 95 % intervals: of "
        f"paired differences for another feature's explanation, Welch's for other dictionaries ({span(counts)} features; none below 4). "
        f"{judges(query, asked, scorers)}"
    )
    return Figure(caption, rows, lambda: _drawn(rows))


def _drawn(rows: "pl.DataFrame") -> Any:
    dictionaries = sorted(set(rows["dictionary"]))
    short = short_names(dictionaries)
    there = set(rows["control"])
    kinds = [name for name in dict.fromkeys(CONTROLS.values()) if any(CONTROLS[control] == name for control in there)]
    places = offsets(len(kinds))
    shown = sorted(
        (
            (dictionary, -part["explanation_method"].n_unique(), scorer, part)
            for (dictionary, scorer), part in rows.partition_by("dictionary", "scorer", as_dict=True).items()
        ),
        key=lambda one: one[:3],
    )
    methods = [sorted(set(part["explanation_method"]), key=lambda m: (m in BASELINES, m)) for *_, part in shown]
    drawn, axes = panels(
        [scorer for _, _, scorer, _ in shown],
        [len(own) * (1 + 0.3 * (len(kinds) - 1)) for own in methods],
        title_lines=min(len(dictionaries), 2),
    )
    for one, (dictionary, _, scorer, part), own in zip(axes, shown, methods, strict=True):
        title(one, words(scorer) + (f"\n{short[dictionary]}" if len(dictionaries) > 1 else ""))
        one.set_xlabel(f"difference in {words(part['metric'][0])}")
        reference(one, 0.0)
        for row in part.iter_rows(named=True):
            number = kinds.index(CONTROLS[row["control"]])
            place = own.index(row["explanation_method"]) + places[number]
            point(one, place, row["difference"], row["ci_low"], row["ci_high"], number, f"less {kinds[number]}")
    name_rows(axes, [["no explanation read" if method == "none" else words(method) for method in own] for own in methods])
    legend_below(drawn, axes)
    return drawn
