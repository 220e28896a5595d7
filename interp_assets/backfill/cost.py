"""Estimated costs of questions to language models, from the costs so far: per feature, asset and explanation method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import polars as pl
import yaml

from interp_assets.backfill.bound import Bound, Bounds
from interp_assets.backfill.plan import PlannedAsset, count_of
from interp_assets.config.settings import LanguageModelSettings, PlatformSettings
from interp_assets.domain.explaining import EXPLAINERS
from interp_assets.domain.scoring import SCORERS
from resources.language_models.ledger import price_usd

DEMO_RATES = Path(__file__).parents[1] / "demo" / "rates.yaml"
MEASURED = """SELECT asset::VARCHAR, explanation_method::VARCHAR, model::VARCHAR, n_features, prompt_tokens_per_1000 / 1000,
  completion_tokens_per_1000 / 1000, hours_per_1000 / 1000, usd_per_1000 / 1000 FROM cost_by_method WHERE n_features > 0"""
UNKNOWN = "never measured"
NO_BOUND = "by the rate, no bound"


@dataclass(frozen=True)
class Rate:
    """Cost of one feature: tokens, hours and US dollars (None without a price), a mean over `n_features`. `source` says where the rate is
    from."""

    n_features: int
    prompt_tokens: float
    completion_tokens: float
    hours: float
    usd: float | None
    source: str

    def times(self, n: int) -> "Rate":
        """The rate of questions that are asked n times."""
        usd = None if self.usd is None else n * self.usd
        numbers = (n * self.prompt_tokens, n * self.completion_tokens, n * self.hours)
        return Rate(self.n_features, *numbers, usd, f"{self.source}, asked {n} times")


@dataclass(frozen=True)
class Estimate:
    """The cost of one asset's questions about a dictionary, for one explanation method: an upper bound.

    Tokens are bounded by `bound`, which is counted on the prompts themselves. Where no prompt can be made up beforehand (None), tokens
    follow `rate`, the costs of features so far, and are no bound. `rate` is None where no rate is known; hours always follow `rate`.
    """

    asset: str
    dictionary: str
    method: str
    model: str
    n_features: int
    rate: Rate | None
    bound: Bound | None = None

    @property
    def prompt_tokens(self) -> float | None:
        """Tokens of the questions."""
        per_feature = self.bound or self.rate
        return None if per_feature is None else self.n_features * per_feature.prompt_tokens

    @property
    def completion_tokens(self) -> float | None:
        """Tokens of the replies."""
        per_feature = self.bound or self.rate
        return None if per_feature is None else self.n_features * per_feature.completion_tokens

    @property
    def tokens(self) -> float | None:
        """Prompt and completion tokens."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens

    @property
    def usual_tokens(self) -> float | None:
        """Prompt and completion tokens by the rate of features so far; None without a rate."""
        return None if self.rate is None else self.n_features * (self.rate.prompt_tokens + self.rate.completion_tokens)

    @property
    def hours(self) -> float | None:
        """Hours of the model's own time."""
        return None if self.rate is None else self.n_features * self.rate.hours

    @property
    def usd(self) -> float | None:
        """US dollars by the price table, without cached tokens; None for a model without a price."""
        if self.bound is None:
            return None if self.rate is None or self.rate.usd is None else self.n_features * self.rate.usd
        per_feature = price_usd(self.model, self.bound.prompt_tokens, 0, self.bound.completion_tokens)
        return None if per_feature is None else self.n_features * per_feature


class Rates:
    """Rates by asset, method and model: the rates in the ledger, and where the ledger has none, the recorded rates of the demo."""

    def __init__(self, measured: Mapping[tuple[str, str, str], Rate], demo: Mapping[str, Rate]) -> None:
        self._measured, self._demo = measured, demo

    def of(self, asset: str, method: str, model: str) -> Rate | None:
        """The rate of the nearest kind, with a `source` that names the kind; None where there is no rate.

        Kinds, nearest first: the same method and model; another method of the asset with the same model; any method of the asset with
        another model; the demo. Of several rates of one kind, the rate over most features is returned.
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

    Rates are means over the features that were asked about, so an estimate counts dead features as live features.
    """
    rows = connection.execute(MEASURED).fetchall()
    return {(asset, method, model): Rate(*numbers, source="measured") for asset, method, model, *numbers in rows}


