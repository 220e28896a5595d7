"""Dictionaries from other tools' files through the whole graph on stand-in models, and back out again."""

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from installation import KEY, STAGES, Installation
from safetensors.numpy import load_file, save_file

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.records import DictionaryRecord, ModelSource, TokenSampleSettings
from interp_assets.config.settings import PlatformSettings
from interp_assets.exchange import imported_files
from interp_assets.exchange.export_delphi_cache import export_delphi
from interp_assets.exchange.import_dictionary import delphi_record, neuronpedia_record
from resources.fakes import SPECIAL, WORDS, FakeModels
from resources.formats.interface import ExchangeError

MODEL = ModelSource(source="fake")
SETTINGS = PlatformSettings()
HOOK = "layers.0"
IMPORTED = "fake/00/imported"


def rows(installation: Installation, sql: str) -> list[tuple]:
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute(sql).fetchall()


def failure(result: dg.ExecuteInProcessResult) -> str:
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert errors, "nothing failed"
    return (errors[0].cause or errors[0]).message


@dataclass
class Exported:
    """An installation that was harvested, and the cache that it wrote."""

    installation: Installation
    folder: Path

    def record(self, **changes: object) -> DictionaryRecord:
        """The record of the cache, imported under another key."""
        record = delphi_record(FakeModels(), self.folder, None, IMPORTED, MODEL)
        return record.model_copy(update={"stages": STAGES, **changes})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Exported:
    """The stand-in's neurons, harvested and exported in three files."""
    installation = Installation(tmp_path_factory.mktemp("exporter"), corpus)
    installation.register(installation.record())
    installation.run("token_sample", "activation_shards")
    folder = tmp_path_factory.mktemp("cache")
    export_delphi(installation.home.lake, installation.record(), SETTINGS, folder, hookpoint=HOOK, n_splits=3)
    return Exported(installation, folder)


def test_a_cache_goes_through_the_graph_as_its_own_harvest_does(exported: Exported, installation: Installation) -> None:
    harvested, record = exported.installation, exported.record()
    assert (record.kind, record.width, record.hook, record.token_sample.n_tokens) == ("delphi", 64, HOOK, 8192)
    installation.register(record)
    installation.run_all(key=IMPORTED)
    # The harvest is the only stage that needs the subject: here nothing was loaded but the judge.
    assert installation.models.loads == 1 + 2
    assert rows(installation, "SELECT outcome, count(*) FROM vocabulary_projections GROUP BY 1") == [("no_decoder", 64)]
    same = "SELECT feature, position, value FROM activations ORDER BY feature, position"
    assert rows(installation, same) == rows(harvested, same) and len(rows(installation, same)) > 10_000
    columns = "feature, n_tokens, firing_count, token_density, context_count, mean_activation, max_activation, histogram, top_tokens"
    assert rows(installation, f"SELECT {columns} FROM feature_statistics ORDER BY 1") == rows(
        harvested, f"SELECT {columns} FROM feature_statistics ORDER BY 1"
    )
    tokens = "SELECT token_ids FROM token_samples ORDER BY row"
    assert rows(installation, tokens) == rows(harvested, tokens)
    harvested.run("examples")
    examples = "SELECT feature, example_id, role, kind, stratum, tokens, activations FROM examples ORDER BY ALL"
    assert rows(installation, examples) == rows(harvested, examples)
    medians = dict(
        rows(
            installation,
            "SELECT explanation_method, median FROM scores_by_method WHERE scorer = 'detection' AND metric = 'balanced_accuracy'",
        )
    )
    assert medians["max_act"] > medians["shuffled"]
    before, asked = installation.lake_bytes(), installation.models.asked
    installation.run_all(key=IMPORTED)
    assert installation.lake_bytes() == before and installation.models.asked == asked


