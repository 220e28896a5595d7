"""What a backfill would make and cost, said before it starts, against what it then makes; and a backfill of some features."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from installation import KEY, STAGES, Installation

from interp_assets.asking.estimates import keep_estimates, read_estimates
from interp_assets.backfill.command import ChosenAssets, _plan, chosen_assets, chosen_ranges, costed_plan, how_to_ask, selected_partitions
from interp_assets.backfill.cost import demo_rates, measured_rates
from interp_assets.backfill.plan import PlannedAsset
from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.graph.assembly import ASSETS, RANGE_STAGES
from interp_assets.tables import EXAMPLES, SCORES, TRIALS

ASKED = {"explanations/max_act", "explanations/shuffled", "scores/detection", "scores/fuzzing"}
STAGE_NAMES = {"examples", "vocabulary_projections", *ASKED}
SCORED = ("detection", "fuzzing", "input_based")
ASSET_NAMES = ["/".join(asset.key.path) for asset in ASSETS]
LEFT_OUT_UNASKED = {*(stage.asset for stage in RANGE_STAGES), "feature_matches", "score_stability"}
OVER_ALL = ["/".join(asset.key.path) for asset in ASSETS if asset.partitions_def is None]
EVERY_RANGE = set(FEATURE_RANGE_KEYS)


def plan(installation: Installation, only: tuple[str, ...] = (), features: str | None = None) -> dict[str, PlannedAsset]:
    """The plan of one dictionary by asset."""
    ranges = chosen_ranges(installation.home, [KEY], features)
    assets = chosen_assets(installation.home, [KEY], only).assets
    return {one.asset: one for one in _plan(installation.home, assets, [KEY], ranges, installation.models)}


def to_make(installation: Installation) -> dict[str, set[str]]:
    """What is to make of each asset of the dictionary. Those over all dictionaries look for themselves, and are always run."""
    return {name: set(one.to_make) for name, one in plan(installation).items() if one.to_make and name not in OVER_ALL}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    """An installation of 20 neurons whose graph has run once. Tests that change its record put it back."""
    installation = Installation(tmp_path_factory.mktemp("finished"), corpus)
    installation.register(installation.record(features=tuple(range(20))))
    installation.run_all()
    return installation


def test_before_anything_ran_all_is_to_make_and_the_rates_are_the_demos_by_name(installation: Installation) -> None:
    scores = {"input_based": ["max_act"]}
    installation.register(installation.record(features=tuple(range(20)), stages={**STAGES, "scores": scores}))
    planned = plan(installation)
    by_range = {"examples", "vocabulary_projections", "explanations/max_act", "explanations/shuffled", *(f"scores/{s}" for s in SCORED)}
    assert set(planned) == by_range | {name for name in ASSET_NAMES if name not in LEFT_OUT_UNASKED}
    assert list(planned) == [name for name in ASSET_NAMES if name in planned]
    assert all(one.n_kept == 0 and not one.blocked and one.to_make for one in planned.values())
    assert {name for name, one in planned.items() if one.features} - {"explanations/shuffled"} == {
        "explanations/max_act", "scores/detection", "scores/fuzzing", "scores/input_based",
    }  # fmt: skip
    assert planned["scores/detection"].features == {"max_act": 20, "shuffled": 20}
    before = installation.lake_bytes()
    frame, lines = costed_plan(installation.home, [KEY], (), None, installation.models)
    assert installation.lake_bytes() == before and installation.models.loads == 0 and not installation.home.dagster.exists()
    rows = {(row["asset"], row["explanations"]): row for row in frame.to_dicts()}
    rate = demo_rates()["scores/fuzzing"]
    fuzzing = rows["scores/fuzzing", "shuffled"]
    assert fuzzing["usual_tokens"] == 20 * (rate.prompt_tokens + rate.completion_tokens) and fuzzing["rate"].startswith("demo: 135M model")
    # 10 + 10 windows, five in a question; the embedded model has a price of 0.
    assert fuzzing["questions"] == 20 * 4 and fuzzing["usd"] == 0 and rows["scores/input_based", "max_act"]["rate"].startswith("demo")
    text = "\n".join(lines)
    assert "language models: at most" in text and "rates called demo are not yours" in text
    n_left_out = len(ASSET_NAMES) - len(planned)
    assert f"left out, since the settings of no dictionary here ask for it: {n_left_out} stages" in lines and n_left_out > 20


def test_a_cost_that_nobody_has_measured_is_said(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp_assets.backfill.command.demo_rates", dict)
    installation.register(installation.record(features=tuple(range(20)), stages={**STAGES, "scores": {"input_based": ["max_act"]}}))
    frame, _ = costed_plan(installation.home, [KEY], (), None, installation.models)
    rows = {row["asset"]: row for row in frame.to_dicts()}
    assert rows["scores/input_based"]["rate"] == "never measured"


def test_after_everything_ran_nothing_is_to_make(finished: Installation) -> None:
    planned = plan(finished)
    assert to_make(finished) == {}
    assert {one.n_kept for name, one in planned.items() if name in ASKED} == {16} and planned["token_sample"].n_kept == 1
    frame, lines = costed_plan(finished.home, [KEY], (), None, finished.models)
    assert frame["asset"].to_list() == OVER_ALL and lines[-1] == "no language model is asked"


FUZZING = {"scoring": {**STAGES["scoring"], "fuzzing": {"threshold": 0.5}}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (FUZZING, {"scores/fuzzing"}),
        ({"explaining": {"max_act": {"n_shown": 5}}}, ASKED),
        ({"neighbours": {"n_neighbours": 3}}, {"feature_neighbours"}),
        ({"explanations": ["max_act"]}, {"explanations/shuffled", "scores/detection", "scores/fuzzing"}),
        ({"harvest": {"max_activations": 1000}}, {"activation_shards", "feature_neighbours", *STAGE_NAMES}),
    ],
)
def test_a_change_plans_what_depends_on_it(finished: Installation, change: dict, expected: set[str]) -> None:
    """Stages that the settings ask nothing of depend on nothing, and are kept."""
    finished.register(finished.record(features=tuple(range(20)), stages={**STAGES, **change}))
    try:
        assert set(to_make(finished)) == expected
    finally:
        finished.register(finished.record(features=tuple(range(20))))


def test_the_plan_is_what_a_run_makes_and_a_lost_range_leaves_what_is_below_it(new_installation: Callable[[str], Installation]) -> None:
    installation = new_installation("changed")
    installation.register(installation.record(features=tuple(range(20))))
    installation.run("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")
    installation.run("examples", *ASKED)
    assert set(to_make(installation)).isdisjoint({"examples", *ASKED})
    installation.register(installation.record(features=tuple(range(20)), stages={**STAGES, **FUZZING}))
    lost = {"dictionary": KEY, "feature_range": FEATURE_RANGE_KEYS[4]}
    installation.home.lake.discard(EXAMPLES.name, lost)
    planned = {name: ranges for name, ranges in to_make(installation).items() if name in ("examples", *ASKED)}
    assert planned == {"examples": {"04of16"}, "scores/fuzzing": EVERY_RANGE}
    only = plan(installation, only=("scores/fuzzing",))["scores/fuzzing"]
    assert only.blocked == ("04of16",) and len(only.to_make) == 15
    assert f"no complete examples for dictionary {KEY}, feature_range 04of16" in only.reason
    before = manifests(installation)
    installation.run("examples", *ASKED)
    after = manifests(installation)
    made = {(asset, cell) for (asset, cell), version in after.items() if before.get((asset, cell)) != version}
    assert made == {(name, cell) for name, ranges in planned.items() for cell in ranges}


def manifests(installation: Installation) -> dict[tuple[str, str], str]:
    """Data version of every range of the explaining and scoring assets."""
    return {
        ("/".join([m.table, *(m.partition[name] for name in ("explanation_method", "scorer") if name in m.partition)]),
         m.partition["feature_range"]): m.data_version
        for table in ("examples", "explanations", "scores") for m in installation.home.lake.manifests(table)
    }  # fmt: skip


def test_rates_are_the_ledgers(finished: Installation) -> None:
    """Tokens per feature by hand from the ledger, and by the plan of the same features with another prompt."""
    finished.home.warehouse.build()
    with finished.home.warehouse.open() as connection:
        sums = """SELECT sum(prompt_tokens)::DOUBLE / count(DISTINCT feature), any_value(model) FROM ledger
                  WHERE asset = 'scores/fuzzing' AND explanation_method = 'shuffled'"""
        ((per_feature, model),) = connection.execute(sums).fetchall()
        rates = measured_rates(connection)
    assert rates["scores/fuzzing", "shuffled", model].prompt_tokens == pytest.approx(per_feature) and per_feature > 0
    finished.home.settings_file.write_text(f"scorer: {{model: {model}}}\nbudget: {{tokens: 10, usd: 5}}")
    try:
        finished.register(finished.record(features=tuple(range(20)), stages={**STAGES, **FUZZING}))
        frame, lines = costed_plan(finished.home, [KEY], (), None, finished.models)
        rows = {(row["asset"], row["explanations"]): row for row in frame.to_dicts()}
        n = rates["scores/fuzzing", "shuffled", model].n_features
        assert 20 * per_feature < rows["scores/fuzzing", "shuffled"]["usual_tokens"] < rows["scores/fuzzing", "shuffled"]["prompt_tokens"]
        assert rows["scores/fuzzing", "shuffled"]["rate"] == f"measured ({n} features)"
        assert any("over the budget of a run (tokens 10 in settings.yaml)" in line for line in lines)
        finished.home.settings_file.write_text("scorer: {model: another}")
        frame, _ = costed_plan(finished.home, [KEY], ("scores/fuzzing",), None, finished.models)
        assert {row["rate"].split(" (")[0] for row in frame.to_dicts()} == {"measured with another model"}
    finally:
        finished.home.settings_file.unlink()
        finished.register(finished.record(features=tuple(range(20))))


def test_a_backfill_of_some_features_takes_their_ranges_and_leaves_out_what_needs_all(installation: Installation) -> None:
    """Of 20 features 02of16 holds 2, 03of16 3 and 4, the last 18 and 19. So few are dealt explanations over all ranges."""
    installation.register(installation.record(features=tuple(range(20))))
    said: list[str] = []
    parts = selected_partitions(installation.home, [KEY], (), "2-4,19", said.append, installation.models)
    assert len(parts) == 2, "a report over dictionaries is made after the ranges"
    selectors = [selector for part in parts for selector in part]
    by_asset = {"/".join(s["assetKey"]["path"]): s.get("partitions", {}).get("ranges") for s in selectors}
    expected = [{"start": f"{KEY}|02of16", "end": f"{KEY}|03of16"}, {"start": f"{KEY}|15of16", "end": f"{KEY}|15of16"}]
    assert by_asset["explanations/max_act"] == by_asset["examples"] == expected
    assert by_asset["token_sample"] == [{"start": KEY, "end": KEY}] and by_asset["warehouse"] is None
    assert not {"explanations/shuffled", "scores/detection", "scores/fuzzing"} & set(by_asset)
    assert said[0] == f"{KEY}: 5 of 20 features, in 3 of 16 ranges: 02of16, 03of16, 15of16"
    assert said[1].startswith("left out, since the settings of no dictionary here ask for it: ")
    assert said[2].startswith(f"left out: explanations/shuffled of {KEY}, 3 ranges: the lake has no complete explanations")
    frame, lines = costed_plan(installation.home, [KEY], (), "2-4,19", installation.models)
    assert dict(zip(frame["asset"], frame["partitions"], strict=True))["explanations/max_act"] == 3
    assert any(line.startswith(f"blocked: scores/fuzzing of {KEY}, 3 range(s)") for line in lines)


def test_a_backfill_of_some_features_that_all_have_inputs_leaves_out_nothing(finished: Installation) -> None:
    finished.home.lake.discard(SCORES.name, {"scorer": "fuzzing", "dictionary": KEY, "feature_range": FEATURE_RANGE_KEYS[0]})
    try:
        said: list[str] = []
        [selectors] = selected_partitions(finished.home, [KEY], ("scores/fuzzing",), "0", said.append, finished.models)
        assert len(said) == 1 and selectors[0]["partitions"]["ranges"] == [{"start": f"{KEY}|00of16", "end": f"{KEY}|00of16"}]
    finally:
        finished.run("scores/fuzzing")


def test_features_in_ranges_apart_are_explained_before_explanations_are_shuffled(finished: Installation) -> None:
    """Dagster makes 02of16 and 15of16 in two runs; dealt explanations of 02of16 are made out of the explanations of 15of16 too."""

    def launched(features: str) -> list[set[str]]:
        parts = selected_partitions(finished.home, [KEY], (), features, lambda line: None, finished.models)
        return [{"/".join(selector["assetKey"]["path"]) for selector in part} for part in parts]

    first, then = launched("2,19")
    assert {"token_sample", "examples", "explanations/max_act"} <= first and not first & then
    assert {"explanations/shuffled", "scores/detection", "scores/fuzzing", "warehouse"} <= then, "and whatever reads them"
    assert len(launched("2,3")) == 1, "neighbouring ranges are one run"


def stale(installation: Installation) -> set[str]:
    """Stages of the dictionary of which a partition is missing or out of date."""
    return {name.split()[0] for name in installation.stale(installation.home.registry.get(KEY))}


def test_of_much_that_is_emptied_the_first_are_named() -> None:
    chosen = ChosenAssets({}, ("steering", "scores/purity"), tuple(f"scores/fuzzing of m/0/{number}" for number in range(1_012)))
    left_out, emptied = chosen.notes(by_name=True)
    assert left_out.endswith(": steering, scores/purity") and chosen.notes(by_name=False)[0].endswith(": 2 stages")
    assert emptied.endswith("scores/fuzzing of m/0/11 and 1,000 more") and emptied.count("scores/fuzzing") == 12
    assert ChosenAssets({}, (), ()).notes(by_name=True) == []


@pytest.mark.parametrize(
    ("name", "asks"),
    [
        ("scores/intruder", "{scores: {intruder: all}}"),
        ("explanations/vocab_proj", "{explanations: [max_act, shuffled, vocab_proj]}"),
        ("token_changes", "{explanations: [max_act, shuffled, token_change]}"),
        ("steering", "{steering: {enabled: true}}"),
        ("feature_matches", "{matching: {with: [<another dictionary>]}}"),
        ("score_stability", "{stability: {n_features: 50}}"),
    ],
)
def test_what_nobody_asks_for_is_not_made_by_name_either_and_how_to_ask_is_said(installation: Installation, name: str, asks: str) -> None:
    """Written under `stages:`, what is said asks for it, and for what was asked for before."""
    installation.register(installation.record())
    with pytest.raises(UserError) as refused:
        chosen_assets(installation.home, [KEY], (name,))
    said = f"the settings of {KEY} do not ask for {name}. Under `stages:` of the record, or of settings.yaml, this does: {asks}"
    assert str(refused.value) == f"nothing to make: {said}"
    written = yaml.safe_load(asks.replace("<another dictionary>", "m/0/other"))
    before = set(chosen_assets(installation.home, [KEY], ()).assets)
    installation.register(installation.record(stages={**STAGES, **written}))
    assert set(chosen_assets(installation.home, [KEY], ()).assets) >= before | {name}


def test_what_is_said_to_ask_for_a_stage_does_for_every_stage() -> None:
    """By the settings' own validation, over the default settings."""
    stages, platform = StageSettings(), PlatformSettings()
    unasked = [stage for stage in RANGE_STAGES if not stage.asked_for(stages, platform)]
    assert len(unasked) == 49
    for stage in unasked:
        written = yaml.safe_load(f"{{{how_to_ask([stage.asset], stages)}}}")
        assert stage.asked_for(StageSettings.model_validate(written), platform), stage.asset
        assert set(written.get("explanations", stages.explanations)) >= set(stages.explanations)
    everything = yaml.safe_load(f"{{{how_to_ask([stage.asset for stage in unasked], stages)}}}")
    assert all(stage.asked_for(StageSettings.model_validate(everything), platform) for stage in unasked)


