"""The scorers of what a feature makes the model say, through the graph: features planted to say a word, a judge that looks for it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from installation import STAGES, Installation

from interp_assets.config.records import DictionaryRecord
from interp_assets.exchange.import_explanations import import_explanations
from interp_assets.reporting.materialisation import INLINE_CHARACTERS
from resources.fakes import FakeModels

KEY = "fake/01/planted"
WORDS = ("ship", "bread", "stone", "river", "night", "winter", "summer", "red", "blue", "green", "war", "king")
DEAD = len(WORDS) - 1
NAMES = ("intervention", "output_based", "faithfulness")
STEERING = {
    "enabled": True, "kl_targets": [0.5, 1.0], "context_tokens": 16, "n_explainer_prompts": 2, "n_scoring_prompts": 6, "n_strata": 2,
    "max_new_tokens": 4, "n_shift_tokens": 4, "batch_rows": 48, "fixed": {"max_new_tokens": 10},
}  # fmt: skip
STAGES_HERE = {
    **STAGES, "explanations": ["human", "imported"], "scores": dict.fromkeys(NAMES, "all"), "steering": STEERING,
    "scoring": {"n_bootstrap": 200},
}  # fmt: skip

PLANTED = """
import torch
from test_output_scorers_in_the_graph import WORDS, SharpModels

UNEMBEDDING = SharpModels().subject("", None, None).model.lm_head.weight
IDS = SharpModels().tokenizer("", None).encode(" ".join(WORDS)).tolist()

class Planted:
    def encode(self, x):
        fires = x[:, : len(IDS)].relu()
        fires[:, -1] = 0
        return fires

    def decoder_row(self, feature):
        return UNEMBEDDING[IDS[feature]]
