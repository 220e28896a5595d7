"""The columns of a dictionary are read once for each state of the lake, and of a changed lake no more than has changed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_home import DEAD, KEY, explanation, score, small_home, write

from interp_assets.explorer import columns as reading
from interp_assets.explorer.columns import Dictionaries, FeatureColumns
from interp_assets.installation.home import Home
from interp_assets.tables import EXPLANATIONS, SCORES

LIVE = [feature for feature in range(32) if feature != DEAD]


class Reader:
    """Reads the columns of a home again and again, and keeps the SQL of each reading."""

    def __init__(self, home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dictionaries = Dictionaries(home.warehouse, folder)
        self.asked: list[str] = []
        query: Callable[..., Any] = type(home.warehouse).query

        def noted(warehouse: Any, sql: str, *rest: Any, **named: Any) -> Any:
            self.asked.append(sql)
            return query(warehouse, sql, *rest, **named)

        monkeypatch.setattr(type(home.warehouse), "query", noted)
        monkeypatch.setattr(reading, "LOOK_SECONDS", 0.0)
        monkeypatch.setattr(reading, "READING_SHARE", 1e9)

    def read(self) -> FeatureColumns:
        """The columns as the lake is by now."""
        self.asked.clear()
        self.dictionaries.columns(KEY, patience=60)
        self._settle()  # the earlier columns are shown until these are there
        found = self.dictionaries.columns(KEY, patience=60)
        self._settle()
        return found

    def _settle(self) -> None:
        while self.dictionaries._reading:
            time.sleep(0.01)


def content(columns: FeatureColumns) -> str:
    """Every value of every column, as text: there no number is like no number."""
    return repr(sorted(columns.table.to_pydict().items()))


def rewritten(home: Home, scorer: str, value: float) -> None:
    rows = [{**score(feature, "max_act", scorer), "value": value} for feature in LIVE]
    write(home, SCORES, KEY, rows, scorer=scorer)


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = small_home(tmp_path)
    reader = Reader(home, tmp_path / "kept", monkeypatch)
    first = reader.read()
    assert any("FROM explanations" in sql for sql in reader.asked)
    rewritten(home, "fuzzing", 0.9)
    second = reader.read()
    assert not [sql for sql in reader.asked if "FROM explanations" in sql or "'detection'" in sql] and reader.asked
    assert second.numbers("score:fuzzing:max_act")[LIVE] == pytest.approx(0.9) and "score:fuzzing:shuffled" not in second.table.column_names
    assert second.told_state == first.told_state and second.state != first.state
    assert content(second) == content(Dictionaries(home.warehouse, tmp_path / "other").columns(KEY, patience=60))


def test_changed_explanations_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = small_home(tmp_path)
    reader = Reader(home, tmp_path / "kept", monkeypatch)
    first = reader.read()
    rows = [{**explanation(feature, "max_act", str), "explanation": f"said anew of {feature}"} for feature in LIVE]
    write(home, EXPLANATIONS, KEY, rows, explanation_method="max_act")
    second = reader.read()
    assert second.title_of(20) == "said anew of 20" and second.told_state != first.told_state
    assert content(second) == content(Dictionaries(home.warehouse, tmp_path / "other").columns(KEY, patience=60))


def test_another_start_reads_what_changed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = small_home(tmp_path)
    Reader(home, tmp_path / "kept", monkeypatch).read()
    rewritten(home, "detection", 0.8)
    reader = Reader(home, tmp_path / "kept", monkeypatch)
    assert reader.read().numbers("score:detection:max_act")[LIVE] == pytest.approx(0.8)
    assert not [sql for sql in reader.asked if "FROM explanations" in sql]
    assert len(list((tmp_path / "kept").glob("*.arrow"))) == 1
