"""Exports explanations and verdicts as the results of a delphi run."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from interp_assets.config.base import fingerprint
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.trials import is_of_later_deal
from interp_assets.exchange.export_delphi_cache import legal_hookpoint
from interp_assets.orchestration.narrowing import made_of
from interp_assets.reading.whole_features import refuse_older
from interp_assets.tables import EXAMPLES, EXPLANATIONS, VERDICTS
from resources.formats.delphi_results import JudgedWindow, ResultsFolder, judged_window
from resources.store.lake import Lake

DELPHI_SCORERS = {"detection": "detection", "fuzzing": "fuzz"}
"""Scorers that delphi has too: our name, delphi's name."""


@dataclass
class ExportedResults:
    """Counts of features: with explanations, with scores by scorer, and without an explanation by outcome.

    `n_kept` counts files that an earlier, interrupted export had written.
    """

    explanations: int = 0
    scores: Counter[str] = field(default_factory=Counter)
    unexplained: Counter[str] = field(default_factory=Counter)
    n_kept: int = 0


def export_delphi_results(
    lake: Lake,
    record: DictionaryRecord,
    folder: Path,
    *,
    method: str = "max_act",
    hookpoint: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ExportedResults:
    """Write one explanation method of a dictionary to `folder`/explanations and its verdicts to `folder`/scores, and return the counts.

    A feature without an explanation has no file. A feature without questions about its windows has no scores. A scorer that has not run is
    left out, and `say` says so. Raises `LakeError` for explanations or verdicts that exist only in part, `UserError` for verdicts on
    earlier explanations or examples.
    """
    hookpoint = legal_hookpoint(hookpoint or record.hook)
    keys = [RangeKey(record.key, feature_range) for feature_range in FEATURE_RANGE_KEYS]
    scorers = [s for s in DELPHI_SCORERS if any(lake.manifest(VERDICTS.name, _scored(key, s)) for key in keys)]
    for scorer in DELPHI_SCORERS:
        if scorer not in scorers:
            run = f"interp backfill {record.key} --only scores/{scorer}"
            say(f"note: {scorer} has not run on {record.key}, and is left out; if the settings ask for it: {run}")
    versions = fingerprint(*(_version(lake, key, method, scorers) for key in keys))
    provenance = {"dictionary": record.key, "explanation_method": method, "scorers": scorers, "data_version": versions}
    results = ResultsFolder(folder, hookpoint, provenance)
    exported = ExportedResults()
    for key in keys:
        _export_range(lake, key, method, scorers, results, exported)
    for scorer in scorers:
        if exported.explanations and not exported.scores[scorer]:
            say(f"note: {scorer} asked about no window under {method}; scored_explanations in the settings names the methods to score")
    return exported


def _version(lake: Lake, key: RangeKey, method: str, scorers: list[str]) -> list[str]:
    """Data versions of everything behind a range's results. Raises `UserError` where verdicts are on other explanations or examples."""
    inputs = {
        f"{EXPLANATIONS.name}/{method}": lake.require(EXPLANATIONS.name, _explained(key, method)).data_version,
        EXAMPLES.name: lake.require(EXAMPLES.name, lake_partition(key)).data_version,
    }
    verdicts = [lake.require(VERDICTS.name, _scored(key, scorer)) for scorer in scorers]
    older: dict[str, str] = {}
    for scorer, manifest in zip(scorers, verdicts, strict=True):
        for name, version in inputs.items():
            if not made_of(manifest, name, version):
                older.setdefault(scorer, name)
    refuse_older("verdicts", key, older)
    return [*inputs.values(), *(manifest.data_version for manifest in verdicts)]


def _explained(key: RangeKey, method: str) -> dict[str, str]:
    return {"explanation_method": method, **lake_partition(key)}


def _scored(key: RangeKey, scorer: str) -> dict[str, str]:
    return {"scorer": scorer, **lake_partition(key)}


def _export_range(lake: Lake, key: RangeKey, method: str, scorers: list[str], results: ResultsFolder, exported: ExportedResults) -> None:
    """Write the files of one range, and count them."""
    wanted = ["feature", "outcome", "explanation"]
    for row in lake.read(EXPLANATIONS.name, _explained(key, method), columns=wanted).to_pylist():
        if row["outcome"] == "ok":
            exported.explanations += 1
            exported.n_kept += not results.write_explanation(row["feature"], row["explanation"])
        else:
            exported.unexplained[row["outcome"]] += 1
    held_out = _held_out(lake, key) if scorers else {}
    for scorer in scorers:
        for feature, windows in _judged(lake, key, scorer, method, held_out).items():
            exported.scores[scorer] += 1
            exported.n_kept += not results.write_scores(DELPHI_SCORERS[scorer], feature, windows)


def _held_out(lake: Lake, key: RangeKey) -> dict[tuple[int, str], tuple[list[str], list[float]]]:
    """Tokens and activations of the held-out windows of a range, by feature and example."""
    columns, held_out = ["feature", "example_id", "tokens", "activations"], [("role", "==", "held_out")]
    rows = lake.read(EXAMPLES.name, lake_partition(key), columns=columns, filters=held_out).to_pylist()
    return {(row["feature"], row["example_id"]): (row["tokens"], row["activations"]) for row in rows}


def _judged(
    lake: Lake, key: RangeKey, scorer: str, method: str, held_out: dict[tuple[int, str], tuple[list[str], list[float]]]
) -> dict[int, list[JudgedWindow]]:
    """The judged windows of a range under one scorer and explanation method, by feature, in the order asked."""
    columns, own = (
        ["trial", "feature", "example_id", "truth", "prediction", "probability", "stratum"],
        [("explanation_method", "==", method)],
    )
    windows: dict[int, list[JudgedWindow]] = defaultdict(list)
    for row in lake.read(VERDICTS.name, _scored(key, scorer), columns=columns, filters=own).to_pylist():
        if is_of_later_deal(row["trial"]):  # the explanation that is exported is the text of the first deal
            continue
        tokens, activations = held_out[row["feature"], row["example_id"]]
        windows[row["feature"]].append(
            judged_window(tokens, activations, row["stratum"], row["truth"], row["prediction"], row["probability"])
        )
    return windows
