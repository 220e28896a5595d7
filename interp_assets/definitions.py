"""The graph as Dagster loads it: the one place that picks implementations."""

import warnings

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*backfill_policy.*")

from interp_assets.asking import RunSpending  # noqa: E402
from interp_assets.assets.activation_shards import activation_shards  # noqa: E402
from interp_assets.assets.examples import STAGE as EXAMPLES_STAGE  # noqa: E402
from interp_assets.assets.examples import examples  # noqa: E402
from interp_assets.assets.explanations import STAGES as EXPLANATION_STAGES  # noqa: E402
from interp_assets.assets.explanations import explanation_assets  # noqa: E402
from interp_assets.assets.feature_neighbours import feature_neighbours  # noqa: E402
from interp_assets.assets.human_correlation_report import human_correlation_report  # noqa: E402
from interp_assets.assets.human_ratings import human_ratings  # noqa: E402
from interp_assets.assets.scores import STAGES as SCORE_STAGES  # noqa: E402
from interp_assets.assets.scores import score_assets  # noqa: E402
from interp_assets.assets.steering import STAGE as STEERING_STAGE  # noqa: E402
from interp_assets.assets.steering import steering  # noqa: E402
from interp_assets.assets.token_sample import token_sample  # noqa: E402
from interp_assets.assets.vocabulary_projections import STAGE as PROJECTIONS_STAGE  # noqa: E402
from interp_assets.assets.vocabulary_projections import vocabulary_projections  # noqa: E402
from interp_assets.assets.warehouse import warehouse  # noqa: E402
from interp_assets.assets.window_embeddings import window_embeddings  # noqa: E402
from interp_assets.automation import new_dictionaries, new_ratings  # noqa: E402
from interp_assets.home import Home  # noqa: E402
from resources.model_provider import ModelProvider, RealModels  # noqa: E402

ASSETS = (
    token_sample,
    activation_shards,
    feature_neighbours,
    window_embeddings,
    vocabulary_projections,
    steering,
    examples,
    *explanation_assets,
    *score_assets,
    human_ratings,
    human_correlation_report,
    warehouse,
)
RANGE_STAGES = (PROJECTIONS_STAGE, STEERING_STAGE, EXAMPLES_STAGE, *EXPLANATION_STAGES, *SCORE_STAGES)


def definitions(home: Home, models: ModelProvider) -> dg.Definitions:
    """The graph over one home, with real or stand-in models."""
    return dg.Definitions(
        assets=ASSETS,
        sensors=[new_dictionaries, new_ratings],
        executor=dg.in_process_executor,  # the stages of a run follow one another; a process each would only import torch again
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


defs = definitions(Home.from_environment(), RealModels())
