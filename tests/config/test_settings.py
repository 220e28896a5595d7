"""Settings: closed, frozen, overridden in the right order."""

import re
from pathlib import Path

import pytest

from interp_assets.config.base import UserError, fingerprint, merged
from interp_assets.config.settings import LanguageModelSettings, PlatformSettings, StageSettings
from interp_assets.domain.explaining import EXPLAINERS
from interp_assets.domain.scoring import detection, fuzzing


def test_defaults_are_the_papers() -> None:
    stages = PlatformSettings().stage_settings({})
    assert (stages.examples.n_shown, stages.examples.n_held_out, stages.examples.min_activating) == (40, 100, 200)
    assert (stages.scoring.detection.per_prompt, stages.scoring.fuzzing.threshold) == (5, 0.3)
    assert (stages.projection.n_tokens, stages.projection.final_norm) == (50, True)


def test_the_record_overrides_the_site_overrides_the_paper() -> None:
    site = PlatformSettings(stages={"examples": {"n_shown": 20, "n_held_out": 50}})
    stages = site.stage_settings({"examples": {"n_shown": 10}})
    assert (stages.examples.n_shown, stages.examples.n_held_out, stages.examples.n_non_activating) == (10, 50, 100)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"examples": {"n_showed": 3}}, "examples.n_showed"),
        ({"exmaples": {}}, "exmaples"),
        ({"projection": {"n_tokens": 0}}, "projection.n_tokens"),
        ({"scoring": {"detection": {"per_prompt": "five"}}}, "scoring.detection.per_prompt"),
        ({"explanations": ["max_act", "max_acts"]}, "explanation method named 'max_acts'; there are max_act,"),
        ({"explanations": ["shuffled"]}, "shuffled is made out of max_act: add it"),
        ({"matching": {"with": ["mine"]}}, "dictionary key 'mine' is not of the form <model>/<layer>/<name>"),
        ({"matching": {"with": ["m/0/a", "m/0/a"]}}, "m/0/a is listed more than once: name each dictionary once"),
        ({"matching": {"others": ["m/0/a"]}}, "matching.others"),
        ({"matching": {"n_nearest": 0}}, "matching.n_nearest"),
        ({"scores": {"detections": "all"}}, "scorer named 'detections'; there are detection, fuzzing"),
        ({"scores": {"detection": ["vocab_proj"]}}, "of detection among `explanations` named 'vocab_proj'; there are max_act, shuffled"),
        ({"scoring": {"fuzzing": {"negatives": "easy"}}}, "scoring.fuzzing.negatives"),
        ({"scoring": {"detection": {"per_prompt": 0}}}, "scoring.detection.per_prompt: Input should be greater than or equal to 1"),
        ({"scoring": {"simulation": {"few_shot": -1}}}, "scoring.simulation.few_shot"),
        ({"scoring": {"fuzzing": {"threshold": 1.5}}}, "scoring.fuzzing.threshold: Input should be less than or equal to 1"),
        ({"scoring": {"intruder": {"threshold": float("nan")}}}, "scoring.intruder.threshold"),
        ({"scoring": {"discrimination": {"windows_per_trial": 0}}}, "scoring.discrimination.windows_per_trial"),
        ({"scoring": {"clarity": {"temperature": -1}}}, "scoring.clarity.temperature"),
        ({"scoring": {"input_based": {"n_sentences": 0}}}, "scoring.input_based.n_sentences"),
        ({"scoring": {"n_bootstrap": 0}}, "scoring.n_bootstrap"),
        ({"explaining": {"max_act": {"n_shown": 0}}}, "explaining.max_act.n_shown: Input should be greater than or equal to 1"),
        ({"explaining": {"contrastive": {"max_reply_tokens": 0}}}, "explaining.contrastive.max_reply_tokens"),
        ({"explaining": {"single_token": {"min_share": 7}}}, "explaining.single_token.min_share"),
        ({"token_change": {"of_max": 0}}, "token_change.of_max: Input should be greater than 0"),
        (
            {"explanations": ["intervention"]},
            "intervention reads what steering does at target_kl 1, and steering has nothing: it is not enabled",
        ),
        (
            {"explanations": ["intervention"], "steering": {"enabled": True, "kl_targets": [0.1, 3]}},
            "steering has kl_targets [0.1, 3.0]. Set steering: {enabled: true, kl_targets: [1]}, or leave intervention out of explanations",
        ),
        ({"explanations": ["max_act", "max_act"]}, "max_act is listed more than once: name each method once"),
        ({"scores": {"detection": True}}, "detection judges all, a list of explanation methods, or none ([]); True is none of these"),
        ({"scores": {"detection": "max_act"}}, "or none ([]); 'max_act' is none of these"),
        ({"scores": ["detection"]}, "such as {detection: all, intruder: all, fuzzing: []}"),
    ],
)
def test_a_wrong_key_or_value_is_named(overrides: dict, named: str) -> None:
    with pytest.raises(UserError, match=re.escape(named)):
        PlatformSettings().stage_settings(overrides)


