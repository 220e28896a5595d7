"""The graph as Dagster loads it: the one place that picks implementations."""

import os
import warnings

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*backfill_policy.*")

from interp_assets.asking import RunSpending  # noqa: E402
from interp_assets.assets.activation_shards import activation_shards  # noqa: E402
from interp_assets.assets.examples import STAGE as EXAMPLES_STAGE  # noqa: E402
from interp_assets.assets.examples import examples  # noqa: E402
from interp_assets.assets.explanations import STAGES as EXPLANATION_STAGES  # noqa: E402
from interp_assets.assets.explanations import explanation_assets  # noqa: E402
from interp_assets.assets.feature_matches import feature_matches  # noqa: E402
from interp_assets.assets.feature_neighbours import feature_neighbours  # noqa: E402
from interp_assets.assets.human_correlation_report import human_correlation_report  # noqa: E402
from interp_assets.assets.human_ratings import human_ratings  # noqa: E402
from interp_assets.assets.scorer_validity import scorer_validity  # noqa: E402
from interp_assets.assets.scores import STAGES as SCORE_STAGES  # noqa: E402
from interp_assets.assets.scores import score_assets  # noqa: E402
from interp_assets.assets.steering import STAGE as STEERING_STAGE  # noqa: E402
from interp_assets.assets.steering import steering  # noqa: E402
from interp_assets.assets.token_changes import STAGE as TOKEN_CHANGES_STAGE  # noqa: E402
from interp_assets.assets.token_changes import token_changes  # noqa: E402
from interp_assets.assets.token_sample import token_sample  # noqa: E402
from interp_assets.assets.vocabulary_projections import STAGE as PROJECTIONS_STAGE  # noqa: E402
from interp_assets.assets.vocabulary_projections import vocabulary_projections  # noqa: E402
from interp_assets.assets.warehouse import warehouse  # noqa: E402
from interp_assets.assets.window_embeddings import window_embeddings  # noqa: E402
from interp_assets.automation import TICK_SECONDS, automated, automation_sensors  # noqa: E402
from interp_assets.home import Home  # noqa: E402
from interp_assets.jobs import task_jobs  # noqa: E402
from interp_assets.settings import UserError  # noqa: E402
from resources.model_provider import ModelProvider, RealModels  # noqa: E402

ASSETS = (
    token_sample,
    activation_shards,
    feature_neighbours,
    window_embeddings,
    vocabulary_projections,
    token_changes,
    steering,
    examples,
    *explanation_assets,
    *score_assets,
    feature_matches,
    scorer_validity,
    human_ratings,
    human_correlation_report,
    warehouse,
)
RANGE_STAGES = (PROJECTIONS_STAGE, TOKEN_CHANGES_STAGE, STEERING_STAGE, EXAMPLES_STAGE, *EXPLANATION_STAGES, *SCORE_STAGES)


# The stages of a run follow one another: a process each would only import torch again.
IN_PROCESS = dg.in_process_executor
EXECUTORS = ("in_process", "ray")
SHARED_VARIABLES = (
    "DAGSTER_HOME", "DAGSTER_PG_HOST", "DAGSTER_PG_PORT", "DAGSTER_PG_USER", "DAGSTER_PG_DB", "DAGSTER_LOGS_BUCKET", "RAY_DASHBOARD_URL",
    "INTERP_HOME", "INTERP_LAKE", "INTERP_SCRATCH", "INTERP_EXECUTOR",
)  # fmt: skip
"""What a step's job on another host needs to know, as deploy/dagster.yaml passes it to a run's. No secrets: Ray shows what it passes."""


def executor_named(name: str) -> dg.ExecutorDefinition:
    """What runs the steps of a run: "in_process" one after the other, or "ray" each as a Ray job of its own, with the run's variables.

    Raises `UserError` for another name, and for "ray" where dagster-ray is not installed.
    """
    if name == "in_process":
        return IN_PROCESS
    if name != "ray":
        raise UserError(f"INTERP_EXECUTOR is {name!r}; it is one of {', '.join(EXECUTORS)}")
    try:
        from dagster_ray import ray_executor
    except ImportError:
        raise UserError('INTERP_EXECUTOR is ray, which needs dagster-ray: pip install -c constraints.txt -e ".[deploy]"') from None
    return ray_executor.configured({"ray": {"env_vars": list(SHARED_VARIABLES)}})


def definitions(
    home: Home, models: ModelProvider, executor: dg.ExecutorDefinition = IN_PROCESS, tick_seconds: int = TICK_SECONDS
) -> dg.Definitions:
    """The graph over one home, with real or stand-in models; its sensors look every `tick_seconds`."""
    automation = home.settings.automation
    return dg.Definitions(
        assets=automated(ASSETS, automation),
        jobs=task_jobs(ASSETS),
        sensors=automation_sensors(automation, tick_seconds),
        executor=executor,
        resources={
            "lake": home.lake,
            "registry": home.registry,
            "settings": home.settings,
            "replies": home.replies,
            "spending": RunSpending(home.settings.budget),
            "warehouse_file": home.warehouse,
            "spill_folder": home.spill,
            "ratings_folder": home.ratings,
            "reports_folder": home.reports,
            "models": models,
        },
    )


defs = definitions(Home.from_environment(), RealModels(), executor_named(os.environ.get("INTERP_EXECUTOR") or "in_process"))
