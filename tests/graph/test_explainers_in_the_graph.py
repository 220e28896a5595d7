"""Every explainer as an asset: what each reads arrives, and each feature ends in a row."""

import json
from math import exp
from pathlib import Path

from installation import KEY, STAGES, Installation

from interp_assets.assets.explanations.explainer_inputs import read_explainer_inputs
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.domain.explaining import COMPUTED, DERIVED, EXPLAINERS, Explainer, ensemble_raw, intervention, planted_false
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, SteeredPrompt
from interp_assets.exchange.import_explanations import import_explanations
from interp_assets.orchestration.range_partition import RangePartition

STEERING = {
    "enabled": True, "kl_targets": [0.3], "zero_ablation": False, "context_tokens": 16, "n_explainer_prompts": 2, "n_scoring_prompts": 1,
    "n_strata": 3, "max_new_tokens": 1, "n_shift_tokens": 5,
}  # fmt: skip
CLAMPS = {"n_windows": 4, "window_tokens": 8, "of_max": 20}
FROM_FILES = {"shuffled_human", "shuffled_imported"}
MADE = [member.NAME for member in (*EXPLAINERS, *COMPUTED, *DERIVED) if member is not planted_false and member.NAME not in FROM_FILES]


def read_material(installation: Installation, explainer: Explainer, feature: int) -> ExplainerInput:
    """What an explainer is given about one of the 64 features."""
    record = installation.home.registry.get(KEY)
    settings = installation.home.settings.stage_settings(record.stages)
    partition = RangePartition(RangeKey(KEY, FEATURE_RANGE_KEYS[feature // 4]), record, settings, "", {})
    found = {
        explainer_input.feature: explainer_input
        for _, explainer_input in read_explainer_inputs(installation.home.lake, partition, explainer)
    }
    return found[feature]


def test_all_of_them_explain(installation: Installation) -> None:
    examples = {**STAGES["examples"], "n_validation": 4, "n_shown_non_activating": 2}
    explaining = {
        "single_token": {"min_share": 0.2}, "candidates": {"n_candidates": 3}, "intervention": {"target_kl": 0.3},
        "ensemble_raw": {"with_token_changes": True},
    }  # fmt: skip
    stages = {**STAGES, "examples": examples, "explanations": MADE, "explaining": explaining, "steering": STEERING, "token_change": CLAMPS}
    installation.register(installation.record(stages=stages))
    installation.run("token_sample", "activation_shards")
    measured = ("vocabulary_projections", "token_changes", "steering", "examples")
    installation.run(*measured, *(f"explanations/{method}" for method in MADE))
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        counts = "SELECT explanation_method, count(*), count(*) FILTER (outcome = 'ok'), max(len(replies)) FROM explanations GROUP BY 1"
        found = {method: numbers for method, *numbers in connection.execute(counts).fetchall()}
        triaged = connection.execute(
            "SELECT outcome, bool_and(top_token_share >= 0.2), bool_or(top_token_share >= 0.2) FROM explanations "
            "JOIN feature_statistics USING (dictionary, feature) WHERE explanation_method = 'single_token' GROUP BY 1 ORDER BY 1"
        ).fetchall()
        shown = "SELECT prompt_text, raised_tokens FROM steered_texts WHERE feature = 17 AND role = 'explainer' ORDER BY prompt"
        steered = connection.execute(shown).fetchall()
        chosen = connection.execute("SELECT explanation, raw_reply FROM explanations WHERE explanation_method = 'candidates'").fetchall()
    asked = {explainer.NAME: 1 for explainer in EXPLAINERS} | {"candidates": 3}
    chosen_by_data = dict.fromkeys(("single_token", "pattern", "shuffled_single_token", "shuffled_pattern"))
    assert found | chosen_by_data == {method: [64, 64, asked.get(method, 0)] for method in MADE} | chosen_by_data
    n_rows, n_patterns, n_replies = found["pattern"]
    assert (n_rows, n_replies) == (64, 1) and n_patterns > 32
    explainer_input = read_material(installation, intervention, 17)
    assert explainer_input.steered == tuple(
        SteeredPrompt(text, tuple((one["token"], exp(one["steered_logprob"]) - exp(one["clean_logprob"])) for one in raised))
        for text, raised in steered
    )
    assert (
        len(explainer_input.steered) == 2 and explainer_input.clamped == () and read_material(installation, ensemble_raw, 17).clamped != ()
    )
    assert triaged == [("not_single_token", False, False), ("ok", True, True)]
    for explanation, raw in chosen:
        reply = json.loads(raw)
        kept = reply["candidates"][reply["chosen"]]
        assert kept["explanation"] == explanation
        assert kept["auroc"] == max((one["auroc"] for one in reply["candidates"] if one["auroc"] is not None), default=None)


def test_explanations_from_a_file_are_scored_beside_the_others(installation: Installation, tmp_path: Path) -> None:
    record = installation.record(features=(0, 8, 16, 24), stages={**STAGES, "explanations": ["max_act", "human"]})
    installation.register(record)
    installation.run("token_sample", "activation_shards")
    installation.run("examples", "explanations/max_act", "explanations/human", "scores/detection")

    def outcomes() -> list[tuple]:
        installation.home.warehouse.build()
        with installation.home.warehouse.open() as connection:
            return connection.execute(
                "SELECT e.feature, e.outcome, s.outcome FROM explanations e JOIN scores s USING (dictionary, feature, explanation_method) "
                "WHERE explanation_method = 'human' AND headline ORDER BY 1"
            ).fetchall()

    assert outcomes() == [(f, "not_imported", "no_explanation") for f in (0, 8, 16, 24)]
    asked = installation.models.asked
    (tmp_path / "labels.csv").write_text("feature,explanation\n0,the word war\n16,the word king\n")
    import_explanations(installation.home.lake, record, tmp_path / "labels.csv", "human")
    installation.run("explanations/max_act", "explanations/human", "scores/detection")
    found = outcomes()
    assert [explained for _, explained, _ in found] == ["ok", "not_imported", "ok", "not_imported"]
    assert [scored for _, _, scored in found][1::2] == ["no_explanation"] * 2 and installation.models.asked > asked


def test_features_selected_later_get_the_rows_of_every_method(installation: Installation) -> None:
    """The constant sentence is made out of nothing, and yet is another range's worth of rows once other features are selected."""
    stages = {**STAGES, "explanations": ["constant", "human"]}
    for features in (tuple(range(0, 64, 8)), tuple(range(0, 64, 4))):
        installation.register(installation.record(features=features, stages=stages))
        installation.run("token_sample", "activation_shards")
        assert installation.run("examples", "explanations/constant", "explanations/human").success
        installation.home.warehouse.build()
        with installation.home.warehouse.open() as connection:
            explained = "SELECT explanation_method, list(feature ORDER BY feature) FROM explanations GROUP BY 1 ORDER BY 1"
            assert connection.execute(explained).fetchall() == [("constant", list(features)), ("human", list(features))]
