"""Staleness is true: as Dagster shows it, and as our manifests decide what is made. Each change marks what it can change and no more."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from installation import KEY, STAGES, Installation

from interp_assets.backfill.command import _plan, chosen_ranges
from interp_assets.backfill.launch import known_assets
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import max_act
from interp_assets.graph.assembly import ASSETS, RANGE_STAGES
from interp_assets.orchestration.stage import RangeStage
from resources.fakes import scripted_answer
from resources.language_models.interface import Reply, Request

FEATURES = tuple(range(0, 64, 4))
SAMPLED = ("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")
SCORED = (
    "vocabulary_projections",
    "examples",
    "explanations/max_act",
    "explanations/vocab_proj",
    "explanations/shuffled",
    "scores/fuzzing",
)
SCORED = (*SCORED, "scores/intruder")
MADE = {*SAMPLED, *SCORED}
ASKS = {**STAGES, "explanations": ["max_act", "vocab_proj", "shuffled"], "scores": {"detection": [], "intruder": "all"}}
JUDGED = {"explanations/shuffled", "scores/fuzzing"}
"""What reads max_act explanations, of what is made here."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    """An installation whose graph has run as far as it is looked at here. Tests leave it fresh, and its record as it was."""
    installation = Installation(tmp_path_factory.mktemp("stale"), corpus)
    installation.register(record(installation))
    make(installation)
    return installation


def record(installation: Installation, **changes: object) -> DictionaryRecord:
    return installation.record(**{"features": FEATURES, "stages": ASKS, **changes})


def make(installation: Installation) -> None:
    installation.run(*SAMPLED)
    installation.run(*SCORED)


def marked(installation: Installation, assets: tuple[dg.AssetsDefinition, ...] = ASSETS) -> dict[str, set[str]]:
    """Feature ranges (or "") that Dagster's UI shows as stale, by asset, among those that are made here."""
    graph = dg.Definitions(assets=assets, resources=installation.resources).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(installation.instance, graph, LoadingContextForTest(installation.instance))
    found: dict[str, set[str]] = {}
    for asset in (asset for asset in assets if "/".join(asset.key.path) in MADE):
        ranged = isinstance(asset.partitions_def, dg.MultiPartitionsDefinition)
        for name in FEATURE_RANGE_KEYS if ranged else ("",):
            status = resolver.get_status(asset.key, f"{KEY}|{name}" if ranged else KEY)
            assert status is not StaleStatus.MISSING, (asset.key, name)
            if status is StaleStatus.STALE:
                found.setdefault("/".join(asset.key.path), set()).add(name)
    return found


def to_make(installation: Installation) -> set[str]:
    """Assets of which our manifests say that something is to be made."""
    assets, ranges = known_assets(ASSETS, sorted(MADE)), chosen_ranges(installation.home, [KEY], None)
    planned = _plan(installation.home, assets, [KEY], ranges, installation.models)
    assert not any(one.blocked for one in planned)
    return {one.asset for one in planned if one.to_make}


def wholly(*names: str) -> dict[str, set[str]]:
    return {name: {""} if name in SAMPLED else set(FEATURE_RANGE_KEYS) for name in names}


@pytest.fixture
def new_prompt(site: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dg.AssetsDefinition, ...]]:
    """The assets with another version of max_act's prompt."""
    monkeypatch.setattr(max_act, "VERSION", "max_act/99")
    stage = next(stage for stage in RANGE_STAGES if stage.asset == "explanations/max_act")
    monkeypatch.setattr("interp_assets.graph.assembly.RANGE_STAGES", tuple(_versioned(one, stage) for one in RANGE_STAGES))

    def versioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(code_version="max_act/99") if spec.key.path == ["explanations", "max_act"] else spec

    yield tuple(dg.map_asset_specs(versioned, ASSETS))
    monkeypatch.undo()
    make(site)
    assert marked(site) == {}


def _versioned(one: RangeStage, changed: RangeStage) -> RangeStage:
    return replace(one, code_version="max_act/99") if one is changed else one


def test_after_a_run_nothing_is_stale_and_an_identical_rerun_changes_nothing(site: Installation) -> None:
    assert marked(site) == {} and to_make(site) == set()
    before, asked = site.lake_bytes(), site.models.asked
    make(site)
    assert marked(site) == {} and site.lake_bytes() == before and site.models.asked == asked


def test_a_rerun_of_one_range_alone_leaves_what_is_below_it_fresh(site: Installation) -> None:
    tags = {"dagster/asset_partition_range_start": f"{KEY}|03of16", "dagster/asset_partition_range_end": f"{KEY}|03of16"}
    chosen = [asset for asset in ASSETS if asset.key.path == ["explanations", "max_act"]]
    assert dg.materialize(ASSETS, selection=chosen, instance=site.instance, resources=site.resources, tags=tags).success
    assert marked(site) == {}


def test_a_new_prompt_marks_its_method_and_then_what_judges_it(site: Installation, new_prompt: tuple[dg.AssetsDefinition, ...]) -> None:
    """Dagster marks what has new inputs once these are made; the manifests know all of it beforehand."""
    assert marked(site, new_prompt) == wholly("explanations/max_act")
    assert to_make(site) == {"explanations/max_act", *JUDGED}
    site.run("explanations/max_act", assets=new_prompt)
    assert marked(site, new_prompt) == wholly(*JUDGED) and to_make(site) == JUDGED
    site.run("explanations/shuffled", assets=new_prompt)
    site.run("scores/fuzzing", assets=new_prompt)
    assert marked(site, new_prompt) == {} and to_make(site) == set()


def test_a_new_token_sample_marks_all_below_it(site: Installation) -> None:
    sample = site.record().token_sample.model_copy(update={"seed": 1})
    site.register(record(site, token_sample=sample))
    assert to_make(site) == MADE - {"window_embeddings"}, "of which the settings ask for nothing"
    site.run("token_sample")
    assert marked(site) == wholly("activation_shards", "window_embeddings")
    site.run("activation_shards", "window_embeddings")
    assert marked(site) == wholly("feature_neighbours", "vocabulary_projections", "examples")
    site.run("feature_neighbours")
    site.run(*SCORED)
    assert marked(site) == {} and to_make(site) == set()
    site.register(record(site))
    make(site)
    assert marked(site) == {}


def test_explanations_that_were_asked_for_again_mark_what_was_made_of_the_failed_ones(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range with questions that went without an answer has another version than the whole one that the next run makes of it."""

    def refuse(request: Request) -> str | Reply:
        return Reply("", "error", 0, 0, 0, 0.0, error="the server answered 500") if request.line_prefix else scripted_answer(request)

    installation.register(record(installation, features=(0, 4)))
    with monkeypatch.context() as patch:
        patch.setattr("resources.fakes.scripted_answer", refuse)
        make(installation)
    assert marked(installation) == {} and to_make(installation) >= {"explanations/max_act"}
    installation.run("explanations/max_act")
    assert set(marked(installation)) == JUDGED
    installation.run("explanations/shuffled")
    installation.run("scores/fuzzing")
    assert marked(installation) == {}
