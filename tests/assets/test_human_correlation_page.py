"""What the report says, from nothing to a full study; and that its page stands on its own."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from interp_assets.assets.human_correlation_report.correlations import RatedScores
from interp_assets.assets.human_correlation_report.figures import Figure, figures, with_interval
from interp_assets.assets.human_correlation_report.page import ReportText, ratings_by, report_markdown, report_text, write_page
from interp_assets.domain.ratings.human_correlation import CorrelationReport, CorrelationSettings, correlation_report
from interp_assets.domain.ratings.ratings import Explained, Place, Rating, rated_explanations
from interp_assets.domain.statistics.metrics import UNDEFINED, Estimate

SETTINGS = CorrelationSettings(n_bootstrap=200, min_contexts=1)


def rated(n: int = 40, kind: str = "human", outcome: str = "ok", n_layers: int = 2) -> RatedScores:
    """n features rated by two, scored by a scorer that follows the ratings, one that does not, and one of a name that HTML reads."""
    rng = np.random.default_rng(0)
    ratings, quality = [], {}
    for feature in range(n):
        quality[feature] = float(rng.uniform(1, 4))
        explained = Explained(f"{feature:012d}", f"<b>words</b> & such {feature}", ("max_act",))
        for rater in ("ada", "bob"):
            value = float(np.clip(round(quality[feature] + rng.normal(0, 0.4)), 1, 4))
            ratings.append(
                Rating(rater, kind, f"m/0{feature % n_layers}/d", feature, explained, "w", 1, 4, value, None, None, Place("r.csv", 2))
            )
    explanations = rated_explanations(ratings, 1)
    scores = [
        {"fuzzing": quality[one.feature] + float(rng.normal(0, 0.3)), "embedding": float(rng.normal()), "<script>": float(rng.normal())}
        for one in explanations
    ]
    return RatedScores(kind, tuple(ratings), tuple(explanations), (outcome,) * n, tuple(scores), 0)


def made(study: RatedScores) -> tuple[ReportText, list[Figure], CorrelationReport]:
    report = correlation_report(study.items, SETTINGS)
    return report_text(study, report, SETTINGS), figures(study.items, report, ratings_by(study)), report


@pytest.fixture(scope="module")
def full() -> tuple[ReportText, list[Figure], CorrelationReport]:
    return made(rated())


def all_of(text: ReportText) -> str:
    tables = [cell for table in text.tables for row in (table.header, *table.rows) for cell in (table.caption, *row)]
    return "\n".join([text.title, text.warning, *text.rests_on, text.ranking, *text.differences, *tables, *text.notes, *text.next_steps])


def test_without_ratings_it_says_what_to_do_next(tmp_path: Path) -> None:
    text, drawn, _ = made(RatedScores("human", (), (), (), (), 0))
    assert "There are no ratings yet" in text.rests_on[0] and text.next_steps[0].startswith("interp ratings template")
    assert text.tables == () and text.ranking == "" and drawn == []
    content = write_page(text, drawn, tmp_path, "v").read_text()
    assert "What to do next" in content and "<img" not in content and "interp ratings import FILE" in content


def test_it_says_what_it_rests_on_and_what_it_could_have_found(full: tuple) -> None:
    text, _, _ = full
    assert (
        text.rests_on[0]
        == "80 ratings by 2 raters of 40 explanations of 40 features in 2 dictionaries, in 40 contexts, on the scale 1 to 4."
    )
    assert "With 40 features a Spearman correlation of 0.44 or more would have been found with probability 0.8" in text.rests_on[1]
    assert "√(1.06 / (n − 3))" in text.rests_on[1] and "200 bootstrap replicates" in text.rests_on[1]
    assert text.warning == "" and text.next_steps == ()


def test_the_table_has_each_scorer_beside_the_published_value_and_its_place(full: tuple) -> None:
    text, _, report = full
    rows = {row[0]: row for row in text.tables[0].rows}
    value = next(r for r in report.correlations if r.scorer == "fuzzing" and r.statistic == "spearman" and r.scope == "all")
    assert rows["fuzzing"][1] == with_interval(value.estimate) and rows["fuzzing"][-3:] == ("0.69", "40 / 40", "1")
    assert rows["embedding"][-3] == "0.32" and rows["<script>"][-3] == "" and rows["embedding"][-1] == "2 to 3"
    assert "fuzzing agrees with the ratings more than embedding" in " ".join(text.differences)
    assert [table.caption for table in text.tables[3:]] == ["Spearman correlation by layer", "Spearman correlation by dictionary"]


def test_generated_ratings_are_never_called_peoples() -> None:
    text, drawn, _ = made(rated(kind="generated"))
    said = all_of(text) + "".join(figure.caption for figure in drawn)
    assert text.title == "Rehearsal on generated ratings" and "nobody rated anything" in text.warning and text.next_steps
    assert "human" not in re.sub(r"human_\w+", "", said) and said.count("people") == 1  # where it says that this is about nobody


def test_what_is_left_out_is_counted_with_its_reason() -> None:
    text, drawn, _ = made(rated(outcome="too_few_contexts"))
    assert (
        "40 explanations rated in too few contexts (see human_correlations: {min_contexts: …} in settings.yaml): left out"
        in text.rests_on[1]
    )
    assert "0 rated features with scores: no correlation is given below 10" in text.rests_on[-1] and drawn == [] and text.next_steps
    assert "of a baseline (shuffled or constant)" in " ".join(made(rated(outcome="baseline"))[0].rests_on)
    study = rated()
    both = RatedScores("human", study.ratings, study.explanations, study.outcomes, study.scores, 7)
    text = report_text(both, correlation_report([], SETTINGS), SETTINGS)
    assert "7 generated ratings left out: people did not give them." in text.rests_on


def test_figures_for_everything_that_there_is(full: tuple) -> None:
    _, drawn, _ = full
    assert [figure.name for figure in drawn] == ["forest", "scatter", "matrix", "agreement", "by_layer", "by_dictionary"]
    assert all(f.svg.startswith(b"<?xml") and f.pdf.startswith(b"%PDF") and f.png.startswith(b"\x89PNG") and f.caption for f in drawn)
    assert [figure.name for figure in made(rated(n_layers=1))[1]] == ["forest", "scatter", "matrix", "agreement"]


def test_figures_are_the_same_bytes_each_time(full: tuple) -> None:
    assert made(rated())[1] == full[1]


def test_the_page_stands_on_its_own_and_escapes_what_it_shows(full: tuple, tmp_path: Path) -> None:
    text, drawn, _ = full
    (tmp_path / "old.pdf").write_bytes(b"of an earlier report")
    path = write_page(text, drawn, tmp_path, "v1")
    content = path.read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', content)
    assert len(sources) == 6 and all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert base64.b64decode(sources[0].split(",")[1]) == drawn[0].svg
    outside = re.sub(r"data:[^\"]*", "", content)
    assert "http" not in outside and "@import" not in outside and "url(" not in outside
    assert "&lt;script&gt;" in content and "<script" not in content and "data version v1" in content
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["index.html", *(f"{figure.name}.pdf" for figure in drawn)])


def test_markdown_holds_the_same(full: tuple) -> None:
    text, drawn, _ = full
    content = report_markdown(text, drawn, Path("page.html"))
    assert content.count("data:image/png;base64,") == 6 and "`page.html`" in content and "80 ratings by 2 raters" in content
    assert "**Correlation of each scorer" in content and "| fuzzing |" in content and "<script>" not in content


def test_intervals_as_text() -> None:
    assert with_interval(Estimate(0.523, 0.3, 0.681)) == "0.52 [0.30, 0.68]" and with_interval(UNDEFINED) == ""
    assert with_interval(Estimate(0.5, None, None)) == "0.50"