def test_the_groups_that_are_sorted_at_once_change_nothing(
    exported: Exported, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported_files, "GROUP_ACTIVATIONS", 300)
    installation.register(exported.record())
    installation.run("token_sample", "activation_shards", key=IMPORTED)
    for sql in (
        "SELECT feature, position, value FROM activations ORDER BY 1, 2",
        "SELECT feature, firing_count FROM feature_statistics ORDER BY 1",
    ):
        assert rows(installation, sql) == rows(exported.installation, sql)


def test_where_it_comes_from_is_on_the_materialisation(exported: Exported, installation: Installation) -> None:
    record = exported.record()
    installation.register(record)
    installation.run("token_sample", "activation_shards", key=IMPORTED)
    key = dg.AssetKey("activation_shards")
    (made,) = installation.instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=[IMPORTED]), limit=1).records
    metadata = {name: value.value for name, value in made.asset_materialization.metadata.items()}  # type: ignore[union-attr]
    assert metadata["imported_from"].endswith(HOOK) and metadata["imported_content"] == record.imported.content  # type: ignore[union-attr]
    assert metadata["delphi_config"]["dictionary"] == KEY and metadata["left_out_on_special_tokens"] == 0


def test_files_that_change_after_the_import_are_refused_until_imported_again(exported: Exported, installation: Installation) -> None:
    copy = installation.home.root.parent / "copy"
    (copy / HOOK).mkdir(parents=True)
    for path in (exported.folder / "latents" / HOOK).iterdir():
        (copy / HOOK / path.name).write_bytes(path.read_bytes())
    first = delphi_record(FakeModels(), copy, None, IMPORTED, MODEL)
    installation.register(first)
    installation.run("token_sample", key=IMPORTED)
    changed = load_file(copy / HOOK / "0_20.safetensors")
    save_file({**changed, "activations": changed["activations"] * 2}, copy / HOOK / "0_20.safetensors")
    message = failure(installation.run("activation_shards", key=IMPORTED, raise_on_error=False))
    assert "have changed since they were imported" in message and "interp import delphi" in message
    again = delphi_record(FakeModels(), copy, None, IMPORTED, MODEL)
    assert again.fingerprint != first.fingerprint and again.token_sample == first.token_sample  # the tokens are the same
    installation.register(again)
    installation.run("token_sample", "activation_shards", key=IMPORTED)
    assert rows(installation, "SELECT max(value)::DOUBLE FROM activations")[0][0] > 0


def test_two_hook_points_of_one_run_share_their_tokens(exported: Exported, installation: Installation) -> None:
    records = [exported.record(key=f"fake/0{i}/imported") for i in range(2)]
    installation.register(*records)
    installation.run("token_sample", key=records[0].key, last_key=records[1].key)
    assert len(list(installation.home.lake.manifests("token_samples"))) == 1


def test_some_features_go_out_and_come_back(exported: Exported, installation: Installation, tmp_path: Path) -> None:
    lake, record = exported.installation.home.lake, exported.installation.record()
    written = export_delphi(lake, record, SETTINGS, tmp_path, hookpoint=HOOK, features=AskedFeatures.of([3, 17, 40, 63]), n_splits=2)
    assert written.files == ("0_31.safetensors", "32_63.safetensors")
    back = delphi_record(FakeModels(), tmp_path, None, IMPORTED, MODEL)
    assert back.features == (3, 17, 40, 63)  # the cache itself says what was exported: the others are not dead
    installation.register(back)
    installation.run("token_sample", "activation_shards", key=IMPORTED)
    counts = "SELECT feature, firing_count FROM feature_statistics WHERE feature IN (3, 17, 40, 63) ORDER BY 1"
    assert rows(installation, counts) == rows(exported.installation, counts) and len(rows(installation, counts)) == 4


