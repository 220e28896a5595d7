"""The graph as Dagster loads it: the one module that reads the environment when it is imported, and picks implementations."""

import os

from interp_assets.graph.assembly import definitions, executor_named
from interp_assets.installation.home import Home
from resources.model_provider import RealModels

defs = definitions(Home.from_environment(), RealModels(), executor_named(os.environ.get("INTERP_EXECUTOR") or "in_process"))
