"""Sensors: new records, checkpoints and ratings are seen by themselves, and missing partitions are requested."""

from pathlib import Path

import dagster as dg

from interp_assets.config.checkpoints import unregistered
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import PlatformSettings
from interp_assets.orchestration.partitions import DICTIONARIES
from interp_assets.ratings.files import rating_files
from resources.formats.interface import content_hash

TICK_SECONDS = 30
"""Pause between two ticks of a sensor. Unit: seconds."""

NAMED = 20
"""Most new dictionaries that a tick names; further dictionaries are counted."""


def automation_sensors(settings: PlatformSettings, tick_seconds: int = TICK_SECONDS) -> list[dg.SensorDefinition]:
    """The sensors for new records, for new ratings and for checkpoints in watched folders, and the sensor that evaluates the conditions.

    All of them run. Without a watched folder there is no sensor for checkpoints, and where the settings say never, none for conditions.
    """
    sensors = [_new_dictionaries(tick_seconds), _new_ratings(tick_seconds)]
    if settings.watch:
        sensors.append(_new_checkpoints(tick_seconds, [watched.folder for watched in settings.watch]))
    if settings.automation.when != "never":
        sensors.append(
            dg.AutomationConditionSensorDefinition(
                name="missing_partitions",
                target=dg.AssetSelection.all(),
                minimum_interval_seconds=tick_seconds,
                default_status=dg.DefaultSensorStatus.RUNNING,
                description="Requests what is missing: at once, or at night, as `automation:` in settings.yaml says.",
            )
        )
    return sensors


def _new_dictionaries(tick_seconds: int) -> dg.SensorDefinition:
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
        """Dynamic partitions for records that have no partition yet."""
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

    return new_dictionaries


def _new_checkpoints(tick_seconds: int, folders: list[str]) -> dg.SensorDefinition:
    @dg.sensor(
        name="new_checkpoints",
        minimum_interval_seconds=tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Registers every checkpoint that is written whole under {', '.join(folders)}, as `watch:` in settings.yaml says.",
    )
    def new_checkpoints(
        context: dg.SensorEvaluationContext,
        registry: dg.ResourceParam[DictionaryRegistry],
        settings: dg.ResourceParam[PlatformSettings],
    ) -> dg.SensorResult:
        """Records and partitions for checkpoints without a record."""
        written, waiting, refused = register_checkpoints(registry, settings)
        for key, error in refused.items():
            context.log.error(f"checkpoint {key} is not registered: {error}")
        told = ["no new checkpoint", *(why for watched in settings.watch if (why := watched.why_empty()))]
        if waiting:
            told.append(f"{len(waiting)} still being written: {_named([str(path) for path in waiting])}")
        if refused:
            told.append(f"{len(refused)} refused: {_named(list(refused))}")
        if not written:
            return dg.SensorResult(skip_reason="; ".join(told))
        context.log.info(f"registered {_named(written)}")
        return dg.SensorResult(dynamic_partitions_requests=[DICTIONARIES.build_add_request(written)])

    return new_checkpoints


def register_checkpoints(registry: DictionaryRegistry, settings: PlatformSettings) -> tuple[list[str], list[Path], dict[str, str]]:
    """Write the record of every settled checkpoint of the watched folders: (keys of the records, checkpoints that are still being written,
    and the reason of each refused record by key, or by path where a checkpoint has none).

    The weights are not loaded: the self-check of the harvest does that, and fails the checkpoint's own partition.
    """
    written: list[str] = []
    waiting: list[Path] = []
    refused: dict[str, str] = {}
    for watched in settings.watch:
        known, broken = registry.read_all()
        seen = unregistered(watched, known, registry.forgotten_checkpoints())
        refused |= seen.refused
        waiting += [checkpoint.path for checkpoint in seen.unsettled]
        for record in seen.records:
            if registry.path_of(record.key).name in broken:
                continue  # a broken record is named by the sensor new_dictionaries, and never written over
            reasons = registry.refused({record.key: record}, settings)
            if reasons:
                refused[record.key] = next(iter(reasons.values()))
            else:
                registry.write(record)
                written.append(record.key)
    return written, waiting, refused


def _new_ratings(tick_seconds: int) -> dg.SensorDefinition:
    @dg.sensor(
        name="new_ratings",
        asset_selection=["human_ratings", "human_correlation_report"],
        minimum_interval_seconds=tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reads the files in $INTERP_HOME/ratings, and makes the report again when a file has changed.",
    )
    def new_ratings(context: dg.SensorEvaluationContext, ratings_folder: dg.ResourceParam[Path]) -> dg.SensorResult:
        """A run for a new content of the folder; no run while the folder is, and always was, empty."""
        files = rating_files(ratings_folder)
        content = content_hash(ratings_folder, files) if files else ""
        if content == (context.cursor or ""):
            return dg.SensorResult(skip_reason=f"no change among {len(files)} files in {ratings_folder}")
        return dg.SensorResult(run_requests=[dg.RunRequest()], cursor=content)

    return new_ratings


def _named(items: list[str]) -> str:
    more = f" and {len(items) - NAMED:,} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more
