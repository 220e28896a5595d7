"""What happens by itself: a new dictionary record becomes a partition of the graph."""

import dagster as dg

from interp_assets.dictionaries import DictionaryRegistry
from interp_assets.partitions import DICTIONARIES


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
