"""The graph as Dagster loads it: the one module that reads the environment when it is imported, and picks implementations."""

import os

from interp_assets.graph.assembly import definitions, executor_named
from interp_assets.installation.home import Home
from resources.event_log import write_events_quickly
from resources.kept_models import KeptModels
from resources.model_provider import RealModels

write_events_quickly()
defs = definitions(Home.from_environment(), KeptModels(RealModels()), executor_named(os.environ.get("INTERP_EXECUTOR") or "in_process"))
