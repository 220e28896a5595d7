"""What happens by itself: a new dictionary record becomes a partition of the graph, and what is missing there is made."""

from collections.abc import Sequence

import dagster as dg

from interp_assets.dictionaries import DictionaryRegistry
from interp_assets.partitions import DICTIONARIES
from interp_assets.settings import AutomationSettings


@dg.sensor(
    name="new_dictionaries",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds a partition for every dictionary record in $INTERP_HOME/dictionaries. A broken record is named and skipped.",
)
def new_dictionaries(context: dg.SensorEvaluationContext, registry: dg.ResourceParam[DictionaryRegistry]) -> dg.SensorResult:
    """Dynamic partitions for the records that have none yet."""
    records, broken = registry.read_all()
    for name, error in broken.items():
        context.log.error(f"record {name} is not registered: {error}")
    known = set(context.instance.get_dynamic_partitions(DICTIONARIES.name or ""))
    new = sorted(set(records) - known)
    if not new:
        return dg.SensorResult(
            skip_reason=f"no new record among {len(records)} in {registry.folder}" + (f"; broken: {', '.join(broken)}" if broken else "")
        )
    return dg.SensorResult(dynamic_partitions_requests=[DICTIONARIES.build_add_request(new)])


def missing_condition(settings: AutomationSettings) -> dg.AutomationCondition | None:
    """When a partition that is not there, and all of whose inputs are, is requested; None for never.

    "on_missing" requests those that come to be missing while it is switched on. "nightly" takes up older ones too: from a tick of the cron
    on each once, as soon as its inputs are there, so that a stage waits for the one before it but not for another night. Neither requests
    what a run or a backfill has in hand.
    """
    condition = dg.AutomationCondition
    idle = ~condition.in_progress()
    if settings.when == "never":
        return None
    if settings.when == "on_missing":
        return (condition.on_missing() & idle).with_label("missing")
    tonight = condition.cron_tick_passed(settings.cron, settings.timezone).since(condition.newly_requested())
    return (tonight & condition.missing() & ~condition.any_deps_missing() & idle).with_label("missing since the nightly tick")


def view_condition(settings: AutomationSettings) -> dg.AutomationCondition | None:
    """When the asset over all dictionaries is made again: after any of them has something new, once nothing above it is in progress.

    What one dictionary lacks, such as a failed range, keeps the others out of nothing. None for never.
    """
    if settings.when == "never":
        return None
    return dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing()).with_label("inputs updated")


def automated(assets: Sequence[dg.AssetsDefinition], settings: AutomationSettings) -> list[dg.AssetsDefinition]:
    """The assets with the condition under which each is made by itself."""
    missing, view = missing_condition(settings), view_condition(settings)
    return [
        dg.map_asset_specs(
            lambda spec, c=missing if asset.partitions_def else view: spec.replace_attributes(automation_condition=c), [asset]
        )[0]
        for asset in assets
    ]


def automation_sensors(settings: AutomationSettings) -> list[dg.SensorDefinition]:
    """The sensor for new records, and the one that evaluates the conditions, running unless settings say never."""
    if settings.when == "never":
        return [new_dictionaries]
    missing = dg.AutomationConditionSensorDefinition(
        name="missing_partitions",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Requests what is missing: at once, or at night, as `automation:` in settings.yaml says.",
    )
    return [new_dictionaries, missing]
