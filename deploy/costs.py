"""What a whole model costs to explain, from measured figures and stated assumptions: the numbers of deploy/README.md.

    python deploy/costs.py [--help] [--hosts 4] [--layers 42] [--judge-parameters 8e9] …

Prints three Markdown tables. Everything is arithmetic on the arguments. Measured here: bytes and core-seconds, from the benchmarks on two
CPU cores. From the literature: the judge's tokens a feature. Assumed, and yours to replace: the shares of peak, the price of a card's hour.
"""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

HOUR = 3600.0
N_FEATURE_RANGES = 16
"""Written side by side, as `interp_assets.config.keys` has it; this script needs nothing but Python."""
PROMPT_TOKENS = {"fuzzing": 19_600, "detection": 17_000}
"""Of one explanation of one feature over 100 windows, as published (arXiv 2410.13928); of these CACHED_TOKENS are a shared prefix."""
CACHED_TOKENS = {"fuzzing": 14_200, "detection": 11_900}
OUTPUT_TOKENS = {"fuzzing": 249, "detection": 240}
EXPLAINER_PROMPT_TOKENS = 39_900 - sum(PROMPT_TOKENS.values())
"""delphi 0.1.3 asks 39,900 prompt tokens a feature for explanation, detection and fuzzing together, 70 % of them repeated."""
EXPLAINER_CACHED_TOKENS = round(0.7 * 39_900) - sum(CACHED_TOKENS.values())


@dataclass(frozen=True)
class Site:
    """Subject, sample, dictionaries and hardware. Shares are of a card's dense peak at the precision named, and of a host's cores."""

    parameters: float = 9.2e9
    layers: int = 42
    d_model: int = 3584
    width: int = 131_072
    tokens: float = 10e6
    l0: float = 50.0
    hosts: int = 4
    cards_per_host: int = 8
    cores_per_host: int = 96
    card_gib: float = 80.0
    bf16_flops: float = 989e12
    tf32_flops: float = 494e12
    forward_share: float = 0.4
    encode_share: float = 0.5
    prefill_share: float = 0.4
    decode_share: float = 0.1
    bytes_per_activation: float = 2.8
    spill_bytes_per_activation: float = 10.0
    store_core_seconds_per_activation: float = 140 / 504e6
    store_share: float = 0.5
    examples_core_seconds_per_feature: float = 6e-3
    bytes_per_example: float = 140.0
    bytes_per_token_of_text: float = 4.0
    judge_parameters: float = 70.6e9
    windows: int = 100
    judged_explanations: int = 1
    explanation_tokens: int = 100
    usd_per_card_hour: float = 2.5

    @property
    def cards(self) -> int:
        """Of all hosts."""
        return self.hosts * self.cards_per_host

    @property
    def features(self) -> int:
        """Of all layers."""
        return self.layers * self.width

    @property
    def activations(self) -> float:
        """Of one dictionary."""
        return self.tokens * self.l0


@dataclass(frozen=True)
class Harvest:
    """One way of dealing the layers out over runs, neighbouring layers together; all times in seconds."""

    layers_per_run: int
    runs: int
    card_gib: float
    spill_gb: float
    longest_run: float
    card_seconds: float
    wall: float


def forward_seconds(site: Site, layers: float) -> float:
    """One card's time for the sample through the first `layers` blocks: 2 FLOPs a parameter and token."""
    return 2 * site.parameters * site.tokens * layers / site.layers / (site.bf16_flops * site.forward_share)


def encode_seconds(site: Site) -> float:
    """One card's time for one dictionary's pre-activations of the sample, in TF32 as the encoder of a bfloat16 model multiplies."""
    return 2 * site.d_model * site.width * site.tokens / (site.tf32_flops * site.encode_share)


def store_seconds(site: Site) -> float:
    """Time to sort one dictionary's activations, count their statistics and write them, on a card's share of its host's cores."""
    return site.activations * site.store_core_seconds_per_activation / max(1.0, store_threads(site) * site.store_share)


