"""The whole graph on stand-in models: complete, repeatable byte for byte, resumable, and clear about what it refuses."""

from collections.abc import Callable

import dagster as dg
import pyarrow.compute as pc
import pytest
from installation import KEY, STAGES, Installation

from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.tables import EXAMPLES, EXPLANATIONS, FEATURE_EXAMPLES, SCORES, STEERED_SETS, STEERED_TEXTS, TABLES, VERDICTS
from resources.fakes import scripted_answer
from resources.language_models.interface import Reply, Request
from resources.store.lake import LakeError


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: object) -> Installation:
    """An installation whose graph has run once."""
    installation = Installation(tmp_path_factory.mktemp("finished"), corpus)  # type: ignore[arg-type]
    installation.register(installation.record())
    installation.run_all()
    return installation


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


def test_every_feature_ends_in_a_named_outcome_in_every_stage(finished: Installation) -> None:
    assert rows(finished, "SELECT count(*) FROM feature_statistics") == [(64,)]
    assert rows(finished, "SELECT count(*), count(outcome) FROM feature_examples") == [(64, 64)]
    assert rows(finished, "SELECT explanation_method, count(*), count(outcome) FROM explanations GROUP BY 1 ORDER BY 1") == [
        ("max_act", 64, 64), ("shuffled", 64, 64),
    ]  # fmt: skip
    per_explanation = "SELECT scorer, count(*) FROM scores WHERE metric = 'f1' GROUP BY 1 ORDER BY 1"
    assert rows(finished, per_explanation) == [("detection", 128), ("fuzzing", 128)]
    assert rows(finished, "SELECT count(*) FROM verdicts WHERE outcome IS NULL") == [(0,)]


def test_every_outcome_is_among_those_that_the_table_names(finished: Installation) -> None:
    tables = [table for table in TABLES if table.outcomes]
    found = {table.name: {one for (one,) in rows(finished, f"SELECT DISTINCT outcome FROM {table.name}")} for table in tables}
    assert all(found[name] for name in ("feature_examples", "explanations", "trials", "verdicts", "scores"))
    assert [(table.name, found[table.name] - set(table.outcomes)) for table in tables if found[table.name] - set(table.outcomes)] == []


def test_the_graph_really_explains_and_scores(finished: Installation) -> None:
    assert rows(finished, "SELECT count(*) > 20 FROM explanations WHERE explanation_method = 'max_act' AND outcome = 'ok'") == [(True,)]
    medians = dict(
        rows(
            finished,
            "SELECT explanation_method, median FROM scores_by_method WHERE scorer = 'detection' AND metric = 'balanced_accuracy'",
        )
    )
    # The stand-in judge finds the word that fired the neuron, so true explanations must beat another neuron's.
    assert medians["max_act"] > medians["shuffled"] and abs(medians["shuffled"] - 0.5) < 0.1


def test_shown_and_held_out_share_no_token_sequence(finished: Installation) -> None:
    shared = """SELECT count(*) FROM examples a JOIN examples b USING (dictionary, feature)
                WHERE a.role = 'shown' AND b.role = 'held_out' AND a.token_ids = b.token_ids"""
    assert rows(finished, shared) == [(0,)]
    assert rows(finished, "SELECT count(*) > 500 FROM examples") == [(True,)]


def test_statistics_are_exact(finished: Installation) -> None:
    check = """SELECT count(*) FROM feature_statistics s JOIN (SELECT dictionary, feature, count(*) n, max(value)::DOUBLE m FROM activations
               GROUP BY ALL) a USING (dictionary, feature) WHERE s.firing_count <> a.n OR abs(s.max_activation - a.m) > 1e-6"""
    assert rows(finished, check) == [(0,)]
    assert rows(finished, "SELECT sum(firing_count)::INT = (SELECT count(*) FROM activations) FROM feature_statistics") == [(True,)]


def test_windows_hold_their_activations_and_never_begin_at_bos(finished: Installation) -> None:
    assert rows(finished, "SELECT count(*) FROM examples WHERE start = 0 OR (kind = 'activating') <> (max_activation > 0)") == [(0,)]


