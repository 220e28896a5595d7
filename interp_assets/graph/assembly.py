"""All assets, all range stages and all resources, as one Dagster definition."""

import dagster as dg

from interp_assets.asking.asker import RunSpending
from interp_assets.assets.activation_shards.asset import activation_shards
from interp_assets.assets.examples.asset import RANGE_STAGE as EXAMPLES_STAGE
from interp_assets.assets.examples.asset import examples
from interp_assets.assets.explanations.asset import RANGE_STAGES as EXPLANATION_STAGES
from interp_assets.assets.explanations.asset import explanation_assets
from interp_assets.assets.feature_matches.asset import feature_matches
from interp_assets.assets.feature_neighbours.asset import feature_neighbours
from interp_assets.assets.human_correlation_report.asset import human_correlation_report
from interp_assets.assets.human_ratings.asset import human_ratings
from interp_assets.assets.score_stability.asset import score_stability
from interp_assets.assets.scorer_validity.asset import scorer_validity
from interp_assets.assets.scores.asset import RANGE_STAGES as SCORE_STAGES
from interp_assets.assets.scores.asset import score_assets
from interp_assets.assets.steering.asset import RANGE_STAGE as STEERING_STAGE
from interp_assets.assets.steering.asset import steering
from interp_assets.assets.token_changes.asset import RANGE_STAGE as TOKEN_CHANGES_STAGE
from interp_assets.assets.token_changes.asset import token_changes
from interp_assets.assets.token_sample.asset import token_sample
from interp_assets.assets.vocabulary_projections.asset import RANGE_STAGE as PROJECTIONS_STAGE
from interp_assets.assets.vocabulary_projections.asset import vocabulary_projections
from interp_assets.assets.warehouse.asset import warehouse
from interp_assets.assets.window_embeddings.asset import window_embeddings
from interp_assets.config.base import UserError
from interp_assets.graph.alert_sensors import alert_sensors
from interp_assets.graph.automation import automated
from interp_assets.graph.jobs import task_jobs
from interp_assets.graph.sensors import TICK_SECONDS, automation_sensors
from interp_assets.installation.extras import install_command
from interp_assets.installation.home import Home
from resources.model_provider import ModelProvider

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
    score_stability,
    scorer_validity,
    human_ratings,
    human_correlation_report,
    warehouse,
)


RANGE_STAGES = (PROJECTIONS_STAGE, TOKEN_CHANGES_STAGE, STEERING_STAGE, EXAMPLES_STAGE, *EXPLANATION_STAGES, *SCORE_STAGES)


# The stages of a run follow one another: a process for each stage would only import torch again.
IN_PROCESS = dg.in_process_executor


EXECUTORS = ("in_process", "ray")


SHARED_VARIABLES = (
    "DAGSTER_HOME", "DAGSTER_PG_HOST", "DAGSTER_PG_PORT", "DAGSTER_PG_USER", "DAGSTER_PG_DB", "DAGSTER_LOGS_BUCKET", "RAY_DASHBOARD_URL",
    "INTERP_HOME", "INTERP_LAKE", "INTERP_SCRATCH", "INTERP_EXECUTOR",
)  # fmt: skip
"""Environment variables for a step's job on another host, as deploy/dagster.yaml passes them to a run. No secrets: Ray shows their
values."""


def executor_named(name: str) -> dg.ExecutorDefinition:
    """The executor of the steps of a run: "in_process" runs them one after another, "ray" runs each as its own Ray job with the run's
    variables.

    Raises `UserError` for another name, and for "ray" where dagster-ray is not installed.
    """
    if name == "in_process":
        return IN_PROCESS
    if name != "ray":
        raise UserError(f"INTERP_EXECUTOR is {name!r}; it is one of {', '.join(EXECUTORS)}")
    try:
        from dagster_ray import ray_executor
    except ImportError:
        raise UserError(f"INTERP_EXECUTOR is ray, which needs dagster-ray: {install_command('deploy')}") from None
    return ray_executor.configured({"ray": {"env_vars": list(SHARED_VARIABLES)}})


def definitions(
    home: Home, models: ModelProvider, executor: dg.ExecutorDefinition = IN_PROCESS, tick_seconds: int = TICK_SECONDS
) -> dg.Definitions:
    """The graph over one home, with real or stand-in models. Its sensors look for changes every `tick_seconds`."""
    settings = home.settings
    checks = [key for asset in ASSETS for key in asset.check_keys]
    return dg.Definitions(
        assets=automated(ASSETS, settings.automation),
        jobs=task_jobs(ASSETS),
        sensors=[*automation_sensors(settings, tick_seconds), *alert_sensors(settings.alerts, checks, tick_seconds)],
        executor=executor,
        resources=resources_of(home, models),
    )


def resources_of(home: Home, models: ModelProvider) -> dict[str, object]:
    """What the assets are given: the stores of a home, and models."""
    return {
        "lake": home.lake,
        "registry": home.registry,
        "settings": home.settings,
        "replies": home.replies,
        "spending": RunSpending(home.settings.budget, home.settings.alerts),
        "warehouse_file": home.warehouse,
        "spill_folder": home.spill,
        "ratings_folder": home.ratings,
        "reports_folder": home.reports,
        "models": models,
    }
