"""A home on disk with activations, on stand-in models, and small runs in it."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from installation import KEY, Installation

from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.installation.server import prepare_instance
from interp_assets.orchestration.narrowing import features_made
from interp_assets.single_features.plan import PlannedRun, planned_run
from interp_assets.single_features.progress import LineWatcher
from interp_assets.single_features.run import RunResult, run_here
from resources.fakes import FakeModels, scripted_answer
from resources.language_models.interface import LanguageModel, Reply, Request
from resources.language_models.scripted import ScriptedModel

HARVEST = ("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")


class Asked(FakeModels):
    """Stand-ins that keep every question; the answer to question number `stop` is an interrupt."""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[str] = []
        self.stop = -1

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        """The scripted judge."""

        def answer(request: Request) -> str | Reply:
            if len(self.questions) == self.stop:
                raise KeyboardInterrupt
            self.questions.append(repr(request))
            return scripted_answer(request)

        return ScriptedModel(answer)


class Lab:
    """An installation on disk whose activations are there: a copy of `harvested`, or a new one."""

    def __init__(self, installation: Installation, harvested: Path | None = None) -> None:
        self.installation, self.home = installation, installation.home
        if harvested is not None:
            shutil.copytree(harvested, self.home.root)
        prepare_instance(self.home)
        installation.instance = dg.DagsterInstance.from_config(str(self.home.dagster))
        installation.register(installation.record())
        self.models = Asked()
        self.lines: list[str] = []

    @property
    def asked(self) -> list[str]:
        return self.models.questions

    def plan(self, features: Sequence[int] | None, *only: str, replace: bool = False) -> PlannedRun:
        return planned_run(self.home, KEY, None if features is None else AskedFeatures.of(features), only, self.models, replace)

    def run(self, features: Sequence[int] | None, *only: str, replace: bool = False) -> RunResult:
        planned = self.plan(features, *only, replace=replace)
        return run_here(self.home, planned, self.models, LineWatcher(self.lines.append), self.lines.append)

    def made(self, table: str, feature_range: str, **columns: str) -> frozenset[int] | None:
        return features_made(self.home.lake.manifest(table, {**columns, "dictionary": KEY, "feature_range": feature_range}))

    def rows(self, sql: str) -> list[tuple]:
        self.home.warehouse.build()
        with self.home.warehouse.open() as connection:
            return connection.execute(sql).fetchall()
