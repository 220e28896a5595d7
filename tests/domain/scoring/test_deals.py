from interp_assets.domain.scoring.shared.deals import mean_over_deals
from interp_assets.domain.trials import DealtScore, ScoreRow


def row(value: float | None, floor: float | None, metric: str = "auroc", outcome: str = "ok", stratum: int | None = None) -> ScoreRow:
    bounds = (None, None) if value is None else (value - 0.1, value + 0.1)
    return ScoreRow(7, "shuffled", "detection", metric, value, *bounds, floor, 5, 4, 1, outcome, stratum)  # type: ignore[arg-type]


def test_a_mean_over_deals_by_hand() -> None:
    deals = [[row(0.5, 0.5), row(1.0, None, "precision")], [row(0.8, 0.6), row(None, None, "precision", "undefined")]]
    auroc, precision = mean_over_deals(deals, [3, 9])
    assert (auroc.value, auroc.floor, auroc.ci_low, auroc.ci_high, auroc.outcome) == (0.65, 0.55, None, None, "ok")
    assert (auroc.n_positive, auroc.n_negative, auroc.n_unanswered) == (10, 8, 2)
    assert auroc.deals == (DealtScore(3, 0.5), DealtScore(9, 0.8))
    assert (precision.value, precision.outcome, precision.deals) == (1.0, "ok", (DealtScore(3, 1.0), DealtScore(9, None)))


def test_without_any_value_the_first_outcome_stands() -> None:
    (only,) = mean_over_deals([[row(None, 0.5, outcome="no_answers")], [row(None, 0.5, outcome="one_class")]], [1, 2])
    assert (only.value, only.outcome, [deal.value for deal in only.deals]) == (None, "no_answers", [None, None])


def test_strata_are_apart_and_may_miss_in_a_deal() -> None:
    first = [row(0.5, None, "recall@stratum", stratum=0), row(0.1, None, "recall@stratum", stratum=1)]
    found = mean_over_deals([first, [row(0.7, None, "recall@stratum", stratum=0)]], [1, 2])
    assert [(one.stratum, one.value) for one in found] == [(0, 0.6), (1, 0.1)]
    assert found[1].deals == (DealtScore(1, 0.1), DealtScore(2, None))


def test_a_dead_deal_counts_as_the_failure_that_it_is() -> None:
    (dead,) = mean_over_deals([[row(0.0, 0.1, "success", "dead")], [row(0.0, 0.1, "success", "dead")]], [1, 2])
    (half,) = mean_over_deals([[row(0.0, 0.1, "success", "dead")], [row(1.0, 0.1, "success")]], [1, 2])
    assert (dead.value, dead.outcome, half.value, half.outcome) == (0.0, "dead", 0.5, "ok")