def demo_rates(path: Path = DEMO_RATES) -> dict[str, Rate]:
    """The demo's recorded rates by asset, without a price: the demo's model has none. Their source says "demo"."""
    content = yaml.safe_load(path.read_text())
    return {asset: Rate(usd=None, source=content["source"], **numbers) for asset, numbers in content["rates"].items()}


def estimates(
    planned: Sequence[PlannedAsset], settings: PlatformSettings, rates: Rates, bounds: Mapping[str, Bounds] | None = None
) -> list[Estimate]:
    """The cost of each planned asset that asks a language model, by method. An upper bound, since stored replies cost nothing.

    `bounds` has the bounds of each dictionary by its key.
    """
    found = []
    for one in planned:
        model, dictionary = _asked_model(one.asset, settings), one.dictionary or ""
        found += _taken_again(one, settings, rates, bounds or {})
        if model is not None:
            for method, n_features in one.features.items():
                rate, deals = rates.of(one.asset, method, model.model), one.deals.get(method, 1)
                if rate is not None and deals > 1 and rate.source != "measured":
                    rate = rate.times(deals)
                bound = bounds[dictionary].of(one.asset, method, model) if bounds and dictionary in bounds else None
                found.append(Estimate(one.asset, dictionary, method, model.model, n_features, rate, bound))
    return found


def _taken_again(one: PlannedAsset, settings: PlatformSettings, rates: Rates, bounds: Mapping[str, Bounds]) -> list[Estimate]:
    """The cost of scores taken again, by explainer and scorer: so many times the cost of the questions that are asked again."""
    found, dictionary = [], one.dictionary or ""
    for asked in one.again:
        model = _asked_model(asked.like, settings)
        if model is None:
            continue
        once, known = rates.of(asked.like, asked.method, model.model), rates.of(asked.asset, asked.method, model.model)
        bound = bounds[dictionary].of(asked.like, asked.method, model, whole=True) if dictionary in bounds else None
        rate = known or (once and once.times(asked.times))
        found.append(Estimate(asked.asset, dictionary, asked.method, model.model, one.n_again, rate, bound and bound.times(asked.times)))
    return found


def _asked_model(asset: str, settings: PlatformSettings) -> LanguageModelSettings | None:
    """The language model that an asset asks; None for an asset that asks no language model."""
    stage, _, name = asset.partition("/")
    if stage == "explanations":
        return settings.explainer if name in [explainer.NAME for explainer in EXPLAINERS] else None
    found = [settings.model_of(scorer.MODEL) for scorer in SCORERS if stage == "scores" and name == scorer.NAME]
    return found[0] if found and isinstance(found[0], LanguageModelSettings) else None


COLUMNS = {
    "dictionary": pl.String, "asset": pl.String, "partitions": pl.Int64, "features": pl.Int64, "explanations": pl.String,
    "questions": pl.Int64, "prompt_tokens": pl.Int64, "completion_tokens": pl.Int64, "usd": pl.Float64, "tokens": pl.String,
    "usual_tokens": pl.Int64, "hours": pl.Float64, "rate": pl.String,
}  # fmt: skip


def plan_frame(planned: Sequence[PlannedAsset], costs: Sequence[Estimate]) -> pl.DataFrame:
    """The plan: a row per asset and dictionary, or per explanation method where a language model is asked. Costs are upper bounds.

    An asset that asks no language model has nulls for costs: it costs no tokens, and the ledger does not know its hours.
    """
    rows = []
    for one in planned:
        if not one.to_make or not one.asked:
            continue
        row = {"dictionary": one.dictionary or "", "asset": one.asset, "partitions": len(one.to_make)}
        names = {one.asset, *(asked.asset for asked in one.again)}
        mine = [cost for cost in costs if cost.asset in names and cost.dictionary == one.dictionary]
        rows += [{**row, "asset": cost.asset, **_told(cost)} for cost in mine] or [
            {**row, "rate": "" if one.certain else "keeps what is complete"}
        ]
    return pl.DataFrame(rows, schema=COLUMNS)


