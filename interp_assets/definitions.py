"""The graph as Dagster loads it: the one place that picks implementations."""

import os
import warnings

import dagster as dg

from interp_assets.graph.assembly import definitions, executor_named

warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*backfill_policy.*")

from interp_assets.installation.home import Home  # noqa: E402
from resources.model_provider import RealModels  # noqa: E402

defs = definitions(Home.from_environment(), RealModels(), executor_named(os.environ.get("INTERP_EXECUTOR") or "in_process"))
