"""The text of the report on human correlation, for the Markdown in the UI and for the HTML page on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interp_assets.assets.human_correlation_report.correlations import RatedScores
from interp_assets.assets.human_correlation_report.figures import Figure, headline_rows, measured, with_interval
from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.domain.ratings.human_correlation import (
    PUBLISHED_CONTEXTS,
    PUBLISHED_EXPLANATIONS,
    PUBLISHED_SPEARMAN,
    STATISTICS,
    CorrelationReport,
    CorrelationSettings,
)
from interp_assets.domain.ratings.scorer_pairs import ranking
from interp_assets.domain.statistics.power import FORMULA, items_needed, smallest_detectable_spearman
from interp_assets.domain.statistics.rank_correlation import LEAST_FEATURES
from interp_assets.reporting.materialisation import markdown_table
from interp_assets.reporting.pages import page
from resources.store.whole_files import write_whole

NEXT_STEPS = (
    "interp ratings template --dictionary KEY --n 80 --out rating-task   # a page to rate in, and its task as a CSV",
    "interp ratings import FILE                                          # the file that the page saved, or any CSV",
    "dg launch --assets human_ratings,human_correlation_report           # or materialise both in the UI",
)
PLAIN = {
    "too_few_contexts": "rated in too few contexts (see human_correlations: {min_contexts: …} in settings.yaml)",
    "baseline": "of a baseline (shuffled or constant), which would make any scorer look good",
    "not_scored": "not scored by any scorer",
}
NOTES = (
    "Spearman, Pearson and Kendall's τ-b are between a scorer's headline score of an explanation and the mean of its ratings, each rating "
    "moved to a scale from 0 to 1; raters are averaged within a context first, then contexts.",
    "Scorers are listed by name. The place of a scorer is the range of ranks that the paired differences with other scorers leave open.",
    "Intervals are 95 % percentile bootstraps that draw whole features, so that several explanations of one feature do not count as "
    "independent. Differences of two scorers use the same draws for both.",
    "The corrected correlation is Spearman's divided by the square root of the reliability of the mean rating (Spearman–Brown from "
    "interval α): the correlation with infinitely many raters of this kind. It does not correct for a scorer's noise, and may exceed 1.",
    "Partial correlations hold the layer or the dictionary constant: explanations are compared only within one layer or dictionary.",
    "Published values: arXiv 2410.13928, Spearman over "
    f"{PUBLISHED_EXPLANATIONS} explanations and {PUBLISHED_CONTEXTS} contexts. Other models, raters and features: look at the intervals.",
)


@dataclass(frozen=True)
class TableText:
    """A table as text."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ReportText:
    """The text of the report. `next_steps` are commands to run first; empty where there is nothing to do first."""

    title: str
    warning: str
    rests_on: tuple[str, ...]
    ranking: str
    differences: tuple[str, ...]
    tables: tuple[TableText, ...]
    notes: tuple[str, ...]
    next_steps: tuple[str, ...]


def ratings_by(rated: RatedScores) -> str:
    """Who gave the ratings, in words: generated ratings are never called people's."""
    return "people" if rated.rater_kind == "human" else "a generator"


def report_text(rated: RatedScores, report: CorrelationReport, settings: CorrelationSettings) -> ReportText:
    """The text of the report, for any state of the ratings from none at all to a full study."""
    if not rated.ratings:
        return ReportText(
            "How scorers agree with people",
            "",
            ("There are no ratings yet, so nothing is known here about whether any scorer agrees with people.", _study_size()),
            "", (), (), (), NEXT_STEPS,
        )  # fmt: skip
    generated = rated.rater_kind == "generated"
    order, differences = ranking(report.pairs)
    return ReportText(
        "Rehearsal on generated ratings" if generated else "How scorers agree with people",
        "These ratings were generated: nobody rated anything, and nothing here is about people." if generated else "",
        (_rests_on(rated), *_left_out(rated), *_power(report, settings)),
        order,
        tuple(differences),
        (_correlation_table(report), _pair_table(report), _agreement_table(report), *_group_tables(report)),
        NOTES,
        NEXT_STEPS if generated or not headline_rows(report) else (),
    )


def _study_size() -> str:
    return (
        f"A study like the published one ({PUBLISHED_EXPLANATIONS} explanations, {PUBLISHED_CONTEXTS} contexts) shows correlations from "
        f"{smallest_detectable_spearman(PUBLISHED_EXPLANATIONS):.2f} with probability 0.8. A "
        f"correlation of 0.5 takes {items_needed(0.5)} features."
    )


def _rests_on(rated: RatedScores) -> str:
    contexts = {(rating.dictionary, rating.feature, rating.context) for rating in rated.ratings if rating.context is not None}
    features = {(one.dictionary, one.feature) for one in rated.explanations}
    dictionaries = {one.dictionary for one in rated.explanations}
    raters = {rating.rater for rating in rated.ratings}
    where = f"in {_count(len(contexts), 'context')}" if contexts else "each rated as a whole"
    scales = sorted({(rating.scale_min, rating.scale_max) for rating in rated.ratings})
    return (
        f"{_count(len(rated.ratings), 'rating')} by {_count(len(raters), 'rater')} of "
        f"{_count(len(rated.explanations), 'explanation')} of {_count(len(features), 'feature')} in "
        f"{_count(len(dictionaries), 'dictionary', 'dictionaries')}, "
        f"{where}, on "
        f"{'the scale' if len(scales) == 1 else 'the scales'} {', '.join(f'{low:g} to {high:g}' for low, high in scales)}."
    )


