"""The graph on stand-in models, as a code location that any process of a cluster can load."""

import os

from interp_assets.graph.assembly import definitions, executor_named
from interp_assets.installation.home import Home
from resources.fakes import FakeModels

defs = definitions(Home.from_environment(), FakeModels(), executor_named(os.environ["INTERP_EXECUTOR"]))
