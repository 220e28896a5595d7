"""The lines of a Neuronpedia source: features, windows by interval of activation, explanations and their scores."""

from collections.abc import Iterable, Iterator

import numpy as np

from interp_assets.config.public_places import public_place
from interp_assets.config.records import DictionaryRecord
from interp_assets.measuring.logit_histograms import MeasuredWeights
from interp_assets.reading.whole_features import PublishedExplanation, Row, WholeFeature
from resources.formats.json_text import json_text
from resources.formats.neuronpedia_writing import Line, SourceName, identity

HISTOGRAM_BINS = 50
PREFIX = "interp-assets"


def linear_histogram(values: np.ndarray) -> tuple[list[float], list[float]]:
    """(heights, middles) of HISTOGRAM_BINS bins of equal width from 0 to the largest of `values` float [n] > 0; empty for no values."""
    if not len(values):
        return [], []
    heights, edges = np.histogram(values, bins=HISTOGRAM_BINS, range=(0.0, float(values.max())))
    return heights.astype(float).tolist(), [_rounded(v) for v in (edges[:-1] + edges[1:]) / 2]


def intervals(examples: Iterable[Row]) -> dict[int, tuple[float, float]]:
    """(binMin, binMax) of each stratum of a feature's activating windows: the intervals of their peaks, next to one another from 0 up."""
    peaks: dict[int, float] = {}
    for row in examples:
        if row["stratum"] is not None:
            peaks[row["stratum"]] = max(peaks.get(row["stratum"], 0.0), float(row["max_activation"]))
    bounds: dict[int, tuple[float, float]] = {}
    low = 0.0
    for stratum in sorted(peaks, reverse=True):
        bounds[stratum] = (low, peaks[stratum])
        low = peaks[stratum]
    return bounds


