"""What questions to language models will cost, going by what they have cost: per feature, asset and explanation method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import polars as pl
import yaml

from interp_assets.backfill.plan import PlannedAsset, count_of
from interp_assets.config.settings import LanguageModelSettings, PlatformSettings
from interp_assets.domain.explaining import EXPLAINERS
from interp_assets.domain.scoring import SCORERS

DEMO_RATES = Path(__file__).parents[1] / "demo" / "rates.yaml"
MEASURED = """SELECT asset::VARCHAR, explanation_method::VARCHAR, model::VARCHAR, n_features, prompt_tokens_per_1000 / 1000,
  completion_tokens_per_1000 / 1000, hours_per_1000 / 1000, usd_per_1000 / 1000 FROM cost_by_method WHERE n_features > 0"""
UNKNOWN = "never measured"


@dataclass(frozen=True)
class Rate:
    """What one feature costs: tokens, hours and US dollars (None without a price), a mean over `n_features`; `source` says whose."""

    n_features: int
    prompt_tokens: float
    completion_tokens: float
    hours: float
    usd: float | None
    source: str


@dataclass(frozen=True)
class Estimate:
    """What one asset's questions about one method's explanations of a dictionary will cost at most; `rate` is None where none is known."""

    asset: str
    dictionary: str
    method: str
    n_features: int
    rate: Rate | None

    @property
    def tokens(self) -> float | None:
        """Prompt and completion tokens."""
        return None if self.rate is None else self.n_features * (self.rate.prompt_tokens + self.rate.completion_tokens)

    @property
    def hours(self) -> float | None:
        """Hours of the model's own time."""
        return None if self.rate is None else self.n_features * self.rate.hours

    @property
    def usd(self) -> float | None:
        """US dollars; None for a model without a price."""
        return None if self.rate is None or self.rate.usd is None else self.n_features * self.rate.usd


class Rates:
    """Rates by asset, method and model: those of the ledger, and for want of them those that the demo was recorded with."""

    def __init__(self, measured: Mapping[tuple[str, str, str], Rate], demo: Mapping[str, Rate]) -> None:
        self._measured, self._demo = measured, demo

    def of(self, asset: str, method: str, model: str) -> Rate | None:
        """The nearest rate that there is, its source saying how near; None without any.

        In this order: of the method with the model that will be asked; of the asset's other methods with it; of any with another model; the
        demo's. Of several the one over most features.
        """
        mine = {key: rate for key, rate in self._measured.items() if key[0] == asset}
        choices = (
            ("measured", [rate for key, rate in mine.items() if key[1:] == (method, model)]),
            ("measured on other explanations", [rate for key, rate in mine.items() if key[2] == model]),
            ("measured with another model", list(mine.values())),
        )
        for source, rates in choices:
            if rates:
                return replace(max(rates, key=lambda rate: rate.n_features), source=source)
        return self._demo.get(asset)


def measured_rates(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str, str], Rate]:
    """Rates by asset, explanation method and model, from the view cost_by_method; empty while nothing was asked.

    Means over the features that were asked about, so an estimate counts dead features as if they were not.
    """
    rows = connection.execute(MEASURED).fetchall()
    return {(asset, method, model): Rate(*numbers, source="measured") for asset, method, model, *numbers in rows}


def demo_rates(path: Path = DEMO_RATES) -> dict[str, Rate]:
    """The demo's recorded rates by asset, their source saying so. The price is left out: the demo's model has none to speak of."""
    content = yaml.safe_load(path.read_text())
    return {asset: Rate(usd=None, source=content["source"], **numbers) for asset, numbers in content["rates"].items()}


def estimates(planned: Sequence[PlannedAsset], settings: PlatformSettings, rates: Rates) -> list[Estimate]:
    """What each planned asset will cost by method, where it asks a language model; at most, since replies that are kept cost nothing."""
    return [
        Estimate(one.asset, one.dictionary or "", method, n_features, rates.of(one.asset, method, model.model))
        for one in planned
        if (model := _asked_model(one.asset, settings)) is not None
        for method, n_features in one.features.items()
    ]


def _asked_model(asset: str, settings: PlatformSettings) -> LanguageModelSettings | None:
    """The language model that an asset asks; None for one that asks none."""
    stage, _, name = asset.partition("/")
    if stage == "explanations":
        return settings.explainer if name in [explainer.NAME for explainer in EXPLAINERS] else None
    found = [settings.model_of(scorer.MODEL) for scorer in SCORERS if stage == "scores" and name == scorer.NAME]
    return found[0] if found and isinstance(found[0], LanguageModelSettings) else None


