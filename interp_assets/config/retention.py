"""How long a site keeps what it can make or ask again."""

from typing import Annotated, Literal

from pydantic import Field

from interp_assets.config.base import Closed

Thinned = Literal[
    "activations", "feature_neighbours", "vocabulary_projections", "token_changes", "steering", "steered_texts", "steered_sets", "examples",
    "feature_examples", "trials", "verdicts",
]  # fmt: skip
"""Tables of a dictionary that a rule may remove. Its statistics, explanations, scores and ledger always stay."""


class CheckpointRetention(Closed):
    """Which checkpoints of a training run keep all their tables; checkpoints are dictionaries that `watch` registered."""

    keep_last: Annotated[int, Field(ge=1)] = 3
    """The newest checkpoints of each run that keep everything. A checkpoint that has none of the tables in `drop`, such as one that failed
    its self-check, does not count. Unit: checkpoints."""
    keep_every: Annotated[int, Field(ge=1)] | None = None
    """Checkpoints whose step is a multiple of this number keep everything too. Unit: steps."""
    drop: Annotated[tuple[Thinned, ...], Field(min_length=1)] = ("activations",)
    """Tables that all other checkpoints lose."""


class RetentionSettings(Closed):
    """What `interp thin` removes. Without rules, nothing."""

    replies_days: Annotated[float, Field(gt=0)] | None = None
    """Replies that came longer ago are removed from the reply store; they are asked again where they are needed. Unit: days."""
    checkpoints: CheckpointRetention | None = None
    """Which checkpoints keep their large tables; none means all."""
