"""Exports of a dictionary that went through the graph: what is written is what the lake says, whole or not at all."""

import csv
import gzip
import itertools
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from installation import KEY, Installation
from publishing import METHODS, SCORERS, published_installation

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.exchange import export_neuronpedia as publishing_source
from interp_assets.exchange.export_circuit_tracer import export_circuit_tracer
from interp_assets.exchange.export_csv import export_csv
from interp_assets.exchange.export_dataset import export_dataset
from interp_assets.exchange.export_neuronpedia import PublicName, export_neuronpedia
from interp_assets.explorer.explorer import Explorer
from interp_assets.explorer.static_site import export_site
from interp_assets.installation.doctor import lake_manifests, older_scores
from interp_assets.plotting import scores
from interp_assets.plotting.figure import Asked
from resources.formats import neuronpedia
from resources.formats.circuit_tracer_writing import cantor_pair
from resources.store.lake import LakeError
from resources.store.whole_folders import FolderTaken

SCHEMA = json.loads((Path(__file__).parents[1] / "resources" / "golden" / "neuronpedia" / "columns.json").read_text())
"""Columns of Neuronpedia's database at SCHEMA_COMMIT, all and required, as its migrations make them in Postgres."""

TABLES = {"features": "Neuron", "activations": "Activation", "explanations": "Explanation", "explanation_scores": "ExplanationScore"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    return published_installation(tmp_path_factory.mktemp("publishing"), corpus)


def rows(made: Installation, sql: str) -> list[tuple]:
    return [tuple(row.values()) for row in made.home.warehouse.query(sql).rows.to_pylist()]


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    text = b"".join(gzip.decompress(file.read_bytes()) for file in sorted((folder / kind).glob("*.gz")))
    return [json.loads(line) for line in text.decode().splitlines()]


def exported(made: Installation, folder: Path, **options: Any) -> Path:
    record = made.home.registry.get(KEY)
    return export_neuronpedia(made.home.lake, record, made.models, folder, **options).folder


@pytest.fixture(scope="module")
def source(made: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(made, tmp_path_factory.mktemp("neuronpedia"))


def test_a_source_has_the_columns_of_neuronpedias_database(source: Path) -> None:
    for kind, table in TABLES.items():
        found = lines(source, kind)
        assert found and {tuple(sorted(line)) for line in found} == {tuple(sorted(found[0]))}  # the importer reads names off the first line
        assert set(found[0]) <= set(SCHEMA["columns"][table]) and set(SCHEMA["required"][table]) <= set(found[0]), table
        assert all(line[name] is not None for line in found for name in SCHEMA["required"][table]), table
    for name, table in {"release": "SourceRelease", "model": "Model", "sourceset": "SourceSet", "source": "Source"}.items():
        (line,) = [json.loads(text) for text in (source / f"{name}.jsonl").read_text().splitlines()]
        assert set(line) <= set(SCHEMA["columns"][table]) and set(SCHEMA["required"][table]) <= set(line), table
    for file in (source.parents[1] / "config").iterdir():
        table = "".join(word.title() for word in file.stem.split("_"))
        for text in file.read_text().splitlines():
            assert set(SCHEMA["required"][table]) <= set(json.loads(text)) <= set(SCHEMA["columns"][table])


def test_every_name_that_a_row_refers_to_is_written(source: Path) -> None:
    known = {
        file.stem: {json.loads(text)["name"] for text in file.read_text().splitlines()} for file in (source.parents[1] / "config").iterdir()
    }
    explanations, scores = lines(source, "explanations"), lines(source, "explanation_scores")
    assert {line["typeName"] for line in explanations} == known["explanation_type"] == {"interp-assets_max_act"}
    assert {line["explanationModelName"] for line in explanations} == known["explanation_model_type"] == {"rule"}
    assert {line["explanationScoreTypeName"] for line in scores} == known["explanation_score_type"]
    assert {line["explanationScoreModelName"] for line in scores} == known["explanation_score_model"]
    assert {line["explanationId"] for line in scores} <= {line["id"] for line in explanations}
    features = {line["index"] for line in lines(source, "features")}
    assert {line["index"] for kind in ("activations", "explanations") for line in lines(source, kind)} <= features
    ids = [line["id"] for kind in ("activations", "explanations", "explanation_scores") for line in lines(source, kind)]
    assert len(ids) == len(set(ids))


def test_a_source_says_what_the_lake_says(made: Installation, source: Path) -> None:
    features = {int(line["index"]): line for line in lines(source, "features")}
    statistics = rows(made, "SELECT feature, firing_count, token_density, max_activation FROM feature_statistics ORDER BY 1")
    assert list(features) == [row[0] for row in statistics] and len(features) == 13
    for feature, fired, density, largest in statistics:
        line = features[feature]
        assert sum(line["freq_hist_data_bar_heights"]) == fired and line["frac_nonzero"] == density
        assert line["maxActApprox"] == pytest.approx(largest, rel=1e-5)
        assert sum(line["logits_hist_data_bar_heights"]) == sum(features[0]["logits_hist_data_bar_heights"]) > 0
    promoted = rows(made, "SELECT feature, list(token ORDER BY rank) FROM vocabulary_projections WHERE side = 'promoted' GROUP BY 1")
    assert all(features[feature]["pos_str"] == tokens for feature, tokens in promoted)
    scores = "SELECT count(*) FROM scores WHERE headline AND value IS NOT NULL AND explanation_method = 'max_act'"
    assert len(lines(source, "explanation_scores")) == rows(made, scores)[0][0] > 0
    assert all(
        "detection balanced_accuracy 0." in line["notes"] or "detection" not in line["notes"] for line in lines(source, "explanations")
    )


def test_windows_lie_in_intervals_that_share_all_tokens(made: Installation, source: Path) -> None:
    windows = lines(source, "activations")
    assert len(windows) == rows(made, "SELECT count(*) FROM examples")[0][0]
    for line in windows:
        assert line["values"][line["maxValueTokenIndex"]] == line["maxValue"] == max(line["values"])
        assert line["binMin"] < line["maxValue"] <= line["binMax"] if line["maxValue"] else (line["binMin"], line["binMax"]) == (0, 0)
    for feature in {line["index"] for line in windows}:
        bins = {(line["binMin"], line["binMax"]): line["binContains"] for line in windows if line["index"] == feature}
        assert 0.99 < sum(bins.values()) <= 1 + 1e-9  # activations above the strongest drawn window are in no interval
        edges = sorted(bins)[1:]
        assert all(low[1] == high[0] for low, high in itertools.pairwise(edges))


def test_our_own_importer_reads_a_source_back(made: Installation, source: Path) -> None:
    export = neuronpedia.open_export(source)
    findings = neuronpedia.check_export(export, None, 0)
    assert (findings.n_bad, findings.hook, findings.width) == (0, "blocks.0.mlp.hook_post", 61)
    read = sorted(
        (row.feature, row.tokens, row.values) for row in neuronpedia.read_windows(export, None) if isinstance(row, neuronpedia.Activation)
    )
    there = rows(made, "SELECT feature, tokens, activations FROM examples")
    expected = sorted((feature, tuple(tokens), tuple(float(f"{v:.6g}") for v in values)) for feature, tokens, values in there)
    assert read == expected
    stated = list(neuronpedia.read_explanations(neuronpedia.explanation_files(source), findings.width))
    texts = rows(made, "SELECT feature, explanation FROM explanations WHERE explanation_method = 'max_act' AND outcome = 'ok' ORDER BY 1")
    assert [(one.feature, one.text, one.author) for one in stated] == [(*row, "interp-assets_max_act rule") for row in texts]  # type: ignore[union-attr]


def test_the_same_lake_gives_the_same_bytes_and_a_folder_takes_several_sources(made: Installation, source: Path, tmp_path: Path) -> None:
    exported(made, tmp_path)
    assert contents(tmp_path) == contents(source.parents[1])
    with pytest.raises(FolderTaken, match="0-neurons is not empty"):
        exported(made, tmp_path)
    name = PublicName("gpt2-small", "res-jb", "mine", "me")
    asked = AskedFeatures.parse("5,6-12")  # of the interval, the dictionary selects 10
    other = exported(made, tmp_path, features=asked, methods=("shuffled", "max_act"), name=name, weights=False, vectors=True)
    assert other == tmp_path / "gpt2-small" / "0-res-jb" and [line["index"] for line in lines(other, "features")] == ["5", "10"]
    assert not lines(other, "features")[0]["logits_hist_data_bar_heights"] and not lines(other, "features")[0]["hasVector"]
    types = (tmp_path / "config" / "explanation_type.jsonl").read_text()
    assert [json.loads(line)["name"] for line in types.splitlines()] == [f"interp-assets_{name}" for name in METHODS]


def test_an_export_that_fails_in_the_middle_leaves_nothing(made: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing_source, "BLOCK", 4)
    seen: list[int] = []

    def fail(*arguments: Any) -> dict:
        seen.append(1)
        if len(seen) == 3:
            raise OSError("no room")
        return real(*arguments)

    real = publishing_source.activations_of
    monkeypatch.setattr(publishing_source, "activations_of", fail)
    with pytest.raises(OSError, match="no room"):
        exported(made, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert exported(made, tmp_path).is_dir()


def test_what_is_not_there_is_said(made: Installation, tmp_path: Path) -> None:
    for options, message in (
        ({"features": AskedFeatures.of([5, 6])}, "does not select feature 6"),
        ({"methods": ("human",)}, "--explanations human: .* it has max_act, shuffled"),
    ):
        with pytest.raises(UserError, match=message):
            exported(made, tmp_path, **options)
    said: list[str] = []
    key = RangeKey(KEY, FEATURE_RANGE_KEYS[3])
    lake = made.home.lake
    places = [{"scorer": scorer, **lake_partition(key)} for scorer in SCORERS[:2]]
    kept = [(place, lake.read("scores", place), lake.require("scores", place)) for place in places]
    try:
        lake.discard("scores", places[0])
        exported(made, tmp_path, weights=False, say=said.append)
        assert any(f"scores/{SCORERS[0]} in 12 of 13 ranges" in line for line in said), said
        for place, rows_, manifest in kept:
            older = {**manifest.inputs, "explanations/max_act": "another"}
            lake.write("scores", place, rows_.schema, rows_, manifest.data_version, older)
        cure = (
            f"are older than its explanations/max_act: `interp backfill {KEY} --only scores/{SCORERS[0]} --only scores/{SCORERS[1]}` makes"
        )
        with pytest.raises(UserError, match=cure):
            exported(made, tmp_path / "older")
        told = [one.text for one in older_scores(lake_manifests(lake))]
        ending = "of earlier explanations/max_act in 1 of 16 ranges, which the lake no longer holds"
        assert told == [
            f"scores/{scorer} of {KEY} were made {ending}: interp backfill {KEY} makes them again" for scorer in sorted(SCORERS[:2])
        ]
    finally:
        for place, rows_, manifest in kept:
            lake.write("scores", place, rows_.schema, rows_, manifest.data_version, manifest.inputs)
    assert not list(older_scores(lake_manifests(lake)))


def test_circuit_tracers_files_say_what_the_lake_says(made: Installation, tmp_path: Path) -> None:
    (tmp_path / "haiku.json").write_text(
        json.dumps({"nodes": [{"node_id": "0_10_3", "feature_type": "cross layer transcoder", "clerp": ""}], "links": []})
    )
    record = made.home.registry.get(KEY)
    done = export_circuit_tracer(made.home.lake, [record], tmp_path / "out", graphs=[tmp_path / "haiku.json"])
    labels = json.loads((tmp_path / "out" / "labels.json").read_text())
    texts = rows(made, "SELECT feature, label FROM explanations WHERE explanation_method = 'max_act' AND outcome = 'ok'")
    assert labels == {f"0_{feature}": text for feature, text in texts} and done.labels == len(labels)
    (node,) = json.loads((tmp_path / "out" / "graph_data" / "haiku.json").read_text())["nodes"]
    assert node["clerp"] == labels["0_10"] and done.nodes == {"haiku.json": 1}
    offsets = json.loads(gzip.decompress((tmp_path / "out" / "features" / "index.json.gz").read_bytes()))["0"]["offsets"]
    whole = (tmp_path / "out" / "features" / "layer_0.bin").read_bytes()
    assert len(offsets) == record.width + 1
    for feature, density, largest in rows(made, "SELECT feature, token_density, max_activation FROM feature_statistics"):
        found = json.loads(zlib.decompress(whole[offsets[feature] + 4 : offsets[feature + 1]]))
        assert (found["activation_frequency"], found["act_max"], found["quantile_values"][-1]) == (density, largest, largest)
        windows = [one for quantile in found["examples_quantiles"] for one in quantile["examples"]]
        drawn = f"SELECT tokens FROM examples WHERE feature = {feature} AND kind = 'activating'"
        assert sorted(one["tokens"] for one in windows) == sorted(row[0] for row in rows(made, drawn))
        peaks = [one["tokens_acts_list"][one["train_token_ind"]] for one in windows]
        assert peaks == sorted(peaks, reverse=True)
    with pytest.raises(UserError, match="are of one layer"):
        export_circuit_tracer(made.home.lake, [record, record], tmp_path / "twice")
    with pytest.raises(FolderTaken):
        export_circuit_tracer(made.home.lake, [record], tmp_path / "out")


def test_a_dataset_says_what_the_lake_says(made: Installation, tmp_path: Path) -> None:
    record = made.home.registry.get(KEY)
    other = record.model_copy(update={"key": "fake/00/other"})
    with pytest.raises(UserError, match="given twice"):
        export_dataset(made.home.lake, [record, record], tmp_path / "twice")
    done = export_dataset(made.home.lake, [record], tmp_path / "out", license_="cc-by-4.0")
    (features,) = (tmp_path / "out" / "data" / "fake--00--neurons").glob("features-*.parquet")
    (scores,) = (tmp_path / "out" / "data" / "fake--00--neurons").glob("scores-*.parquet")
    read = {row["feature"]: row for row in pq.read_table(features).to_pylist()}
    for feature, outcome, text, method in rows(made, "SELECT feature, outcome, explanation, explanation_method FROM explanations"):
        (found,) = [one for one in read[feature]["explanations"] if one["method"] == method]
        assert (found["outcome"], found["explanation"]) == (outcome, text) and found["scores"]
    drawn = rows(made, "SELECT feature, list(tokens ORDER BY example_id) FROM examples GROUP BY 1")
    for feature, windows in drawn:
        assert [one["tokens"] for one in sorted(read[feature]["examples"], key=lambda one: one["example_id"])] == windows
    wanted = "feature, explanation_method, scorer, metric, value, ci_low, ci_high, floor, outcome"
    there = rows(made, f"SELECT {wanted} FROM scores WHERE stratum IS NULL")
    flat = [tuple(row[name] for name in wanted.split(", ")) for row in pq.read_table(scores).to_pylist()]
    assert sorted(flat, key=repr) == sorted(there, key=repr) and done.scores == {"fake--00--neurons": len(there)}
    assert {row["judge"] for row in pq.read_table(scores, columns=["judge"]).to_pylist()} == {"rule", "embedded:all-minilm-l6-v2"}
    front, card = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)[1:]
    assert yaml.safe_load(front)["license"] == "cc-by-4.0" and "<script>" not in card and str(made.corpus.parent) not in card
    assert "| detection | balanced\\_accuracy | rule | max\\_act | 13 |" in card
    with pytest.raises(LakeError, match="fake/00/other"):
        export_dataset(made.home.lake, [record, other], tmp_path / "both")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_datasets_and_duckdb_open_a_dataset(made: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    export_dataset(made.home.lake, [made.home.registry.get(KEY)], tmp_path / "out")
    first = min(made.home.registry.get(KEY).selected_features)
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"WHERE feature = {first}" in card and f'("feature", "==", {first})' in card
    config = "fake--00--neurons"
    assert datasets.get_dataset_config_names(str(tmp_path / "out")) == [config, f"{config}-scores"]
    options = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    (one,) = datasets.load_dataset(str(tmp_path / "out"), config, filters=[("feature", "==", 10)], **options)  # type: ignore[call-overload]
    assert one["feature"] == 10 and one["explanations"][0]["method"] == "max_act"
    scores = datasets.load_dataset(str(tmp_path / "out"), f"{config}-scores", **options)
    asked = duckdb.sql(f"SELECT count(*), count(DISTINCT feature) FROM '{tmp_path}/out/data/{config}/scores-*.parquet'").fetchall()
    assert asked == [(len(scores), 13)]


def test_a_view_is_written_as_csv(made: Installation, tmp_path: Path) -> None:
    warehouse = made.home.warehouse
    done = export_csv(warehouse.query, warehouse.views, "scores_by_method", tmp_path / "scores.csv")
    lines = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert len(lines) == done.rows == rows(made, "SELECT count(*) FROM scores_by_method")[0][0]
    assert {line["explanation_method"] for line in lines} == set(METHODS)
    stored = rows(made, "SELECT value FROM scores WHERE value IS NOT NULL ORDER BY ALL")
    text = export_csv(warehouse.query, warehouse.views, "scores").text
    assert sorted(float(line["value"]) for line in csv.DictReader(text.splitlines()) if line["value"]) == [value for (value,) in stored]

    def threads(sql: str) -> Any:  # as another order of adding would have it
        answer = warehouse.query(sql)
        return replace(answer, rows=pa.Table.from_pydict({**answer.rows.to_pydict(), "mean": [0.1 + 0.2] * len(answer.rows)}))

    lines = list(csv.DictReader(export_csv(threads, warehouse.views, "scores_by_method").text.splitlines()))
    assert {line["mean"] for line in lines} == {"0.3"}
    for view, message in (("scores_by_metod", "did you mean 'scores_by_method'"), ("steering", "steering has no rows")):
        with pytest.raises(UserError, match=message):
            export_csv(warehouse.query, warehouse.views, view, tmp_path / "no.csv")
    with pytest.raises(UserError, match="is there already"):
        export_csv(warehouse.query, warehouse.views, "scores_by_method", tmp_path / "scores.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv"]


def test_numbers_of_single_precision_have_their_own_digits(made: Installation, tmp_path: Path) -> None:
    export_circuit_tracer(made.home.lake, [made.home.registry.get(KEY)], tmp_path / "out", loose=True)
    export_site(Explorer(made.home), tmp_path / "site", [KEY], AskedFeatures.of(10), print)
    content = json.loads((tmp_path / "site" / "d" / KEY / "10.json").read_text())
    traced = json.loads((tmp_path / "out" / "features" / f"{cantor_pair(0, 10)}.json").read_text())
    windows = [one["tokens_acts_list"] for quantile in traced["examples_quantiles"] for one in quantile["examples"]]
    found = {
        "logit": [row["logit"] for row in content["vocabulary_projections"]],
        "share": [value for row in content["feature_examples"] for value in row["start_shares"]],
        "activation": [value for row in content["examples"] for value in row["activations"]],
        "traced": list(itertools.chain(*windows)),
    }
    for name, values in found.items():
        single = [float(str(np.float32(value))) for value in values]
        assert values == single and any(value != float(np.float32(value)) for value in values), name


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_judge_in_a_folder_of_this_machine_is_published_by_its_last_name(made: Installation, tmp_path: Path) -> None:
    lake, place, asked = made.home.lake, "/home/ann/models/qwen", AskedFeatures.of(15)
    kept, record = [], made.home.registry.get(KEY)
    for table in ("explanations", "trials", "ledger"):
        for manifest in list(lake.manifests(table)):
            if manifest.partition.get("feature_range") == record.range_of(15).feature_range and manifest.rows:
                kept.append((manifest, lake.read(table, manifest.partition)))
    try:
        for manifest, rows_of in kept:
            moved = rows_of.set_column(rows_of.schema.get_field_index("model"), "model", [[place] * rows_of.num_rows]).cast(rows_of.schema)
            lake.write(manifest.table, manifest.partition, moved.schema, moved, manifest.data_version, manifest.inputs)
        assert rows(made, f"SELECT count(*) > 0 FROM trials WHERE model = '{place}'") == [(True,)]
        source = exported(made, tmp_path / "neuronpedia", features=asked, weights=False)
        assert {line["explanationModelName"] for line in lines(source, "explanations")} == {"qwen"}
        export_dataset(lake, [record], tmp_path / "dataset", features=asked)
        export_site(Explorer(made.home), tmp_path / "site", [KEY], asked, print)
        figure = scores.figure(lambda sql: pl.DataFrame(made.home.warehouse.query(sql).rows), Asked((KEY,)))
        assert "qwen" in figure.caption and place not in figure.caption
    finally:
        for manifest, rows_of in kept:
            lake.write(manifest.table, manifest.partition, rows_of.schema, rows_of, manifest.data_version, manifest.inputs)
    named = [file for file in tmp_path.rglob("*") if file.is_file() and b"qwen" in unpacked(file)]
    assert {"batch-0.jsonl.gz", "README.md", "15.html"} <= {file.name for file in named}
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"/home/ann" in unpacked(file)]


def unpacked(file: Path) -> bytes:
    """The content of a file, of Parquet all values as text."""
    if file.suffix == ".parquet":
        return str(pq.read_table(file).to_pylist()).encode()
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
