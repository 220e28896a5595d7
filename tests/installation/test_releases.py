"""A whole release is registered by one command: of SAELens's own list, a set of circuit-tracer, a folder of dictionaries, a YAML list."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_registration_mistakes import HOOK, WIDTH, made, sae_record  # noqa: F401  # the fixture is asked for by its name
from typer.testing import CliRunner

from interp_assets.cli.main import app
from interp_assets.config.base import UserError
from interp_assets.config.records import TokenSampleSettings
from interp_assets.installation import registration
from interp_assets.installation.home import Home
from interp_assets.installation.registration import register_records
from interp_assets.installation.releases import parse_layers, release_records
from resources.dictionaries.releases import is_width, layer_in, listed_in, release_names, width_in
from resources.model_provider import RealModels

SETS = Path(__file__).parents[1] / "resources" / "dictionaries" / "fixtures" / "circuit_tracer"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home without Dagster: what is registered is written, and is no partition."""
    monkeypatch.setenv("INTERP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registration, "add_records", lambda home, records: [home.registry.write(record) for record in records])
    return Home.from_environment()


def found(place: str | Path, shared: dict[str, Any] | None = None, **chosen: Any) -> list[Any]:
    """The records of a release; what is said goes to `said`."""
    options = {"layers": None, "width": None, "only": None, "name": None, "say": lambda line: None} | chosen
    return release_records(str(place), shared or {}, **options)


@pytest.mark.parametrize(
    ("name", "layer", "width"),
    [
        ("layer_20/width_16k/average_l0_71", 20, "16k"),
        ("layer_17_width_1m_l0_big", 17, "1m"),
        ("embedding/width_4k/average_l0_111", None, "4k"),
        ("blocks.8.hook_resid_pre_768", 8, None),
        ("resid_post_layer_3_trainer_0", 3, None),
        ("l0r_8x", 0, None),
        ("l13r_400m_slimpajama_400m_openr1_math", 13, None),
        ("gpt2-small-resid-post-v5-128k", None, "128k"),
        ("qwen-scope-3-1.7b-base-w32k-l50", None, "32k"),
        ("pythia-70m-deduped-res-sm", None, None),
        ("model/layers.10.mlp", 10, None),
        ("saes/7/topk", 7, None),
    ],
)
def test_layer_and_width_are_read_from_names(name: str, layer: int | None, width: str | None) -> None:
    assert (layer_in(name), width_in(name)) == (layer, width)


def test_a_short_width_is_what_publishers_call_so() -> None:
    widths = {"16k": 16384, "65k": 65536, "131k": 131072, "128k": 131072, "262k": 262144, "1m": 1048576, "24k": 24576, "16384": 16384}
    assert [text for text, width in widths.items() if not is_width(text, width)] == []
    assert not is_width("16k", 32768) and not is_width("k", 16384) and not is_width("", 1) and not is_width("16m", 16384)


def test_every_release_of_sae_lens_is_listed_with_its_layers() -> None:
    without = {name: [one.name for one in listed_in(name) if one.layer is None] for name in release_names()}
    # Dictionaries of the embedding stand before the layers.
    assert {name: names for name, names in without.items() if any("embedding" not in one for one in names)} == {}
    assert len(without) > 100


def test_a_release_of_sae_lens_becomes_records_without_the_hub() -> None:
    shared = {"token_sample": {"n_tokens": 4096}, "features": {"count": 50}, "stages": {"examples": {"n_shown": 12}}}
    said: list[str] = []
    layers = parse_layers("0-2,30")
    records = found("gemma-scope-2b-pt-res-canonical", shared, layers=layers, width="16k", say=said.append)
    assert [record.key for record in records] == [f"gemma-2-2b/0{n}/gemma-scope-2b-pt-res-canonical-width_16k-canonical" for n in range(3)]
    first = records[0]
    assert (first.kind, first.width, first.hook) == ("sae_lens", 16384, "blocks.0.hook_resid_post")
    assert first.source == "gemma-scope-2b-pt-res-canonical/layer_0/width_16k/canonical" and first.model.source == "google/gemma-2-2b"
    assert first.token_sample == TokenSampleSettings(n_tokens=4096) and first.stages == shared["stages"] and first.n_selected == 50
    assert said == ["the release has no such dictionary in the layers 30"]
    named = found("gemma-scope-2b-pt-res", {}, layers=[5], width="16384", only="*_l0_1*", name="gs", say=said.append)
    assert [record.key for record in named] == ["gemma-2-2b/05/gs-width_16k-average_l0_143", "gemma-2-2b/05/gs-width_16k-average_l0_18"]
    assert said[1].startswith("a layer has up to 2 dictionaries (layer_5/width_16k/average_l0_143, ")


def test_a_set_of_circuit_tracer_becomes_a_record_a_layer(home: Home) -> None:
    records = found(SETS / "skip", {"model": {"source": "meta-llama/Llama-3.2-1B"}, "output_hook": "blocks.{layer}.hook_mlp_out"})
    assert [(one.key, one.hook, one.output_hook) for one in records] == [
        (f"llama-3.2-1b/0{n}/skip", f"blocks.{n}.mlp.hook_in", f"blocks.{n}.hook_mlp_out") for n in (0, 1)
    ]
    assert {one.width for one in records} == {24} and {one.source for one in records} == {str(SETS / "skip")}


def test_a_folder_is_registered_with_one_load_of_the_model(home: Home, made: Path, tmp_path: Path, monkeypatch: Any) -> None:  # noqa: F811
    for layer, name in enumerate(["layer_0", "layer_1"]):
        shutil.copytree(made / "sae", tmp_path / "saes" / name)
        config = json.loads((made / "sae" / "cfg.json").read_text())
        config["metadata"] = {"hook_name": f"blocks.{layer}.hook_resid_post"}
        (tmp_path / "saes" / name / "cfg.json").write_text(json.dumps(config))
    shutil.copytree(tmp_path / "saes" / "layer_1", tmp_path / "saes" / "broken" / "layer_1")
    (tmp_path / "saes" / "notes").mkdir()
    shared = {name: value for name, value in sae_record(made).items() if name in ("model", "token_sample")}
    (tmp_path / "shared.yaml").write_text(yaml.safe_dump(shared))
    loads: list[object] = []
    subject = RealModels.subject

    def counted(*arguments: Any) -> Any:
        loads.append(arguments)
        return subject(*arguments)

    monkeypatch.setattr(RealModels, "subject", counted)
    records = found(tmp_path / "saes", shared)
    assert [one.key for one in records] == ["model/00/saes", "model/01/saes-broken", "model/01/saes"]
    # A dictionary of another hook's values fails its self-check alone.
    wrong = json.loads((tmp_path / "saes" / "broken" / "layer_1" / "cfg.json").read_text()) | {"d_in": 31}
    (tmp_path / "saes" / "broken" / "layer_1" / "cfg.json").write_text(json.dumps(wrong))
    passed, failures = register_records(home, records, "saes", check=True, say=lambda line: None)
    assert [one.key for one in passed] == home.registry.keys() == ["model/00/saes", "model/01/saes"]
    assert list(failures) == ["model/01/saes-broken"] and "d_in" in failures["model/01/saes-broken"] and len(loads) == 1

    shutil.rmtree(tmp_path / "saes" / "broken")
    command = ["register", str(tmp_path / "shared.yaml"), "--release", str(tmp_path / "saes"), "--layers", "1", "--no-check"]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0 and f"registered model/01/saes ({WIDTH} of {WIDTH} features)" in ended.output, ended.output
    assert ended.output.splitlines()[-1] == "next: interp backfill model/01/saes"


def test_a_yaml_list_is_registered_whole_or_not_at_all(home: Home, made: Path, tmp_path: Path) -> None:  # noqa: F811
    records = [{**sae_record(made), "key": f"tiny/01/{name}"} for name in "ab"]
    (tmp_path / "many.yaml").write_text(yaml.safe_dump(records))
    ended = CliRunner().invoke(app, ["register", str(tmp_path / "many.yaml"), "--no-check"])
    assert ended.exit_code == 0 and home.registry.keys() == ["tiny/01/a", "tiny/01/b"], ended.output
    (tmp_path / "many.yaml").write_text(yaml.safe_dump([*records, {**records[0], "hok": HOOK}]))
    ended = CliRunner().invoke(app, ["register", str(tmp_path / "many.yaml"), "--no-check"])
    assert ended.exit_code == 1 and "many.yaml, record 3 is not valid" in ended.output and "did you mean 'hook'" in ended.output
    (tmp_path / "many.yaml").write_text(yaml.safe_dump([records[0], records[0]]))
    assert "more than one record of tiny/01/a" in CliRunner().invoke(app, ["register", str(tmp_path / "many.yaml")]).output


@pytest.mark.parametrize(
    ("place", "shared", "chosen", "told"),
    [
        ("gemma-scope-2b-pt-res-canonicl", {}, {}, "the nearest are gemma-scope-2b-pt-res-canonical"),
        (
            "gemma-scope-2b-pt-res-canonical",
            {},
            {"layers": [99]},
            r"none of its 58 dictionaries fits --layers; it holds the layers 0-25 and",
        ),
        ("gemma-scope-2b-pt-res-canonical", {}, {"width": "17k"}, "the widths 16k, 32k, 65k, 262k, 524k, 1m"),
        ("gemma-scope-2b-pt-res-canonical", {"key": "a/b/c"}, {}, "the shared fields hold key"),
        ("/no/such/folder", {}, {}, "there is no folder /no/such/folder on this machine"),
        (str(SETS / "skip"), {}, {}, r"does not say its model: \{source: …\}"),
        (str(Path(__file__).parents[1] / "cli"), {}, {}, "holds no dictionary of a known format, and neither does a folder below it"),
    ],
)
def test_what_is_no_release_is_said(place: str, shared: dict, chosen: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        found(place, shared, **chosen)


@pytest.mark.parametrize("text", ["", "5-2", "a", "1,,2", "-3", "0-25;30"])
def test_what_is_no_list_of_layers_is_said(text: str) -> None:
    with pytest.raises(UserError, match="write it as 0-25,30"):
        parse_layers(text)