def store_threads(site: Site) -> int:
    """Feature ranges that are written at a time."""
    return min(N_FEATURE_RANGES, max(1, site.cores_per_host // site.cards_per_host))


def harvest(site: Site, layers_per_run: int) -> Harvest:
    """`activation_shards` of all layers, `layers_per_run` a run. A run goes to its deepest layer, and holds its card while it writes."""
    groups = [range(first, min(first + layers_per_run, site.layers)) for first in range(0, site.layers, layers_per_run)]
    own = encode_seconds(site) + store_seconds(site)
    seconds = sorted((forward_seconds(site, group[-1] + 1) + len(group) * own for group in groups), reverse=True)
    busy = [0.0] * site.cards
    for run in seconds:  # the longest first, each to the card that is free first
        busy[busy.index(min(busy))] += run
    weights = 2 * site.parameters + layers_per_run * 2 * 4 * site.d_model * site.width  # bfloat16 subject, float32 encoder and decoder
    written_again = store_threads(site) / N_FEATURE_RANGES  # of the one dictionary that is being sorted
    spill = (layers_per_run + written_again) * site.activations * site.spill_bytes_per_activation / 1e9
    return Harvest(layers_per_run, len(groups), weights / 2**30, spill, seconds[0], sum(seconds), max(busy))


@dataclass(frozen=True)
class Judging:
    """Explaining and scoring all features by one judge model."""

    prompt_tokens: float
    computed_tokens: float
    output_tokens: float
    card_seconds: float


def judging(site: Site) -> Judging:
    """Tokens a feature, and one card's time a feature: 2 FLOPs a parameter and token, at one share for prompts and another for output."""
    scale = site.judged_explanations * site.windows / 100
    prompt = EXPLAINER_PROMPT_TOKENS + scale * sum(PROMPT_TOKENS.values())
    computed = prompt - EXPLAINER_CACHED_TOKENS - scale * sum(CACHED_TOKENS.values())
    output = site.explanation_tokens + scale * sum(OUTPUT_TOKENS.values())
    flops = 2 * site.judge_parameters / site.bf16_flops
    return Judging(prompt, computed, output, flops * (computed / site.prefill_share + output / site.decode_share))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def spoken(seconds: float) -> str:
    """Seconds as people say them."""
    units = ((86_400, 3, "days"), (HOUR, 2, "h"), (60, 2, "min"))
    size, name = next(((size, name) for size, least, name in units if seconds >= least * size), (1, "s"))
    return f"{seconds / size:.0f} {name}"


def hours(seconds: float) -> str:
    """Seconds in hours, with a decimal where they are few."""
    return f"{seconds / HOUR:,.1f}" if seconds < 10 * HOUR else f"{seconds / HOUR:,.0f}"


def money(site: Site, card_seconds: float) -> str:
    """Price of card time, in US dollars."""
    usd = card_seconds / HOUR * site.usd_per_card_hour
    return f"${usd:,.2f}" if usd < 1 else f"${usd:,.0f}"


def harvest_table(site: Site) -> str:
    """How the layers can be dealt out over runs."""
    rows = []
    for layers_per_run in sorted({1, 2, 4, 8, 16, site.layers}):
        way = harvest(site, min(layers_per_run, site.layers))
        fits = "" if way.card_gib < site.card_gib * 0.9 else " (does not fit)"
        rows.append(
            [
                way.layers_per_run, way.runs, f"{way.card_gib:.0f} GiB{fits}", f"{way.spill_gb:.0f} GB", spoken(way.longest_run),
                hours(way.card_seconds), spoken(way.wall),
            ]
        )  # fmt: skip
    return table(
        ["layers a run", "runs", "weights on its card", "scratch", "longest run", "card hours", f"all, on {site.cards} cards"], rows
    )


def stage_table(site: Site, layers_per_run: int) -> str:
    """Every stage: what it computes, what it moves over the network, how long and how much."""
    way, judge, n = harvest(site, layers_per_run), judging(site), site.features
    stored = site.layers * site.activations * site.bytes_per_activation
    examples = n * (40 + site.windows) * site.bytes_per_example
    core_seconds = n * site.examples_core_seconds_per_feature
    text = n * judge.prompt_tokens * site.bytes_per_token_of_text
    prompts = f"{n * judge.prompt_tokens / 1e9:,.0f} G prompt tokens, {n * judge.computed_tokens / 1e9:,.0f} G of them computed"
    cores = min(site.hosts * site.cores_per_host, site.layers)
    rows = [
        [
            "`activation_shards`", f"{site.tokens / 1e6:.0f} M tokens, {site.layers * site.activations / 1e9:.1f} G activations",
            f"{stored / 1e9:.0f} GB out", hours(way.card_seconds), spoken(way.wall), money(site, way.card_seconds),
        ],
        [
            "`examples`", f"{n / 1e6:.1f} M features, {core_seconds / HOUR:.0f} core hours", f"{stored / 1e9:.0f} GB in, "
            f"{examples / 1e9:.0f} GB out", "0", f"{spoken(core_seconds / cores)} on {cores} cores", "—",
        ],
        [
            "explanations, scores", f"{prompts}; {n * judge.output_tokens / 1e9:.1f} G written",
            f"{examples * (1 + 2 * site.judged_explanations) / 1e9:.0f} GB in; {text / 1e9:,.0f} GB of prompts to servers",
            hours(n * judge.card_seconds), spoken(n * judge.card_seconds / site.cards), money(site, n * judge.card_seconds),
        ],
    ]  # fmt: skip
    return table(["stage", "work", "network", "card hours", f"on {site.cards} cards", "price"], rows)


def judge_table(site: Site) -> str:
    """What the choice of judge, windows and baselines does to the bill."""
    choices = {
        "as above": site,
        "and the shuffled baseline": dataclasses.replace(site, judged_explanations=2),
        "and 100 + 100 windows: the defaults": dataclasses.replace(site, judged_explanations=2, windows=200),
        "as above, no prefix cache": None,
        "as above, an 8B judge": dataclasses.replace(site, judge_parameters=8e9),
        "as above, every tenth feature": site,
    }
    rows = []
    for name, choice in choices.items():
        one = judging(choice or site)
        seconds, features = one.card_seconds, site.features / (10 if "tenth" in name else 1)
        if choice is None:
            cached = one.prompt_tokens - one.computed_tokens
            seconds += cached * 2 * site.judge_parameters / (site.bf16_flops * site.prefill_share)
        total = seconds * features
        cells = [f"{one.prompt_tokens:,.0f}", f"{seconds:.2f} s", hours(total), spoken(total / site.cards), money(site, total)]
        rows.append([name, *cells, money(site, seconds * 1000)])
    header = [
        "judging",
        "prompt tokens a feature",
        "card time a feature",
        "card hours",
        f"on {site.cards} cards",
        "price",
        "1,000 features",
    ]
    return table(header, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Site):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default, help=f"{field.default:g}")
    parser.add_argument("--layers-per-run", type=int, default=1, help="of the second table: 1")
    arguments = vars(parser.parse_args())
    layers_per_run = arguments.pop("layers_per_run")
    site = Site(**arguments)
    assert math.isfinite(judging(site).card_seconds)
    print(harvest_table(site), stage_table(site, layers_per_run), judge_table(site), sep="\n\n")


if __name__ == "__main__":
    main()