def test_two_runs_leave_the_same_bytes(finished: Installation, new_installation: Callable[[str], Installation]) -> None:
    again = new_installation("again")
    again.register(again.record())
    again.run_all()
    first, second = finished.lake_bytes(), again.lake_bytes()
    assert first.keys() == second.keys() and len(first) > 100
    # The ledger's seconds are wall time, the one thing that may differ.
    assert [path for path in first if first[path] != second[path] and not path.startswith("ledger/")] == []


def test_a_second_run_does_nothing_again(finished: Installation) -> None:
    asked, loads, before = finished.models.asked, finished.models.loads, finished.lake_bytes()
    finished.run_all()
    assert (finished.models.asked, finished.models.loads) == (asked, loads)
    assert finished.lake_bytes() == before


def test_the_model_loads_once_per_run_and_not_per_range(installation: Installation) -> None:
    installation.register(installation.record())
    installation.run("token_sample", "activation_shards")
    assert installation.models.loads == 1
    installation.run("examples", "explanations/max_act")
    assert installation.models.loads == 2


def test_the_tokenizer_loads_once_for_the_examples_of_all_ranges(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    installation.register(installation.record())
    installation.run("token_sample", "activation_shards")
    loaded, load = [], installation.models.tokenizer
    monkeypatch.setattr(installation.models, "tokenizer", lambda *named: loaded.append(named) or load(*named))
    installation.run("examples")
    assert len(loaded) == 1


def test_lost_ranges_are_made_again_without_asking_anything_twice(new_installation: Callable[[str], Installation]) -> None:
    installation = new_installation("lost")
    installation.register(installation.record())
    installation.run_all()
    asked, before = installation.models.asked, installation.lake_bytes()
    for feature_range in FEATURE_RANGE_KEYS[3:7]:
        partition = {"scorer": "fuzzing", "dictionary": KEY, "feature_range": feature_range}
        installation.home.lake.fs.rm(installation.home.lake.path(SCORES.name, partition), recursive=True)
    installation.run("scores/fuzzing")
    assert installation.models.asked == asked  # every reply was in the store
    after = installation.lake_bytes()
    assert {p for p in before if before[p] != after.get(p) and not p.startswith("ledger/")} == set()


def test_changing_a_scorer_setting_makes_only_the_scores_again(new_installation: Callable[[str], Installation]) -> None:
    installation = new_installation("changed")
    installation.register(installation.record())
    installation.run_all()
    before = installation.lake_bytes()
    stages = {**installation.record().stages, "scoring": {"n_bootstrap": 60}}
    installation.register(installation.record(stages=stages))
    asked = installation.models.asked
    installation.run_all()
    assert installation.models.asked == asked  # the bootstrap is arithmetic on replies that are there
    changed = {path.split("/")[0] for path, content in installation.lake_bytes().items() if before[path] != content}
    assert changed - {"ledger"} == {SCORES.name, VERDICTS.name, "trials"}  # manifests carry the new version


def test_two_dictionaries_share_a_sample_and_a_forward_pass(installation: Installation) -> None:
    deeper = installation.record("fake/01/neurons", hook="blocks.1.mlp.hook_post")
    installation.register(installation.record(), deeper)
    assert installation.run("token_sample", "activation_shards", last_key="fake/01/neurons").success
    assert installation.models.loads == 1
    assert len(list(installation.home.lake.manifests("token_samples"))) == 1
    assert {m.partition["dictionary"] for m in installation.home.lake.manifests("activations")} == {KEY, "fake/01/neurons"}


def test_dictionaries_that_memory_does_not_hold_together_make_few_passes(new_installation: Callable[[str], Installation]) -> None:
    """Three dictionaries of 8 KiB where 20 KiB may be in memory: two passes, and the rows of three passes."""
    kept, loads = [], []
    for name, gib in (("together", None), ("two-passes", 20 / (1 << 20)), ("alone", 1e-9)):
        installation = new_installation(name)
        stages = {**installation.record().stages, **({} if gib is None else {"harvest": {"dictionaries_gib": gib}})}
        fields = {"kind": "random_topk", "d_in": 32, "hook": "blocks.0.hook_resid_post", "stages": stages}
        records = [installation.record(f"fake/0{n}/random", seed=n, **fields) for n in range(3)]
        installation.register(*records)
        installation.run("token_sample", "activation_shards", key=records[0].key, last_key=records[-1].key)
        loads.append(installation.models.loads)
        table = {str(m.partition): m for m in installation.home.lake.manifests("activations")}
        kept.append({name: (m.rows, m.data_version, m.file_crc32) for name, m in table.items()})
        assert not list(installation.home.spill.glob("*"))
    assert loads == [1, 2, 3] and kept[0] == kept[1] == kept[2] and len(kept[0]) == 48


def test_few_features_leave_some_ranges_empty_and_complete(installation: Installation) -> None:
    installation.register(installation.record(features=(3, 40)))
    installation.run_all()
    installation.run(*installation.unasked())
    assert rows(installation, "SELECT feature FROM feature_statistics ORDER BY 1") == [(3,), (40,)]
    by_range = [
        t for t in TABLES if "feature_range" in t.partition_columns and t not in (STEERED_TEXTS, STEERED_SETS)
    ]  # steering is asked for nowhere
    assert [t.name for t in by_range if len(list(installation.home.lake.manifests(t.name))) < 16] == []
    # Each feature is alone in its range; a dictionary with so few deals explanations over all of them.
    dealt = "SELECT feature, outcome, donor_feature FROM explanations WHERE explanation_method = 'shuffled' ORDER BY 1"
    assert rows(installation, dealt) == [(3, "ok", 40), (40, "ok", 3)]


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Class and message of the error that a step ended with."""
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert errors, "nothing failed"
    cause = errors[0].cause or errors[0]
    return f"{cause.cls_name}: {cause.message}"


def test_a_corpus_too_small_names_both_numbers(installation: Installation) -> None:
    sample = installation.record().token_sample.model_copy(update={"n_tokens": 10_000_000})
    installation.register(installation.record(token_sample=sample))
    message = failure(installation.run("token_sample", raise_on_error=False))
    assert "10,000,000" in message and "token_sample.n_tokens" in message


def test_an_unknown_hook_offers_the_nearest(installation: Installation) -> None:
    installation.register(installation.record(hook="blocks.0.mlp.hook_pots"))
    installation.run("token_sample")
    assert "blocks.0.mlp.hook_post" in failure(installation.run("activation_shards", raise_on_error=False))


def test_a_width_that_the_hook_contradicts_is_refused(installation: Installation) -> None:
    installation.register(installation.record(width=63))
    installation.run("token_sample")
    message = failure(installation.run("activation_shards", raise_on_error=False))
    assert "63" in message and "64" in message


def test_an_unregistered_partition_lists_what_is_registered(installation: Installation) -> None:
    installation.register(installation.record())
    installation.instance.add_dynamic_partitions("dictionary", ["fake/00/typo"])
    assert KEY in failure(installation.run("token_sample", key="fake/00/typo", raise_on_error=False))


def test_a_stage_before_its_inputs_says_what_to_materialise(installation: Installation) -> None:
    installation.register(installation.record())
    message = failure(installation.run("examples", raise_on_error=False))
    assert LakeError.__name__ in message and "activations" in message


def test_too_few_windows_is_an_outcome_with_its_numbers(installation: Installation) -> None:
    stages = {**installation.record().stages, "examples": {**installation.record().stages["examples"], "min_activating": 100_000}}
    installation.register(installation.record(stages=stages))
    installation.run_all()
    assert rows(installation, f"SELECT DISTINCT outcome FROM {FEATURE_EXAMPLES.name} WHERE outcome <> 'dead'") == [("too_few_windows",)]
    assert "min_activating is 100000" in rows(installation, "SELECT max(message) FROM feature_examples")[0][0]
    assert rows(installation, f"SELECT count(*) FROM {EXAMPLES.name}") == [(0,)]
    assert rows(installation, f"SELECT DISTINCT outcome FROM {EXPLANATIONS.name} ORDER BY 1") == [("no_donor",), ("no_examples",)]
    assert rows(installation, f"SELECT DISTINCT outcome FROM {SCORES.name}") == [("no_examples",)]


def test_a_wrong_setting_stops_before_anything_is_lost(installation: Installation) -> None:
    installation.register(installation.record(stages={"examples": {"n_showed": 3}}))
    installation.run("token_sample")
    with pytest.raises(UserError, match="n_showed"):
        installation.run("activation_shards")


def test_shards_are_sorted_by_feature_then_position(finished: Installation) -> None:
    for manifest in finished.home.lake.manifests("activations"):
        table = finished.home.lake.read("activations", manifest.partition)
        order = pc.sort_indices(table, sort_keys=[("feature", "ascending"), ("position", "ascending")])
        assert order.to_pylist() == list(range(table.num_rows))


def test_a_failing_question_fails_alone_and_only_it_is_asked_again(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned: list[Request] = []

    def poison(request: Request) -> str | Reply:
        if request.line_prefix and (not poisoned or request == poisoned[0]):
            poisoned.append(request)
            return Reply("", "error", 0, 0, 0, 0.0, error="the server answered 500")
        return scripted_answer(request)

    installation.register(installation.record())
    with monkeypatch.context() as patch:
        patch.setattr("resources.fakes.scripted_answer", poison)
        installation.run_all()
    outcomes = "SELECT outcome, count(*) FROM explanations WHERE explanation_method = 'max_act' GROUP BY 1"
    first = dict(rows(installation, outcomes))
    assert first["model_error"] == 1 and first["ok"] > 20
    assert rows(installation, "SELECT count(*) FROM scores WHERE outcome = 'no_explanation' AND metric = 'f1'")[0][0] >= 2
    asked = installation.models.asked
    installation.run("explanations/max_act")
    assert installation.models.asked == asked + 1
    assert dict(rows(installation, outcomes)) == {**{k: v for k, v in first.items() if k != "model_error"}, "ok": first["ok"] + 1}


def test_a_cap_keeps_whole_contexts_exact_statistics_and_true_silence(finished: Installation, installation: Installation) -> None:
    cap = 1000
    installation.register(installation.record(stages={**STAGES, "harvest": {"max_activations": cap}}))
    installation.run_all()
    counted = "SELECT feature, firing_count, max_activation, kept_contexts_share FROM feature_statistics ORDER BY feature"
    full, capped = rows(finished, counted), rows(installation, counted)
    assert [row[:3] for row in full] == [row[:3] for row in capped]
    over = {feature for feature, count, *_ in full if count > cap}
    assert {feature for feature, *_, share in capped if share < 1} == over and over
    kept_of = f"SELECT feature, count(*), sum(value::DOUBLE) FROM activations WHERE feature IN ({', '.join(map(str, over))}) GROUP BY 1"
    assert all(0.7 * cap < n <= cap for _, n, _ in rows(installation, kept_of))
    # What is kept of a context is all of it, and silent windows are silent in the full store.
    contexts = "SELECT feature, position // 64, count(*) FROM activations GROUP BY 1, 2"
    everything = {(feature, row): n for feature, row, n in rows(finished, contexts)}
    assert all(everything[feature, row] == n for feature, row, n in rows(installation, contexts))
    firing = {(feature, position) for feature, position in rows(finished, "SELECT feature, position FROM activations")}
    silent = rows(installation, "SELECT feature, row, start, len(token_ids) FROM examples WHERE kind = 'non_activating'")
    assert {feature for feature, *_ in silent} & over
    for feature, row, start, length in silent:
        assert not any((feature, row * 64 + place) in firing for place in range(start, start + length))
