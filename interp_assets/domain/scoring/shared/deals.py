"""Scores of a feature's explanation that was dealt more than once: their mean, with the score of each deal."""

from collections.abc import Sequence

from interp_assets.domain.trials import DealtScore, ScoreRow


def mean_over_deals(rows_by_deal: Sequence[Sequence[ScoreRow]], donors: Sequence[int | None]) -> tuple[ScoreRow, ...]:
    """A row for each metric and stratum of any deal: the mean value and floor over the deals that have them, and the sums of the counts.

    Where deals are estimates from samples of the windows, the sampling error is the error of the mean, since each deal has its own sample.

    `rows_by_deal` are the rows of each deal about one feature and method, `donors` the features whose texts were dealt. The mean has no
    interval: the deals are judged on the same windows, and few of them say little about other texts. Without any value, the outcome is the
    outcome of the first deal.
    """
    found: dict[tuple[str, int | None], list[ScoreRow | None]] = {}
    for number, rows in enumerate(rows_by_deal):
        for row in rows:
            found.setdefault((row.metric, row.stratum), [None] * len(rows_by_deal))[number] = row
    return tuple(_mean(rows, donors) for rows in found.values())


def _mean(rows: Sequence[ScoreRow | None], donors: Sequence[int | None]) -> ScoreRow:
    there = [row for row in rows if row is not None]
    values = [row.value for row in there if row.value is not None]
    errors = [row.sampling_error for row in there if row.sampling_error is not None]
    floors = [row.floor for row in there if row.floor is not None]
    scored = [row for row in there if row.value is not None]
    first = next((row for row in scored if row.outcome == "ok"), scored[0] if scored else there[0])
    return ScoreRow(
        first.feature, first.explanation_method, first.scorer, first.metric, _average(values), None, None, _average(floors),
        sum(row.n_positive for row in there), sum(row.n_negative for row in there), sum(row.n_unanswered for row in there),
        first.outcome, first.stratum,
        tuple(DealtScore(donor, None if row is None else row.value) for donor, row in zip(donors, rows, strict=True)),
        asked_share=_average([row.asked_share for row in there if row.asked_share is not None]),
        sampling_error=sum(error**2 for error in errors) ** 0.5 / len(errors) if errors and len(errors) == len(values) else None,
    )  # fmt: skip


def _average(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
