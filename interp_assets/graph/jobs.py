"""A job for each common task, for the Jobs page, `dg launch --job` and schedules. A job holds parts of the graph that are launched
together."""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from interp_assets.orchestration.partitions import DICTIONARIES, DICTIONARY_BY_RANGE


@dataclass(frozen=True)
class Task:
    """Assets of some groups with one kind of partitions, since a job has one kind; None for assets over all dictionaries."""

    name: str
    description: str
    groups: tuple[str, ...]
    partitions: dg.PartitionsDefinition | None

    def includes(self, asset: dg.AssetsDefinition) -> bool:
        """Whether the asset belongs to the task."""
        return asset.partitions_def == self.partitions and asset.group_names_by_key[asset.key] in self.groups


TASKS = (
    Task(
        "harvest", "Token sample, activations, neighbours and window embeddings of dictionaries: everything before examples.",
        ("sample", "activations", "examples"), DICTIONARIES,
    ),
    Task("explain", "Projections, examples and all explanations that are asked for.", ("examples", "explanations"), DICTIONARY_BY_RANGE),
    Task("score", "All scores that are asked for, of explanations that exist.", ("scores",), DICTIONARY_BY_RANGE),
    Task("steer", "Steering strengths and steered texts, where they are asked for.", ("steering",), DICTIONARY_BY_RANGE),
    Task("repeat", "Scores taken again of a sample of features, where they are asked for.", ("stability",), DICTIONARIES),
    Task("match", "Matches among other dictionaries' features, where they are asked for.", ("matches",), DICTIONARIES),
    Task(
        "report", "Assets over all dictionaries: reports, and the DuckDB file with views, also for new tables and dictionaries.",
        ("reports", "human_ratings", "warehouse"), None,
    ),
)  # fmt: skip


def task_jobs(assets: Sequence[dg.AssetsDefinition]) -> list:
    """The job of each task over `assets`. Raises ValueError for a task without assets."""
    jobs = []
    for task in TASKS:
        keys = [asset.key for asset in assets if task.includes(asset)]
        if not keys:
            raise ValueError(f"task {task.name} has no asset of the groups {', '.join(task.groups)}: see interp_assets/graph/jobs.py")
        jobs.append(dg.define_asset_job(task.name, selection=dg.AssetSelection.assets(*keys), description=task.description))
    return jobs
