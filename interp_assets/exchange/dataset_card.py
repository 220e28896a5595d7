"""The card of an exported dataset: what the rows are, where they come from, who explained and who judged."""

import importlib.metadata
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from interp_assets.config.public_places import public_place
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import BASELINES
from interp_assets.domain.prompting.rendering import escape_markdown
from interp_assets.reporting.materialisation import markdown_table
from resources.formats.dataset_writing import card

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))


@dataclass
class Described:
    """What the card says of one dictionary: outcomes of explanations by (method, explainer), headline values by (scorer, metric,
    method). `example` is a feature of the dataset, 0 of none."""

    config: str
    record: DictionaryRecord
    judges: dict[str, tuple[str, ...]]
    version: str
    example: int = 0
    n_features: int = 0
    n_scores: int = 0
    explanations: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)


def dataset_card(described: Sequence[Described], license_: str) -> str:
    """The card of a dataset with these dictionaries."""
    configs: list[dict[str, Any]] = []
    for one in described:
        configs += [_config(one.config, one.config, "features", default=not configs)]
        configs += [_config(f"{one.config}-scores", one.config, "scores")] if one.n_scores else []
    total = sum(one.n_features for one in described)
    size = next((name for limit, name in SIZES if total < limit), "10M<n<100M")
    front = {
        "pretty_name": "Explained features of " + ", ".join(one.record.key for one in described), "license": license_,
        "tags": ["interpretability", "sparse-autoencoders", "feature-explanations", "interp-assets"], "size_categories": [size],
        "configs": configs,
    }  # fmt: skip
    return card(front, "\n\n".join([*_head(described), *(part for one in described for part in _section(one))]) + "\n")


def _config(name: str, folder: str, table: str, default: bool = False) -> dict[str, Any]:
    files = [{"split": "train", "path": f"data/{folder}/{table}-*.parquet"}]
    return {"config_name": name, "data_files": files, **({"default": True} if default else {})}


def _head(described: Sequence[Described]) -> list[str]:
    first = described[0]
    path = f"data/{first.config}/features-*.parquet"
    baselines = ", ".join(f"`{name}`" for name in BASELINES)
    return [
        "# Explained features",
        "Features of dictionaries over a language model's activations, with windows of text, explanations, and scores of the "
        f"explanations. Made by interp-assets {importlib.metadata.version('interp-assets')}.",
        "## Reading one feature",
        "Rows are sorted by feature, a row group holds 32 features, and files name the features that they hold: a reader that filters by "
        "`feature` reads a footer and one row group.",
        "```python\n"
        "import duckdb\n"
        f"duckdb.sql(\"SELECT feature, explanations FROM '{path}' WHERE feature = {first.example}\")\n\n"
        "from datasets import load_dataset\n"
        f'load_dataset("PATH_OR_REPOSITORY", "{first.config}", split="train", filters=[("feature", "==", {first.example})])\n'
        "```",
        "## Rows",
        "- One row a feature: statistics over all tokens, `promoted` and `suppressed` tokens with logits, `neighbours` by decoder cosine, "
        "`explanations` with their `scores`, `scores` that read no explanation, and `examples`. An example has the activation on each "
        "token; its `role` says who saw it (`shown` to explainers, `held_out` for scorers), `stratum` 0 is the strongest.\n"
        "- Configs that end in `-scores`: one row a score. `headline` marks the metric that stands for its scorer; `floor` is the value "
        "that a judge without the explanation reaches; `ci_low` and `ci_high` are 95 % bounds; without a value, `outcome` says why.\n"
        f"- Explanations by {baselines} are baselines: texts that say nothing of the feature they stand at.",
    ]


def _section(one: Described) -> list[str]:
    record, sample = one.record, one.record.token_sample
    facts = {
        "model": public_place(record.model.source) + (f" at {record.model.revision}" if record.model.revision else ""),
        "hook": record.hook, "kind": record.kind, "source": public_place(record.source or "") or "—",
        "features": f"{one.n_features:,} of {record.width:,}",
        "text": ", ".join(map(public_place, sample.corpus)) + f"; {sample.n_tokens:,} tokens in contexts of {sample.context_tokens}",
        "config": one.config, "data version": one.version,
    }  # fmt: skip
    explained = [
        (method, model or "—", n["ok"], ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(n.items()) if outcome != "ok") or "—")
        for (method, model), n in sorted(one.explanations.items())
    ]
    scored = [
        (scorer, metric, ", ".join(one.judges.get(scorer, ())) or "nobody asked", method or "—", len(values), statistics.fmean(values))
        for (scorer, metric, method), values in sorted(one.values.items())
    ]
    parts = [f"## {record.key}"]
    if record.description:
        parts.append(escape_markdown(record.description))
    parts.append(_table(("", ""), facts.items()))
    if explained:
        parts.append(_table(("explanations by", "explainer", "explained", "other outcomes"), explained))
    if scored:
        parts.append(_table(("scorer", "headline metric", "judge", "explanations by", "n", "mean"), scored))
    return parts


def _table(header: Sequence[str], rows: Any) -> str:
    return markdown_table(header, [[value if isinstance(value, float) else escape_markdown(str(value)) for value in row] for row in rows])
