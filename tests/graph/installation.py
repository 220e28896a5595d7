"""A small installation on stand-in models, and ways to run its graph."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from interp_assets.backfill.plan import Planner
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import DictionaryRecord, TokenSampleSettings
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.graph.assembly import ASSETS, RANGE_STAGES, definitions
from interp_assets.installation.home import Home
from interp_assets.orchestration.partitions import DICTIONARIES
from interp_assets.orchestration.stage import RangeStage
from resources.fakes import FakeModels, FakeTokenizer, HashedWords
from resources.language_models.interface import LanguageModel
from resources.model_provider import RealModels

STAGES = {
    "examples": {"window_tokens": 8, "n_shown": 6, "n_held_out": 10, "n_non_activating": 10, "min_activating": 12, "n_strata": 5},
    "scoring": {"n_bootstrap": 50},
}
KEY = "fake/00/neurons"
BY_RANGE = ["/".join(asset.key.path) for asset in ASSETS if isinstance(asset.partitions_def, dg.MultiPartitionsDefinition)]


class ServedModels(FakeModels):
    """Stand-ins, but for the language model: that is a server's."""

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        """The client of the tests' server."""
        return RealModels().language_model(backend, model, revision, options)


class OneRecord(DictionaryRegistry):
    """A registry in which one record is another than on disk."""

    def __init__(self, record: DictionaryRecord, registry: DictionaryRegistry) -> None:
        super().__init__(registry.folder)
        self._record = record

    def get(self, key: str) -> DictionaryRecord:
        """The record of a key."""
        return self._record if key == self._record.key else super().get(key)


class Installation:
    """One home with its instance and stand-in models."""

    def __init__(self, root: Path, corpus: Path) -> None:
        self.home = Home(root, str(root / "lake"))
        self.models = FakeModels()
        self.instance = dg.DagsterInstance.ephemeral()
        self.corpus = corpus

    def record(self, key: str = KEY, **changes: object) -> DictionaryRecord:
        """Neurons of the stand-in subject, eight kept a token."""
        sample = TokenSampleSettings(corpus=(f"text:{self.corpus}/*.txt",), n_tokens=8192, context_tokens=64)
        fields = {"key": key, "hook": "blocks.0.mlp.hook_post", "kind": "topk_neurons", "k": 8, "width": 64, "token_sample": sample}
        return DictionaryRecord(**{**fields, "stages": STAGES, **changes})  # type: ignore[arg-type]

    def register(self, *records: DictionaryRecord) -> None:
        """Write the records and add their partitions."""
        for record in records:
            self.home.registry.write(record)
            self.instance.add_dynamic_partitions(DICTIONARIES.name or "", [record.key])

    @property
    def resources(self) -> dict[str, object]:
        """What the assets need."""
        return dict(definitions(self.home, self.models).resources or {})

    def run(
        self,
        *names: str,
        key: str = KEY,
        last_key: str | None = None,
        raise_on_error: bool = True,
        tags: Mapping[str, str] | None = None,
        assets: Sequence[dg.AssetsDefinition] = ASSETS,
        ranges: tuple[int, int] = (0, -1),
    ) -> dg.ExecuteInProcessResult:
        """Materialise assets of one dictionary (its ranges from the first to the last of `ranges`), or of those up to `last_key`, in one
        run. With `last_key`, the first range is of `key`, and the last is of `last_key`."""
        selected = [asset for asset in assets if "/".join(asset.key.path) in names]
        assert len(selected) == len(names), names
        first, last = (key, last_key or key)
        if isinstance(selected[0].partitions_def, dg.MultiPartitionsDefinition):
            first, last = f"{key}|{FEATURE_RANGE_KEYS[ranges[0]]}", f"{last}|{FEATURE_RANGE_KEYS[ranges[1]]}"
        span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        return dg.materialize(
            assets,
            selection=selected,
            instance=self.instance,
            resources=self.resources,
            tags={**(tags or {}), **(span if selected[0].partitions_def else {})},
            raise_on_error=raise_on_error,
        )

    def run_all(self, key: str = KEY) -> None:
        """Every asset that one dictionary's record asks for, in four runs such as a backfill makes."""
        self.run("token_sample", "activation_shards", "feature_neighbours", "window_embeddings", key=key)
        unasked = self.unasked(key)
        self.run(*(name for name in BY_RANGE if name not in unasked), key=key)
        self.run("feature_matches", "score_stability", key=key)
        self.run("scorer_validity", "human_ratings", "human_correlation_report", "warehouse")

    def unasked(self, key: str = KEY) -> list[str]:
        """Assets by range that a record does not ask for: each costs a second that says that there is nothing to do."""
        record, home = self.home.registry.get(key), self.home
        return [stage.asset for stage in RANGE_STAGES if not stage.has_work_for(home.lake, record, home.settings)]

    def stale(self, record: DictionaryRecord, stages: Sequence[RangeStage] = RANGE_STAGES) -> list[str]:
        """Names of the stages and partitions that a backfill of `record` would make again, in the order of the graph."""
        home, encoder = self.home, HashedWords.revision
        planner = Planner(
            home.lake, OneRecord(record, home.registry), home.settings, tuple(stages), lambda _: FakeTokenizer.revision, lambda: encoder
        )
        by_range = {stage.asset: stage for stage in stages}
        by_dictionary = ("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")
        known = {"/".join(asset.key.path): asset for asset in ASSETS}
        planned = planner.plan({n: known[n] for n in (*by_dictionary, *by_range)}, [record.key], {record.key: FEATURE_RANGE_KEYS})
        found = [one for one in planned if one.asset not in by_range or by_range[one.asset].has_work_for(home.lake, record, home.settings)]
        return [f"{one.asset} {record.key}{f'|{name}' if name else ''}" for one in found for name in (*one.to_make, *one.blocked)]

    def lake_bytes(self) -> dict[str, bytes]:
        """Every file of the lake."""
        root = Path(self.home.lake.root)
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
