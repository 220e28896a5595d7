"""docs/model-families.md, made from what the conformance suite finds. To write it anew:

PYTHONPATH=.:tests/resources:tests/resources/subject python tests/resources/subject/families_table.py
"""

import re
import sys
from pathlib import Path

import transformers
from conformance import CHECKS, Conformance, conformance, failures
from tiny_families import LEFT_OUT, WRAPPERS, text_families

from resources.subject.block_layout import HOOKS

PAGE = Path(__file__).parents[3] / "docs" / "model-families.md"
TOLERANCES = {"hooks": 1e-5, "rows alone": 1e-5, "loaded to a block": 1e-5}
STANDARD = tuple(hook for hook in HOOKS if hook != "hook_mixer_out")


def tolerance(check: str) -> float:
    """The largest error of a check, as a share of the largest value: 1e-5 for hooks, 1e-4 for what sums or logarithms are taken of."""
    return TOLERANCES.get(check, 1e-4)


def all_families() -> list[str]:
    """Every family of the table."""
    return sorted([*text_families(), *WRAPPERS])


def version_of(page: str) -> str | None:
    """The version of transformers that a page was made with."""
    match = re.search(r"transformers (\d[\w.]*)", page)
    return match and match[1]


def page_of(made: list[Conformance]) -> str:
    """The page."""
    working = [one for one in made if not one.refused]
    holding = sum(not failures(one, tolerance) for one in working)
    figures = f"{len(working)} families × {len(CHECKS)} checks, {holding * len(CHECKS)} of {len(working) * len(CHECKS)} hold"
    return f"""# Model families

Any model that `AutoModelForCausalLM` of transformers loads and that only goes on from a text can be a subject, as can the text model of a
multimodal model. The table is made by the conformance suite with transformers {transformers.__version__}: of every family a tiny random
model, in which soft caps, windows, chunks, experts and multipliers bite, is saved, loaded as a harvest loads it, and held against its
authors' own eager forward pass. {figures}: every hook, the sums pre + attention = mid and mid + MLP = post, rows alone and together, a
model loaded only to the block that is read, the unembedding, steering with prompts of several lengths, and clamping.

- **Blocks**: the path of the list of blocks. Any module path is a hook too, with `:input` for what goes in.
- **Names**: hooks `blocks.N.<name>` by TransformerLens's names, found from the values of a short pass. `hook_mixer_out` is what a module
  adds that is neither attention nor MLP (Mamba, convolutions).
- **Adds**: *in turn* is pre + attention = mid, mid + MLP = post; *in parallel* is pre + attention + MLP = post; *one* is a single module;
  *other* is none of these. *× constant* says that outputs are multiplied by a constant before they are added.
- **Unembedding**: whether vocabulary projections can be made.
- **Steering**: from a *cache*, or by reading the *whole* text at each token, where padding or a cache would change what the model says.
- **Attention**: the implementation that is loaded: `eager` where `sdpa` would drop a part of the family's attention.

<!-- families -->
| family | blocks | names | adds | unembedding | steering | attention |
|---|---|---|---|---|---|---|
{chr(10).join(_row(one) for one in working)}
<!-- /families -->

## Without names

In these families what goes through the blocks is not one vector a token, or there is no one list of blocks: name module paths.

{chr(10).join(f"- `{one.family}`: {one.refused}" for one in made if one.refused)}

## Not in the table

Encoders (BERT) and encoder-decoders (T5, BART) are refused with a sentence. Not tried:

{chr(10).join(f"- `{name}`: {reason}" for name, reason in LEFT_OUT.items())}
"""


def _row(one: Conformance) -> str:
    lacking = [hook for hook in STANDARD if hook not in one.hooks and hook not in one.in_some]
    more = ["hook_mixer_out"] if "hook_mixer_out" in one.hooks else []
    names = "all" if not lacking else f"all but {', '.join(lacking)}"
    names += f"; also {', '.join(more)}" if more else ""
    names += f"; in some blocks alone {', '.join(one.in_some)}" if one.in_some else ""
    words = {"sequential": "in turn", "parallel": "in parallel", "single": "one", "unknown": "other"}
    adds = ", ".join(words[order] for order in one.orders) + (" × constant" if one.scaled else "")
    steering, unembedding = "cache" if one.cached else "whole", "yes" if one.unembedding else "no"
    return f"| `{one.family}` | `{one.blocks}` | {names} | {adds} | {unembedding} | {steering} | {one.attention} |"


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page_of([conformance(family) for family in all_families()]), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
