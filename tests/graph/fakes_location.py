"""A small graph on stand-in models as a code location of a real Dagster: $INTERP_HOME/loads.txt gets a line for every model that loads.

Of the explainers and scorers it has those that are asked for by default, since every asset costs the daemon seconds. Language models of
the back end `openai` are real clients: the tests run a server for them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from interp_assets.domain import explaining, scoring
from interp_assets.installation.home import Home
from resources.fakes import FakeModels
from resources.language_models.interface import LanguageModel
from resources.model_provider import RealModels


class CountingModels(FakeModels):
    """Stand-ins that write down the run and the asset that each of them was loaded for."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def subject(self, source: str, revision: str | None, dtype: str | None, hooks: Sequence[str] | None = None) -> Any:
        """The stand-in subject."""
        self._count("subject")
        return super().subject(source, revision, dtype, hooks)

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        """A client of the tests' server where the settings say so, the stand-in judge otherwise."""
        self._count("language_model")
        provider = RealModels() if backend == "openai" else super()
        return provider.language_model(backend, model, revision, options)

    def _count(self, what: str) -> None:
        context = dg.AssetExecutionContext.get()
        with self._file.open("a") as file:
            file.write(f"{context.run.run_id} {'/'.join(context.asset_key.path)} {what}\n")


def small_definitions(home: Home) -> dg.Definitions:
    """The graph with two explainers and two scorers: it is assembled after the lists of methods are cut."""
    explaining.EXPLAINERS, explaining.DERIVED, explaining.IMPORTED_METHODS = (explaining.max_act,), (explaining.SHUFFLED[0],), ()  # type: ignore[assignment]
    explaining.COMPUTED = ()  # type: ignore[assignment]
    explaining.METHODS, explaining.PLANTED_METHODS = ("max_act", "shuffled"), ()
    scoring.SCORERS = (scoring.detection, scoring.fuzzing)  # type: ignore[assignment]
    from interp_assets.graph.assembly import definitions

    return definitions(home, CountingModels(home.root / "loads.txt"), tick_seconds=1)


defs = small_definitions(Home.from_environment())
