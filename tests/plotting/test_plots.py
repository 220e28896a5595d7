"""Every plot over made-up scores: what is drawn stands beside it, and the caption says n, interval and judge."""

import csv
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

from interp_assets.assets.warehouse.views import view_files
from interp_assets.cli.main import PlotName
from interp_assets.config.base import UserError
from interp_assets.plotting import PLOTS, Plot, layers, scores
from interp_assets.plotting.drawing import broken, legend_below, name_rows, panels, point, title
from interp_assets.plotting.figure import Asked, Figure, Query, rounded, short_names, span, write_figure
from interp_assets.plotting.layers import layer_places
from interp_assets.tables import SCORE_VARIANCES

SAE, LATER, NEURONS = "m/09/res", "m/11/res", "m/09/neurons"
SCORERS = {"detection": ("balanced_accuracy", 0.5, "qwen"), "clarity": ("gini", None, ""), "embedding": ("auroc", 0.5, "minilm")}
METHODS = {"max_act": 0.3, "vocab_proj": 0.1, "shuffled": 0.0, "shuffled_vocab_proj": 0.05}
VIEWS = (
    "lift_over_shuffled",
    "scores_by_method",
    "leaderboard",
    "scores_by_layer",
    "against_controls",
    "scorers_against_people",
    "score_stability",
)
NUMBERS = {
    "scores": "SELECT count(*) FROM scores_by_method WHERE headline AND dictionary = 'm/09/res'",
    "methods": "SELECT count(*) FROM leaderboard WHERE dictionary = 'm/09/res' AND explanation_method IN ('max_act', 'vocab_proj')",
    "layers": "SELECT count(*) FROM scores_by_layer WHERE kind = 'sae_lens'",
    "controls": "SELECT count(*) FROM against_controls WHERE dictionary = 'm/09/res' AND headline",
    "correlations": "SELECT count(*) FROM human_correlations WHERE scope = 'dictionary'",
    "stability": "SELECT count(*) FROM score_variances WHERE dictionary = 'm/09/res'",
}