COLUMNS = {
    "dictionary": pl.String, "asset": pl.String, "partitions": pl.Int64, "features": pl.Int64, "explanations": pl.String,
    "prompt_tokens": pl.Int64, "completion_tokens": pl.Int64, "hours": pl.Float64, "usd": pl.Float64, "rate": pl.String,
}  # fmt: skip


def plan_frame(planned: Sequence[PlannedAsset], costs: Sequence[Estimate]) -> pl.DataFrame:
    """What is to make, a row per asset and dictionary, or per explanation method where a language model is asked; costs are at most.

    What asks none has nulls there: it costs no tokens, and the ledger knows nothing of its hours.
    """
    rows = []
    for one in planned:
        if not one.to_make or not one.asked:
            continue
        row = {"dictionary": one.dictionary or "", "asset": one.asset, "partitions": len(one.to_make)}
        mine = [cost for cost in costs if (cost.asset, cost.dictionary) == (one.asset, one.dictionary)]
        rows += [{**row, **_told(cost)} for cost in mine] or [{**row, "rate": "" if one.certain else "keeps what is complete"}]
    return pl.DataFrame(rows, schema=COLUMNS)


def _told(cost: Estimate) -> dict[str, object]:
    """An estimate as columns."""
    told: dict[str, object] = {"features": cost.n_features, "explanations": cost.method, "rate": UNKNOWN}
    if cost.rate is not None:
        told |= {
            "prompt_tokens": round(cost.n_features * cost.rate.prompt_tokens),
            "completion_tokens": round(cost.n_features * cost.rate.completion_tokens),
            "hours": round(cost.n_features * cost.rate.hours, 3), "usd": None if cost.usd is None else round(cost.usd, 4),
            "rate": f"{cost.rate.source} ({cost.rate.n_features:,} features)",
        }  # fmt: skip
    return told


def plan_summary(planned: Sequence[PlannedAsset], costs: Sequence[Estimate], settings: PlatformSettings) -> list[str]:
    """Lines on the whole of it: partitions, totals and what they leave out, what stands in the way, and the budget."""
    count = count_of(planned)
    lines = [
        f"{count['to_make']:,} partitions to make, "
        + (f"{count['empty']:,} more that the settings ask nothing of (made empty), " if count["empty"] else "")
        + f"{count['kept']:,} complete and kept"
        + (f", {count['unsure']:,} whose assets decide when they run" if count["unsure"] else "")
    ]
    known = [cost for cost in costs if cost.rate is not None]
    if known:
        priced = [cost.usd for cost in known if cost.usd is not None]
        tokens, hours = sum(cost.tokens or 0 for cost in known), sum(cost.hours or 0 for cost in known)
        money = f"{sum(priced):,.2f} USD" if len(priced) == len(known) else f"{sum(priced):,.2f} USD for those with a price"
        lines.append(f"language models: at most {tokens:,.0f} tokens, {hours:,.2f} hours, {money if priced else 'no price known'}")
        limits = (("tokens", settings.budget.tokens, tokens), ("usd", settings.budget.usd, sum(priced)))
        over = [f"{name} {limit:,}" for name, limit, spent in limits if limit is not None and spent > limit]
        if over:
            lines.append(f"that is over the budget of a run ({', '.join(over)} in settings.yaml): runs stop there, and the next goes on")
    unknown = sorted({cost.asset for cost in costs if cost.rate is None})
    if unknown:
        lines.append(
            f"not in these sums, since never measured: {', '.join(unknown)}; a backfill of some features (--features) measures them"
        )
    if any(cost.rate is not None and cost.rate.source.startswith("demo") for cost in costs):
        lines.append(
            "rates called demo are none of yours: another model, few windows. A backfill of some features (--features) measures your own"
        )
    if not costs and (count["to_make"] or count["unsure"]):
        lines.append("no language model is asked")
    lines += [
        f"blocked: {one.asset} of {one.dictionary}, {len(one.blocked)} {'range' if one.blocked[0] else 'dictionary'}(s): {one.reason}"
        for one in planned
        if one.blocked and one.asked
    ]
    return lines
