"""Conditions under which assets are made by themselves: missing partitions of a new dictionary in order, and reports after new inputs."""

from collections.abc import Mapping, Sequence, Set
from functools import reduce
from operator import and_, or_

import dagster as dg
from dagster import AutomationCondition

from interp_assets.config.settings import AutomationSettings
from interp_assets.orchestration.partitions import DICTIONARY_BY_RANGE

AUTOMATION_TAG = "dagster/from_automation_condition"
"""Tag of the runs that a condition requested."""

_HANDLED = (
    AutomationCondition.newly_requested()
    | AutomationCondition.newly_updated()
    | AutomationCondition.initial_evaluation()
    | AutomationCondition.in_progress()
).with_label("handled")

_MISSING = AutomationCondition.missing() & ~AutomationCondition.in_progress()
_READY = ~AutomationCondition.any_deps_missing()
_LAST_OF_A_DICTIONARY = ("feature_neighbours", "window_embeddings")


def _dictionary_ready() -> AutomationCondition:
    return reduce(and_, (~AutomationCondition.asset_matches(name, AutomationCondition.missing()) for name in _LAST_OF_A_DICTIONARY))


def dictionary_condition(settings: AutomationSettings, reads_ranges: bool) -> AutomationCondition | None:
    """When a missing asset of a whole dictionary is requested, once all its inputs exist; None for never.

    "on_missing" requests an asset once, when it becomes missing while this setting is on. What a run or a backfill leaves unmade, whoever
    began it, is not requested again: the failure says why, and `interp backfill` goes on. There is one exception: an asset is requested
    again after a new input was made. So one failed dictionary of a run does not stop the rest, and it goes on itself once its failed stage
    is made.

    "nightly" requests older partitions too: after a tick of the cron each partition once, as soon as its inputs exist. So a stage waits for
    the stage before it, but not for another night.

    Neither requests a partition that a run or a backfill is making. An asset that `reads_ranges` is not looked at before the dictionary's
    own assets exist.
    """
    if settings.when == "never":
        return None
    ready = _dictionary_ready() & _READY if reads_ranges else _READY
    if settings.when == "on_missing":
        once = AutomationCondition.missing().newly_true().since(_HANDLED).with_label("missing, once")
        return (once if reads_ranges else once | _left_undone()) & ready
    return _nightly(settings, ready)


def _left_undone() -> AutomationCondition:
    """Assets that a failed run was to make and did not make, with an input that is newer than the last request; not where a blocking check
    of an input stopped the asset."""
    input_made = AutomationCondition.any_deps_match(AutomationCondition.newly_updated())
    # An asset requested at the last tick: an input made since that tick is newer than the request.
    dealt_with = AutomationCondition.newly_updated() | (AutomationCondition.newly_requested() & ~input_made)
    newer_input = input_made.since(dealt_with)
    stopped = AutomationCondition.any_deps_match(
        AutomationCondition.any_checks_match(AutomationCondition.check_failed(), blocking_only=True)
    )
    return (AutomationCondition.execution_failed() & _MISSING & newer_input & ~stopped).with_label("left undone, with a newer input")


def range_conditions(settings: AutomationSettings, above: Mapping[str, Set[str]]) -> dict[str, AutomationCondition | None]:
    """When missing partitions of stages by feature range are requested; None for never. `above` has for each stage the names of all stages
    by range that it depends on.

    A stage begins once every asset of the dictionary is made, also assets that the stage does not read. So all stages are requested at one
    tick, as one backfill whose runs load each model once, instead of in pieces as ranges fill.

    With "on_missing", a stage without stages above it follows the dictionary's own assets where these were made by themselves. All other
    stages follow such a stage at the same tick. So each condition begins with the events since the last tick, of which there are few, and
    looks at no other partition: thousands of partitions cost a tick nothing.
    """
    if settings.when == "never":
        return dict.fromkeys(above)
    ready = _dictionary_ready() & _READY
    if settings.when == "nightly":
        return dict.fromkeys(above, _nightly(settings, ready))
    tag = {AUTOMATION_TAG: "true"}
    # The first condition sees all new partitions of an asset, but not an installation's first events; the second sees the last partition.
    by_itself = AutomationCondition.any_new_update_has_run_tags(tag_values=tag) | AutomationCondition.executed_with_tags(tag_values=tag)
    made = AutomationCondition.newly_updated() & by_itself
    arrived = reduce(or_, (AutomationCondition.asset_matches(name, made) for name in _LAST_OF_A_DICTIONARY))
    # Kept until it is acted on: a tick may see an event before it sees the state that follows from the event.
    first = (arrived.since(_HANDLED) & ready & _MISSING).with_label("the dictionary is made")
    firsts = {name for name, stages in above.items() if not stages}

    def following(name: str) -> AutomationCondition:
        requested = AutomationCondition.will_be_requested()
        return (AutomationCondition.asset_matches(name, requested) & _MISSING & _READY).with_label(f"with {name}")

    return {name: following(min(stages & firsts)) if stages else first for name, stages in above.items()}


def _nightly(settings: AutomationSettings, ready: AutomationCondition) -> AutomationCondition:
    tonight = AutomationCondition.cron_tick_passed(settings.cron, settings.timezone).since(AutomationCondition.newly_requested())
    return (tonight & _MISSING & ready).with_label("missing since the nightly tick")


def view_condition(settings: AutomationSettings) -> AutomationCondition | None:
    """When an asset over all dictionaries is made again: after any dictionary has new data, once nothing above the asset is in progress.

    A missing partition of one dictionary, such as a failed range, does not hold up other dictionaries. None for never.
    """
    if settings.when == "never":
        return None
    return AutomationCondition.eager().without(~AutomationCondition.any_deps_missing()).with_label("inputs updated")


def automated(assets: Sequence[dg.AssetsDefinition], settings: AutomationSettings) -> list[dg.AssetsDefinition]:
    """The assets, each with the condition under which it is made by itself."""
    deps = {asset.key: asset.asset_deps[asset.key] for asset in assets if asset.partitions_def == DICTIONARY_BY_RANGE}

    def above(key: dg.AssetKey) -> set[dg.AssetKey]:
        direct = {dep for dep in deps[key] if dep in deps}
        return direct.union(*map(above, direct))

    by_range = range_conditions(settings, {key.to_user_string(): {dep.to_user_string() for dep in above(key)} for key in deps})

    def condition(asset: dg.AssetsDefinition) -> AutomationCondition | None:
        if asset.key in deps:
            return by_range[asset.key.to_user_string()]
        if asset.partitions_def is None:
            return view_condition(settings)
        return dictionary_condition(settings, reads_ranges=any(dep in deps for dep in asset.asset_deps[asset.key]))

    def with_condition(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
        return dg.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=condition(asset)), [asset])[0]

    return [with_condition(asset) for asset in assets]
