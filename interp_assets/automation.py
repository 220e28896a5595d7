"""What happens by itself: a new dictionary record becomes a partition of the graph, and every stage of it is filled in order."""

import dagster as dg
from dagster import AutomationCondition

from interp_assets.dictionaries import DictionaryRegistry
from interp_assets.partitions import DICTIONARIES
from interp_assets.settings import PlatformSettings

TICK_SECONDS = 30
"""Pause between two looks of a sensor."""

_HANDLED = (
    AutomationCondition.newly_requested()
    | AutomationCondition.newly_updated()
    | AutomationCondition.initial_evaluation()
    | AutomationCondition.in_progress()
).with_label("handled")

FILL_ONCE = (AutomationCondition.missing().newly_true().since(_HANDLED) & ~AutomationCondition.any_deps_missing()).with_label(
    "on_missing, once"
)
"""Makes a partition that appears as soon as its inputs are there, once: `AutomationCondition.on_missing`, save that somebody else's run
or backfill of it counts too. What that leaves undone, failed or cancelled, is left alone: the failure says why, and `interp backfill`
goes on. Partitions that were missing when the condition was switched on are left to the command as well.
"""


def _made(asset: str) -> AutomationCondition:
    return ~AutomationCondition.asset_matches(asset, AutomationCondition.missing())


FILL_RANGES_ONCE = (FILL_ONCE & _made("feature_neighbours") & _made("window_embeddings")).with_label(
    "on_missing, once, all stages together"
)
"""The same for stages per feature range, which begin once every asset of the dictionary is made, also those that they do not read: so
all of them are asked for at one tick and come as one backfill, whose runs load each model once, instead of in pieces as ranges fill.
"""

REBUILD_AFTER = (
    AutomationCondition.any_deps_match(AutomationCondition.newly_updated()).since_last_handled()
    & ~AutomationCondition.any_deps_in_progress()
).with_label("once its inputs have settled")
"""Makes an asset again after any input was made, when no run of an input is under way."""


def sensors(tick_seconds: int = TICK_SECONDS) -> list[dg.SensorDefinition]:
    """Both sensors, switched on: one adds partitions for new records, the other fills them."""

    @dg.sensor(
        name="new_dictionaries",
        minimum_interval_seconds=tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Adds a partition for every dictionary record in $INTERP_HOME/dictionaries. A broken record is named and skipped.",
    )
    def new_dictionaries(
        context: dg.SensorEvaluationContext,
        registry: dg.ResourceParam[DictionaryRegistry],
        settings: dg.ResourceParam[PlatformSettings],
    ) -> dg.SensorResult:
        """Dynamic partitions for the records that have none yet."""
        records, broken = registry.read_all()
        known = set(context.instance.get_dynamic_partitions(DICTIONARIES.name or ""))
        unknown = {key: records[key] for key in sorted(set(records) - known)}
        refused = registry.refused(unknown, settings)
        broken |= refused
        for name, error in broken.items():
            context.log.error(f"record {name} is not registered: {error}")
        new = [key for key in unknown if registry.path_of(key).name not in refused]
        if not new:
            named = f"; broken: {', '.join(broken)}" if broken else ""
            return dg.SensorResult(skip_reason=f"no new record among {len(records)} in {registry.folder}{named}")
        return dg.SensorResult(dynamic_partitions_requests=[DICTIONARIES.build_add_request(new)])

    fill_new_partitions = dg.AutomationConditionSensorDefinition(
        name="fill_new_partitions",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes every stage of a new dictionary in the order of the graph; stages per feature range come as one backfill.",
    )
    return [new_dictionaries, fill_new_partitions]
