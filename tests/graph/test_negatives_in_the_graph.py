"""Silent windows of every kind through the graph on stand-ins, with the neighbours and embeddings they need."""

from collections.abc import Callable

import dagster as dg
import numpy as np
import pytest
from installation import KEY, STAGES, Installation

from interp_assets.config.base import UserError
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.examples.passages import SampleText
from interp_assets.domain.examples.windows import WindowShape
from interp_assets.orchestration.versions import NO_EMBEDDINGS
from interp_assets.reading.embeddings import read_embeddings
from interp_assets.reading.token_sample import read_token_sample
from resources.fakes import FakeTokenizer, HashedWords
from resources.store.lake import LakeError

MIXED = {"random": 0.2, "similar": 0.3, "neighbour": 0.3, "token": 0.2}
VALIDATED = {"n_validation": 4}
UPSTREAM = ("token_sample", "activation_shards", "feature_neighbours", "window_embeddings")


def stages(non_activating: object, **changes: object) -> dict:
    return {**STAGES, "examples": {**STAGES["examples"], "non_activating": non_activating, **changes}}


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, corpus: object) -> Installation:
    """An installation whose graph has run once with silent windows of every kind."""
    installation = Installation(tmp_path_factory.mktemp("mixed"), corpus)  # type: ignore[arg-type]
    installation.register(installation.record(stages=stages(MIXED, **VALIDATED)))
    installation.run_all()
    return installation


def test_every_kind_is_drawn_and_counted(mixed: Installation) -> None:
    drawn = dict(rows(mixed, "SELECT sampling, count(*) FROM examples WHERE kind = 'non_activating' GROUP BY 1"))
    assert set(drawn) == set(MIXED) and min(drawn.values()) > 40
    counted = """SELECT count(*) FROM feature_examples f WHERE n_random + n_similar + n_neighbour + n_token <> n_non_activating
                 OR n_similar <> (SELECT count(*) FROM examples e
                                  WHERE e.feature = f.feature AND e.sampling = 'similar' AND e.role = 'held_out')"""
    assert rows(mixed, counted) == [(0,)]
    # 2 + 3 + 3 + 2 of ten held out are asked for; a shortfall is filled, counted and said.
    unsaid = """SELECT count(*) FROM feature_examples WHERE outcome = 'ok' AND (n_random <> 2 + n_filled_with_random
                OR (n_filled_with_random > 0) <> contains(message, 'to be held out'))"""
    assert rows(mixed, unsaid) == [(0,)]


def test_similar_windows_are_shown_for_contrast_and_four_of_each_kind_validate(mixed: Installation) -> None:
    shown = "SELECT sampling, count(*) FROM examples WHERE role = 'shown' AND kind = 'non_activating' GROUP BY 1"
    counted = "SELECT count(*), sum(n_shown_non_activating), sum(n_validation), sum(n_validation_non_activating) FROM feature_examples"
    n, n_shown, n_validation, n_silent = rows(mixed, f"{counted} WHERE outcome = 'ok'")[0]
    assert dict(rows(mixed, shown))["similar"] > 0.9 * 5 * n and n_shown == 5 * n
    assert (n_validation, n_silent) == (4 * n, 4 * n)
    drawn = """SELECT kind, count(*), count(DISTINCT sampling) FROM examples JOIN feature_examples USING (feature)
               WHERE role = 'validation' AND outcome = 'ok' GROUP BY 1 ORDER BY 1"""
    assert rows(mixed, drawn) == [("activating", 4 * n, 1), ("non_activating", 4 * n, 4)]


def test_no_text_has_two_roles(mixed: Installation) -> None:
    shared = "SELECT count(*) FROM examples a JOIN examples b USING (dictionary, feature, token_ids) WHERE a.role < b.role"
    assert rows(mixed, shared) == [(0,)]
    assert [role for (role,) in rows(mixed, "SELECT DISTINCT role FROM examples ORDER BY 1")] == ["held_out", "shown", "validation"]


def test_every_silent_window_is_silent_and_shares_no_text_with_an_activating_one(mixed: Installation) -> None:
    fired = """SELECT count(*) FROM examples e JOIN activations a USING (dictionary, feature) WHERE e.kind = 'non_activating'
               AND a.position BETWEEN e.row * 64 + e.start AND e.row * 64 + e.start + len(e.token_ids) - 1"""
    assert rows(mixed, fired) == [(0,)]
    shared = """SELECT count(*) FROM examples a JOIN examples b USING (dictionary, feature, token_ids)
                WHERE a.kind = 'activating' AND b.kind = 'non_activating'"""
    assert rows(mixed, shared) == [(0,)]


