"""What a comparison of two prompts would cost, and what it found, in lines for people."""

from interp_assets.domain.trials import NO_EXPLANATION
from interp_assets.single_features.compare_prompts import Compared, PromptComparison


def told_costs(planned: PromptComparison) -> list[str]:
    """Lines on what is compared and what asking takes at most."""
    of = "" if planned.method == NO_EXPLANATION else f", explanations by {planned.method}"
    lines = [f"{planned.scorer.NAME} on {len(planned.features):,} features of {planned.record.key}{of}"]
    for one in planned.costs():
        dollars = "" if one.usd is None else f", ${one.usd:,.4f}"
        lines.append(f"at most {one.questions:,} questions and {one.tokens:,} tokens of {one.model}{dollars}; kept replies cost nothing")
    return lines


def told_comparison(planned: PromptComparison, found: Compared) -> list[str]:
    """Lines on the means, the paired difference with its interval, features without a score, and what was spent."""
    metric, (present, other), difference = planned.scorer.HEADLINE.replace("_", " "), found.means, found.difference
    n = int(found.both.sum())
    lines = []
    if n:
        bounds = difference.ci_low is not None and difference.ci_high is not None
        interval = f" [{difference.ci_low:+.3f}, {difference.ci_high:+.3f}]" if bounds else ", too few features for an interval"
        lines.append(f"{metric}: present {present:.3f}, other {other:.3f}")
        lines.append(f"other minus present {difference.value:+.3f}{interval}, paired over {n:,} features")
        if difference.ci_low is not None and difference.ci_high is not None:
            tells = difference.ci_low > 0 or difference.ci_high < 0
            lines.append("the difference is told apart from 0" if tells else "the interval holds 0: so many features tell no difference")
    else:
        lines.append("no feature has a score under both texts")
    lines += [f"{count:,} features without a score, {why.replace('_', ' ')}" for why, count in sorted(found.outcomes.items())]
    return [*lines, f"spent {found.tokens:,} tokens" + (f", ${found.usd:,.4f}" if found.usd else "")]
