"""Views' intervals and floors against scipy, over made-up scores."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from scipy.stats import binom, t, ttest_ind, ttest_rel

from interp_assets.assets.warehouse.views import SQL_FOLDER
from interp_assets.domain.scoring import SCORERS

COLUMNS = (
    "dictionary TEXT, scorer TEXT, metric TEXT, explanation_method TEXT, feature INT, value DOUBLE, floor DOUBLE, headline BOOL, "
    "stratum INT, n_positive UINTEGER, n_unanswered INT, outcome TEXT, deals STRUCT(donor_feature UINTEGER, value DOUBLE)[]"
)

DICTIONARIES = "dictionary TEXT, model TEXT, kind TEXT, layer INT, hook TEXT, series TEXT, step BIGINT, control TEXT"
REGISTER = "INSERT INTO dictionaries (dictionary, model, kind, layer, hook) VALUES"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute(f"CREATE TABLE scores ({COLUMNS})")
        made.execute(f"CREATE TABLE dictionaries ({DICTIONARIES})")
        made.execute("CREATE TABLE imported_successes (dictionary TEXT, explanation_method TEXT, input_success BOOL, output_success BOOL)")
        made.execute("CREATE TABLE explanations (dictionary TEXT, feature INT, explanation_method TEXT, explanation TEXT)")
        made.execute("CREATE TABLE feature_statistics (dictionary TEXT, feature INT, token_density DOUBLE, top_token_share DOUBLE)")
        made.execute(f"CREATE VIEW lift_over_shuffled AS {(SQL_FOLDER / '15_lift_over_shuffled.sql').read_text()}")
        yield made


def add(
    connection: duckdb.DuckDBPyConnection, dictionary: str, method: str, values, scorer="detection", metric="balanced_accuracy", **more
):
    for feature, value in enumerate(values):
        deals = more["deals"][feature] if "deals" in more else None
        row = [
            dictionary,
            scorer,
            metric,
            method,
            feature,
            float(value),
            more.get("floor", 0.5),
            True,
            None,
            more.get("n", 5),
            0,
            "ok",
            deals,
        ]
        connection.execute(f"INSERT INTO scores VALUES ({', '.join('?' * len(row))})", row)


def ask(connection: duckdb.DuckDBPyConnection, view: str, what: str) -> list[tuple]:
    (file,) = Path(SQL_FOLDER).glob(f"*_{view}.sql")
    return connection.execute(f"SELECT {what} FROM ({file.read_text()})").fetchall()


@pytest.mark.parametrize("n", [4, 6, 30])
def test_means_have_students_intervals(connection: duckdb.DuckDBPyConnection, n: int) -> None:
    draw = np.random.default_rng(n)
    own, other, control = draw.normal(0.7, 0.1, n), draw.normal(0.5, 0.1, n), draw.normal(0.5, 0.2, n + 3)
    connection.execute(f"{REGISTER} ('d', 'm', 'sae', 3, 'h'), ('c', 'm', 'random_topk', 3, 'h')")
    add(connection, "d", "max_act", own)
    add(connection, "d", "shuffled", other)
    add(connection, "c", "max_act", control)
    half = t.ppf(0.975, n - 1) * own.std(ddof=1) / np.sqrt(n)
    expected = pytest.approx((own.mean() - half, own.mean() + half), rel=1e-3)
    for view in ("scores_by_method", "leaderboard"):
        rows = {row[2:]: row[:2] for row in ask(connection, view, "ci_low, ci_high, dictionary, explanation_method")}
        assert rows["d", "max_act"] == expected
    assert {row[2]: row[:2] for row in ask(connection, "scores_by_layer", "ci_low, ci_high, kind || explanation_method")}[
        "saemax_act"
    ] == expected
    paired, welch = ttest_rel(own, other).confidence_interval(), ttest_ind(own, control, equal_var=False).confidence_interval()
    found = {row[2]: row[:2] for row in ask(connection, "against_controls", "ci_low, ci_high, control") if row[0] is not None}
    assert found["shuffled"] == pytest.approx((paired.low, paired.high), rel=1e-2, abs=1e-3)
    assert found["random_topk"] == pytest.approx((welch.low, welch.high), rel=1e-2, abs=1e-3)


def test_each_method_is_held_against_its_own_shuffles(connection: duckdb.DuckDBPyConnection) -> None:
    """A method without shuffles of its own has no lift: texts of another method are another baseline. Shuffles lie 0 above themselves."""
    for method, value in (("max_act", 0.9), ("shuffled", 0.5), ("vocab_proj", 0.8), ("shuffled_vocab_proj", 0.6), ("pattern", 0.7)):
        add(connection, "d", method, [value] * 5)
    found = dict(ask(connection, "leaderboard", "explanation_method, lift_over_shuffled"))
    assert {method: lift if lift is None else round(lift, 6) for method, lift in found.items()} == {
        "max_act": 0.4, "vocab_proj": 0.2, "shuffled": 0.0, "shuffled_vocab_proj": 0.0, "pattern": None,
    }  # fmt: skip
    rows = ask(connection, "lift_over_shuffled", "explanation_method, shuffled_method, n_deals, lift, ci_low, ci_high")
    assert [row[:3] for row in rows] == [("max_act", "shuffled", 1), ("vocab_proj", "shuffled_vocab_proj", 1)]
    assert [row[3:] for row in rows] == [pytest.approx((0.4,) * 3), pytest.approx((0.2,) * 3)]


def dealt(draw: np.random.Generator, n: int, deals: int, text: float, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of n own explanations, and [n, deals] of other features' texts, of which some suit every feature better than others; the lift
    is 0.2. The donor of feature f in deal d is f + d + 1, round about."""
    suits = draw.normal(0, text, n)
    given = np.stack([0.5 + np.roll(suits, -(d + 1)) + draw.normal(0, noise, n) for d in range(deals)], axis=1)
    return 0.7 + draw.normal(0, noise, n), given