def test_what_cannot_be_exported_is_said(exported: Exported, installation: Installation, tmp_path: Path) -> None:
    lake, record = exported.installation.home.lake, exported.installation.record()
    with pytest.raises(UserError, match=r"does not select feature 64; it selects 64 of 64"):
        export_delphi(lake, record, SETTINGS, tmp_path, features=AskedFeatures.of([1, 64]))
    with pytest.raises(ExchangeError, match="exists already"):
        export_delphi(lake, record, SETTINGS, exported.folder, hookpoint=HOOK)
    with pytest.raises(ExchangeError, match="65 files; allowed are 1 to 64"):
        export_delphi(lake, record, SETTINGS, tmp_path, n_splits=65)
    with pytest.raises(UserError, match="is no folder name; write it as"):
        export_delphi(lake, record, SETTINGS, tmp_path, hookpoint="../out")
    with pytest.raises(UserError, match=r"older than its record.*activation_shards"):
        export_delphi(lake, record.model_copy(update={"k": 7}), SETTINGS, tmp_path)


def without_tokens(exported: Exported, folder: Path) -> Path:
    """A copy of the cache whose files have no tokens."""
    (folder / HOOK).mkdir(parents=True)
    for path in (exported.folder / "latents" / HOOK).glob("*.safetensors"):
        content = load_file(path)
        del content["tokens"]
        save_file(content, folder / HOOK / path.name)
    return folder


def test_a_cache_without_tokens_is_taken_only_on_the_users_word(exported: Exported, installation: Installation, tmp_path: Path) -> None:
    folder = without_tokens(exported, tmp_path / "bare")
    with pytest.raises(UserError, match=r"has no tokens.*--unverified-tokens"):
        delphi_record(FakeModels(), folder, None, IMPORTED, MODEL)
    sample = installation.record().token_sample
    with pytest.raises(UserError, match=r"has no tokens.*--unverified-tokens"):
        delphi_record(FakeModels(), folder, None, IMPORTED, MODEL, token_sample=sample)
    said: list[str] = []
    record = delphi_record(
        FakeModels(), folder, None, IMPORTED, MODEL, token_sample=sample, unverified_tokens=True, say=said.append
    )  # fmt: skip
    assert any("nothing can check that the sample has the same rows" in line for line in said)
    assert record.imported and record.imported.unverified_tokens
    installation.register(record)
    installation.run("token_sample", "activation_shards", key=IMPORTED)
    same = "SELECT feature, position, value FROM activations ORDER BY feature, position"
    assert rows(installation, same) == rows(exported.installation, same)
    short = TokenSampleSettings(corpus=sample.corpus, n_tokens=640, context_tokens=64)
    with pytest.raises(ExchangeError, match=r"has row \d+; allowed are 0 to 9"):
        delphi_record(FakeModels(), folder, None, IMPORTED, MODEL, token_sample=short, unverified_tokens=True)


def test_activations_on_special_tokens_are_left_out_and_position_zero_without_bos_is_kept(
    installation: Installation, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(len(SPECIAL), len(SPECIAL) + len(WORDS), size=(40, 16))  # as delphi makes them: no BOS
    tokens[:, 5] = 2  # <eos>
    first = [(row, 0, 0, 1.0 + row) for row in range(40)]
    on_eos = [(row, 5, 1, 1.0) for row in range(40)]
    locations = np.array([entry[:3] for entry in sorted(first + on_eos)], dtype=np.uint16)
    values = np.array([entry[3] for entry in sorted(first + on_eos)], dtype=np.float16)
    (tmp_path / HOOK).mkdir()
    save_file({"locations": locations, "activations": values, "tokens": tokens.astype(np.int64)}, tmp_path / HOOK / "0_1.safetensors")
    record = delphi_record(FakeModels(), tmp_path, None, IMPORTED, MODEL)
    installation.register(record.model_copy(update={"stages": STAGES}))
    installation.run("token_sample", "activation_shards", key=IMPORTED)
    installation.run("examples", key=IMPORTED)
    assert rows(installation, "SELECT feature, firing_count, n_tokens, token_density FROM feature_statistics ORDER BY 1") == [
        (0, 40, 40 * 15, 40 / 600), (1, 0, 600, 0.0),
    ]  # fmt: skip
    assert rows(installation, "SELECT outcome, n_windows FROM feature_examples ORDER BY feature") == [("ok", 40), ("dead", 0)]
    assert rows(installation, "SELECT min(start) FROM examples WHERE kind = 'activating'") == [(0,)]


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (np.full((4, 16), 10_000), r"has token 10000, but fake has tokens 0 to \d+.*--model"),
        (np.full((4, 4), 5), r"has tokens \[4, 4\]; allowed are 8 to 65,536 a row"),
    ],
)
def test_tokens_that_are_not_the_models_are_refused(tmp_path: Path, tokens: np.ndarray, said: str) -> None:
    (tmp_path / HOOK).mkdir()
    empty = {"locations": np.zeros((0, 3), np.uint16), "activations": np.zeros(0, np.float16)}
    save_file({**empty, "tokens": tokens.astype(np.int64)}, tmp_path / HOOK / "0_1.safetensors")
    with pytest.raises(UserError, match=said):
        delphi_record(FakeModels(), tmp_path, None, IMPORTED, MODEL)