def test_each_kind_is_what_it_says(mixed: Installation) -> None:
    neighbours_fire = """
        WITH near AS (SELECT feature, neighbour FROM feature_neighbours WHERE measure = 'co_occurrence' AND outcome = 'ok')
        SELECT count(*) FROM examples e WHERE sampling = 'neighbour' AND NOT EXISTS (
          SELECT 1 FROM near n JOIN activations a ON a.feature = n.neighbour WHERE n.feature = e.feature
          AND a.position BETWEEN e.row * 64 + e.start AND e.row * 64 + e.start + len(e.token_ids) - 1)"""
    assert rows(mixed, neighbours_fire) == [(0,)]
    tokens_stand = """
        WITH peaks AS (SELECT feature, list(token_ids[list_position(activations, list_max(activations))]) AS peaked FROM examples
                       WHERE kind = 'activating' AND role <> 'shown' GROUP BY 1)
        SELECT count(*) FROM examples e JOIN peaks USING (feature) WHERE sampling = 'token' AND NOT list_has_any(e.token_ids, peaked)"""
    assert rows(mixed, tokens_stand) == [(0,)]


def test_similar_windows_are_nearer_to_the_shown_ones_than_random_ones_are(mixed: Installation) -> None:
    sample, embeddings = read_token_sample(mixed.home.lake, KEY), read_embeddings(mixed.home.lake, KEY, 8)
    assert sample.passages is not None
    shape = WindowShape("cells", 8, 64, 1, SampleText(sample.passages))
    assert embeddings.shape == (shape.n_cells(len(sample.tokens)), 64)
    wanted = (
        "SELECT feature, row, start, max_activation, sampling, role FROM examples WHERE sampling IN ('similar', 'random') "
        "OR (role = 'shown' AND kind = 'activating')"
    )
    found: dict[tuple[int, str], list[int]] = {}
    for feature, row, start, _, sampling, role in rows(mixed, wanted):
        (cell,) = shape.cell_of(np.array([row]), np.array([start])).tolist()
        found.setdefault((feature, sampling if sampling in ("similar", "random") else role), []).append(cell)
    gaps = []
    for feature in {feature for feature, _ in found}:
        shown = embeddings[found[feature, "shown"]].astype(np.float32)
        near = {kind: (embeddings[found[feature, kind]] @ shown.T).max(axis=1).mean() for kind in ("similar", "random")}
        gaps.append(near["similar"] - near["random"])
    assert len(gaps) > 20 and np.mean(np.array(gaps) > 0) > 0.9


def test_the_verdicts_say_which_kind_of_negative_was_judged(mixed: Installation) -> None:
    for scorer in ("detection", "fuzzing"):
        variants = rows(mixed, f"SELECT DISTINCT variant FROM verdicts WHERE scorer = '{scorer}' ORDER BY 1")
        assert [v for (v,) in variants] == ["activating", "neighbour", "random", "similar", "token"]


def test_every_feature_has_neighbours_or_says_why_not(mixed: Installation) -> None:
    outcomes = dict(rows(mixed, "SELECT measure || ' ' || outcome, count(DISTINCT feature) FROM feature_neighbours GROUP BY 1"))
    assert outcomes["decoder_cosine no_decoder"] == 64  # neurons decode nothing
    assert outcomes["co_occurrence ok"] + outcomes.get("co_occurrence silent", 0) == 64
    jaccard = """
        WITH sizes AS (SELECT feature, count(*) n FROM activations GROUP BY 1),
        together AS (
          SELECT a.feature, b.feature AS neighbour, count(*) n FROM activations a JOIN activations b USING (position) GROUP BY 1, 2)
        SELECT max(abs(r.similarity - t.n / (x.n + y.n - t.n))), count(*)
        FROM feature_neighbours r JOIN together t USING (feature, neighbour)
        JOIN sizes x ON x.feature = r.feature JOIN sizes y ON y.feature = r.neighbour WHERE r.outcome = 'ok'"""
    furthest, checked = rows(mixed, jaccard)[0]
    assert furthest < 1e-6 and checked > 500


def test_the_embeddings_are_those_of_the_cells_texts(mixed: Installation) -> None:
    sample, embeddings = read_token_sample(mixed.home.lake, KEY), read_embeddings(mixed.home.lake, KEY, 8)
    texts = ["".join(FakeTokenizer().tokens(sample.tokens[2, start : start + 8])) for start in (1, 9, 57)]
    expected = HashedWords().embed(texts)
    assert np.abs(embeddings[[16, 17, 23]] - expected).max() < 1e-3  # eight cells a row; the last has seven tokens


def test_a_second_run_does_nothing_again(mixed: Installation) -> None:
    loads, before = mixed.models.loads, mixed.lake_bytes()
    mixed.run_all()
    assert mixed.models.loads == loads and mixed.lake_bytes() == before