KEYS = ("dictionary", "scorer", "explanation_method", "judge")


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Tables as the warehouse has them, over twelve features of three dictionaries."""
    rng = np.random.default_rng(0)
    values_of, trials = [], []
    for dictionary in (SAE, LATER, NEURONS):
        for scorer, (metric, floor, judge) in SCORERS.items():
            trials.append((dictionary, scorer, judge))
            for method, lift in METHODS.items():
                values = [None if f == 11 else float((floor or 0) + lift + rng.normal(0, 0.05)) for f in range(12)]
                values_of += [(dictionary, scorer, metric, method, f, v, floor, True, None, 0) for f, v in enumerate(values)]
        values_of += [(dictionary, "intruder", "accuracy", "none", f, f / 12, 0.2, True, None, 0) for f in range(12)]
        trials.append((dictionary, "intruder", "qwen"))
    kinds = [
        (SAE, "m", "09", "sae_lens", "h", None),
        (LATER, "m", "11", "sae_lens", "h", None),
        (NEURONS, "m", "09", "topk_neurons", "h", None),
    ]
    people = [
        ("human", scope, value, scorer, "spearman", 0.5, 0.2, 0.7, 40, 20, 0.4, 1, 2, "ok")
        for scope, value in (("all", ""), ("dictionary", SAE))
        for scorer in SCORERS
    ]
    variances = [
        (dictionary, scorer, "max_act", judge, metric, 50, 0, 2, 2, 2, 200.0, 0.7, 0.02, 0.01, 0.006, 0.004, 0.5, 0.4, 0.6, 0.5, 0.3, 0.1,
         *(0.01, -0.02, 0.04), 300, 0.05, 0.03, 0.05, 120, 60, 250, None, "words", "methods_only")
        for dictionary in (SAE, LATER, NEURONS) for scorer, (metric, _, judge) in SCORERS.items()
    ]  # fmt: skip
    tables = {
        "scores": (values_of, [
            "dictionary", "scorer", "metric", "explanation_method", "feature", "value", "floor", "headline", "stratum", "n_unanswered",
        ]),
        "trials": (trials, ["dictionary", "scorer", "model"]),
        "dictionaries": (kinds, ["dictionary", "model", "layer", "kind", "hook", "control"]),
        "score_variances": (variances, [
            "dictionary", "scorer", "explanation_method", "judge", *[name for name in SCORE_VARIANCES.schema.names if name not in KEYS],
        ]),
        "human_correlations": (people, [
            "rater_kind", "scope", "scope_value", "scorer", "statistic", "value", "ci_low", "ci_high", "n_explanations", "n_features",
            "smallest_detectable", "place_low", "place_high", "outcome",
        ]),
    }  # fmt: skip
    with duckdb.connect() as made:
        for name, (rows, columns) in tables.items():
            made.register(
                "rows", pl.DataFrame(rows, columns, orient="row", schema_overrides={"stratum": pl.Int8, "control": pl.String}).to_arrow()
            )
            made.execute(f"CREATE TABLE {name} AS SELECT * FROM rows")
        made.execute("ALTER TABLE scores ADD COLUMN deals STRUCT(donor_feature UINTEGER, value DOUBLE)[]")
        for view in VIEWS:
            made.execute(f"CREATE VIEW {view} AS {view_files()[view].read_text()}")
        yield made


@pytest.fixture
def query(connection: duckdb.DuckDBPyConnection) -> Query:
    return lambda sql: pl.DataFrame(connection.sql(sql).to_arrow_table())


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.NAME)
def test_a_plot_has_its_numbers_beside_it(plot: Plot, query: Query, connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    figure = plot.figure(query, Asked((SAE,)))
    numbers, caption = write_figure(figure, tmp_path / "fig.svg")
    lines = list(csv.DictReader(numbers.read_text().splitlines()))
    assert len(lines) == connection.execute(NUMBERS[plot.NAME]).fetchall()[0][0] > 0
    text = caption.read_text()
    assert "n = " in text and "95 %" in text and "Judge: minilm (embedding); qwen (detection" in text
    assert "no judge is asked by clarity" in text
    svg = (tmp_path / "fig.svg").read_bytes()
    assert svg.startswith(b"<?xml") and b"<image" not in svg and b"nan" not in svg.lower().split(b"</metadata>")[1]
    write_figure(plot.figure(query, Asked((SAE,))), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == svg


@pytest.mark.filterwarnings("error::UserWarning")
def test_several_dictionaries_scorers_and_methods_and_every_form(query: Query, tmp_path: Path) -> None:
    starts = {"pdf": b"%PDF", "png": b"\x89PNG"}
    for plot in PLOTS:
        asked = Asked((SAE, NEURONS, LATER), ("detection", "clarity"), ("max_act",)) if plot.NAME != "correlations" else Asked()
        figure = plot.figure(query, asked)
        assert set(figure.numbers["scorer"]) == ({"detection", "clarity"} if plot.NAME != "correlations" else set(SCORERS))
        for form, start in starts.items() if plot.NAME == "scores" else (("pdf", b"%PDF"),):
            write_figure(figure, tmp_path / f"{plot.NAME}.{form}")
            assert (tmp_path / f"{plot.NAME}.{form}").read_bytes().startswith(start)


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.NAME)
def test_nothing_to_plot_is_said(plot: Plot, query: Query) -> None:
    with pytest.raises(UserError, match=r"^nothing to plot of m/00/o'hara, and nothing was written: the figure needs [a-z]"):
        plot.figure(query, Asked(("m/00/o'hara",)))


def test_the_command_knows_every_plot() -> None:
    assert [plot.NAME for plot in PLOTS] == [name.value for name in PlotName] == list(NUMBERS)


def test_counts_and_layers_in_order() -> None:
    assert (span([5, 5]), span([1200, 7])) == ("n = 5", "n = 7 to 1,200")
    assert short_names(["m/1/a", "m/2/b"]) == {"m/1/a": "a", "m/2/b": "b"}
    assert short_names(["m/1/a", "m/2/a"]) == {"m/1/a": "1/a", "m/2/a": "2/a"}
    assert short_names(["m/1/a", "n/1/a"]) == {"m/1/a": "m/1/a", "n/1/a": "n/1/a"}
    assert layer_places(["10", "9", "embed", "09", "9"]) == ["09", "9", "10", "embed"]


def test_numbers_do_not_tell_which_thread_added_first() -> None:
    one, other = (rounded(pl.DataFrame({"mean": [value], "n": [3]})) for value in (0.6583870967741935, 0.6583870967741937))
    assert one.equals(other) and one["mean"].item() == 0.658387096774


def test_no_style_or_backend_of_the_user_changes_a_figure(query: Query, tmp_path: Path) -> None:
    figure = PLOTS[0].figure(query, Asked((SAE,)))
    write_figure(figure, tmp_path / "own.svg")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 20\naxes.facecolor: yellow\nsvg.fonttype: none\n")
    program = (
        "import pickle, sys, polars as pl\nfrom pathlib import Path\n"
        "from interp_assets.plotting import scores\nfrom interp_assets.plotting.figure import Asked, write_figure\n"
        "answers = pickle.loads(Path('answers.pkl').read_bytes())\n"
        "write_figure(scores.figure(lambda sql: answers[sql], Asked(('m/09/res',))), Path('other.svg'))"
    )
    answers: dict[str, pl.DataFrame] = {}
    scores.figure(lambda sql: answers.setdefault(sql, query(sql)), Asked((SAE,)))
    (tmp_path / "answers.pkl").write_bytes(pickle.dumps(answers))
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "MPLBACKEND": "bogus", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    environment.pop("DISPLAY", None)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "other.svg").read_bytes() == (tmp_path / "own.svg").read_bytes()


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("res-2k", "res-2k"),
        ("", ""),
        ("smollm2-135m/09/mlp-neurons-top32", "smollm2-135m/09/mlp-\nneurons-top32"),
        ("x" * 45, "x" * 20 + "\n" + "x" * 20 + "\nxxxxx"),
        ("a b " * 40, "a b a b a b a b a b\n" * 2 + "a b a b a b a b a b…"),
    ],
)
def test_long_names_are_broken(name: str, lines: str) -> None:
    assert broken(name, 20) == lines


@pytest.mark.filterwarnings("error::UserWarning")
def test_names_are_no_mathematics_and_fonts_are_whole(tmp_path: Path) -> None:
    def draw() -> Any:
        drawn, axes = panels(["scores"], [3])
        title(axes[0], "scores of $res_2k$ and a^b")
        point(axes[0], 0, 0.5, None, None, 0, "a$b$c_{d")
        point(axes[0], 1, float("nan"), None, None, 1, "never")
        name_rows(axes, [["$x$ & <y>", "a-row/with_a-name/" + "that-is-long/" * 20, "x" * 200]])
        legend_below(drawn, axes)
        return drawn

    figure = Figure("c", pl.DataFrame({"a": [1]}), draw)
    write_figure(figure, tmp_path / "names.svg")
    assert "<!-- scores of $res_2k$ and a^b -->" in (tmp_path / "names.svg").read_text()
    write_figure(figure, tmp_path / "names.pdf")
    content = (tmp_path / "names.pdf").read_bytes()
    assert b"/Type3" not in content and b"/FontFile2" in content  # journals refuse fonts of type 3


def test_series_of_a_single_layer_stand_side_by_side(query: Query) -> None:
    drawn = layers.figure(query, Asked((NEURONS,), ("detection",))).draw()
    places = [line.get_xdata()[0] for line in drawn.axes[0].lines if line.get_marker() not in ("None", "")]
    plt.close(drawn)
    assert len(places) == len(set(places)) == len(METHODS)