def _left_out(rated: RatedScores) -> list[str]:
    counts = rated.outcome_counts
    said = [
        f"{_count(counts[outcome], 'explanation')} {why}: left out of the correlations."
        for outcome, why in PLAIN.items()
        if counts[outcome]
    ]
    if rated.n_of_other_kinds:
        said.append(f"{_count(rated.n_of_other_kinds, 'generated rating')} left out: people did not give them.")
    return said


def _power(report: CorrelationReport, settings: CorrelationSettings) -> list[str]:
    n = max((row.n_features for row in report.correlations if row.scope == "all"), default=0)
    if n < LEAST_FEATURES:
        return [f"{_count(n, 'rated feature')} with scores: no correlation is given below {LEAST_FEATURES}. {_study_size()}"]
    detectable = smallest_detectable_spearman(n)
    return [
        f"With {n} features a Spearman correlation of {detectable:.2f} or more would have been found with probability 0.8; a smaller one "
        f"would more likely have been missed: {FORMULA}. {settings.n_bootstrap:,} bootstrap replicates."
    ]


def _correlation_table(report: CorrelationReport) -> TableText:
    rows = [row for row in report.correlations if row.scope == "all"]
    by_scorer = {(row.scorer, row.statistic): row for row in rows}
    lines = []
    for scorer in sorted({row.scorer for row in rows}):
        first = by_scorer[scorer, STATISTICS[0]]
        cells = [
            with_interval(by_scorer[scorer, name].estimate) or by_scorer[scorer, name].outcome.replace("_", " ") for name in STATISTICS
        ]
        published = PUBLISHED_SPEARMAN.get(scorer)
        open_places = sorted({place for place in (first.place_low, first.place_high) if place is not None})
        place = " to ".join(map(str, open_places))
        lines.append((scorer, *cells, "" if published is None else f"{published:.2f}", f"{first.n_items} / {first.n_features}", place))
    names = ("Spearman", "Pearson", "Kendall τ-b", "corrected", "partial, layer", "partial, dictionary")
    header = ("scorer", *names, "published", "n / features", "place")
    return TableText(
        "Correlation of each scorer with the mean rating; its place among the scorers, as far as the data decide it", header, tuple(lines)
    )


def _pair_table(report: CorrelationReport) -> TableText:
    lines = [
        (
            pair.scorer, pair.other, with_interval(pair.between) or pair.outcome.replace("_", " "), with_interval(pair.difference),
            "" if pair.p is None else f"{pair.p:.4f}", "" if pair.p_adjusted is None else f"{pair.p_adjusted:.3f}",
            "yes" if pair.differ else "no", "" if pair.smallest_detectable is None else f"{pair.smallest_detectable:.2f}",
            str(pair.n_items),
        )
        for pair in sorted(report.pairs, key=lambda pair: (1.0 if pair.p is None else pair.p, pair.scorer, pair.other))
    ]  # fmt: skip
    header = ("scorer", "other", "with each other", "difference to the ratings", "p", "adjusted", "differ", "detectable", "n")
    return TableText("Every two scorers: how they correlate, and by how much the first is nearer to the ratings", header, tuple(lines))


def _agreement_table(report: CorrelationReport) -> TableText:
    lines = [
        (
            measured(row.measure), row.rater or "all",
            with_interval(row.estimate) or row.outcome.replace("_", " "), str(row.n_raters), str(row.n_units), str(row.n_ratings),
        )
        for row in report.agreement
    ]  # fmt: skip
    header = ("measure", "rater", "value", "raters", "explanations", "raters' means")
    return TableText("How far the raters agree", header, tuple(lines))


def _group_tables(report: CorrelationReport) -> list[TableText]:
    tables = []
    for kind in ("layer", "dictionary"):
        rows = [row for row in report.correlations if row.scope == kind and row.statistic == STATISTICS[0]]
        if len({row.scope_value for row in rows}) > 1:
            lines = [
                (
                    row.scope_value,
                    row.scorer,
                    with_interval(row.estimate) or row.outcome.replace("_", " "),
                    f"{row.n_items} / {row.n_features}",
                )
                for row in rows
            ]
            tables.append(TableText(f"Spearman correlation by {kind}", (kind, "scorer", "Spearman", "n / features"), tuple(lines)))
    return tables


def report_markdown(text: ReportText, figures: Sequence[Figure], path: Path) -> str:
    """The report as Markdown, its figures within. `path` is the page's place in the home."""
    parts = [
        f"**{text.warning}**" if text.warning else "",
        *map(escape_markdown, text.rests_on),
        f"**{escape_markdown(text.ranking)}**" if text.ranking else "",
    ]
    parts += ["\n".join(f"- {escape_markdown(line)}" for line in text.differences)]
    parts += ["```\n" + "\n".join(text.next_steps) + "\n```"] if text.next_steps else []
    parts += [f"{figure.markdown}\n\n{escape_markdown(figure.caption)}" for figure in figures]
    for table in text.tables:
        rows = [[escape_markdown(cell) for cell in row] for row in table.rows]
        parts.append(f"**{escape_markdown(table.caption)}**\n\n{markdown_table(table.header, rows)}")
    parts += [
        "\n".join(f"- {escape_markdown(note)}" for note in text.notes),
        f"The report as one page, and every figure as PDF, in the home: `{path}`",
    ]
    return "\n\n".join(part for part in parts if part)


def write_page(text: ReportText, figures: Sequence[Figure], folder: Path, data_version: str) -> Path:
    """Write the page and, as PDF, its figures into `folder`; return the path of the page. Figures of earlier pages are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.pdf"):
        old.unlink()
    for figure in figures:
        (folder / f"{figure.name}.pdf").write_bytes(figure.pdf)
    path = folder / "index.html"
    write_whole(path, page("human_correlations.html", text=text, figures=figures, data_version=data_version))
    return path


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
