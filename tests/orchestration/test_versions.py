"""A change of settings makes those stages stale that it can change, and no other."""

from typing import Any

import pytest

from interp_assets.assets.explanations import asset as explanations
from interp_assets.assets.scores import asset as scores
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.explaining import COMPUTED, EXPLAINERS
from interp_assets.domain.scoring import SAMPLED, SCORERS
from interp_assets.domain.scoring.shared.prediction_powered import PredictionPoweredSettings
from interp_assets.measuring.sampling import sampling_settings
from interp_assets.orchestration.stage import RangeStage

ASKING = tuple(explainer.NAME for explainer in EXPLAINERS)
COMPUTING = tuple(explainer.NAME for explainer in COMPUTED)
NAMES = [scorer.NAME for scorer in SCORERS]
EVERYTHING: dict[str, Any] = {
    "explanations": [*ASKING, *COMPUTING, "shuffled", "constant"], "scores": dict.fromkeys(NAMES, "all"), "examples": {"n_validation": 30},
    "steering": {"enabled": True},
}  # fmt: skip
STAGES = {"/".join([stage.table.name, *stage.extra.values()]): stage for stage in (*explanations.RANGE_STAGES, *scores.RANGE_STAGES)}
SCORER_CHANGES = {
    "detection": {"per_prompt": 4}, "fuzzing": {"threshold": 0.5}, "simulation": {"max_level": 9}, "surprisal": {"few_shot": 1},
    "intruder": {"per_stratum": 1}, "example_embedding": {"n_exemplars": 5}, "discrimination": {"n_trials": 4},
    "input_based": {"n_sentences": 4}, "clarity": {"n_texts": 4}, "responsiveness": {"few_shot": 0}, "purity": {"few_shot": 0},
    "intervention": {"kl_target": 0.33}, "output_based": {"n_trials": 1}, "faithfulness": {"per_prompt": 4}, "matcher": {"threshold": 0.5},
    "sensitivity": {"n_texts": 4}, "embedding": {"instruction": "query:"},
}  # fmt: skip


def versions(stages: dict[str, Any], platform: dict[str, Any]) -> dict[str, str]:
    """Data version of every stage with inputs of which only the names matter."""
    settings = PlatformSettings.model_validate(platform)
    own = settings.stage_settings({**EVERYTHING, **stages})

    def version(stage: RangeStage) -> str:
        return stage.data_version(own, settings, {upstream.name: "v" for upstream in stage.upstream if upstream.needed(own)})

    return {name: version(stage) for name, stage in STAGES.items()}


def stale(stages: dict[str, Any] | None = None, platform: dict[str, Any] | None = None) -> set[str]:
    before, after = versions({}, {}), versions(stages or {}, platform or {})
    return {name for name in STAGES if before[name] != after[name]}


def scored(*models: str) -> set[str]:
    return {f"scores/{scorer.NAME}" for scorer in SCORERS if scorer.MODEL in models}


@pytest.mark.parametrize(("scorer", "change"), SCORER_CHANGES.items())
def test_a_scorers_own_settings_make_it_stale_alone(scorer: str, change: dict) -> None:
    assert stale({"scoring": {scorer: change}}) == {f"scores/{scorer}"}


@pytest.mark.parametrize("explainer", ASKING)
def test_an_explainers_own_settings_make_it_stale_alone(explainer: str) -> None:
    """What reads its explanations is stale by their version, once they are made."""
    assert stale({"explaining": {explainer: {"max_reply_tokens": 77}}}) == {f"explanations/{explainer}"}


def test_what_asks_no_model_has_settings_of_its_own_and_none_of_a_model() -> None:
    assert stale({"explaining": {"token_list": {"n_tokens": 5}}}) == {"explanations/token_list"}


@pytest.mark.parametrize("scorer", NAMES)
def test_turning_a_scorer_off_leaves_the_others_alone(scorer: str) -> None:
    assert stale({"scores": {**EVERYTHING["scores"], scorer: []}}) == {f"scores/{scorer}"}


def test_each_model_makes_stale_what_it_answers() -> None:
    other = {"model": "embedded:another"}
    assert stale(platform={"scorer": other}) == scored("scorer", "base")
    assert stale(platform={"base": other}) == scored("base") and stale(platform={"generator": other}) == scored("generator")
    assert stale(platform={"explainer": other}) == {*(f"explanations/{name}" for name in ASKING), *scored("generator")}
    assert stale(platform={"sentence_encoder": {"source": "another"}}) == {"explanations/candidates", *scored("encoder")}
    assert stale(platform={"scorer": {"options": {"concurrency": 3}}, "budget": {"tokens": 5}}) == set()


def test_stopping_early_concerns_judges_alone() -> None:
    assert stale({"scoring": {"sequential": {"ci_width": 0.2}}}) == scored("scorer", "base")


def test_asking_about_some_windows_concerns_detection_and_fuzzing_alone() -> None:
    """Off, a version holds nothing of it; on, it holds the encoder where the encoder predicts."""
    assert stale({"scoring": {"prediction_powered": None}}) == set()
    powered = {"scoring": {"prediction_powered": {"share": 0.25, "control_variates": ["activation"]}}}
    assert stale(powered) == {"scores/detection", "scores/fuzzing"}
    other = PlatformSettings.model_validate({"sentence_encoder": {"source": "another"}})
    for variate, reads_encoder in (("embedding", True), ("activation", False)):
        settings = PredictionPoweredSettings(0.25, (variate,))
        for scorer in SAMPLED:
            changed = sampling_settings(scorer, settings, PlatformSettings()) != sampling_settings(scorer, settings, other)
            assert changed is reads_encoder, (variate, scorer.NAME)


def test_everything_depends_on_which_features_there_are() -> None:
    """By the version of the examples, which the selected features decide; the constant sentence too, and what was imported."""
    settings = PlatformSettings().stage_settings({**EVERYTHING, "explanations": [*EVERYTHING["explanations"], "human"]})
    asked_for = {*NAMES, *settings.explanations}
    reads = {name for name, stage in STAGES.items() for u in stage.upstream if u.name in ("examples", "vocabulary_projections")}
    assert {name for name in STAGES if name.split("/")[1] in asked_for} <= reads
