"""What happens by itself: a new dictionary record becomes a partition of the graph, and new ratings are read and reported on."""

from pathlib import Path

import dagster as dg

from interp_assets.dictionaries import DictionaryRegistry
from interp_assets.human_ratings import rating_files
from interp_assets.partitions import DICTIONARIES
from resources.exchange.interface import content_hash


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


@dg.sensor(
    name="new_ratings",
    asset_selection=["human_ratings", "human_correlation_report"],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reads the files in $INTERP_HOME/ratings and makes the report anew when any of them has changed.",
)
def new_ratings(context: dg.SensorEvaluationContext, ratings_folder: dg.ResourceParam[Path]) -> dg.SensorResult:
    """A run for a content of the folder that there was none for; none while it is empty and always was."""
    files = rating_files(ratings_folder)
    content = content_hash(ratings_folder, files) if files else ""
    if content == (context.cursor or ""):
        return dg.SensorResult(skip_reason=f"no change among {len(files)} files in {ratings_folder}")
    return dg.SensorResult(run_requests=[dg.RunRequest()], cursor=content)