WINDOWS, SILENT = 30, 20


def window(rng: np.random.Generator, feature: int, peak: float, bin_max: float, **changes: object) -> dict:
    """One activation of a Neuronpedia export: the feature fires on its own word, once among twenty tokens."""
    tokens = [f" {WORDS[i]}" for i in rng.integers(40, len(WORDS), size=20)]
    place = int(rng.integers(20))
    tokens[place] = f" {WORDS[feature]}" if peak else tokens[place]
    values = [0.0] * 20
    values[place] = peak
    return {
        "modelId": "fake", "layer": "0-test", "index": str(feature), "tokens": tokens, "values": values, "maxValue": peak,
        "maxValueTokenIndex": place, "binMin": bin_max - 1, "binMax": bin_max, "binContains": 0.25, "dataIndex": "7", **changes,
    }  # fmt: skip


def write_export(folder: Path, silent: int = SILENT, extra: list[object] | None = None, features: int = 8) -> Path:
    """A source of some features with thirty windows each in three bins and a top, and silent ones."""
    rng = np.random.default_rng(1)
    source = folder / "v1" / "fake" / "0-test"
    for kind in ("activations", "features"):
        (source / kind).mkdir(parents=True)
    batches: list[list[object]] = [[], []]
    for feature in range(features):
        for number in range(WINDOWS):
            bin_max = 1.0 + number % 3
            top = {"binContains": -1, "binMin": -1, "binMax": -1} if number < 6 else {}
            row = window(rng, feature, 9.0 + number / 10 if top else bin_max - 0.5, bin_max, **top)
            batches[feature // 4].append(row)
        batches[feature // 4] += [window(rng, feature, 0.0, 1.0) for _ in range(silent)]
    batches[1] += extra or []
    for number, batch in enumerate(batches):
        lines = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in batch)
        (source / "activations" / f"batch-{number}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    described = [{"index": str(f), "hookName": "blocks.0.mlp.hook_post", "maxActApprox": 12.0} for f in range(features + 1)]
    lines = "".join(json.dumps(row) + "\n" for row in described)
    (source / "features" / "batch-0.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    return source


NEURONPEDIA_STAGES = {
    **STAGES, "examples": {**STAGES["examples"], "min_activating": 10}, "steering": {"enabled": True}  # type: ignore[dict-item]
}  # fmt: skip


def neuronpedia_installation(installation: Installation, source: Path, **options: object) -> Installation:
    record = neuronpedia_record(FakeModels(), source, IMPORTED, MODEL, **options)  # type: ignore[arg-type]
    installation.register(record.model_copy(update={"stages": NEURONPEDIA_STAGES}))
    return installation


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Installation:
    """An imported export whose graph has run once."""
    installation = Installation(tmp_path_factory.mktemp("neuronpedia"), corpus)
    neuronpedia_installation(installation, write_export(tmp_path_factory.mktemp("export")))
    installation.run_all(key=IMPORTED)
    return installation


def test_an_export_goes_through_the_graph_to_scores(explained: Installation) -> None:
    assert explained.models.loads == 1 + 2  # the judge, for explanations and twice for scores; never a subject
    assert rows(explained, "SELECT outcome, count(*) FROM vocabulary_projections GROUP BY 1") == [("no_decoder", 9)]
    assert rows(explained, "SELECT outcome, count(*) FROM steering GROUP BY 1") == [("no_decoder", 9)]
    counts = "SELECT feature, outcome, n_windows, n_shown, n_held_out, n_non_activating FROM feature_examples ORDER BY 1"
    assert rows(explained, counts) == [
        *((feature, "ok", WINDOWS, 6, 10, 10) for feature in range(8)), (8, "dead", 0, 0, 0, 0),
    ]  # fmt: skip
    assert rows(explained, "SELECT DISTINCT sampling FROM examples") == [("imported",)]
    shared = """SELECT count(*) FROM examples a JOIN examples b USING (dictionary, feature)
                WHERE a.role = 'shown' AND b.role = 'held_out' AND a.tokens = b.tokens"""
    assert rows(explained, shared) == [(0,)]
    assert rows(explained, "SELECT DISTINCT n_shown_non_activating, n_validation FROM feature_examples WHERE outcome = 'ok'") == [(5, 0)]
    # bins: the top is stratum 0, then the highest edge first
    strata = "SELECT stratum, min(max_activation), max(max_activation) FROM examples WHERE stratum IS NOT NULL GROUP BY 1 ORDER BY 1"
    assert [(s, low > 8, high) for s, low, high in rows(explained, strata)][1:] == [(1, False, 2.5), (2, False, 1.5), (3, False, 0.5)]
    assert rows(explained, strata)[0][1] > 8
    assert rows(explained, "SELECT DISTINCT len(tokens), len(token_ids), len(activations) FROM examples") == [(8, 8, 8)]  # window_tokens
    assert rows(explained, "SELECT count(*) FROM examples WHERE (kind = 'activating') <> (max_activation > 0)") == [(0,)]
    scored = """SELECT scorer, median(value) FROM scores WHERE explanation_method = 'max_act' AND metric = 'balanced_accuracy'
                AND outcome = 'ok' GROUP BY scorer ORDER BY 1"""
    assert rows(explained, scored) == [("detection", 1.0), ("fuzzing", 1.0)]
    assert rows(explained, "SELECT count(DISTINCT feature) FROM feature_overview") == [(9,)]
    assert rows(explained, "SELECT count(*) FROM activations UNION ALL SELECT count(*) FROM feature_statistics") == [(0,), (0,)]


def test_a_second_run_of_an_import_does_nothing(explained: Installation) -> None:
    before, asked = explained.lake_bytes(), explained.models.asked
    explained.run_all(key=IMPORTED)
    assert explained.lake_bytes() == before and explained.models.asked == asked


def test_an_export_that_changed_is_stale_only_once_it_is_imported_again(
    new_installation: Callable[[str], Installation], tmp_path: Path
) -> None:
    source = write_export(tmp_path)
    installation = neuronpedia_installation(new_installation("changed"), source)
    installation.run("token_sample", "activation_shards", key=IMPORTED)
    file = source / "activations" / "batch-0.jsonl.gz"
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    file.write_bytes(gzip.compress(b"".join(lines[1:]), mtime=0))
    assert "have changed since they were imported" in failure(installation.run("examples", key=IMPORTED, raise_on_error=False))
    neuronpedia_installation(installation, source)
    installation.run("token_sample", "activation_shards", key=IMPORTED)
    installation.run("examples", key=IMPORTED)
    assert rows(installation, "SELECT n_windows FROM feature_examples WHERE feature = 0") == [(WINDOWS - 1,)]


def test_texts_that_are_no_token_keep_their_text_in_prompts(new_installation: Callable[[str], Installation], tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    odd = []
    for number in range(20):
        row = window(rng, 7, 5.0 + number, 30.0)
        row["tokens"][row["maxValueTokenIndex"]] = " Zürich"
        odd.append(row)
    installation = neuronpedia_installation(new_installation("odd"), write_export(tmp_path, extra=odd))
    installation.run_all(key=IMPORTED)
    assert rows(
        installation, "SELECT DISTINCT token_ids[list_position(tokens, ' Zürich')] FROM examples WHERE list_contains(tokens, ' Zürich')"
    ) == [(-1,)]
    assert rows(installation, "SELECT explanation FROM explanations WHERE feature = 7 AND explanation_method = 'max_act'") == [
        ("the word Zürich",)
    ]


def test_without_silent_windows_the_outcome_says_so(new_installation: Callable[[str], Installation], tmp_path: Path) -> None:
    said: list[str] = []
    source = write_export(tmp_path, silent=0)
    installation = neuronpedia_installation(new_installation("loud"), source, say=said.append)
    assert any("without silent windows" in line for line in said)
    installation.run_all(key=IMPORTED)
    assert rows(installation, "SELECT DISTINCT outcome, message FROM feature_examples WHERE outcome <> 'dead'") == [
        ("too_few_silent_windows", "0 of 5 silent windows to be shown, 0 of 10 silent windows to be held out: the import has no more")
    ]
    assert rows(
        installation,
        "SELECT DISTINCT outcome FROM scores WHERE metric = 'balanced_accuracy' AND feature = 0 AND explanation_method = 'max_act'",
    ) == [("one_class",)]


BAD = [
    '{"index": "1", "tokens": ["a"]',
    "[1, 2]",
    {"index": "99", "tokens": [" a"], "values": [1], "maxValue": 1, "maxValueTokenIndex": 0},
    {"index": "x", "tokens": [" a"], "values": [1], "maxValue": 1, "maxValueTokenIndex": 0},
    {"index": "1", "tokens": [" a", " b"], "values": [1], "maxValue": 1, "maxValueTokenIndex": 0},
    {"index": "1", "tokens": [], "values": [], "maxValue": 0, "maxValueTokenIndex": 0},
    {"index": "1", "tokens": [" a", " b"], "values": [1, math.nan], "maxValue": 1, "maxValueTokenIndex": 0},
    {"index": "1", "tokens": [" a", " b"], "values": [1, 2], "maxValue": 1, "maxValueTokenIndex": 1},
    {"index": "1", "tokens": [" a", " b"], "values": [1, 2], "maxValue": 2, "maxValueTokenIndex": 0},
]


def test_bad_rows_are_counted_named_and_refused_beyond_their_share(new_installation: Callable[[str], Installation], tmp_path: Path) -> None:
    source = write_export(tmp_path, extra=[*BAD])
    with pytest.raises(ExchangeError, match=r"9 of \d+ activations are bad, allowed is a share of 0\.01") as refusal:
        neuronpedia_record(FakeModels(), source, IMPORTED, MODEL)
    good = 4 * (WINDOWS + SILENT)
    for place, problem in enumerate(
        (
            "not a JSON object", "not a JSON object", "index '99'; allowed are 0 to 8", "index 'x'", "2 tokens and 1 values",
            "0 tokens and 0 values", "a value that is no finite number", "maxValue 1, but the largest value is 2",
            "maxValueTokenIndex 0, but the largest value is at 1",
        ),
        start=1,
    ):  # fmt: skip
        assert f"batch-1.jsonl.gz line {good + place}: {problem}" in str(refusal.value)
    said: list[str] = []
    installation = neuronpedia_installation(new_installation("bad"), source, max_bad_share=0.05, say=said.append)
    assert any("9 bad rows left out" in line for line in said) and sum("left out" in line and "line" in line for line in said) == 9
    installation.run("token_sample", "activation_shards", key=IMPORTED)
    installation.run("examples", key=IMPORTED)
    assert rows(installation, "SELECT n_windows FROM feature_examples WHERE feature = 1") == [(WINDOWS,)]


def test_a_dictionary_of_imported_examples_has_nothing_to_export(explained: Installation, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="imported examples and no activations"):
        export_delphi(explained.home.lake, explained.home.registry.get(IMPORTED), SETTINGS, tmp_path)
