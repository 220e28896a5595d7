"""Assets of a dictionary as a run leaves them in Dagster, without the work."""

from collections.abc import Iterable, Iterator

import dagster as dg

from interp_assets.graph.automation import AUTOMATION_TAG
from interp_assets.orchestration.partitions import DICTIONARIES


def make_by_a_run(instance: dg.DagsterInstance, names: Iterable[str], key: str, *, asked_for_by_a_condition: bool) -> None:
    """Materialise assets of the dictionary in one run, begun by the automation or by a person."""
    specs = [dg.AssetSpec(name.split("/"), partitions_def=DICTIONARIES) for name in sorted(names)]

    @dg.multi_asset(specs=specs)
    def made() -> Iterator[dg.MaterializeResult]:
        for spec in specs:
            yield dg.MaterializeResult(asset_key=spec.key)

    dg.materialize([made], instance=instance, partition_key=key, tags={AUTOMATION_TAG: "true"} if asked_for_by_a_condition else None)
