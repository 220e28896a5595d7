"""`interp run`: a few features made in this process, beside partitions of whole ranges."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id
from installation import KEY, STAGES, Installation
from rich.console import Console
from small_lab import Lab

from interp_assets.backfill.command import left_to_make
from interp_assets.cli.feature_card import print_card
from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.installation.unfinished_runs import home_instance
from interp_assets.orchestration.narrowing import features_made, whole_version
from interp_assets.reading.whole_features import whole_features
from interp_assets.single_features.card import read_card
from interp_assets.single_features.firing import asked_or_firing, firing_features
from interp_assets.single_features.plan import PlannedRun, planned_run
from interp_assets.single_features.progress import LineWatcher
from interp_assets.single_features.questions import asked_questions
from interp_assets.single_features.redo import forget_replies, planned_redo
from interp_assets.single_features.run import end_dead_runs, make_here, run_here
from resources.kept_models import KeptModels
from resources.model_provider import RealModels
from resources.run_launcher import IN_PROCESS_TAG, birth_of, has_ended


def test_some_features_are_explained_and_scored_alone(lab: Lab) -> None:
    assert lab.rows("SELECT DISTINCT feature FROM feature_examples ORDER BY 1") == [(5,), (40,)]
    assert lab.rows("SELECT feature, explanation_method, outcome FROM explanations ORDER BY 1") == [
        (5, "max_act", "ok"), (40, "max_act", "ok"),
    ]  # fmt: skip
    scored = lab.rows("SELECT scorer, list(DISTINCT feature ORDER BY feature) FROM scores WHERE headline GROUP BY 1 ORDER BY 1")
    assert scored == [("detection", [5, 40]), ("fuzzing", [5, 40])]
    assert lab.made("explanations", "01of16", explanation_method="max_act") == {5}
    assert lab.plan([5, 40]).is_empty and "explanations/shuffled" in lab.plan([5, 40]).notes[-1]
    assert "vocabulary_projections" in lab.plan([5, 40]).notes[0] and not lab.plan([5], "vocabulary_projections").is_empty


def test_the_plan_and_the_run_read_one_tokenizer(new_lab: Callable[[], Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    lab, read = new_lab(), []
    tokenizer = lab.models.tokenizer
    monkeypatch.setattr(lab.models, "tokenizer", lambda source, revision: read.append(source) or tokenizer(source, revision))
    kept = KeptModels(lab.models)
    planned = planned_run(lab.home, KEY, AskedFeatures.of([5]), ("examples",), kept)
    assert run_here(lab.home, planned, kept, LineWatcher(lab.lines.append), lab.lines.append).succeeded
    assert len(read) == 1


def test_features_that_fire_often_enough_are_chosen_after_the_harvest(tmp_path: Path, corpus: Path) -> None:
    lab = Lab(Installation(tmp_path / "home", corpus))
    with pytest.raises(
        UserError, match=r"chooses by the statistics of the harvest: .* interp run fake/00/neurons --only activation_shards"
    ):
        firing_features(lab.home, KEY, 3)
    plans: list[PlannedRun] = []

    def harvest(planned: PlannedRun) -> None:
        plans.append(planned)
        assert run_here(lab.home, planned, lab.models, LineWatcher(lab.lines.append), lab.lines.append).succeeded

    asked = asked_or_firing(lab.home, KEY, "firing:3", lab.models, harvest)
    assert [one.before for one in plans] == [("token_sample", "activation_shards")]
    least = lab.installation.record().stages["examples"]["min_activating"]
    enough = lab.rows(f"SELECT feature FROM feature_statistics WHERE context_count >= {least} AND token_density <= 0.1 ORDER BY feature")
    assert asked is not None and len(enough) > 3
    assert asked.named == (enough[0][0], enough[round((len(enough) - 1) / 2)][0], enough[-1][0])
    assert asked_or_firing(lab.home, KEY, "firing:3", lab.models, harvest) == asked and len(plans) == 1
    assert lab.run(asked.named).succeeded
    assert lab.rows("SELECT feature FROM feature_examples WHERE outcome = 'ok' ORDER BY 1") == [(one,) for one in asked.named]
    assert asked_or_firing(lab.home, KEY, [5, 40], lab.models, harvest) == AskedFeatures.of([5, 40])
    for wrong in ("firing:", "firing:0", "firing:-1", "firing:x"):
        with pytest.raises(UserError, match="write a number after firing:, such as firing:10"):
            asked_or_firing(lab.home, KEY, wrong, lab.models, harvest)
    rare = {**STAGES, "examples": {**STAGES["examples"], "min_activating": 100_000}}
    lab.installation.register(lab.installation.record(stages=rare))
    with pytest.raises(
        UserError, match=r"no feature of .* fires in 100000 contexts of its [\d,]+ tokens, .* the most contexts are \d+\. Raise"
    ):
        firing_features(lab.home, KEY, 3)


def test_missing_activations_are_made_for_the_whole_dictionary(tmp_path: Path, corpus: Path) -> None:
    lab = Lab(Installation(tmp_path / "home", corpus))
    result = lab.run([5, 40])
    assert result.succeeded, result.errors
    assert lab.rows("SELECT count(*), count(DISTINCT feature) FROM feature_statistics") == [(64, 64)]
    assert lab.rows("SELECT DISTINCT feature FROM explanations ORDER BY 1") == [(5,), (40,)]
    assert lab.plan([5, 40]).is_empty


def test_features_made_alone_are_exported_and_missing_features_are_named(lab: Lab, tmp_path: Path) -> None:
    record = lab.installation.record()
    whole = whole_features(lab.home.lake, record, AskedFeatures.of([5, 40]))
    assert [(one.feature, [(own.method, len(own.scores) > 0) for own in one.explanations]) for one in whole] == [
        (5, [("max_act", True)]), (40, [("max_act", True)]),
    ]  # fmt: skip
    with pytest.raises(UserError, match=f"62 of 64 features of {KEY} have no examples yet: .*--features 5,40 exports"):
        whole_features(lab.home.lake, record)
    of_interval = whole_features(lab.home.lake, record, AskedFeatures.parse("5,6-63"))
    assert of_interval.features.tolist() == [5, 40]
    assert f"57 features without examples are left out: interp backfill {KEY} makes them" in of_interval.missing
    with pytest.raises(UserError, match=r"features of .* have no examples yet"):
        whole_features(lab.home.lake, record, AskedFeatures.parse("6,30-63"))


def test_the_runs_are_in_the_instance_and_the_partitions_on_the_assets_pages(lab: Lab) -> None:
    with dg.DagsterInstance.from_config(str(lab.home.dagster)) as instance:
        (run,) = [one for one in instance.get_runs() if IN_PROCESS_TAG in one.tags]
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert run.asset_selection is not None and {"/".join(key.path) for key in run.asset_selection} == {
            "examples", "explanations/max_act", "scores/detection", "scores/fuzzing",
        }  # fmt: skip
        assert (run.tags["dictionaries"], run.tags["ranges"]) == (KEY, "1, 10 of 16")
        made = instance.get_materialized_partitions(dg.AssetKey(["scores", "fuzzing"]))
    assert made == {f"{KEY}|01of16", f"{KEY}|10of16"}


def test_the_rows_are_the_rows_of_a_whole_run(lab: Lab, new_lab: Callable[[], Lab]) -> None:
    whole = new_lab()
    assert whole.run(None).succeeded
    for table, order in (
        ("examples", "example_id"),
        ("explanations", "explanation_method"),
        ("scores", "scorer, metric, stratum"),
        ("verdicts", "scorer, trial, item"),
    ):
        where = "feature IN (5, 40)" + (" AND explanation_method = 'max_act'" if table != "examples" else "")
        sql = f"SELECT * FROM {table} WHERE {where} ORDER BY feature, {order}"
        assert lab.rows(sql) == whole.rows(sql) != []
    asked = len(whole.asked)
    assert whole.plan([5, 7]).is_empty  # whole partitions have every feature
    assert whole.plan(None, "scores/fuzzing").is_empty
    assert len(whole.asked) == asked


def test_whole_dictionaries_are_made_together(lab: Lab, new_lab: Callable[[], Lab]) -> None:
    together, other, loaded = new_lab(), "fake/00/others", []
    stages = {**STAGES, "explanations": ["max_act"], "scores": {"fuzzing": ["max_act"], "detection": []}}
    changes = {"stages": stages, "features": (5, 40)}
    together.installation.register(together.installation.record(**changes), together.installation.record(other, k=4, **changes))
    language_model = together.models.language_model
    together.models.language_model = lambda *options: loaded.append(options) or language_model(*options)
    result = make_here(together.home, [KEY, other], together.models, LineWatcher(together.lines.append), together.lines.append)
    assert result.succeeded and len(result.runs) == 3, result.errors  # by dictionary, by range, over all
    begun = [line.removesuffix(" started") for line in together.lines if line.endswith(" started")]
    assert begun[:2] == ["token_sample", "activation_shards"] and "warehouse" in begun and len(begun) == len(set(begun))
    assert len(loaded) == 1
    assert left_to_make(together.home, [KEY, other], together.models) == []
    assert together.rows("SELECT dictionary, count(*) FROM scores WHERE headline AND outcome = 'ok' GROUP BY 1 ORDER BY 1") == [
        (KEY, 2), (other, 2),
    ]  # fmt: skip
    for table, order in (("examples", "example_id"), ("explanations", "explanation_method"), ("scores", "metric, stratum")):
        where = "AND explanation_method = 'max_act' AND scorer = 'fuzzing'" if table == "scores" else ""
        where = f"dictionary = '{KEY}' AND feature IN (5, 40) {where}"
        sql = f"SELECT * EXCLUDE (feature_range) FROM {table} WHERE {where} ORDER BY feature, {order}"
        assert together.rows(sql) == lab.rows(sql) != [], table


def test_more_features_are_added_and_a_whole_run_asks_nothing_twice(new_lab: Callable[[], Lab]) -> None:
    lab = new_lab()
    assert lab.run([4]).succeeded
    with dg.DagsterInstance.from_config(str(lab.home.dagster)) as instance:
        run = next(one for one in instance.get_runs() if IN_PROCESS_TAG in one.tags)
    assert {name: value for name, value in run.tags.items() if "partition" in name} == {
        "dagster/partition": f"{KEY}|01of16", "dagster/partition/dictionary": KEY, "dagster/partition/feature_range": "01of16",
    }  # fmt: skip
    first = len(lab.asked)
    assert first and lab.run([6]).succeeded
    assert lab.made("scores", "01of16", scorer="fuzzing") == {4, 6}
    both = len(lab.asked)
    assert lab.run([4, 6]).runs == () and len(lab.asked) == both
    with pytest.raises(UserError, match="reads examples, which is not made for 5"):
        lab.plan([5], "scores/fuzzing")
    version = lab.home.lake.require("examples", {"dictionary": KEY, "feature_range": "01of16"}).data_version
    lab.installation.run("examples", "explanations/max_act")
    again = lab.home.lake.require("examples", {"dictionary": KEY, "feature_range": "01of16"})
    assert again.data_version == whole_version(version) != version and features_made(again) is None
    assert len(lab.asked) == len(set(lab.asked))


def test_other_features_rows_do_not_go_unasked(new_lab: Callable[[], Lab]) -> None:
    lab = new_lab()
    assert lab.run(None, "examples", "explanations/max_act").succeeded
    changed = {**STAGES, "explanations": ["max_act"], "explaining": {"max_act": {"n_shown": 4}}}
    lab.installation.register(lab.installation.record(stages=changed))
    with pytest.raises(UserError, match=r"explanations/max_act of 01of16.*--replace"):
        lab.plan([5])
    assert lab.run([5], "explanations/max_act", replace=True).succeeded
    assert lab.made("explanations", "01of16", explanation_method="max_act") == {5}
    assert lab.rows("SELECT count(DISTINCT feature) FROM explanations") == [(61,)]
    assert lab.rows("SELECT count(DISTINCT feature) FROM examples") == [(64,)]


def test_a_wrong_feature_or_asset_is_named(lab: Lab) -> None:
    with pytest.raises(UserError, match="does not select feature 64; it selects 64 of 64 features, between 0 and 63"):
        lab.plan([64])
    with pytest.raises(UserError, match="made over all dictionaries"):
        lab.plan([5], "warehouse")
    with pytest.raises(UserError, match="no asset is called scores/fuzing; did you mean scores/fuzzing"):
        lab.plan([5], "scores/fuzing")
    with pytest.raises(
        UserError, match=r"no asset is called scorers; did you mean scores .*assets are explanations .all explanations/… that"
    ):
        lab.plan([5], "scorers")


def test_scores_alone_stands_for_all_scorers_that_the_record_asks_for(new_lab: Callable[[], Lab]) -> None:
    lab = new_lab()
    with pytest.raises(UserError, match=r"scores/detection cannot be made: .*scores/fuzzing cannot be made"):
        lab.plan([5], "scores")
    assert lab.plan([5], "examples", "explanations").assets == ("examples", "explanations/max_act")
    assert lab.run([5], "examples", "explanations").succeeded
    assert lab.plan([5], "scores").assets == ("scores/detection", "scores/fuzzing")
    # A method that cannot be made is an error by its own name; as one of all scorers it is left out by name.
    later = {**STAGES, "explanations": ["max_act", "token_list"], "scores": {"detection": ["max_act"], "fuzzing": ["token_list"]}}
    lab.installation.register(lab.installation.record(stages=later))
    plan = lab.plan([5], "scores")
    assert plan.assets == ("scores/detection",) and "scores/fuzzing" in plan.notes[-1]
    with pytest.raises(UserError, match="scores/fuzzing cannot be made"):
        lab.plan([5], "scores/fuzzing", "scores")
    lab.installation.register(lab.installation.record())
    assert lab.run([5], "scores").succeeded
    assert lab.rows("SELECT DISTINCT scorer FROM scores ORDER BY 1") == [("detection",), ("fuzzing",)]
    assert {one.asset for one in asked_questions(lab.home, KEY, 5, ["scores"])} == {"scores/detection", "scores/fuzzing"}
    plans, named = planned_redo(lab.home, KEY, 5, ["scores"])
    assert named == ["scores/detection", "scores/fuzzing"] and [one.assets for one in plans] == [("scores/detection", "scores/fuzzing")]
    with pytest.raises(UserError, match="explanations of feature 6 is not made yet"):
        planned_redo(lab.home, KEY, 6, ["explanations"])


def test_an_interrupted_run_is_over_and_a_second_continues(new_lab: Callable[[], Lab]) -> None:
    lab = new_lab()
    lab.models.stop = 5
    with pytest.raises(KeyboardInterrupt):
        lab.run([5, 40])
    with dg.DagsterInstance.from_config(str(lab.home.dagster)) as instance:
        assert all(run.is_finished for run in instance.get_runs())
    lab.models.stop = -1
    assert lab.run([5, 40]).succeeded
    assert len(lab.asked) == len(set(lab.asked))


def test_a_run_stops_at_its_budget_and_a_failed_stage_is_told(new_lab: Callable[[], Lab]) -> None:
    lab = new_lab()
    lab.home.settings_file.write_text("budget: {tokens: 1500}")
    result = lab.run([5, 40])
    assert not result.succeeded and "budget of 1,500 tokens is spent" in result.errors[0] and result.tokens >= 1500


def test_a_failed_stage_is_told_in_the_words_of_its_error(new_lab: Callable[[], Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    lab = new_lab()
    monkeypatch.setattr(
        lab.models,
        "language_model",
        lambda backend, model, revision, options: RealModels().language_model(
            "openai", model, revision, {"baseurl": "http://127.0.0.1:9/v1"}
        ),
    )
    assert lab.run([5]).errors == (
        "explanations/max_act failed: options of the openai back end: there is no option 'baseurl'; did you mean 'base_url'? Correct "
        "`options` in settings.yaml.",
    )


def test_a_feature_is_made_again_and_its_questions_asked_again_where_that_is_said(new_lab: Callable[[], Lab]) -> None:
    lab = new_lab()
    assert lab.run([4, 6]).succeeded
    asked = list(lab.asked)
    with pytest.raises(UserError, match="not made yet"):
        planned_redo(lab.home, KEY, 5, ["explanations/max_act"])
    plans, named = planned_redo(lab.home, KEY, 4, ["explanations/max_act"])
    assert named == ["explanations/max_act"]
    assert [one.assets for one in plans] == [("explanations/max_act", "scores/detection", "scores/fuzzing")]
    made = lab.rows("SELECT * FROM scores ORDER BY ALL")
    with home_instance(lab.home) as instance:
        under_way = dg.DagsterRun(job_name="scores", status=dg.DagsterRunStatus.STARTED)
        instance.add_run(under_way)
        with pytest.raises(UserError, match=f"run {under_way.run_id} of Dagster is not finished and may read and keep replies"):
            forget_replies(lab.home, KEY, 4, named)
        instance.delete_run(under_way.run_id)
    for forgotten in (0, 1):
        if forgotten:
            assert forget_replies(lab.home, KEY, 4, named) == 1
        for planned in plans:
            assert run_here(lab.home, planned, lab.models, LineWatcher(lab.lines.append), lab.lines.append).succeeded
        assert len(lab.asked) == len(asked) + forgotten
    assert lab.asked[-1] in asked
    assert lab.made("scores", "01of16", scorer="fuzzing") == {4, 6} and lab.rows("SELECT * FROM scores ORDER BY ALL") == made


def test_every_question_is_planned_again_with_its_reply(lab: Lab) -> None:
    found = list(asked_questions(lab.home, KEY, 5))
    assert {one.asset for one in found} == {"explanations/max_act", "scores/detection", "scores/fuzzing"}
    assert len({one.key for one in found}) == len(found) > 5
    for one in found:
        assert one.request is not None and one.reply is not None and repr(one.request) in lab.asked
    assert [one.asset for one in asked_questions(lab.home, KEY, 5, ["explanations/max_act"])] == ["explanations/max_act"]
    assert list(asked_questions(lab.home, KEY, 6)) == []


def test_a_feature_is_shown_with_marks_where_there_are_no_colours(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    card = read_card(lab.home, KEY, 5)
    plain, shaded, uncoloured = (io.StringIO() for _ in range(3))
    print_card(card, Console(file=plain, width=100), 3)
    print_card(card, Console(file=shaded, width=100, force_terminal=True, color_system="truecolor"), 3)
    monkeypatch.setenv("NO_COLOR", "1")
    print_card(card, Console(file=uncoloured, width=100, force_terminal=True, color_system="truecolor"), 3)
    strongest = card.windows()[0]
    fired = strongest["tokens"][strongest["activations"].index(max(strongest["activations"]))].strip()
    assert f"<<{fired}>>" in plain.getvalue() and f"<<{fired}>>" in uncoloured.getvalue() and "<<" not in shaded.getvalue()
    assert "\x1b[" in shaded.getvalue() and "48;2;255" in shaded.getvalue() and "48;2;" not in uncoloured.getvalue()
    for part in (f"{KEY}  feature 5", "fires on", "max_act", "detection", "the word", "co occurrence"):
        assert part in plain.getvalue()
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="replace")
    print_card(card, Console(file=narrow, width=50), 3)
    narrow.seek(0)
    told = narrow.read()
    assert "\nmax_act  the word" in told and "\n    detection " in told, "scores stand below their explanation"
    assert "logarithmic |" in told and "?" not in told.partition("windows, strongest first")[0]
    empty = io.StringIO()
    print_card(read_card(lab.home, KEY, 6), Console(file=empty, width=100), 3)
    assert f"no explanations yet: interp run {KEY} --features 6" in empty.getvalue()


def test_a_terminal_obeys_no_text(lab: Lab) -> None:
    card = read_card(lab.home, KEY, 5)
    hostile = [{**row, "explanation": "\x1b]0;owned\x07 [red]markup[/red]"} for row in card.explanations]
    printed = io.StringIO()
    print_card(replace(card, explanations=hostile), Console(file=printed, width=200), 3)
    assert "\x1b" not in printed.getvalue() and "\x07" not in printed.getvalue() and "[red]markup[/red]" in printed.getvalue()


def test_a_run_of_a_killed_process_is_ended_and_a_run_of_a_living_one_is_not(lab: Lab) -> None:
    assert has_ended("boot:1:0") and not has_ended("") and not has_ended(birth_of(os.getpid()) or "")
    with dg.DagsterInstance.from_config(str(lab.home.dagster)) as instance:
        for birth, ends in (("boot:1:0", True), (birth_of(os.getpid()), False)):
            run = dg.DagsterRun(
                job_name="killed", run_id=make_new_run_id(), status=dg.DagsterRunStatus.STARTED, tags={IN_PROCESS_TAG: str(birth)}
            )
            instance.add_run(run)
            end_dead_runs(instance)
            found = instance.get_run_by_id(run.run_id)
            assert found is not None and found.is_finished == ends
            instance.delete_run(run.run_id)
