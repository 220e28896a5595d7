"""Views over a few made-up rows, where what they should say can be seen."""

import duckdb

from interp_assets.assets.warehouse.views import SQL_FOLDER as SQL


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
        connection.execute(
            "CREATE TABLE scores (dictionary TEXT, scorer TEXT, metric TEXT, explanation_method TEXT, feature INT, value DOUBLE, "
            "floor DOUBLE, headline BOOL)"
        )
        connection.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        board = f"({(SQL / '21_leaderboard.sql').read_text()})"
        found = connection.execute(f"SELECT explanation_method, place, n_compared, compared_mean, n_features, mean FROM {board}").fetchall()
    assert found == [("all", 1, 2, 0.9, 4, 0.55), ("half", 2, 2, 0.8, 2, 0.8), ("one", None, None, None, 1, 1.0)]