def test_choosing_among_explanations_needs_validation_windows() -> None:
    with pytest.raises(UserError, match=r"candidates chooses by validation windows and examples\.n_validation is 0: set it, to 30 say, or"):
        PlatformSettings().stage_settings({"explanations": ["max_act", "candidates"]})
    stages = PlatformSettings().stage_settings({"explanations": ["candidates"], "examples": {"n_validation": 30}})
    assert stages.explanations == ("candidates",)
    assert PlatformSettings().stage_settings({"explanations": ["max_act"]}).examples.n_validation == 0


@pytest.mark.parametrize(
    ("scorer", "steering", "named"),
    [
        ("intervention", {}, "intervention reads what steering writes, and steering is off: set steering: {enabled: true}, or leave"),
        ("output_based", {"enabled": False}, "output_based reads what steering writes, and steering is off"),
        ("faithfulness", {"enabled": True, "n_scoring_prompts": 0}, "steering.n_scoring_prompts is 0: set it, to 30 say, or leave faith"),
        ("output_based", {"enabled": True, "fixed": {"prompts": []}}, "steering.fixed.prompts is empty: give some, or leave output_based"),
        ("intervention", {"enabled": True, "kl_targets": [0.1, 3]}, "intervention.kl_target is 1: take one of steering.kl_targets, [0.1"),
        ("output_based", {"enabled": True, "fixed": {"prompts": ["We", " "]}}, "steering.fixed.prompts must be distinct texts"),
        ("output_based", {"enabled": True, "fixed": {"kl_targets": []}}, "steering.fixed.kl_targets is empty: give at least one target"),
        ("output_based", {"enabled": True, "fixed": {"kl_targets": [0.5, 0]}}, "steering.fixed.kl_targets must be distinct numbers"),
        ("output_based", {"enabled": True, "fixed": {"temperature": 0}}, "a temperature above 0, got max_new_tokens 25, temperature 0"),
        ("output_based", {"enabled": True, "fixed": {"prompt": []}}, "steering.fixed.prompt"),
    ],
)  # fmt: skip
def test_scorers_of_steered_texts_need_them(scorer: str, steering: dict, named: str) -> None:
    with pytest.raises(UserError, match=re.escape(named)):
        PlatformSettings().stage_settings({"scores": {scorer: "all"}, "steering": steering})
    assert PlatformSettings().stage_settings({"scores": {scorer: "all"}, "steering": {"enabled": True}}).steering.fixed.max_new_tokens == 25


def test_what_nobody_asks_for_needs_nothing() -> None:
    stages = PlatformSettings().stage_settings({"steering": {"enabled": True, "kl_targets": [0.1], "fixed": {"prompts": []}}})
    assert stages.steering.fixed.prompts == () and stages.scoring.intervention.kl_target == 1.0
    scores = {"output_based": "all"}
    assert (
        PlatformSettings().stage_settings({"scores": scores, "steering": {"enabled": True, "kl_targets": [0.1]}}).scores["fuzzing"] == "all"
    )