def _told(cost: Estimate) -> dict[str, object]:
    """An estimate as columns: upper bounds, then the costs by the rate of features so far."""
    told: dict[str, object] = {"features": cost.n_features, "explanations": cost.method, "rate": UNKNOWN}
    if cost.prompt_tokens is not None and cost.completion_tokens is not None:
        told |= {
            "prompt_tokens": round(cost.prompt_tokens), "completion_tokens": round(cost.completion_tokens),
            "usd": None if cost.usd is None else round(cost.usd, 4),
            "tokens": NO_BOUND if cost.bound is None else f"at most: {cost.bound.windows}",
        }  # fmt: skip
    if cost.bound is not None:
        told |= {"questions": cost.n_features * cost.bound.questions}
    if cost.rate is not None:
        told |= {
            "usual_tokens": round(cost.usual_tokens or 0), "hours": round(cost.n_features * cost.rate.hours, 3),
            "rate": f"{cost.rate.source} ({cost.rate.n_features:,} features)",
        }  # fmt: skip
    return told


def plan_summary(planned: Sequence[PlannedAsset], costs: Sequence[Estimate], settings: PlatformSettings) -> list[str]:
    """Lines that sum up the plan: partitions, totals and what the totals leave out, blocked partitions, and the budget."""
    count = count_of(planned)
    lines = [
        f"{count['to_make']:,} partitions to make, "
        + (f"{count['without_features']:,} of them without a selected feature, " if count["without_features"] else "")
        + (f"{count['empty']:,} more that the settings ask nothing of (made empty), " if count["empty"] else "")
        + f"{count['kept']:,} complete and kept"
        + (f", {count['unsure']:,} whose assets decide when they run" if count["unsure"] else "")
    ]
    known = [cost for cost in costs if cost.tokens is not None]
    if known:
        priced = [cost.usd for cost in known if cost.usd is not None]
        tokens = sum(cost.tokens or 0 for cost in known)
        money = f"{sum(priced):,.2f} USD" if len(priced) == len(known) else f"{sum(priced):,.2f} USD for those with a price"
        lines.append(f"language models: at most {tokens:,.0f} tokens, {money if priced else 'no price known'}")
        spared = {cost.asset: 0 for cost in known if cost.bound is not None and cost.bound.spared}
        for cost in known:
            if cost.bound is not None and cost.asset in spared:
                spared[cost.asset] += cost.n_features * cost.bound.spared
        if spared:
            asked = sum(cost.n_features * cost.bound.questions for cost in known if cost.bound is not None and cost.asset in spared)
            total = asked + sum(spared.values())
            lines.append(f"prediction_powered asks {asked:,} of the {total:,} questions of {', '.join(sorted(spared))} (see docs/trust.md)")
        rated = [cost for cost in costs if cost.rate is not None]
        if rated:
            usual, hours = sum(cost.usual_tokens or 0 for cost in rated), sum(cost.hours or 0 for cost in rated)
            lines.append(f"as features have cost so far (see rate): {usual:,.0f} tokens, {hours:,.2f} hours")
        unbound = sorted({cost.asset for cost in known if cost.bound is None})
        if unbound:
            lines.append(f"no bound but a rate, since their questions depend on results made before: {', '.join(unbound)}")
        limits = (("tokens", settings.budget.tokens, tokens), ("usd", settings.budget.usd, sum(priced)))
        over = [f"{name} {limit:,}" for name, limit, spent in limits if limit is not None and spent > limit]
        if over:
            lines.append(f"that is over the budget of a run ({', '.join(over)} in settings.yaml): runs stop there, and the next goes on")
    unknown = sorted({cost.asset for cost in costs if cost.tokens is None})
    if unknown:
        lines.append(
            f"not in these sums, since never measured: {', '.join(unknown)}; a backfill of some features (--features) measures these"
        )
    if any(cost.rate is not None and cost.rate.source.startswith("demo") for cost in costs):
        lines.append(
            "rates called demo are not yours: another model, few windows. A backfill of some features (--features) measures your own"
        )
    if not costs and (count["to_make"] or count["unsure"]):
        lines.append("no language model is asked")
    lines += [
        f"blocked: {one.asset} of {one.dictionary}, {len(one.blocked)} {'range' if one.blocked[0] else 'dictionary'}(s): {one.reason}"
        for one in planned
        if one.blocked and one.asked
    ]
    return lines
