"""`scorer_validity`: can the scorers be believed? Tests their scores on planted features, whose truth is known. Writes scorer_validity."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from interp_assets.assets.scorer_validity.comparison import CODE_VERSION, planted_records, validity_rows, validity_version, words_of
from interp_assets.config.base import fingerprint
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.planted.validity import PERTURBED, Perturbation, with_interval
from interp_assets.domain.scoring import SCORERS
from interp_assets.domain.statistics.metrics import Estimate
from interp_assets.orchestration.stage_progress import tell_begun
from interp_assets.reporting.materialisation import column_schema, interval_plot, markdown, markdown_table, path_lines
from interp_assets.reporting.small_plots import small_intervals
from interp_assets.tables import SCORER_VALIDITY
from resources.store.lake import Lake

CHECKS = {
    "scorers_tell_true_from_false": "the headline of every scorer falls when the explanation is another feature's",
    "some_score_falls_with_missing_labels": "the headline of some scorer falls when the explanation is too narrow",
    "some_score_falls_with_extra_labels": "the headline of some scorer falls when the explanation is too broad",
}
NOTHING_PLANTED = (
    "Nothing is known: no planted dictionary has been scored. `interp dictionaries --example planted` prints a record to register."
)
MARKS = {"passes": "passes", "fails": "**fails**", "cannot_tell": "cannot tell"}


@dg.asset(
    deps=[["scores", scorer.NAME] for scorer in SCORERS if "explanation" in scorer.READS],
    group_name="reports",
    kinds={"python", "parquet"},
    owners=["team:interp"],
    code_version=CODE_VERSION,
    metadata={"dagster/column_schema": column_schema(SCORER_VALIDITY.schema), "table": SCORER_VALIDITY.name},
    check_specs=[dg.AssetCheckSpec(name, asset="scorer_validity", description=text) for name, text in CHECKS.items()],
)
def scorer_validity(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.MaterializeResult:
    """Does each scorer's score fall when the explanation of a planted feature is false, too narrow or too broad (arXiv 2506.05774)?

    Over the features of every planted dictionary: means, medians, the paired difference in its interval and, in plain words,
    whether the judge behind the scorer can be believed.
    """
    tell_begun(context)
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for record in planted_records(registry):
        partition = {"dictionary": record.key}
        versions[record.key] = validity_version(lake, record, settings)
        if not lake.is_current(SCORER_VALIDITY.name, partition, versions[record.key]):
            found = validity_rows(lake, record, settings)
            lake.write(SCORER_VALIDITY.name, partition, SCORER_VALIDITY.schema, found, versions[record.key])
        rows += lake.read(SCORER_VALIDITY.name, partition).to_pylist()
    words = words_of(rows)
    passing = {(row["dictionary"], row["scorer"]) for row in _headlines(rows, "false") if row["outcome"] == "passes"}
    for key, text in words.items() if words else [((), NOTHING_PLANTED)]:
        (context.log.info if key in passing else context.log.warning)(text)
    falls = _falls(rows)
    told = "\n".join(f"* {dictionary}: {text}" for (dictionary, _), text in words.items()) or NOTHING_PLANTED
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            "in_words": markdown(told),
            "differences": markdown(small_intervals({"from true to false": falls["false"]}, *AXIS)),
            **({"differences_figure": markdown(interval_plot(falls, *AXIS))} if rows else {}),
            "by_metric": markdown(_metric_table(rows)),
            "planted_dictionaries": list(versions),
            "path_in_lake": path_lines(lake.relative_path(SCORER_VALIDITY.name, {})),
        },
        data_version=dg.DataVersion(fingerprint(versions)),
        check_results=_checks(rows, f"{_in_short(rows)}\n\n{told}" if rows else told),
    )


def _headlines(rows: Sequence[Mapping[str, Any]], perturbation: Perturbation) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["headline"] and row["perturbation"] == perturbation]


def _in_short(rows: Sequence[Mapping[str, Any]]) -> str:
    """The scorers that may be believed, by dictionary."""
    lines = []
    headlines = _headlines(rows, "false")
    for dictionary in dict.fromkeys(row["dictionary"] for row in headlines):
        passing = {row["scorer"]: row["outcome"] == "passes" for row in headlines if row["dictionary"] == dictionary}
        others = ", ".join(scorer for scorer, passes in passing.items() if not passes)
        told = f"{dictionary}: {sum(passing.values())} of {len(passing)} scorers tell true explanations from false ones"
        told += f" ({', '.join(scorer for scorer, passes in passing.items() if passes)})" if any(passing.values()) else ""
        lines.append(f"**{told}{f'; do not believe {others}' if others else ''}.**")
    return "\n\n".join(lines)


def _checks(rows: Sequence[Mapping[str, Any]], told: str) -> list[dg.AssetCheckResult]:
    """The three checks. No check passes where nothing was scored. Each check names every scorer with its numbers."""
    false = _headlines(rows, "false")
    passed = [bool(false) and all(row["outcome"] == "passes" for row in false)]
    passed += [any(row["outcome"] == "passes" for row in _headlines(rows, labels)) for labels in PERTURBED if labels != "false"]
    return [
        dg.AssetCheckResult(
            check_name=name, passed=own, severity=dg.AssetCheckSeverity.WARN, description=told,
            metadata={"numbers": markdown(_metric_table([row for row in rows if row["perturbation"] == perturbation]))},
        )
        for name, own, perturbation in zip(CHECKS, passed, PERTURBED, strict=True)
    ]  # fmt: skip


def _metric_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each metric of each scorer with its outcome under every perturbation in `rows`; headline metrics are bold."""
    perturbations = [perturbation for perturbation in PERTURBED if any(row["perturbation"] == perturbation for row in rows)]
    cells: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["dictionary"], row["scorer"], row["metric"]), {})[row["perturbation"]] = row
    lines = []
    for (dictionary, scorer, metric), own in cells.items():
        first = next(iter(own.values()))
        name = metric.replace("_", " ")
        told = [_told(own[perturbation]) if perturbation in own else "not tried" for perturbation in perturbations]
        lines.append(
            (dictionary, scorer, f"**{name}**" if first["headline"] else name, first["n_features"], _number(first["mean_true"]), *told)
        )
    header = ["dictionary", "scorer", "metric", "features", "true"]
    return markdown_table([*header, *(f"{perturbation}: mean, fall, outcome" for perturbation in perturbations)], lines)


def _told(row: Mapping[str, Any]) -> str:
    fall = with_interval(Estimate(row["difference"], row["ci_low"], row["ci_high"]))
    return ", ".join(filter(None, [_number(row["mean_perturbed"]), fall, MARKS[row["outcome"]]]))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


AXIS = ("fall of the score from the true explanation", "Planted features: does the score fall?")
"""The name of the axis of falls, and the figure's title."""


def _falls(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[str, float, float, float]]]:
    """By perturbation (scorer, fall, low, high): how far the headline metric of each scorer falls, with its interval."""
    dictionaries = {row["dictionary"] for row in rows}
    return {
        perturbation: [
            (
                row["scorer"] if len(dictionaries) < 2 else f"{row['scorer']}, {row['dictionary']}",
                row["difference"], row["ci_low"], row["ci_high"],
            )
            for row in _headlines(rows, perturbation)
            if row["difference"] is not None and row["ci_low"] is not None
        ]
        for perturbation in PERTURBED
    }  # fmt: skip
