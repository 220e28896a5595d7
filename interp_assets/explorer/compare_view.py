"""Two methods or two dictionaries side by side: scores over the features that both have, and where they differ most."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from interp_assets.domain.explaining import control_of
from interp_assets.domain.statistics.intervals import mean_interval
from interp_assets.explorer.charts import cells, curves, score_strip
from interp_assets.explorer.columns import FeatureColumns
from interp_assets.explorer.shading import number

BINS = 32
MOST_DIFFERENT = 12
DENSITY_EDGES = np.linspace(-6, 0, 37)


@dataclass(frozen=True)
class MethodScores:
    """One scorer's scores of two methods over the `n` features that both have; `n_first` and `n_second` features only one has.

    `difference` is the mean of first minus second with its 95 % interval, `wins` the share of features on which the first is higher.
    """

    scorer: str
    n: int
    n_first: int
    n_second: int
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    wins: float | None
    strip: Markup
    plane: Markup


@dataclass(frozen=True)
class Differing:
    """A feature that two methods score differently, with the words of both."""

    feature: int
    first: float
    second: float
    first_text: str | None
    second_text: str | None


def compared_methods(columns: FeatureColumns, first: str, second: str) -> list[MethodScores]:
    """The scores of two methods by every scorer that scored both."""
    scorers = [scorer for scorer, method in columns.scored if method == first and (scorer, second) in columns.scored]
    return [_method_scores(columns, scorer, first, second) for scorer in scorers]


def _method_scores(columns: FeatureColumns, scorer: str, first: str, second: str) -> MethodScores:
    one, other = (columns.numbers(f"score:{scorer}:{method}").astype(np.float64) for method in (first, second))
    both = ~np.isnan(one) & ~np.isnan(other)
    differences = one[both] - other[both]
    mean, span = mean_interval(differences), columns.span_of(scorer)
    reach = max(1.0, *(abs(end) for end in (mean.value, mean.ci_low, mean.ci_high) if end is not None))
    edges = np.linspace(*span, 25)
    ends = [(0.0, number(span[0])), (1.0, number(span[1]))]
    title = f"{scorer} scores of {int(both.sum()):,} features: {first} across, {second} upwards"
    plane = cells(columns.plane(f"score:{scorer}:{first}", edges, f"score:{scorer}:{second}", edges), ends, ends, title, 220, 200)
    n = int(both.sum())
    return MethodScores(
        scorer, n, int((~np.isnan(one)).sum()) - n, int((~np.isnan(other)).sum()) - n, _mean(one[both]), _mean(other[both]),
        mean.value, mean.ci_low, mean.ci_high, float((differences > 0).mean()) if n else None,
        score_strip(mean.value, mean.ci_low, mean.ci_high, None, 0.0, (-reach, reach)), plane,
    )  # fmt: skip


def most_different(columns: FeatureColumns, scorer: str, first: str, second: str) -> tuple[list[Differing], list[Differing]]:
    """The features on which the first method is furthest above the second by a scorer, and those on which it is furthest below."""
    one, other = (columns.numbers(f"score:{scorer}:{method}").astype(np.float64) for method in (first, second))
    gap = one - other
    above, below = _furthest(gap), _furthest(-gap)

    def shown(place: int) -> Differing:
        texts = [columns.texts(f"explanation:{method}")[place].as_py() if method in columns.methods else None for method in (first, second)]
        return Differing(int(columns.features[place]), float(one[place]), float(other[place]), *texts)

    return [shown(place) for place in above], [shown(place) for place in below]


def _furthest(gap: np.ndarray) -> list[int]:
    """The places of the largest numbers above 0, the largest first, equal ones in their order."""
    places = np.flatnonzero(gap > 0)
    if len(places) > MOST_DIFFERENT:
        least = np.partition(gap[places], -MOST_DIFFERENT)[-MOST_DIFFERENT]
        places = places[gap[places] >= least]
    return places[np.argsort(-gap[places], kind="stable")][:MOST_DIFFERENT].tolist()


@dataclass(frozen=True)
class SharedScore:
    """One scorer's scores of one method in two dictionaries, each over its own features."""

    scorer: str
    method: str
    sides: tuple[tuple[int, float | None, float | None, float | None, Markup], tuple[int, float | None, float | None, float | None, Markup]]
    chart: Markup


def compared_dictionaries(first: FeatureColumns, second: FeatureColumns, names: tuple[str, str]) -> list[SharedScore]:
    """Scores of every scorer and method that two dictionaries share."""
    found = []
    for scorer, method in (pair for pair in first.scored if pair in second.scored):
        spans = first.span_of(scorer), second.span_of(scorer)
        span = min(low for low, _ in spans), max(high for _, high in spans)
        edges, name = np.linspace(*span, BINS + 1), f"score:{scorer}:{method}"
        sides = tuple(_side(columns, scorer, method, span) for columns in (first, second))
        series = [(names[0], first.counts(name, edges), "main"), (names[1], second.counts(name, edges), "beyond")]
        title = f"{scorer} scores of {method}: {names[0]} filled, {names[1]} dashed"
        found.append(SharedScore(scorer, method, sides, curves(series, edges.tolist(), title)))  # type: ignore[arg-type]
    return found


def _side(
    columns: FeatureColumns, scorer: str, method: str, span: tuple[float, float]
) -> tuple[int, float | None, float | None, float | None, Markup]:
    values = columns.numbers(f"score:{scorer}:{method}")
    known = ~np.isnan(values)
    mean, floor = mean_interval(values[known]), _mean(columns.numbers(f"floor:{scorer}:{method}")[known])
    beside = _mean(columns.numbers(f"score:{scorer}:{control_of(method)}")[known])
    return (
        int(known.sum()),
        mean.value,
        mean.ci_low,
        mean.ci_high,
        score_strip(mean.value, mean.ci_low, mean.ci_high, floor, beside, span),
    )


def densities(first: FeatureColumns, second: FeatureColumns, names: tuple[str, str]) -> Markup | None:
    """How the densities of two dictionaries' features are distributed, on a logarithmic axis; None where either has none."""
    counts = []
    for columns in (first, second):
        density = columns.numbers("density").astype(np.float64)
        counts.append(np.histogram(np.log10(density[density > 0]), DENSITY_EDGES)[0])
    if not all(one.sum() for one in counts):
        return None
    title = f"log10 of density: {names[0]} filled, {names[1]} dashed"
    series = [(names[0], counts[0], "main"), (names[1], counts[1], "beyond")]
    return curves(series, DENSITY_EDGES.tolist(), title)


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