def test_explanations_made_of_others_need_those() -> None:
    with pytest.raises(UserError, match="ensemble_concat is made out of vocab_proj: add it to explanations"):
        PlatformSettings().stage_settings({"explanations": ["max_act", "ensemble_concat"]})
    assert PlatformSettings().stage_settings({"explanations": ["constant"]}).explanations == ("constant",)


def test_every_explainer_has_its_block() -> None:
    explaining = StageSettings().explaining
    assert {explainer.NAME: explaining.of(explainer).max_reply_tokens for explainer in EXPLAINERS}["max_act_cot"] == 400
    assert (explaining.contrastive.n_shown, explaining.contrastive.n_contrast, explaining.single_token.min_share) == (15, 5, 0.9)
    assert (explaining.vocab_proj.n_tokens, explaining.candidates.n_candidates, explaining.candidates.temperature) == (50, 5, 0.7)


@pytest.mark.parametrize(("key", "value"), [("n_candidates", 0), ("shown_share", 0.0), ("shown_share", 1.5)])
def test_candidates_are_at_least_one_and_see_something(key: str, value: float) -> None:
    with pytest.raises(UserError, match=key):
        PlatformSettings().stage_settings({"explaining": {"candidates": {key: value}}})


def test_scores_are_laid_over_the_default() -> None:
    stages = PlatformSettings(stages={"scores": {"fuzzing": []}}).stage_settings({"scores": {"detection": ["max_act"]}})
    assert [stages.scored(scorer) for scorer in (detection, fuzzing)] == [("max_act",), ()]
    assert PlatformSettings().stage_settings({"scores": {"fuzzing": ["shuffled"]}}).scored(detection) == ("max_act", "shuffled")


def test_the_generator_is_the_explainer_and_the_base_model_the_scorer_unless_named() -> None:
    explainer, scorer, base = (LanguageModelSettings(model=name) for name in ("e", "s", "b"))
    assert PlatformSettings(explainer=explainer, scorer=scorer).model_of("generator") == explainer
    assert PlatformSettings(explainer=explainer, scorer=scorer).model_of("base") == scorer
    assert PlatformSettings(scorer=scorer, base=base).model_of("base") == base


def test_a_site_file_is_read_and_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    assert PlatformSettings.read(path) == PlatformSettings()
    path.write_text("scorer: {backend: openai, model: llama, options: {base_url: http://127.0.0.1:8000/v1}}")
    assert PlatformSettings.read(path).scorer.options["base_url"].startswith("http://127")
    path.write_text("scorer: {backend: gpt}")
    with pytest.raises(UserError, match=r"settings.yaml.*\n.*scorer.backend"):
        PlatformSettings.read(path)


@pytest.mark.parametrize(
    ("automation", "named"),
    [
        ("{when: always}", "automation.when: Input should be 'on_missing', 'nightly' or 'never'"),
        ("{cron: two in the morning}", "automation.cron: not five fields of cron; two in the morning is 0 2 * * *"),
        ("{cron: 0 25 * * *}", "automation.cron"),
        ("{timezone: Mars/Olympus}", "automation.timezone: no such time zone; name one such as UTC"),
        ("{hour: 2}", "automation.hour: there is no such key"),
    ],
)  # fmt: skip
def test_wrong_automation_is_named(tmp_path: Path, automation: str, named: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"automation: {automation}")
    with pytest.raises(UserError, match=re.escape(named)):
        PlatformSettings.read(path)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError):
        StageSettings().seed = 3  # type: ignore[misc]


def test_fingerprints_differ_exactly_when_a_part_differs() -> None:
    assert fingerprint(StageSettings(), 1) == fingerprint(StageSettings(), 1)
    assert fingerprint(StageSettings(), 1) != fingerprint(StageSettings(), 2)
    assert fingerprint(StageSettings(seed=1), 1) != fingerprint(StageSettings(), 1)


def test_merging_goes_key_by_key() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "e": 5}) == {"a": {"b": 4, "c": 2}, "d": 3, "e": 5}


def test_settings_that_are_not_yaml_name_their_file(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("explainer: {backend: [")
    with pytest.raises(UserError, match=r"settings\.yaml cannot be read: it is not YAML"):
        PlatformSettings.read(tmp_path / "settings.yaml")
