"""The demo's last table says yes only where every interval lies above 0, and its words say on which scorers."""

import pytest

from interp_assets.demo.comparison import NEURONS, RANDOM, SAE, comparisons, table, verdict


def row(scorer: str, dictionary: str, control: str, against: str, difference: float, low: float | None, method: str = "token_list") -> dict:
    return {
        "scorer": scorer, "explanation_method": method, "dictionary": dictionary, "control": control, "control_dictionary": against,
        "n_features": 20, "mean": 0.7, "control_mean": 0.7 - difference, "difference": difference, "ci_low": low,
        "ci_high": None if low is None else 2 * difference - low,
    }  # fmt: skip


def of_scorer(scorer: str, lows: tuple[float | None, float | None, float | None], end: str = "", **other: str) -> list[dict]:
    """The three leads of a scorer, 0.1 each, with these lower ends of their intervals."""
    return [
        row(scorer, SAE + end, "topk_neurons", NEURONS + end, 0.1, lows[0], **other),
        row(scorer, NEURONS + end, "random_topk", RANDOM + end, 0.1, lows[1], **other),
        row(scorer, SAE + end, "shuffled", SAE + end, 0.1, lows[2], **other),
    ]


def test_all_three_on_two_scorers() -> None:
    rows = [
        *of_scorer("matcher", (0.01, 0.02, 0.03)),
        *of_scorer("embedding", (0.01, 0.02, 0.03)),
        *of_scorer("surprisal", (0.01, -0.1, 0.03)),
    ]
    compared = comparisons(rows)
    assert {one.scorer: one.holds for one in compared} == {"embedding": True, "matcher": True, "surprisal": False}
    assert verdict(compared).startswith("All three hold on 2 scorers (embedding, matcher)")
    assert "neurons above random: embedding of token_list, matcher of token_list\n" in verdict(compared)


@pytest.mark.parametrize("lows", [(0.01, 0.0, 0.01), (None, 0.01, 0.01), (0.01, 0.01, -0.2)])
def test_an_interval_that_reaches_0_or_is_missing_says_no(lows: tuple[float | None, float | None, float | None]) -> None:
    compared = comparisons([*of_scorer("matcher", lows), *of_scorer("embedding", (0.01, 0.01, 0.01))])
    assert "does not hold" in verdict(compared) and "All three hold on embedding," in verdict(compared)


def test_the_larger_dictionaries_count_and_never_two_sizes_together() -> None:
    rows = [*of_scorer("matcher", (0.01, 0.01, 0.01), "-100"), *of_scorer("matcher", (-1.0, -1.0, -1.0))]
    rows.append(row("matcher", SAE, "topk_neurons", NEURONS + "-100", 0.5, 0.4))
    (one,) = comparisons(rows)
    assert one.holds and one.leads[0] is not None and one.leads[0].difference == 0.1


def test_what_has_no_control_is_shown_without_it() -> None:
    compared = comparisons([row("surprisal", SAE, "shuffled", SAE, 0.1, 0.05, "max_act")])
    assert table(compared).to_dicts() == [
        {
            "scorer": "surprisal", "explanations": "max_act", "features": 20, "SAE": 0.7, "neurons": None, "random": None, "shuffled": 0.6,
            "SAE above neurons": "—", "neurons above random": "—", "true above shuffled": "0.10 [0.05, 0.15]", "holds": "no",
        }
    ]  # fmt: skip
    assert verdict([]).startswith("All three hold on no scorer")