def add_dealt(connection: duckdb.DuckDBPyConnection, dictionary: str, own: np.ndarray, given: np.ndarray) -> None:
    n, deals = given.shape
    listed = [[{"donor_feature": (f + d + 1) % n, "value": float(given[f, d])} for d in range(deals)] for f in range(n)]
    add(connection, dictionary, "max_act", own)
    add(connection, dictionary, "shuffled", given.mean(axis=1), deals=listed)


def test_the_interval_over_deals_by_hand(connection: duckdb.DuckDBPyConnection) -> None:
    """Dyadic clusters, one sum at a time; wider here than Student's of the same differences."""
    own, given = dealt(np.random.default_rng(3), 12, 3, 0.2, 0.02)
    add_dealt(connection, "d", own, given)
    off = given - given.mean()
    parts = own - own.mean() - off.mean(axis=1)
    for f in range(12):
        for d in range(3):
            parts[(f + d + 1) % 12] -= off[f, d] / 3
    variance = ((parts**2).sum() - (off**2).sum() / 9) / (12 * (12 - 4 + 1 / 3))
    lift = (own - given.mean(axis=1)).mean()
    half = t.ppf(0.975, 11) * np.sqrt(variance)
    ((low, high, found, n_deals),) = ask(connection, "lift_over_shuffled", "ci_low, ci_high, lift, n_deals")
    assert (found, n_deals) == (pytest.approx(lift), 3) and (low, high) == pytest.approx((lift - half, lift + half), rel=1e-3)
    assert half > 1.5 * t.ppf(0.975, 11) * (own - given.mean(axis=1)).std(ddof=1) / np.sqrt(12)
    (control,) = ask(connection, "against_controls", "ci_low, ci_high")
    assert control == (low, high) == ask(connection, "leaderboard", "lift_ci_low, lift_ci_high")[0]


def test_few_features_and_several_deals_have_no_interval(connection: duckdb.DuckDBPyConnection) -> None:
    for n in (4, 5):
        add_dealt(connection, f"d{n}", *dealt(np.random.default_rng(n), n, 2, 0.1, 0.1))
    found = ask(connection, "lift_over_shuffled", "n_features, ci_low IS NULL, lift IS NULL")
    assert found == [(4, True, False), (5, False, False)]


