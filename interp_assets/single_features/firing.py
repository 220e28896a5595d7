"""`firing:10` in place of a list of features: ten features that fire often enough to have examples, for a first look at a dictionary."""

from collections.abc import Callable

import numpy as np

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.installation.home import Home
from interp_assets.orchestration.chosen_features import with_chosen_features
from interp_assets.single_features.plan import PlannedRun, planned_run
from interp_assets.tables import FEATURE_STATISTICS
from resources.model_provider import ModelProvider
from resources.store.lake import LakeError

WORD = "firing:"
MOST_DENSITY = 0.1
"""Features that fire on a larger share of tokens are dense, and few windows are silent for them. Unit: share."""

HARVEST = ("token_sample", "activation_shards")


def asked_or_firing(
    home: Home, key: str, features: object, models: ModelProvider, harvest: Callable[[PlannedRun], object]
) -> AskedFeatures | None:
    """The features that are asked for, None for all. For `firing:10` the dictionary is harvested by `harvest` where it is not yet.

    Raises `UserError` for a text that is no list of features, and where no feature fires often enough.
    """
    if features is None:
        return None
    if not (isinstance(features, str) and features.startswith(WORD)):
        return AskedFeatures.of(features)  # type: ignore[arg-type]
    count = features.removeprefix(WORD)
    if not (count.isascii() and count.isdecimal() and len(count) < 10 and int(count) > 0):
        raise UserError(f"--features {features!r}: write a number after {WORD}, such as {WORD}10")
    record = home.registry.get(key)
    if not record.has_activations:  # imported windows: each feature has some
        return AskedFeatures(tuple(_spread(record.selected_features, int(count))))
    planned = planned_run(home, key, None, HARVEST, models)
    if not planned.is_empty:
        harvest(planned)
    return AskedFeatures(tuple(firing_features(home, key, int(count))))


def firing_features(home: Home, key: str, n: int) -> list[int]:
    """Up to n features, ascending, spread evenly over the selected features that fire in at least `examples.min_activating` contexts and on
    at most MOST_DENSITY of the tokens.

    Raises `UserError` where there is none, or before the harvest.
    """
    record = home.registry.get(key)
    partitions = [lake_partition(RangeKey(key, name)) for name in FEATURE_RANGE_KEYS]
    columns = ["feature", "context_count", "token_density", "n_tokens"]
    try:
        selected = with_chosen_features(home.lake, record).selected_features
        tables = [home.lake.read(FEATURE_STATISTICS.name, one, columns=columns) for one in partitions]
    except LakeError as error:
        raise UserError(f"{WORD} chooses by the statistics of the harvest: {error}. interp run {key} --only activation_shards") from error
    features, contexts, density, n_tokens = (np.concatenate([table.column(one).to_numpy() for table in tables]) for one in columns)
    least = home.settings.stage_settings(record.stages).examples.min_activating
    ours = np.isin(features, selected)
    enough = np.sort(features[ours & (contexts >= least) & (density <= MOST_DENSITY)])
    if not len(enough):
        most = int(contexts[ours].max(initial=0))
        tokens = int(n_tokens.max(initial=0))
        raise UserError(
            f"no feature of {key} fires in {least} contexts of its {tokens:,} tokens, as examples.min_activating asks, and on at most "
            f"{MOST_DENSITY:.0%} of them; the most contexts are {most}. Raise token_sample.n_tokens in the record, or lower "
            "stages.examples.min_activating, with n_held_out and n_shown"
        )
    return _spread(enough, n)


def _spread(features: np.ndarray, n: int) -> list[int]:
    """Up to n of the features, spread evenly from the first to the last."""
    return features[np.linspace(0, len(features) - 1, min(n, len(features))).round().astype(int)].tolist()