def test_what_a_killed_run_left_of_a_stage_is_emptied_once_nobody_asks_for_it(new_installation: Callable[[str], Installation]) -> None:
    """Trials are complete before scores are: killed in between, a stage has rows and no manifest of its own."""
    installation = new_installation("killed")
    installation.register(installation.record(features=tuple(range(20))))
    installation.run("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")
    installation.run("vocabulary_projections", "examples", *ASKED)
    lake, scorer = installation.home.lake, {"scorer": "detection", "dictionary": KEY}
    for number in FEATURE_RANGE_KEYS:
        shutil.rmtree(lake.path(SCORES.name, {**scorer, "feature_range": number}))
    installation.register(installation.record(features=tuple(range(20)), stages={**STAGES, "scores": {"detection": []}}))
    assert chosen_assets(installation.home, [KEY], ()).emptied == (f"scores/detection of {KEY}",)
    assert stale(installation) == {"scores/detection"}
    installation.run("scores/detection")
    assert not lake.holds_rows(TRIALS.name, scorer) and chosen_assets(installation.home, [KEY], ()).emptied == ()
    assert stale(installation) == set()


def test_stages_that_no_settings_ask_for_are_not_launched_until_they_are_or_hold_rows_of_before(finished: Installation) -> None:
    """A backfill of all launches what is asked for. What was asked for once is launched once more, to be emptied; what a dictionary beside
    asks for is launched for both, in one run."""

    def launched(*keys: str, only: tuple[str, ...] = ()) -> tuple[dict[str, list[dict]], list[str]]:
        said: list[str] = []
        [selectors] = selected_partitions(finished.home, keys, only, None, said.append, finished.models)
        return {"/".join(s["assetKey"]["path"]): s.get("partitions", {}).get("ranges") for s in selectors}, said

    whole, said = launched(KEY)
    assert {name for name in whole if name in LEFT_OUT_UNASKED} == STAGE_NAMES and len(said) == 1
    assert launched(KEY, only=("scores/intruder", "examples"))[1] == [
        "left out, since the settings of no dictionary here ask for it: scores/intruder"
    ]
    scores, said = launched(KEY, only=("scores",))
    assert set(scores) == {"scores/detection", "scores/fuzzing"} and said == []
    assert set(launched(KEY, only=("explanations", "examples"))[0]) == {"examples", "explanations/max_act", "explanations/shuffled"}
    other = "m/0/other"
    try:
        finished.register(finished.record(features=tuple(range(20)), stages={**STAGES, "explanations": ["max_act"]}))
        assert set(launched(KEY, only=("explanations",))[0]) == {"explanations/max_act"}  # a prefix empties nothing
        unasked = {name: [] for name in ("detection", "fuzzing")}
        finished.register(finished.record(features=tuple(range(20)), stages={**STAGES, "scores": unasked}))
        with pytest.raises(UserError, match=r"do not ask for scores\. .* this does: {scores: {detection: all}}"):
            launched(KEY, only=("scores",))
        [line] = launched(KEY, only=("scores", "examples"))[1]
        assert line == "left out, since the settings of no dictionary here ask for it: scores"
        finished.register(finished.record(features=tuple(range(20)), stages={**STAGES, "explanations": ["max_act"]}))
        emptied, said = launched(KEY)
        assert "explanations/shuffled" in emptied
        assert said[-1] == f"emptied, since the settings do not ask for it any more: explanations/shuffled of {KEY}"
        assert stale(finished) == {"explanations/shuffled", "scores/detection", "scores/fuzzing"}
        finished.run("explanations/shuffled", "scores/detection", "scores/fuzzing")
        assert "explanations/shuffled" not in launched(KEY)[0] and stale(finished) == set()
        asks = {"scores": {"intruder": "all"}, "matching": {"with": [KEY, other]}}
        finished.register(finished.record(key=other, features=(0, 1), stages={**STAGES, **asks}))
        both, _ = launched(KEY, other)
        # The two features of the other dictionary are in 07of16 and 15of16; a whole dictionary is one run of consecutive ranges.
        launches = [(r["start"], r["end"]) for r in both["scores/intruder"]]
        assert launches == [(f"{KEY}|00of16", f"{KEY}|15of16"), (f"{other}|07of16", f"{other}|15of16")] and "explanations/shuffled" in both
        assert [r["start"] for r in both["feature_matches"]] == [KEY, other]
        finished.register(finished.record(key=other, stages={**STAGES, "matching": {"with": [other]}}))
        assert "feature_matches" not in launched(KEY, other)[0], "matching with itself is asking for nothing"
    finally:
        finished.home.registry.path_of(other).unlink(missing_ok=True)
        finished.register(finished.record(features=tuple(range(20))))
        finished.run("explanations/shuffled", "scores/detection", "scores/fuzzing")


