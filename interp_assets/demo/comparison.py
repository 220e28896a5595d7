"""The demo's last table: is the SAE above neurons, are neurons above a random SAE, and true explanations above shuffled ones?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

SAE, NEURONS, RANDOM = "smollm2-135m/09/res-2k", "smollm2-135m/09/mlp-neurons-top32", "smollm2-135m/09/random-2k"
WIDE = "-100"
"""Ends the key of a dictionary with 100 features, whose explanations ask no language model."""
ENOUGH_SCORERS = 2

CONTROLS = """
SELECT scorer, explanation_method, dictionary, control, control_dictionary, n_features, mean, control_mean, difference, ci_low, ci_high
FROM against_controls
WHERE headline AND NOT starts_with(explanation_method, 'shuffled') AND explanation_method <> 'none'
"""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Lead:
    """A difference of two means with its 95 % interval, which is None where there are too few features."""

    difference: float
    ci_low: float | None
    ci_high: float | None

    @property
    def is_sure(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.ci_low is not None and self.ci_low > 0

    def __str__(self) -> str:
        interval = "" if self.ci_low is None or self.ci_high is None else f" [{self.ci_low:.2f}, {self.ci_high:.2f}]"
        return f"{self.difference:.2f}{interval}"


@dataclass(frozen=True)
class Comparison:
    """One scorer's means of one explanation method, and the three leads that a scorer should show; None where there is no control."""

    scorer: str
    method: str
    n_features: int
    means: tuple[float | None, ...]
    leads: tuple[Lead | None, Lead | None, Lead | None]

    @property
    def holds(self) -> bool:
        """Whether all three leads are sure."""
        return all(lead is not None and lead.is_sure for lead in self.leads)


LEADS = ("SAE above neurons", "neurons above random", "true above shuffled")


def comparisons(rows: Iterable[Row]) -> list[Comparison]:
    """A comparison for each scorer and explanation method of the view against_controls, of the dictionaries with the most features."""
    found: dict[tuple[str, str], Comparison] = {}
    by_key = {(r["scorer"], r["explanation_method"], r["dictionary"], r["control"], r["control_dictionary"]): r for r in rows}
    named = sorted({(scorer, method) for scorer, method, *_ in by_key})
    for scorer, method in named:
        for end in (WIDE, ""):
            sae, neurons, random = SAE + end, NEURONS + end, RANDOM + end
            over_neurons = by_key.get((scorer, method, sae, "topk_neurons", neurons))
            over_random = by_key.get((scorer, method, neurons, "random_topk", random))
            over_shuffled = by_key.get((scorer, method, sae, "shuffled", sae))
            known = next((row for row in (over_neurons, over_shuffled) if row is not None), None)
            if known is not None and (scorer, method) not in found:
                means = (known["mean"], *map(_control_mean, (over_neurons, over_random, over_shuffled)))
                leads = (_lead(over_neurons), _lead(over_random), _lead(over_shuffled))
                found[scorer, method] = Comparison(scorer, method, known["n_features"], means, leads)
    return list(found.values())


def _control_mean(row: Row | None) -> float | None:
    return None if row is None else row["control_mean"]


def _lead(row: Row | None) -> Lead | None:
    return None if row is None else Lead(row["difference"], row["ci_low"], row["ci_high"])


MEANS = ("SAE", "neurons", "random", "shuffled")


def table(compared: Sequence[Comparison]) -> pl.DataFrame:
    """The comparisons as a table: means, then differences with their intervals; `holds` where all three intervals lie above 0."""
    return pl.DataFrame(list(map(_line, compared)))


def _line(one: Comparison) -> dict[str, Any]:
    means = {name: None if mean is None else round(mean, 3) for name, mean in zip(MEANS, one.means, strict=True)}
    leads = {name: "—" if lead is None else str(lead) for name, lead in zip(LEADS, one.leads, strict=True)}
    counted = {"scorer": one.scorer, "explanations": one.method, "features": one.n_features}
    return {**counted, **means, **leads, "holds": "yes" if one.holds else "no"}


def verdict(compared: Sequence[Comparison]) -> str:
    """In words whether all three orders hold on at least ENOUGH_SCORERS scorers, and on which scorers each of them holds."""
    holding = list(dict.fromkeys(one.scorer for one in compared if one.holds))
    names = ", ".join(holding) or "no scorer"
    holds = f"All three hold on {len(holding)} scorers ({names}): their 95 % intervals lie above 0."
    fails = f"All three hold on {names}, and {ENOUGH_SCORERS} scorers are needed: the picture does not hold here."
    lines = [holds if len(holding) >= ENOUGH_SCORERS else fails]
    for number, name in enumerate(LEADS):
        sure = [f"{one.scorer} of {one.method}" for one in compared if (lead := one.leads[number]) is not None and lead.is_sure]
        lines.append(f"  {name}: {', '.join(sure) or 'on no scorer'}")
    return "\n".join(lines)
