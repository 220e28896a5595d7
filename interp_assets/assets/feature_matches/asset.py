"""`feature_matches`: the feature of another dictionary that is most like each feature. Writes the table feature_matches."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.assets.feature_matches.matching import (
    ASSIGNMENTS,
    ONE_TO_ONE,
    asked_matches,
    compare_explanations,
    match_pair,
    match_rows,
    read_explained,
)
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.measuring.loaded_models import EncoderOnDemand, loaded_encoder
from interp_assets.orchestration.dictionary_run import DictionaryRun
from interp_assets.orchestration.partitions import SUBJECT_POOL
from interp_assets.orchestration.stage_assets import dictionary_asset
from interp_assets.orchestration.versions import MATCHES_CODE_VERSION
from interp_assets.reporting.histograms import distribution_plot
from interp_assets.reporting.materialisation import markdown, markdown_table, path_lines
from interp_assets.tables import FEATURE_MATCHES
from resources.model_provider import ModelProvider
from resources.store.lake import Lake

ROW_GROUP_ROWS = 65_536
PREVIEWED = 10
ALIKE = 0.7
NOT_ASKED = "not matched: `stages: {matching: {with: [another dictionary]}}` asks for it"


@dictionary_asset(
    FEATURE_MATCHES,
    deps=[["explanations", method] for method in METHODS],
    group_name="matches",
    kinds={"python", "pytorch", "parquet"},
    pool=SUBJECT_POOL,
    code_version=MATCHES_CODE_VERSION,
    check_specs=[
        dg.AssetCheckSpec("every_feature_has_both_assignments", asset="feature_matches", blocking=True),
        dg.AssetCheckSpec("matches_are_one_to_one_and_cosines_in_range", asset="feature_matches", blocking=True),
        dg.AssetCheckSpec("both_dictionaries_are_explained", asset="feature_matches", description="by every method that both ask for"),
    ],
)
def feature_matches(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.MaterializeResult:
    """Features of other dictionaries that write the same direction, such as features of the next layer (arXiv 2410.13928, first version).

    Matches are by cosine of the decoder rows: the nearest features, and one-to-one matches with the largest total cosine. The explanations
    of matched features are compared by cosine, with the explanation of a random feature as the control. Costs nothing unless `matching:
    {with: […]}` names dictionaries.
    """
    run = DictionaryRun(context)
    faults: dict[str, list[str]] = {"incomplete": [], "unsound": [], "unexplained": []}
    with loaded_encoder(models, settings.sentence_encoder) as encoder:
        for key in run.keys:
            with run.failing_alone(key):
                record = registry.get(key)
                asked = asked_matches(lake, registry, settings, record, lambda: encoder().revision)
                others, version = asked.others, asked.data_version
                run.versions[key] = version
                partition, started = {"dictionary": key}, time.monotonic()
                kept = lake.is_current(FEATURE_MATCHES.name, partition, version)
                if not kept:
                    tables = _tables(lake, models, settings, record, others, encoder, context.log)
                    lake.write(
                        FEATURE_MATCHES.name, partition, FEATURE_MATCHES.schema, tables, version, asked.explanations,
                        row_group_rows=ROW_GROUP_ROWS,
                    )  # fmt: skip
                rows = lake.read(FEATURE_MATCHES.name, partition)
                for name, lines in _faults(record, others, rows).items():
                    faults[name] += lines
                seconds = {} if kept else {"seconds": round(time.monotonic() - started, 2)}
                run.report(key, {**_report(lake, record, others, rows), **seconds, "kept_from_an_earlier_run": kept})
    return run.result(
        [
            _check("every_feature_has_both_assignments", faults["incomplete"], dg.AssetCheckSeverity.ERROR),
            _check("matches_are_one_to_one_and_cosines_in_range", faults["unsound"], dg.AssetCheckSeverity.ERROR),
            _check("both_dictionaries_are_explained", faults["unexplained"], dg.AssetCheckSeverity.WARN),
        ]
    )


def _check(name: str, lines: list[str], severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(check_name=name, passed=not lines, severity=severity, metadata={"found": lines})


def _tables(
    lake: Lake,
    models: ModelProvider,
    settings: PlatformSettings,
    record: DictionaryRecord,
    others: Sequence[DictionaryRecord],
    encoder: EncoderOnDemand,
    log: dg.DagsterLogManager,
) -> Iterator[pa.Table]:
    """The rows of one dictionary, yielded for each other dictionary in turn."""
    stages = settings.stage_settings(record.stages)
    for other in others:
        started = time.monotonic()
        matches = match_pair(models, record, other, stages.matching.n_nearest)
        theirs = settings.stage_settings(other.stages).explanations
        methods = [method for method in stages.explanations if method in theirs]
        compared = compare_explanations(lake, record, other, methods, matches, lambda texts: encoder().embed(texts), stages.seed)
        log.info(
            f"{record.key}: matched {len(record.selected_features):,} features with {len(other.selected_features):,} of {other.key}, "
            f"explanations by {', '.join(methods) or 'no method of both'}, in {time.monotonic() - started:.1f} s"
        )
        yield match_rows(record, other, matches, compared)


def _faults(record: DictionaryRecord, others: Sequence[DictionaryRecord], rows: pa.Table) -> dict[str, list[str]]:
    """Lines on faults, by check. `unexplained` names methods that the other dictionary asks for and has no explanations of yet."""
    found: dict[str, list[str]] = {"incomplete": [], "unsound": [], "unexplained": []}
    for other in others:
        pair = rows.filter(pc.equal(rows.column("other_dictionary"), other.key))
        assignment, rank = (pair.column(name).to_numpy() for name in ("assignment", "rank"))
        feature, ok = pair.column("feature").to_numpy(), np.asarray(pc.equal(pair.column("outcome"), "ok"))
        name = f"{record.key} with {other.key}"
        found["incomplete"] += [
            f"{name}: {kind}"
            for kind in ASSIGNMENTS
            if not np.array_equal(np.sort(feature[(rank == 0) & (assignment == kind)]), record.selected_features)
        ]
        partner = pair.column("matched_feature").to_numpy()[ok & (assignment == ONE_TO_ONE)]
        if len(np.unique(partner)) < len(partner):
            found["unsound"].append(f"{name}: {len(partner) - len(np.unique(partner))} features of the other dictionary are matched twice")
        cosine = pair.column("cosine").to_numpy()[ok]
        if (np.abs(cosine) > 1.001).any():
            found["unsound"].append(f"{name}: {int((np.abs(cosine) > 1.001).sum())} cosines out of range")
        entries = pc.list_flatten(pair.column("explanations"))
        not_made = entries.filter(pc.equal(pc.struct_field(entries, "outcome"), "not_made"))
        methods = sorted(set(pc.struct_field(not_made, "explanation_method").to_pylist()))
        found["unexplained"] += [f"{other.key} has no {method} explanations yet: make them, then the matches again" for method in methods]
    return found


def _report(lake: Lake, record: DictionaryRecord, others: Sequence[DictionaryRecord], rows: pa.Table) -> dict[str, Any]:
    """Counts, similarities of matched features and of their explanations, and some matches with the explanations of both features."""
    if not others:
        return {"dagster/partition_row_count": 0, "preview": markdown(f"*{NOT_ASKED}*")}
    first = rows.filter(pc.equal(rows.column("rank"), 0)).select(
        ["feature", "other_dictionary", "assignment", "matched_feature", "cosine", "outcome"]
    )
    outcomes = Counter(zip(first.column("assignment").to_pylist(), first.column("outcome").to_pylist(), strict=True))
    pairs = first.filter(pc.equal(first.column("assignment"), ONE_TO_ONE))
    cosines = {
        other.key: pairs.filter(pc.equal(pairs.column("other_dictionary"), other.key)).column("cosine").drop_null().to_pylist()
        for other in others
    }
    summary = [
        (key, len(found), float(np.median(found)) if found else None, float(np.mean(np.asarray(found) > ALIKE)) if found else None)
        for key, found in cosines.items()
    ]
    header = ["other dictionary", "one-to-one matches", "median cosine", f"share above {ALIKE}"]
    return {
        "dagster/partition_row_count": rows.num_rows,
        "features": len(record.selected_features),
        "outcomes": dg.MetadataValue.json({f"{assignment}: {outcome}": n for (assignment, outcome), n in sorted(outcomes.items())}),
        "pairs": markdown(markdown_table(header, summary)),
        "cosines": markdown(distribution_plot(cosines, "decoder cosine of one-to-one matches", "Matched features")),
        "preview": markdown(_preview(lake, record, others, pairs)),
        "path_in_lake": path_lines(lake.relative_path(FEATURE_MATCHES.name, {"dictionary": record.key})),
    }


def _preview(lake: Lake, record: DictionaryRecord, others: Sequence[DictionaryRecord], pairs: pa.Table) -> str:
    """Matches spread over the features, each with the first explanation found of each of its two features."""
    texts = {one.key: _texts(lake, one) for one in (record, *others)}
    ok = pairs.filter(pc.equal(pairs.column("outcome"), "ok"))
    picks = np.linspace(0, ok.num_rows - 1, min(PREVIEWED, ok.num_rows)).astype(int)
    lines = [
        (row["feature"], texts[record.key].get(row["feature"], ""), row["other_dictionary"], row["matched_feature"],
         texts[row["other_dictionary"]].get(row["matched_feature"], ""), row["cosine"])
        for row in ok.take(picks).to_pylist()
    ]  # fmt: skip
    return markdown_table(["feature", "explanation", "other dictionary", "feature there", "explanation there", "cosine"], lines)


def _texts(lake: Lake, record: DictionaryRecord) -> dict[int, str]:
    """Explanations of a dictionary by feature, escaped, by the first method that the dictionary has; empty where it has none."""
    for method in METHODS:
        explained = read_explained(lake, record, method)
        if explained is not None and explained.texts:
            features = record.selected_features[explained.features].tolist()
            return {feature: escape_markdown(text) for feature, text in zip(features, explained.texts, strict=True)}
    return {}