def test_features_that_the_record_does_not_select_are_refused(finished: Installation) -> None:
    with pytest.raises(UserError, match=rf"dictionary {KEY} selects none of these features; it selects 20 features between 0 and 19"):
        chosen_ranges(finished.home, [KEY], "20-4095")
    with pytest.raises(UserError, match="write it as 0-99,205"):
        chosen_ranges(finished.home, [KEY], "all")
    assert set(chosen_ranges(finished.home, [KEY], None)[KEY]) == EVERY_RANGE


def test_nothing_that_can_be_made_of_some_features_is_an_error(installation: Installation) -> None:
    installation.register(installation.record())
    with pytest.raises(UserError, match="nothing can be made of these features alone"):
        selected_partitions(installation.home, [KEY], ("scores/fuzzing",), "0", lambda line: None, installation.models)


EVERY_JUDGE = ("detection", "fuzzing", "simulation", "surprisal", "intruder", "discrimination", "clarity", "input_based")


def test_no_feature_costs_more_than_was_said_and_the_bound_knows_the_records_counts(installation: Installation) -> None:
    counts = {"window_tokens": 8, "n_shown": 8, "n_held_out": 14, "n_non_activating": 12, "min_activating": 12, "n_validation": 4}
    explanations = ["max_act", "max_act_cot", "contrastive", "candidates", "shuffled"]
    stages = {
        **STAGES,
        "examples": {**STAGES["examples"], **counts},
        "explanations": explanations,
        "scores": dict.fromkeys(EVERY_JUDGE, "all"),
    }
    model = {"backend": "openai", "model": "served", "options": {"base_url": "http://127.0.0.1:1/v1"}}  # its tokens are counted by bytes
    installation.home.root.mkdir(parents=True, exist_ok=True)
    installation.home.settings_file.write_text(yaml.safe_dump({"explainer": model, "scorer": model}))
    installation.register(installation.record(features=tuple(range(20)), stages=stages))
    said, lines = costed_plan(installation.home, [KEY], (), None, installation.models)
    assert any("at most" in line for line in lines) and not any("no bound but a rate" in line for line in lines)
    of = {(row["asset"], row["explanations"]): row for row in said.to_dicts() if row["prompt_tokens"] is not None}
    assert {asset for asset, _ in of} == {f"scores/{name}" for name in EVERY_JUDGE} | {f"explanations/{name}" for name in explanations[:4]}
    assert all(row["tokens"] == "at most: made-up windows, counted by bytes" for row in of.values())

    installation.run("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")
    later, _ = costed_plan(installation.home, [KEY], (), None, installation.models)
    assert {row["tokens"] for row in later.to_dicts() if row["prompt_tokens"]} == {"at most: its own windows, counted by bytes"}
    own = {(row["asset"], row["explanations"]): row for row in later.to_dicts() if row["prompt_tokens"] is not None}
    selected_partitions(installation.home, [KEY], (), None, lambda line: None, installation.models)
    ranged = ["examples", *(f"explanations/{name}" for name in explanations), *(f"scores/{name}" for name in EVERY_JUDGE)]
    installation.run(*ranged)
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        asked = connection.execute(
            "SELECT asset::VARCHAR, explanation_method::VARCHAR, count(*), sum(prompt_tokens), sum(completion_tokens) "
            "FROM ledger GROUP BY 1, 2"
        ).fetchall()
        compared = connection.execute("SELECT prompt_tokens_per_1000, at_most_prompt_tokens_per_1000 FROM cost_by_method").fetchall()
    assert {(asset, method) for asset, method, *_ in asked} == set(of)
    for asset, method, questions, prompt_tokens, completion_tokens in asked:
        for row in (of[asset, method], own[asset, method]):
            assert questions <= row["questions"] and prompt_tokens <= row["prompt_tokens"], (asset, method)
            assert completion_tokens <= row["completion_tokens"], (asset, method)
    # The stand-in answers under another name than the settings', so the view compares nothing; under its own name it does.
    assert len(compared) == len(asked) and {at_most for _, at_most in compared} == {None}
    kept = read_estimates(installation.home.estimates, KEY)
    assert {(one.asset, one.explanation_method): one.prompt_tokens for one in kept} == {
        key: row["prompt_tokens"] for key, row in own.items()
    }
    (name,) = {row["model"] for row in ledger_models(installation)}
    keep_estimates(installation.home.estimates, KEY, [replace(one, model=name) for one in kept])
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        compared = connection.execute("SELECT prompt_tokens_per_1000, at_most_prompt_tokens_per_1000 FROM cost_by_method").fetchall()
        judged = connection.execute("SELECT cached_share, shareable_share FROM cost_by_method WHERE prompt_tokens_per_1000 > 0").fetchall()
    # The stand-in counts no cached tokens. Instructions and worked examples are alike in all questions but the first.
    assert judged and all(cached == 0 and 0.3 < shareable < 1 for cached, shareable in judged)
    assert [(spent, at_most) for spent, at_most in compared if at_most is None or not 0 <= spent <= at_most] == []


def ledger_models(installation: Installation) -> list[dict[str, str]]:
    """The models that the ledger names."""
    with installation.home.warehouse.open() as connection:
        return [{"model": name} for (name,) in connection.execute("SELECT DISTINCT model::VARCHAR FROM ledger").fetchall()]
