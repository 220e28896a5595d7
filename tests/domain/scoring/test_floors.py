"""A judge that reads nothing scores at the printed floor, in every cell of `benchmarks/floors.py`, by a small simulation."""

import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[3] / "benchmarks" / "floors.py"
_SPEC = importlib.util.spec_from_file_location("benchmark_of_floors", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
floors = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(floors)


@pytest.mark.parametrize("cell", floors.GRID)
def test_the_score_of_random_answers_is_the_floor(cell: str) -> None:
    floor, score, error = floors.simulate(cell, 80, seed=4)
    assert score < floor + 3.5 * error + 0.01
    assert score > floor - 3.5 * error - 0.01 or cell.startswith("simulation")  # whose floor allows for knowing the places of peaks
