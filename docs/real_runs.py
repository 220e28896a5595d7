"""The tables of docs/real-runs.md, for one dictionary of a 2B, a 9B and a 70B subject: arithmetic on deploy/costs.py and measured bytes."""

import importlib.util
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType


def load_costs() -> ModuleType:
    """deploy/costs.py, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("costs", Path(__file__).parents[1] / "deploy" / "costs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


costs = load_costs()
WINDOWS_SHOWN = 45
"""Windows beside the scored ones: 40 shown, and 5 silent ones for contrast."""
BYTES_PER_EXAMPLE = costs.Site().bytes_per_example
BYTES_PER_VERDICT, BYTES_PER_TRIAL, BYTES_PER_LEDGER_ROW, BYTES_PER_REPLY = 22.9, 73.0, 50.9, 142.3
"""Measured on 80,000 verdicts, 16,000 trials and ledger rows, and 20,000 replies of detection, with random addresses and probabilities."""
WINDOWS_A_PROMPT = 5
BYTES_WHILE_RUNNING = 1.3e9
"""Measured: peak of a harvest of SmolLM2-135M on a CPU, of which its weights are 0.5 GB."""
BYTES_A_WRITING_CORE = 0.2e9


@dataclass(frozen=True)
class Run:
    """One dictionary after block `depth` of a subject. One card and twelve cores run the subject."""

    subject: str
    site: costs.Site  # type: ignore[name-defined]
    depth: int


ONE_CARD = {"hosts": 1, "cards_per_host": 1, "cores_per_host": 12}
RUNS = (
    Run("2B", costs.Site(parameters=2.6e9, layers=26, d_model=2304, width=16_384, l0=71, **ONE_CARD), 21),
    Run("9B", costs.Site(parameters=9.2e9, layers=42, d_model=3584, width=131_072, l0=50, **ONE_CARD), 21),
    Run("70B", costs.Site(parameters=70.6e9, layers=80, d_model=8192, width=65_536, l0=100, **ONE_CARD), 51),
)


def subject_table() -> str:
    """What runs the subject: times, memory, activations."""
    rows = []
    for run in RUNS:
        site = run.site
        forward, encode, store = costs.forward_seconds(site, run.depth), costs.encode_seconds(site), costs.store_seconds(site)
        weights, coder = 2 * site.parameters, 2 * 4 * site.d_model * site.width
        host = max(weights, BYTES_A_WRITING_CORE * site.cores_per_host) + BYTES_WHILE_RUNNING
        steps = f"{forward:,.0f} + {encode:,.0f} + {store:,.0f} s"
        scratch = site.activations * site.spill_bytes_per_activation * (1 + costs.store_threads(site) / costs.N_FEATURE_RANGES)
        rows.append([
            run.subject, f"{site.width:,} × {site.l0:.0f}", steps, costs.spoken(forward + encode + store),
            f"{weights / 2**30:.0f} + {coder / 2**30:.0f} + 2 GiB", f"{host / 1e9:.0f} GB", f"{scratch / 1e9:.0f} GB",
        ])  # fmt: skip
    header = [
        "subject",
        "features × L0",
        "forward + encode + store",
        "harvest",
        "GPU memory: weights + dictionary + rest",
        "host memory",
        "scratch",
    ]
    return costs.table(header, rows)


def judge_table() -> str:
    """What the judge takes of all features of the dictionary: tokens, card hours, money."""
    rows = []
    for run in RUNS:
        for name, site in judgings(run.site).items():
            one, n = costs.judging(site), site.width
            rows.append([
                run.subject, f"{n:,}", name, f"{n * one.prompt_tokens / 1e9:.2f} G", f"{n * one.output_tokens / 1e9:.3f} G",
                costs.hours(n * one.card_seconds), costs.spoken(n * one.card_seconds / 4), costs.money(site, n * one.card_seconds),
            ])  # fmt: skip
    return costs.table(["subject", "features", "judging", "prompt tokens", "written tokens", "card hours", "on 4 cards", "price"], rows)


def judgings(site: "costs.Site") -> dict:  # type: ignore[name-defined]
    """The choices that change the bill most."""
    defaults = replace(site, judged_explanations=2, windows=200)
    return {
        "defaults, 70B judge": defaults,
        "50 + 50 windows, 70B judge": replace(site, judged_explanations=2),
        "defaults, 8B judge": replace(defaults, judge_parameters=8e9),
    }


def disk_table() -> str:
    """Bytes in the home after a run by the defaults: 200 windows, two explanations, two scorers."""
    rows = []
    for run in RUNS:
        site = run.site
        examples = site.width * (200 + WINDOWS_SHOWN) * BYTES_PER_EXAMPLE
        questions = 200 / WINDOWS_A_PROMPT
        answers = site.width * 4 * (200 * BYTES_PER_VERDICT + questions * (BYTES_PER_TRIAL + BYTES_PER_LEDGER_ROW))
        replies = site.width * 4 * questions * BYTES_PER_REPLY
        parts = [site.activations * site.bytes_per_activation, examples, answers, replies]
        rows.append([run.subject, *(f"{part / 1e9:.1f} GB" for part in parts), f"{sum(parts) / 1e9:.0f} GB"])
    return costs.table(["subject", "activations", "examples", "trials, verdicts, ledger", "replies", "together"], rows)


if __name__ == "__main__":
    print(subject_table(), judge_table(), disk_table(), sep="\n\n")
