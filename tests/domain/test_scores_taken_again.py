"""Scores taken again: seeds, parts of the corpus, prompts, and what findings say in words."""

import numpy as np
import pytest

from interp_assets.domain.examples.sampling import ExampleSettings
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.scoring import detection, embedding, intruder
from interp_assets.domain.stability import (
    Finding,
    StabilitySettings,
    again,
    contexts_of,
    finding,
    in_words,
    judges_again,
    replicates,
    sampled_features,
    seed_of,
    written_again,
)


def test_the_parts_of_the_corpus_are_disjoint_and_together_all_of_it() -> None:
    for n_draws, n_contexts in ((2, 9), (3, 8), (16, 3)):
        parts = [list(range(n_contexts))[contexts_of(draw, n_draws, n_contexts)] for draw in range(n_draws)]
        assert [context for part in parts for context in part] == list(range(n_contexts))


def test_a_part_of_the_corpus_must_hold_its_part_of_the_fewest_windows() -> None:
    assert StabilitySettings(n_draws=2).draw_settings(ExampleSettings(min_activating=201)).min_activating == 101


def test_every_replicate_has_a_seed_of_its_own() -> None:
    seeds = {seed_of(0, *one) for one in [(d,) for d in range(4)] + [(d, e, j) for d in range(4) for e in range(4) for j in range(4)]}
    assert len(seeds) == 68 and all(0 <= seed < 1 << 63 for seed in seeds)
    assert seed_of(0, 1, 2) != seed_of(1, 1, 2) and seed_of(0, 1, 2) == seed_of(0, 1, 2) != seed_of(0, 12)


def test_questions_asked_again_differ_by_their_seed_and_are_never_cooler() -> None:
    prompts = (Prompt((("user", "a"),), 0, 9), Prompt((("user", "b"),), 0, 9, temperature=0.9))
    one, other = again(prompts, 0.7, (1 << 40) + 5)
    assert (one.temperature, other.temperature) == (0.7, 0.9) and one.messages == prompts[0].messages
    assert one.seed != other.seed and max(one.seed, other.seed) < 1 << 31, "servers take seeds of 32 bits"


def test_encoders_judge_once_and_what_reads_no_explanation_has_one() -> None:
    settings = StabilitySettings(n_draws=3, n_explanations=2, n_judgements=4)
    assert [len(replicates(scorer, settings)) for scorer in (detection, embedding, intruder)] == [24, 6, 12]
    assert judges_again(detection, ("max_act",), "max_act") and not judges_again(detection, ("vocab_proj",), "max_act")
    assert judges_again(intruder, ("none",), "max_act") and not judges_again(intruder, (), "max_act")
    with pytest.raises(ValueError, match="written again by max_act, max_act_cot, contrastive, pattern"):
        written_again("vocab_proj")


def test_the_sample_is_drawn_without_repetition_and_is_all_where_there_are_few() -> None:
    features = np.arange(100, 200)
    found = sampled_features(features, 30, 0)
    assert len(set(found.tolist())) == 30 and (np.diff(found) > 0).all() and set(found.tolist()) <= set(features.tolist())
    assert sampled_features(features, 300, 0).tolist() == features.tolist()
    assert found.tolist() != sampled_features(features, 30, 1).tolist()


def scores(n_features: int, draw: float, feature: float = 0.1) -> np.ndarray:
    """Scores [features, 2, 2, 2] whose standard deviations are given, by draw and by feature, and 0.02 by judgement."""
    rng = np.random.default_rng(0)
    found = 0.7 + rng.normal(0, feature, (n_features, 1, 1, 1)) + rng.normal(0, draw, (n_features, 2, 1, 1))
    return found + rng.normal(0, 0.02, (n_features, 2, 2, 2))


def found_of(values: np.ndarray, n_compared: int, difference: float = 0.05) -> Finding:
    return finding(detection, "max_act", "qwen", values, 100.0, n_compared, difference)


def test_steady_scores_of_many_features_carry_the_difference() -> None:
    found = found_of(scores(60, 0.01), 4000)
    assert found.outcome == "carries" and found.n_features == 60
    words = in_words(found)
    assert "detection, answered by qwen, over 60 features taken again (mean balanced accuracy 0.7" in words
    assert "of the variance of a score is the feature's (ICC 0.9" in words and "needs" not in words


def test_few_features_carry_it_between_methods_alone_and_what_is_needed_is_said() -> None:
    found = found_of(scores(60, 0.03), 25)
    assert found.outcome == "methods_only"
    assert found.features(of_methods=False) is not None and found.windows(of_methods=False) is None
    assert "0.05 between dictionaries needs" in in_words(found) and "no number of windows would do" in in_words(found)
    noisy = found_of(scores(60, 0.15), 60)
    assert noisy.outcome == "carries_not" and (windows := noisy.windows(of_methods=True)) is not None and windows > 100
    assert f"or {windows:,} windows a feature instead of 100" in in_words(noisy)


def test_features_without_a_score_are_counted_and_eight_are_needed() -> None:
    values = scores(10, 0.03)
    values[:2, 0, 0, 0] = np.nan
    assert (found := found_of(values, 25)).n_features == 8 and found.n_incomplete == 2 and found.components is not None
    values[2, 1, 1, 1] = np.nan
    assert (found := found_of(values, 25)).outcome == "too_few_features" and found.between_methods is None
    assert "7 features have scores of every replicate, and 8 are needed" in in_words(found)
    assert found_of(np.full((0, 2, 2, 2), np.nan), 1).outcome == "too_few_features"


def test_scores_without_variance_are_said_to_tell_nothing_apart() -> None:
    found = found_of(np.full((20, 2, 2, 2), 0.5), 20)
    assert "no score varies, so that nothing can be told apart" in in_words(found)
