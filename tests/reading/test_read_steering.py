"""What scorers are given of what steering wrote."""

from types import SimpleNamespace

import pyarrow as pa
import pytest

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.domain.steering.steered_texts import CompletionSet, SteeredRun, SteeredText
from interp_assets.reading.steering import N_RIVAL_SETS, CompletionSets, SteeredRuns
from interp_assets.tables import SCHEMA_VERSION, STEERED_SETS, STEERED_TEXTS, STEERING
from resources.store.lake import Lake

KEY = RangeKey("m/00/d", FEATURE_RANGE_KEYS[0])
HERE = {"dictionary": KEY.dictionary, "feature_range": KEY.feature_range}


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(str(tmp_path / "lake"), SCHEMA_VERSION)


def test_runs_hold_scoring_prompts_alone_and_say_whether_the_target_was_met(lake: Lake) -> None:
    """Feature 4 was steered to a target that it missed and ablated, 2 was not, 9 met one."""
    runs = [(4, 0.5, "not_reached"), (4, None, "ok"), (9, 0.5, "ok")]
    steering = [{"feature": 2, "outcome": "dead"}]
    steering += [{"feature": f, "target_kl": t, "intervention": "strength" if t else "zero_ablation", "outcome": o} for f, t, o in runs]
    texts = [
        {
            "feature": feature, "target_kl": target, "intervention": "strength" if target else "zero_ablation", "prompt": prompt,
            "role": "explainer" if prompt == 0 else "scoring", "row": 0, "start": 1, "prompt_token_ids": [1], "prompt_text": f"p{prompt}",
            "clean_completion": "clean", "steered_completion": f"{feature} at {target}", "raised_tokens": [], "lowered_tokens": [],
        }
        for feature, target, _ in runs
        for prompt in range(3)
    ]  # fmt: skip
    for table, rows in ((STEERING, [{"n_contexts": 3, "n_prompts": 3, **row} for row in steering]), (STEERED_TEXTS, texts)):
        lake.write(table.name, HERE, table.schema, pa.Table.from_pylist([{**HERE, **row} for row in rows], schema=table.schema), "v")
    found = SteeredRuns(lake, KEY)
    assert found.of(2) == ()

    def run(feature: int, target: float | None, met: bool) -> SteeredRun:
        return SteeredRun(target, met, tuple(SteeredText(n, f"p{n}", "clean", f"{feature} at {target}") for n in (1, 2)))

    assert found.of(4) == (run(4, 0.5, False), run(4, None, True)) and found.of(9) == (run(9, 0.5, True),)
    assert found.of(10) == () and [one.name for one in (run(4, 0.25, True), run(4, -1.0, True), run(4, None, True))] == [
        "0.25", "-1", "zero_ablation",
    ]  # fmt: skip
    assert SteeredRuns(lake, KEY).of(9) == (run(9, 0.5, True),), "features that nobody asks for are passed over"


def sets_of(lake: Lake, features: dict[int, tuple[str, str] | str], seed: int = 0) -> CompletionSets:
    """Sets at targets 0.5 and -0.5 after one prompt, by the outcomes of both; or the one outcome of a feature without a set."""
    for number, name in enumerate(FEATURE_RANGE_KEYS):
        rows: list[dict] = []
        for feature, outcomes in sorted(features.items()):
            if feature % len(FEATURE_RANGE_KEYS) != number:
                continue
            here = {"dictionary": KEY.dictionary, "feature_range": name, "feature": feature}
            if isinstance(outcomes, str):
                rows.append({**here, "outcome": outcomes})
                continue
            for target, outcome in zip((0.5, -0.5), outcomes, strict=True):
                text = {"prompt": 0, "prompt_text": "We", "completion": f" are\n {feature}", "strength": 1.0, "n_steps": 1}
                rows.append({**here, **text, "target_kl": target, "outcome": outcome})
        partition = {"dictionary": KEY.dictionary, "feature_range": name}
        lake.write(STEERED_SETS.name, partition, STEERED_SETS.schema, pa.Table.from_pylist(rows, schema=STEERED_SETS.schema), "v")
    partition = SimpleNamespace(key=KEY, settings=SimpleNamespace(seed=seed))
    return CompletionSets(lake, partition)  # type: ignore[arg-type]


def test_sets_hold_the_targets_that_were_met_and_rivals_all_of_them(lake: Lake) -> None:
    whole = {f: ("ok", "ok") for f in (3, 20, 21)}
    found = sets_of(lake, {**whole, 5: ("ok", "not_reached"), 6: ("not_reached", "not_reached"), 7: "zero_decoder"})
    assert found.of(3) == CompletionSet(3, ((0.5, "We are\n 3"), (-0.5, "We are\n 3")))
    assert found.of(5) == CompletionSet(5, ((0.5, "We are\n 5"),)) and found.of(6) == CompletionSet(6, ())
    assert found.of(7) is None and found.of(8) is None
    assert {one.feature for one in found.rivals(5)} == {3, 20, 21} and {one.feature for one in found.rivals(3)} == {20, 21}
    assert all(len(one.texts) == 2 for one in found.rivals(5))


def test_rivals_come_from_the_whole_dictionary_by_the_seed_and_the_feature(lake: Lake) -> None:
    many = {feature: ("ok", "ok") for feature in range(0, 300, 3)}
    found = sets_of(lake, many)
    for feature in (0, 150):
        rivals = [one.feature for one in found.rivals(feature)]
        assert len(set(rivals)) == len(rivals) == N_RIVAL_SETS and feature not in rivals
        assert rivals == [one.feature for one in CompletionSets.rivals(found, feature)]
    assert [o.feature for o in found.rivals(0)] != [o.feature for o in found.rivals(3)]
    assert [o.feature for o in found.rivals(0)] != [o.feature for o in sets_of(lake, many, seed=1).rivals(0)]


def test_a_dictionary_without_sets_has_none(lake: Lake) -> None:
    found = sets_of(lake, {1: "no_decoder"})
    assert found.of(1) is None and found.rivals(1) == ()