def test_what_is_stale_is_named_in_the_order_of_the_graph(mixed: Installation) -> None:
    def stale(**changes: object) -> list[str]:
        record = mixed.record(stages={**stages(MIXED, **VALIDATED), **changes})
        return mixed.stale(record)

    assert stale() == []
    assert stale(neighbours={"n_neighbours": 3})[:2] == [f"feature_neighbours {KEY}", f"examples {KEY}|00of16"]
    assert stale(examples={**STAGES["examples"], "non_activating": "similar", "window_tokens": 9})[0] == f"window_embeddings {KEY}"
    # None are asked for any more, which the table must say.
    assert stale(examples={**STAGES["examples"], "non_activating": "token"})[0] == f"window_embeddings {KEY}"


def test_two_runs_leave_the_same_bytes(mixed: Installation, new_installation: Callable[[str], Installation]) -> None:
    again = new_installation("again")
    again.register(again.record(stages=stages(MIXED, **VALIDATED)))
    again.run(*UPSTREAM)
    again.run("examples")
    first, second = mixed.lake_bytes(), again.lake_bytes()
    assert [path for path in second if first[path] != second[path]] == []


def test_two_dictionaries_on_one_sample_share_its_embeddings(installation: Installation) -> None:
    asking = stages("similar")
    deeper = installation.record("fake/01/neurons", hook="blocks.1.mlp.hook_post", stages=asking)
    longer = installation.record("fake/02/neurons", stages=stages("similar", window_tokens=16))
    installation.register(installation.record(stages=asking), deeper, longer)
    installation.run("token_sample", last_key="fake/02/neurons")
    installation.run("window_embeddings", last_key="fake/02/neurons")
    assert installation.models.loads == 1
    passages = read_token_sample(installation.home.lake, KEY).passages
    lengths = passages.end - passages.begin
    expected = [int(np.ceil(lengths / window).sum()) for window in (16, 8)]  # no window runs over the end of a document
    assert sorted(m.rows for m in installation.home.lake.manifests("window_embeddings")) == expected


def test_nothing_is_embedded_unless_it_is_asked_for(installation: Installation) -> None:
    installation.register(installation.record())
    installation.run("token_sample")
    result = installation.run("window_embeddings")
    assert installation.models.loads == 0 and not list(installation.home.lake.manifests("window_embeddings"))
    assert rows(installation, "SELECT outcome, embeddings, n_cells FROM dictionary_embeddings") == [("not_asked", None, 0)]
    event = result.asset_materializations_for_node("window_embeddings")[0]
    assert "similar" in str(event.metadata["preview"].value) and NO_EMBEDDINGS in str(event.tags)


def test_random_windows_need_neither_neighbours_nor_embeddings(installation: Installation) -> None:
    installation.register(installation.record())
    installation.run("token_sample", "activation_shards")
    assert installation.run("examples").success


@pytest.mark.parametrize(("kind", "table"), [("similar", "dictionary_embeddings"), ("neighbour", "feature_neighbours")])
def test_hard_windows_before_their_inputs_say_what_to_materialise(installation: Installation, kind: str, table: str) -> None:
    installation.register(installation.record(stages=stages(kind)))
    installation.run("token_sample", "activation_shards")
    result = installation.run("examples", raise_on_error=False)
    error = next(event.step_failure_data.error for event in result.all_events if event.is_step_failure)
    cause = error.cause or error
    assert cause.cls_name == LakeError.__name__ and table in cause.message


def test_embeddings_of_other_settings_are_refused(installation: Installation) -> None:
    installation.register(installation.record())
    installation.run(*UPSTREAM)
    installation.register(installation.record(stages=stages("similar")))
    with pytest.raises(UserError, match=r"outcome not_asked .* Materialise window_embeddings again"):
        installation.run("examples")
    installation.run("window_embeddings")
    installation.register(installation.record(stages=stages("similar", window_tokens=12)))
    with pytest.raises(UserError, match=r"similar windows of 12 tokens.*windows of 8"):
        installation.run("examples")


def test_other_neighbours_make_new_examples_only_where_they_are_used(new_installation: Callable[[str], Installation]) -> None:
    installation = new_installation("changed")
    for kind, changed in (("random", False), ("neighbour", True)):
        installation.register(installation.record(stages=stages(kind)))
        installation.run(*UPSTREAM)
        installation.run("examples")
        before = {p: b for p, b in installation.lake_bytes().items() if p.startswith("examples/")}
        installation.register(installation.record(stages={**stages(kind), "neighbours": {"n_neighbours": 2}}))
        installation.run(*UPSTREAM)
        installation.run("examples")
        after = {p: b for p, b in installation.lake_bytes().items() if p.startswith("examples/")}
        assert (before != after) == changed


def test_the_checks_pass(mixed: Installation) -> None:
    for name in ("feature_neighbours", "window_embeddings", "examples"):
        result: dg.ExecuteInProcessResult = mixed.run(name)
        assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations()), name


def test_shares_that_are_not_of_one_are_a_named_mistake() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        PlatformSettings().stage_settings({"examples": {"non_activating": {"random": 0.4}}})
