"""What is judged: explanations on one line, and rivals that cost no more than the few that are looked at."""

from pathlib import Path

import pyarrow as pa
from growth import fastest

from interp_assets.assets.scores.scorer_inputs import N_RIVALS, Rivals
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.tables import EXPLANATIONS, FEATURE_NEIGHBOURS, SCHEMA_VERSION, Table
from resources.store.lake import Lake

KEY, METHOD = "fake/00/neurons", "max_act"


def filled(table: Table, n: int, **columns: object) -> pa.Table:
    """n rows: the columns given as lists, or as one value for all rows; null in the others."""
    lists = {name: value if isinstance(value, list) else [value] * n for name, value in columns.items()}
    return pa.table({field.name: pa.array(lists.get(field.name, [None] * n), field.type) for field in table.schema}, schema=table.schema)


def rivals(folder: Path, texts: dict[int, str | None], nearest: dict[int, list[int]], seed: int = 0) -> Rivals:
    """The rivals of the first range of a dictionary of as many neurons as there are texts, with these explanations and neighbours."""
    lake = Lake(str(folder), SCHEMA_VERSION)
    record = DictionaryRecord(key=KEY, hook="blocks.0.mlp.hook_post", kind="neurons", width=len(texts))
    for name in FEATURE_RANGE_KEYS:
        features = record.features_of(RangeKey(KEY, name)).tolist()
        own = [texts[feature] for feature in features]
        outcomes = ["unparsable" if text is None else "ok" for text in own]
        rows = filled(
            EXPLANATIONS, len(own), dictionary=KEY, feature_range=name, feature=features, explanation_method=METHOD, outcome=outcomes,
            explanation=own, raw_reply="", replies=[[]] * len(own), model="", prompt_version=f"{METHOD}/1",
        )  # fmt: skip
        lake.write(
            EXPLANATIONS.name, {"explanation_method": METHOD, "dictionary": KEY, "feature_range": name}, EXPLANATIONS.schema, rows, "v"
        )
    pairs = [(feature, rank, other) for feature, others in nearest.items() for rank, other in enumerate(others)]
    columns = {name: [pair[i] for pair in pairs] for i, name in enumerate(("feature", "rank", "neighbour"))}
    rows = filled(FEATURE_NEIGHBOURS, len(pairs), dictionary=KEY, measure="decoder_cosine", outcome="ok", similarity=0.5, **columns)
    lake.write(FEATURE_NEIGHBOURS.name, {"dictionary": KEY}, FEATURE_NEIGHBOURS.schema, rows, "v")
    return Rivals(lake, RangePartition(RangeKey(KEY, FEATURE_RANGE_KEYS[0]), record, StageSettings(seed=seed), "v", {}), METHOD)


def test_the_nearest_come_first_and_no_text_twice(tmp_path: Path) -> None:
    texts = {0: "cats", 1: "cats", 2: None, 3: "big\n\n dogs ", 4: "big dogs", 5: "birds", **{f: f"word {f}" for f in range(6, 40)}}
    found = rivals(tmp_path / "one", texts, {0: [1, 2, 3, 4, 0, 5]}).of(0)
    assert [(r.feature, r.text, r.variant) for r in found[:2]] == [(3, "big dogs", "neighbour"), (5, "birds", "neighbour")]
    assert [r.variant for r in found[2:]] == ["random"] * (N_RIVALS - 2)
    assert len({r.text for r in found}) == N_RIVALS and all(r.text != "cats" for r in found)
    assert found == rivals(tmp_path / "again", texts, {0: [1, 2, 3, 4, 0, 5]}).of(0)
    assert found[2:] != rivals(tmp_path / "other", texts, {0: [1, 2, 3, 4, 0, 5]}, seed=1).of(0)[2:]


def test_where_all_say_the_same_there_are_no_rivals(tmp_path: Path) -> None:
    assert rivals(tmp_path, dict.fromkeys(range(200), "words"), {}).of(7) == ()


def test_rivals_of_a_large_dictionary_do_not_cost_the_dictionary(tmp_path: Path) -> None:
    """Where nearly all of 20,000 features say the same: as many looked at for each would be minutes for all of them."""
    n = 20_000
    texts: dict[int, str | None] = {feature: "words" for feature in range(n)}
    many = rivals(tmp_path, texts | {feature: f"word {feature}" for feature in range(n - 3, n)}, {0: [1, 2, n - 2]})
    assert many.of(0)[0].feature == n - 2
    assert fastest(lambda: [many.of(feature) for feature in range(200)], 3) < 0.15  # about 15 ms on a quiet core
