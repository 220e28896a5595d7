"""Views over a few made-up rows, where what they should say can be seen."""

import duckdb

from interp_assets.assets.warehouse.views import SQL_FOLDER as SQL

SCORES = (
    "CREATE TABLE scores (dictionary TEXT, scorer TEXT, metric TEXT, explanation_method TEXT, feature INT, value DOUBLE, floor DOUBLE, "
    "headline BOOL, stratum INT, deals STRUCT(donor_feature UINTEGER, value DOUBLE)[])"
)


def test_the_leaderboard_ranks_over_the_features_that_all_have() -> None:
    scores = {
        "all": {0: 0.2, 1: 0.2, 2: 0.9, 3: 0.9},
        "half": {2: 0.8, 3: 0.8},  # a higher mean, of the easier half
        "one": {3: 1.0},
        "unscored": {0: None, 1: None},
    }
    rows = [("d", "detection", "ba", method, feature, value, 0.5, True) for method, own in scores.items() for feature, value in own.items()]
    rows.append(("d", "intruder", "accuracy", "none", 0, 1.0, 0.2, True))
    with duckdb.connect() as connection:
        connection.execute(SCORES)
        connection.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)", rows)
        connection.execute(f"CREATE VIEW lift_over_shuffled AS {(SQL / '15_lift_over_shuffled.sql').read_text()}")
        board = f"({(SQL / '21_leaderboard.sql').read_text()})"
        found = connection.execute(f"SELECT explanation_method, place, n_compared, compared_mean, n_features, mean FROM {board}").fetchall()
    assert found == [("all", 1, 2, 0.9, 4, 0.55), ("half", 2, 2, 0.8, 2, 0.8), ("one", None, None, None, 1, 1.0)]


def test_estimated_scores_by_hand() -> None:
    """Errors 0.1 and 0.2 of two features: ± 1.96 · √0.05 / 2; of four estimates with variance 0.05 and errors 0.1, √(1 - 0.01 / 0.05)."""
    spread = (0.05 * 3 / 4) ** 0.5
    rows = [("d", "detection", "max_act", "ba", 0.6, 0.1, 0.25), ("d", "detection", "max_act", "ba", 0.8, 0.2, 0.35),
            ("d", "detection", "max_act", "ba", 0.7, None, None),
            *[("d", "fuzzing", "max_act", "ba", 0.5 + sign * spread, 0.1, 0.5) for sign in (-1, 1, -1, 1)]]  # fmt: skip
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE scores (dictionary TEXT, scorer TEXT, explanation_method TEXT, metric TEXT, value DOUBLE, sampling_error DOUBLE, "
            "asked_share DOUBLE, headline BOOL DEFAULT true)"
        )
        connection.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, true)", rows)
        view = f"({(SQL / '23_estimated_scores.sql').read_text()})"
        found = connection.execute(
            f"SELECT scorer, n_features, round(asked_share, 3), round(mean, 3), round(ci_low, 3), round(ci_high, 3), "
            f"round(expected_correlation, 4) FROM {view}"
        ).fetchall()
    assert found == [("detection", 2, 0.3, 0.7, 0.481, 0.919, None), ("fuzzing", 4, 0.5, 0.5, 0.402, 0.598, 0.8944)]


def test_the_leaderboard_shows_the_lead_over_the_token_list() -> None:
    """By the same scorer; for detection over the matcher's score of the list, where there is one, else over the judge's."""
    values = {
        ("detection", "balanced_accuracy", "max_act"): (0.75, 0.75, 0.75, 0.85),
        ("detection", "balanced_accuracy", "token_list"): (0.5, 0.5, 0.5, 0.5),
        ("matcher", "balanced_accuracy", "token_list"): (0.65, 0.65, None, 0.65),
        ("matcher", "fuzzing_balanced_accuracy", "token_list"): (0.6, 0.6, 0.6, 0.6),
        ("fuzzing", "balanced_accuracy", "max_act"): (0.8, 0.8, 0.8, 0.8),
        ("embedding", "auroc", "max_act"): (0.7, 0.7, 0.7, 0.7),
        ("embedding", "auroc", "token_list"): (0.8, 0.8, 0.8, 0.8),
        ("surprisal", "auroc", "max_act"): (0.7, 0.7, 0.7, 0.7),
    }
    rows = [
        ("d", scorer, metric, method, feature, value, 0.5, metric != "fuzzing_balanced_accuracy")
        for (scorer, metric, method), own in values.items()
        for feature, value in enumerate(own)
    ]
    with duckdb.connect() as connection:
        connection.execute(SCORES)
        connection.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)", rows)
        connection.execute(f"CREATE VIEW lift_over_shuffled AS {(SQL / '15_lift_over_shuffled.sql').read_text()}")
        board = f"({(SQL / '21_leaderboard.sql').read_text()})"
        found = connection.execute(
            "SELECT scorer, round(lift_over_token_list, 6), round(token_list_lift_ci_low, 2), round(token_list_lift_ci_high, 2), "
            f"token_list_by FROM {board} WHERE explanation_method = 'max_act' ORDER BY scorer"
        ).fetchall()
    # Detection: 0.1, 0.1, 0.25 (the judge's own, where the matcher has none) and 0.2: mean 0.1625, s / 2 = 0.0375, t of 3 degrees 3.18.
    assert found == [
        ("detection", 0.1625, 0.04, 0.28, "matcher"), ("embedding", -0.1, -0.1, -0.1, "embedding"),
        ("fuzzing", 0.2, 0.2, 0.2, "matcher"), ("surprisal", None, None, None, None),
    ]  # fmt: skip