class SourceLines:
    """The lines of one source's features."""

    def __init__(self, record: DictionaryRecord, names: SourceName, creator: str, methods: tuple[str, ...], vectors: bool) -> None:
        self._record, self._names, self._creator, self._methods, self._vectors = record, names, creator, methods, vectors
        self.explainers: set[str] = set()

    def of(
        self, feature: WholeFeature, fired: np.ndarray | None, measured: MeasuredWeights | None
    ) -> tuple[Line, Iterator[Line], list[Line], list[Line]]:
        """(feature, windows, explanations, scores). `fired` are the activations float [n], None where they are not known."""
        kept = [one for one in feature.explanations if one.method in self._methods and one.text]
        return (
            self._feature(feature, fired, measured),
            self._windows(feature, fired),
            [self._explanation(feature, one) for one in kept],
            [line for one in kept for line in self._scores(feature, one)],
        )

    def metadata(self, n_layers: int) -> tuple[Line, Line, Line, Line]:
        """(release, model, source set, source)."""
        names, record = self._names, self._record
        own = {"creatorId": self._creator, "visibility": "PUBLIC"}
        sample = record.token_sample
        text = record.description or f"{record.kind} {record.key} at {record.hook}"
        corpus = ", ".join(map(public_place, sample.corpus))
        return (
            {"name": names.release, "description": text, "descriptionShort": text[:80], "urls": [], "creatorName": PREFIX,
             "creatorNameShort": PREFIX, **own},
            {"id": names.model, "displayName": names.model, "displayNameShort": names.model, "instruct": False, "layers": n_layers,
             "neuronsPerLayer": 0, "owner": public_place(record.model.source), **own},
            {"modelId": names.model, "name": names.source_set, "description": text, "creatorName": PREFIX, "urls": [],
             "releaseName": names.release, "allowInferenceSearch": False, **own},
            {"modelId": names.model, "setName": names.source_set, "id": names.source, "hasDashboards": True, "dataset": corpus,
             "num_prompts": -(-sample.n_tokens // sample.context_tokens), "num_tokens_in_prompt": sample.context_tokens,
             "notes": f"interp-assets: {record.key}, {record.kind} {public_place(record.source or '')} at {record.hook}", **own},
        )  # fmt: skip

    @property
    def _place(self) -> dict[str, str]:
        return {"modelId": self._names.model, "layer": self._names.source}

    def _feature(self, feature: WholeFeature, fired: np.ndarray | None, measured: MeasuredWeights | None) -> Line:
        statistics = feature.statistics or {}
        heights, middles = linear_histogram(fired) if fired is not None else ([], [])
        strongest = statistics.get("max_activation") or max((row["max_activation"] for row in feature.examples), default=0.0)
        vector = measured.vector if measured and self._vectors else []
        return {
            **self._place, "index": str(feature.feature), "creatorId": self._creator,
            "sourceSetName": self._names.source_set, "maxActApprox": _rounded(strongest),
            "frac_nonzero": statistics.get("token_density") or 0.0,
            "freq_hist_data_bar_heights": heights, "freq_hist_data_bar_values": middles,
            "logits_hist_data_bar_heights": measured.heights if measured else [],
            "logits_hist_data_bar_values": measured.middles if measured else [],
            "pos_str": [token for token, _ in feature.promoted], "pos_values": [_rounded(logit) for _, logit in feature.promoted],
            "neg_str": [token for token, _ in feature.suppressed], "neg_values": [_rounded(logit) for _, logit in feature.suppressed],
            "topkCosSimIndices": [number for number, _ in feature.neighbours],
            "topkCosSimValues": [_rounded(cosine) for _, cosine in feature.neighbours],
            "hookName": self._record.hook, "hasVector": bool(vector), "vector": vector,
            "vectorDefaultSteerStrength": _rounded(strongest) if vector else 10,
        }  # fmt: skip

    def _windows(self, feature: WholeFeature, fired: np.ndarray | None) -> Iterator[Line]:
        bounds = intervals(feature.examples)
        n_tokens = (feature.statistics or {}).get("n_tokens")
        sources = ", ".join(map(public_place, self._record.token_sample.corpus))
        for row in feature.examples:
            values = [_rounded(v) for v in np.nan_to_num(np.asarray(row["activations"], dtype=np.float64)).tolist()]
            if not values:
                continue
            low, high = bounds.get(row["stratum"], (0.0, 0.0)) if row["stratum"] is not None else (0.0, 0.0)
            yield {
                "id": identity(self._names.folder, row["example_id"]), **self._place, "index": str(feature.feature),
                "creatorId": self._creator, "tokens": list(row["tokens"]), "values": values,
                "maxValue": max(values), "maxValueTokenIndex": values.index(max(values)), "minValue": min(values),
                "binMin": _rounded(low), "binMax": _rounded(high), "binContains": _share(fired, n_tokens, low, high),
                "dataIndex": f"{row['row']}:{row['start']}", "dataSource": f"{sources}; {row['role']}", "dfaValues": [],
                "qualifyingTokenIndex": values.index(max(values)),
            }  # fmt: skip

    def _explanation(self, feature: WholeFeature, one: PublishedExplanation) -> Line:
        scores = "; ".join(_in_words(row) for row in one.scores if row["headline"] and row["value"] is not None)
        author = f"by {one.author}" if one.author else ""
        label = f"label: {one.label}" if one.label and one.label != one.text else ""
        self.explainers.update([one.model] if one.model else [])
        return {
            "id": self._explanation_id(feature, one), **self._place, "index": str(feature.feature), "authorId": self._creator,
            "description": one.text, "typeName": named(one.method),
            "explanationModelName": one.model or None, "notes": ". ".join(text for text in (label, author, scores) if text) or None,
        }  # fmt: skip

    def _scores(self, feature: WholeFeature, one: PublishedExplanation) -> Iterator[Line]:
        kept = ("metric", "ci_low", "ci_high", "floor", "n_positive", "n_negative", "n_unanswered")
        for row in one.scores:
            if row["headline"] and row["value"] is not None and np.isfinite(row["value"]):
                yield {
                    "id": identity(self._explanation_id(feature, one), row["scorer"], row["metric"]),
                    "explanationId": self._explanation_id(feature, one), "initiatedByUserId": self._creator, "value": row["value"],
                    "explanationScoreTypeName": named(row["scorer"]), "explanationScoreModelName": row["judge"] or named("no-model"),
                    "jsonDetails": json_text({name: row[name] for name in kept}),
                }  # fmt: skip

    def _explanation_id(self, feature: WholeFeature, one: PublishedExplanation) -> str:
        return identity(self._names.folder, feature.feature, one.method, one.model, one.text)


def named(name: str) -> str:
    """The name of a method or scorer among the names of other tools."""
    return f"{PREFIX}_{name}"


def _share(fired: np.ndarray | None, n_tokens: int | None, low: float, high: float) -> float | None:
    """Share of all tokens on which the feature fires within (low, high]; of (0, 0) the share on which it is silent; None where
    it is not known."""
    if fired is None or not n_tokens:
        return None
    if high <= 0:
        return 1 - len(fired) / n_tokens
    return float(((fired > low) & (fired <= high)).sum() / n_tokens)


def _in_words(row: Row) -> str:
    low, high = row["ci_low"], row["ci_high"]
    interval = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    return f"{row['scorer']} {row['metric']} {row['value']:.2f}{interval}" + (f" by {row['judge']}" if row["judge"] else "")


def _rounded(value: float) -> float:
    """Six significant digits: float32 has seven."""
    return float(f"{value:.6g}")