def test_changes_over_checkpoints_are_paired_by_feature(connection: duckdb.DuckDBPyConnection) -> None:
    """Steps 9 and 10 are neighbours although "10" sorts before "9", and step 20 has a score of fewer features than step 10."""
    draw = np.random.default_rng(0)
    steps = {9: draw.normal(0.6, 0.1, 12), 10: draw.normal(0.7, 0.1, 12), 20: draw.normal(0.7, 0.1, 7)}
    for step, values in steps.items():
        connection.execute(f"INSERT INTO dictionaries (dictionary, series, step) VALUES ('d{step}', 'run-{{step}}', {step})")
        add(connection, f"d{step}", "max_act", values)
    connection.execute("INSERT INTO dictionaries (dictionary) VALUES ('alone')")
    add(connection, "alone", "max_act", steps[9])
    rows = ask(connection, "scores_over_checkpoints", "step, step_before, n_features, n_paired, change, change_ci_low, change_ci_high")
    assert [row[:4] for row in rows] == [(9, None, 12, 0), (10, 9, 12, 12), (20, 10, 7, 7)]
    assert rows[0][4:] == (None, None, None)
    for (*_, change, low, high), (before, after) in zip(rows[1:], ((9, 10), (10, 20)), strict=True):
        pairs = steps[after], steps[before][: len(steps[after])]
        expected = ttest_rel(*pairs).confidence_interval()
        assert change == pytest.approx((pairs[0] - pairs[1]).mean())
        assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-2, abs=1e-3)


def test_three_features_have_no_interval(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"{REGISTER} ('d', 'm', 'sae', 3, 'h'), ('c', 'm', 'neurons', 3, 'h')")
    for dictionary, method in (("d", "max_act"), ("d", "shuffled"), ("c", "max_act")):
        add(connection, dictionary, method, [0.5, 0.6, 0.8])
    for view in ("scores_by_method", "leaderboard", "scores_by_layer", "against_controls"):
        rows = ask(connection, view, "ci_low, ci_high")
        assert rows and set(rows) == {(None, None)}, view


@pytest.mark.parametrize("n", [1, 3, 5, 16])
def test_chance_of_a_majority(connection: duckdb.DuckDBPyConnection, n: int) -> None:
    """Of three questions with three sets: 3 · (1/3)² · 2/3 + (1/3)³ = 7/27 = 0.259, not 1/3."""
    add(connection, "d", "max_act", [1.0, 1 / 3], "output_based", "accuracy", floor=1 / 3, n=n)
    assert ask(connection, "success_by_method", "floor") == [(pytest.approx(binom.sf(n // 2, n, 1 / 3)),)]


def test_chance_by_inputs_is_the_features_own_and_unknown_for_imported_results(connection: duckdb.DuckDBPyConnection) -> None:
    add(connection, "d", "max_act", [1.0, 0.0], "input_based", "success", floor=0.01)
    connection.execute("INSERT INTO imported_successes VALUES ('i', 'max_act', true, true)")
    rows = ask(connection, "success_by_method", "origin, scorer, floor")
    assert rows == [("own", "input_based", 0.01), ("imported", "input_based", None), ("imported", "output_based", pytest.approx(1 / 3))]


def test_the_hardest_features_are_not_told_by_nats(connection: duckdb.DuckDBPyConnection) -> None:
    add(connection, "d", "max_act", [0.75])
    add(connection, "d", "max_act", [40.0], "intervention", "gain", floor=0.0)
    connection.execute("INSERT INTO explanations VALUES ('d', 0, 'max_act', 'x')")
    assert ask(connection, "hardest_features", "above_floor, n_scorers") == [(0.5, 1)]


def test_every_headline_is_counted_or_known_to_be_in_nats() -> None:
    (file,) = Path(SQL_FOLDER).glob("*_hardest_features.sql")
    read = [scorer for scorer in SCORERS if "explanation" in scorer.READS]  # scores without an explanation say nothing of a method
    left_out = {scorer.NAME for scorer in read if f"'{scorer.HEADLINE}'" not in file.read_text()}
    assert left_out == {"intervention"}