"""


class SharpModels(FakeModels):
    """Stand-ins whose subject is sure of what it says, so that steering can change it by whole nats."""

    def subject(self, source: str, revision: str | None, dtype: str | None, hooks: Sequence[str] | None = None) -> Any:
        subject = super().subject(source, revision, dtype, hooks)
        subject.model.lm_head.weight *= 20
        return subject


def planted_record(installation: Installation, folder: Path, **stages: object) -> DictionaryRecord:
    file = folder / "planted.py"
    file.write_text(PLANTED)
    fields = {
        "kind": "callable",
        "hook": "blocks.1.hook_resid_post",
        "k": None,
        "d_in": 32,
        "width": len(WORDS),
        "source": f"{file}:Planted",
    }
    return installation.record(KEY, stages={**STAGES_HERE, **stages}, **fields)


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    """Twelve features that say a word each, the last of them dead on the sample; "human" explanations name it, "imported" ones another."""
    folder = tmp_path_factory.mktemp("scored")
    installation = Installation(folder / "home", corpus)
    installation.models = SharpModels()
    record = planted_record(installation, folder)
    installation.register(record)
    for method, shift in (("human", 0), ("imported", 5)):
        lines = [f"{feature},the word {WORDS[(feature + shift) % len(WORDS)]}" for feature in range(len(WORDS))]
        (folder / f"{method}.csv").write_text("\n".join(["feature,explanation", *lines]))
        import_explanations(installation.home.lake, record, folder / f"{method}.csv", method)
    installation.run("token_sample", "activation_shards", "feature_neighbours", "window_embeddings", key=KEY)
    names = ("steering", "examples", "explanations/human", "explanations/imported", "scores/fuzzing", *(f"scores/{n}" for n in NAMES))
    installation.run(*names, key=KEY)
    return installation


def test_features_say_their_word_and_dead_ones_do_too(scored: Installation) -> None:
    counted = rows(scored, "SELECT outcome, count(*), count(DISTINCT feature), count(DISTINCT prompt) FROM steered_sets GROUP BY 1")
    assert sum(n for _, n, *_ in counted) == len(WORDS) * 4 * 3 and {outcome: n for outcome, _, n, _ in counted}["ok"] == len(WORDS)
    said = dict(rows(scored, "SELECT feature, string_agg(completion, '') FROM steered_sets WHERE target_kl > 0 GROUP BY 1"))
    assert all(said[feature].split().count(word) >= 3 for feature, word in enumerate(WORDS))
    assert rows(scored, f"SELECT outcome FROM steering WHERE feature = {DEAD}") == [("dead",)]
    columns = "prompt_text, target_kl, strength * target_kl > 0, abs(realised_kl / abs(target_kl) - 1) <= 0.1"
    found = rows(scored, f"SELECT DISTINCT {columns} FROM steered_sets WHERE outcome = 'ok'")
    assert len(found) == 12 and all(signed and met for *_, signed, met in found)
    assert rows(scored, "SELECT sum(n)::INT FROM outcomes WHERE stage = 'steered_sets'") == [(len(WORDS) * 4,)]


def test_every_case_ends_in_a_headline_row_and_every_item_in_a_verdict(scored: Installation) -> None:
    headlines = rows(scored, "SELECT scorer, count(*) FROM scores WHERE headline AND scorer <> 'fuzzing' GROUP BY 1 ORDER BY 1")
    assert headlines == [(name, 2 * len(WORDS)) for name in sorted(NAMES)]
    items = "SELECT scorer, sum(len(example_ids)) FROM trials GROUP BY 1 ORDER BY 1"
    assert rows(scored, items) == rows(scored, "SELECT scorer, count(*) FROM verdicts GROUP BY 1 ORDER BY 1")
    dead = f"SELECT scorer, outcome FROM scores WHERE headline AND feature = {DEAD} AND explanation_method = 'human' ORDER BY 1"
    assert rows(scored, dead) == [
        ("faithfulness", "not_steered"),
        ("fuzzing", "no_examples"),
        ("intervention", "not_steered"),
        ("output_based", "ok"),
    ]


def test_true_explanations_score_and_others_do_not_rise_above_their_floor(scored: Installation) -> None:
    means = "SELECT scorer, explanation_method, avg(value), avg(floor), count(value) FROM scores WHERE headline GROUP BY 1, 2"
    found = {(scorer, method): (value, floor, n) for scorer, method, value, floor, n in rows(scored, means)}
    assert found["output_based", "human"][0] > 0.8 and found["output_based", "human"][1] == pytest.approx(1 / 3)
    assert found["output_based", "imported"][0] < 0.5
    # Another feature's word is at the floor or below it: the feature's own takes the place of what the clean model says.
    assert found["intervention", "human"][0] > 0.2 and -0.4 < found["intervention", "imported"][0] < 0.1
    assert found["faithfulness", "human"][0] > found["faithfulness", "human"][1] + 0.2
    assert -0.4 < found["faithfulness", "imported"][0] - found["faithfulness", "imported"][1] < 0.1
    assert all(n > 8 for (scorer, _), (_, _, n) in found.items() if scorer != "fuzzing")


def test_faithfulness_has_a_row_for_each_intervention_and_judges_clean_texts_once(scored: Installation) -> None:
    metrics = rows(scored, "SELECT DISTINCT metric FROM scores WHERE scorer = 'faithfulness' AND outcome = 'ok' ORDER BY 1")
    assert metrics == [("rise",), ("rise@0.5",), ("rise@1",), ("rise@zero_ablation",)]
    clean = (
        "SELECT DISTINCT count(*) FROM verdicts WHERE scorer = 'faithfulness' AND variant = 'clean' GROUP BY feature, explanation_method"
    )
    assert rows(scored, clean) == [(6,)]
    rated = """SELECT count(*) FROM verdicts v JOIN steered_texts t ON v.feature = t.feature AND t.role = 'scoring'
               AND v.example_id = t.prompt || '/0.5' AND t.target_kl = 0.5
               WHERE v.scorer = 'faithfulness' AND trim(t.steered_completion) <> v.text"""
    assert rows(scored, rated) == [(0,)]


def test_views_and_the_plot_set_the_two_sides_against_each_other(scored: Installation) -> None:
    quadrants = rows(scored, "SELECT feature, quadrant, intervention, intervention_ci_low, fuzzing_ci_low FROM feature_quadrants")
    assert len(quadrants) > 8
    for _, quadrant, _, intervention, fuzzing in quadrants:
        assert (quadrant in ("both", "output_only")) == (intervention > 0) and (quadrant in ("both", "input_only")) == (fuzzing > 0.5)
    output_only = sorted((-gain, feature) for feature, quadrant, gain, *_ in quadrants if quadrant == "output_only")
    listed = rows(scored, "SELECT feature, explanation FROM output_features")
    assert [feature for feature, _ in listed] == [feature for _, feature in output_only] and listed
    assert all(text.startswith("the word ") for _, text in listed)
    counts = rows(
        scored, "SELECT n_features, n_both + n_output_only + n_input_only + n_neither, n_output_only FROM intervention_against_fuzzing"
    )
    assert counts == [(len(quadrants), len(quadrants), len(output_only))]
    result = scored.run("warehouse")
    metadata = result.asset_materializations_for_node("warehouse")[0].metadata
    plot, figure = (str(metadata[f"intervention_against_fuzzing{name}"].value) for name in ("", "_figure"))
    assert plot.startswith("![best scores of each feature](data:image/svg+xml;base64,") and len(plot) < INLINE_CHARACTERS
    assert figure.startswith("![best scores of each feature](data:image/png;base64,")


def test_a_second_run_asks_nothing_and_other_batches_make_the_same_sets(
    scored: Installation, tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, loads, before = scored.models.asked, scored.models.loads, scored.lake_bytes()
    scored.run("steering", *(f"scores/{name}" for name in NAMES), key=KEY)
    assert (scored.models.asked, scored.models.loads, scored.lake_bytes()) == (asked, loads, before)
    other = Installation(tmp_path / "other", corpus)
    other.models = SharpModels()
    other.register(planted_record(other, tmp_path, steering={**STEERING, "batch_rows": 7}, explanations=["constant"], scores={}))
    other.run("token_sample", "activation_shards", key=KEY)
    other.run("steering", key=KEY)
    sets = "SELECT feature, target_kl, prompt, round(strength, 3), completion FROM steered_sets ORDER BY 1, 2, 3"
    assert rows(other, sets) == rows(scored, sets)


def test_steering_makes_stale_those_who_read_it_and_only_where_they_are_asked_for(scored: Installation, tmp_path: Path) -> None:
    def stale(record: DictionaryRecord) -> set[str]:
        ours = {*(f"scores/{name}" for name in NAMES), "scores/fuzzing", "steering"}
        return ours & {name.split()[0] for name in scored.stale(record)}

    record: Callable[..., DictionaryRecord] = lambda **stages: scored.home.registry.get(KEY).model_copy(  # noqa: E731
        update={"stages": {**STAGES_HERE, **stages}}
    )
    assert stale(record()) == set()
    assert stale(record(steering={**STEERING, "temperature": 0.9})) == {"steering", *(f"scores/{name}" for name in NAMES)}
    assert stale(record(scores={**STAGES_HERE["scores"], "intervention": []})) == {"scores/intervention"}
    partition = {"scorer": "fuzzing", "dictionary": KEY, "feature_range": "00of16"}
    assert "steering" not in scored.home.lake.require("scores", partition).inputs
    inputs = {name: scored.home.lake.require("scores", {**partition, "scorer": name}).inputs["steering"] for name in NAMES}
    # What reads the sets of the whole dictionary depends on all of its ranges.
    assert inputs["intervention"] == inputs["faithfulness"] != inputs["output_based"]
