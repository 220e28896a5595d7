"""Whatever is wrong with a record, its files or its code, registering ends in a message that a user can act on, and nothing is written."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from interp_assets.cli.main import app
from interp_assets.config.base import UserError, validated
from interp_assets.config.nearest import nearest_hint
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.config.validation import known_keys
from interp_assets.installation import registration
from interp_assets.installation.home import Home
from interp_assets.installation.registration import register_record

D, WIDTH, HOOK = 32, 48, "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny GPT-2 (32 positions), an SAE of its hook, a function, and texts."""
    folder = tmp_path_factory.mktemp("things")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "<s>", "</s>", *(f"w{i}" for i in range(60))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=len(words), n_positions=32, n_embd=D, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(folder / "model")
    fast.save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    lines = [" ".join(f"w{i}" for i in rng.integers(0, 60, 40)) for _ in range(60)]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    (folder / "probes.py").write_text(
        "import sys\nimport torch\ndef probe(x):\n    return torch.relu(torch.cat([x, x[:, :16]], 1))\n"
        "def leaves(x):\n    sys.exit(3)\ndef fails(x):\n    assert x is None\ndef none(x):\n    return None\n"
        "def missing(x):\n    import a_package_that_is_not_there\n"
    )
    axes = torch.linalg.qr(torch.randn(D, D))[0]
    (folder / "sae").mkdir()
    weights = {"W_enc": torch.cat([axes, -axes[:, :16]], 1), "b_enc": torch.zeros(WIDTH), "W_dec": torch.cat([axes.T, -axes.T[:16]])}
    save_file(
        {name: w.contiguous() for name, w in {**weights, "b_dec": torch.zeros(D)}.items()}, folder / "sae" / "sae_weights.safetensors"
    )
    stated = {"architecture": "standard", "d_in": D, "d_sae": WIDTH, "metadata": {"hook_name": HOOK}}
    (folder / "sae" / "cfg.json").write_text(json.dumps(stated))
    return folder


def callable_record(made: Path, name: str = "probe") -> dict[str, Any]:
    sample = {"corpus": [f"jsonl:{made}/texts.jsonl#text"], "n_tokens": 320, "context_tokens": 16}
    own = {"kind": "callable", "source": f"{made}/probes.py:{name}", "width": WIDTH, "d_in": D}
    return {"key": "tiny/01/x", "model": {"source": f"{made}/model"}, "hook": HOOK, "token_sample": sample, **own}


def sae_record(made: Path) -> dict[str, Any]:
    record = callable_record(made)
    return {name: value for name, value in record.items() if name != "d_in"} | {"kind": "sae_lens", "source": f"{made}/sae"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home without Dagster: what is registered is written, and is no partition."""
    monkeypatch.setenv("INTERP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registration, "add_record", lambda home, record: home.registry.write(record))
    return Home.from_environment()


def refusal(home: Home, record: Any) -> str:
    """The message with which a record is refused. Anything but a `UserError` fails the test that asks."""
    text = record if isinstance(record, str) else yaml.safe_dump(record, sort_keys=False)
    with pytest.raises(UserError) as caught:
        register_record(home, text, "my.yaml", check=True, say=lambda line: None)
    assert not home.registry.read_all()[0]
    return str(caught.value)


@pytest.mark.parametrize("record_of", [callable_record, sae_record])
def test_the_records_that_the_mistakes_are_made_in_are_right(home: Home, made: Path, record_of: Callable[[Path], dict]) -> None:
    said: list[str] = []
    register_record(home, yaml.safe_dump(record_of(made)), "my.yaml", check=True, say=said.append)
    assert "self-check on" in said[-1] and home.registry.keys() == ["tiny/01/x"]


def test_a_dictionary_that_was_trained_on_some_positions_is_registered_with_a_note(home: Home, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "sae", tmp_path / "sae")
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps({**config, "seqpos_slice": [5, -5]}))
    said: list[str] = []
    register_record(home, yaml.safe_dump({**sae_record(made), "source": f"{tmp_path}/sae"}), "my.yaml", check=True, say=said.append)
    assert "was trained on the positions [5, -5] of a context alone (seqpos_slice)" in said[-1]


def test_a_relative_file_of_features_is_stored_with_its_whole_path(home: Home, made: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "ids.txt").write_text("3, 17")
    monkeypatch.chdir(tmp_path)
    record = {**callable_record(made), "features": {"file": "ids.txt"}}
    register_record(home, yaml.safe_dump(record), "my.yaml", check=False, say=lambda line: None)
    monkeypatch.chdir("/")
    assert home.registry.get("tiny/01/x").selected_features.tolist() == [3, 17]


CHANGES: dict[str, tuple[Callable[[dict, Path], Any], str]] = {
    "a typo of a key": (lambda r, m: {"hok" if k == "hook" else k: v for k, v in r.items()}, "hok: there is no such key; did you mean 'h"),
    "a typo of a nested key": (lambda r, m: {**r, "model": {"sorce": "x"}}, "model.sorce: .*did you mean 'source'"),
    "a typo within a sample": (lambda r, m: {**r, "token_sample": {"context_token": 8}}, "did you mean 'context_tokens'"),
    "a typo in a union": (lambda r, m: {**r, "features": {"cuont": 3}}, "did you mean 'count'"),
    "a typo of a stage's key": (lambda r, m: {**r, "stages": {"examples": {"n_showed": 3}}}, "examples.n_showed: .*did you mean 'n_shown'"),
    "a typo of a stage": (lambda r, m: {**r, "stages": {"exmples": {}}}, "did you mean 'examples'"),
    "a typo of a scorer": (lambda r, m: {**r, "stages": {"scores": {"detectoin": "all"}}}, "did you mean 'detection'"),
    "a typo of a kind": (lambda r, m: {**r, "kind": "calable"}, "did you mean 'callable'"),
    "a typo of a hook": (lambda r, m: {**r, "hook": "blocks.1.hook_resid_pots"}, "nearest: .*blocks.1.hook_resid_post"),
    "a block that there is not": (lambda r, m: {**r, "hook": "blocks.7.hook_resid_post"}, "2 blocks"),
    "a hub id with a space": (lambda r, m: {**r, "model": {"source": "hub/My Model"}}, "model 'hub/My Model' is neither a folder .* - _"),
    "a hub id with a commit and a space": (
        lambda r, m: {**r, "model": {"source": "hub/My Model", "revision": "a" * 40}}, "'hub/My Model' is neither a folder"
    ),
    "a page of the hub": (lambda r, m: {**r, "model": {"source": "https://huggingface.co/openai-community/gpt2"}}, "neither a folder"),
    "a data set with a space": (lambda r, m: {**r, "token_sample": {"corpus": ["hf:my/data set#text"]}}, "'my/data set' is neither"),
    "a dictionary's hub id with two dashes": (lambda r, m: {**r, "kind": "sparsify", "source": "a/b--c"}, "a/b--c. is neither"),
    "a tilde for a folder": (lambda r, m: {**r, "model": {"source": "~/no/such folder"}}, "neither a folder"),
    "a NUL in a path": (lambda r, m: {**r, "model": {"source": "a\0b/c"}}, "neither a folder|null|does not load"),
    "a path of 5,000 characters": (lambda r, m: {**r, "model": {"source": "/" + "a" * 5000}}, "neither a folder|too long|does not load"),
    "a corpus that is a folder of no texts": (
        lambda r, m: {**r, "token_sample": {**r["token_sample"], "corpus": [f"jsonl:{m}/model#text"]}}, "folder without a file in .jsonl"
    ),
    "a corpus field that is not there": (
        lambda r, m: {**r, "token_sample": {**r["token_sample"], "corpus": [f"jsonl:{m}/texts.jsonl#txet"]}}, "txet"
    ),
    "a corpus kind that there is not": (
        lambda r, m: {**r, "token_sample": {**r["token_sample"], "corpus": [f"json:{m}/texts.jsonl#text"]}}, "json"
    ),
    "a model of another type": (lambda r, m: {**r, "model": {**r["model"], "dtype": "float12"}}, "dtype"),
    "a key of two slashes at its end": (lambda r, m: {**r, "key": "a//"}, "key"),
    "a context of one token": (lambda r, m: {**r, "token_sample": {**r["token_sample"], "context_tokens": 1}}, "context_tokens"),
    "a folder of an SAE as the model": (lambda r, m: {**r, "model": {"source": f"{m}/sae"}}, "no config.json"),
    "no model folder": (lambda r, m: {**r, "model": {"source": f"{m}/nowhere"}}, "neither a folder"),
    "a folder that is no model": (lambda r, m: {**r, "model": {"source": str(m)}}, "has no config.json"),
    "another revision": (lambda r, m: {**r, "model": {**r["model"], "revision": "abc"}}, "abc was asked for"),
    "a context beyond": (lambda r, m: {**r, "token_sample": {**r["token_sample"], "context_tokens": 64}}, "64, and .* 32 tokens"),
    "a d_in of another hook": (lambda r, m: {**r, "d_in": 31}, "reads 31 dimensions, and .* has 32"),
    "no such file of code": (lambda r, m: {**r, "source": f"{m}/none.py:probe"}, "cannot be imported"),
    "no such function": (lambda r, m: {**r, "source": f"{m}/probes.py:prob"}, "has no 'prob'"),
    "code that leaves": (lambda r, m: {**r, "source": f"{m}/probes.py:leaves"}, "SystemExit: 3"),
    "code that fails an assertion": (lambda r, m: {**r, "source": f"{m}/probes.py:fails"}, "AssertionError"),
    "code that lacks a package": (lambda r, m: {**r, "source": f"{m}/probes.py:missing"}, "a_package_that_is_not_there"),
    "code that returns nothing": (lambda r, m: {**r, "source": f"{m}/probes.py:none"}, "returned NoneType"),
    "no corpus": (lambda r, m: {**r, "token_sample": {"corpus": [f"jsonl:{m}/none.jsonl#text"]}}, "matches no file|positions for"),
    "too few texts": (lambda r, m: {**r, "token_sample": {**r["token_sample"], "n_tokens": 1}}, "fewer than|does not load"),
    "a huge width": (lambda r, m: {**r, "width": 10**40}, "width"),
    "a feature beyond": (lambda r, m: {**r, "features": [10**30]}, "features"),
    "no file of features": (lambda r, m: {**r, "features": {"file": f"{m}/none.txt"}}, "features.file .*none.txt cannot be read: No such"),
    "a file of no features": (lambda r, m: {**r, "features": {"file": f"{m}/texts.jsonl"}}, "texts.jsonl, line 1: .* is no feature of"),
    "a planted dictionary's rules": (lambda r, m: {**r, "rules": [{"name": 3}]}, "rules"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_mistake_is_named(home: Home, made: Path, name: str) -> None:
    change, said = CHANGES[name]
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(refusal(home, change(callable_record(made), made)))


TEXTS = {
    "nothing": "",
    "a list": "[1, 2]",
    "a date that there is not": "key: 2024-13-45",
    "a tab": "key:\t- x",
    "a number of 5,000 digits": "width: " + "9" * 5000,
    "deep nesting": "a: " + "[" * 5000 + "]" * 5000,
    "an alias of itself": "key: &a [*a]",
    "a tag of Python": "key: !!python/object/apply:os.system [ls]",
    "a NUL": "key: \0",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_record_is_refused(home: Home, name: str) -> None:
    assert refusal(home, TEXTS[name]).startswith("my.yaml")


def damaged(made: Path, folder: Path, change: Callable[[Path], Any]) -> dict[str, Any]:
    shutil.copytree(made / "sae", folder)
    change(folder)
    return {**sae_record(made), "source": str(folder)}


def rewrite(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def truncate(name: str, share: float) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[: int((folder / name).stat().st_size * share)])


DAMAGES = {
    "no configuration": lambda folder: (folder / "cfg.json").unlink(),
    "no weights": lambda folder: (folder / "sae_weights.safetensors").unlink(),
    "no folder": lambda folder: shutil.rmtree(folder),
    "a configuration that is a list": rewrite("cfg.json", b"[1]"),
    "a configuration of wrong types": rewrite("cfg.json", b'{"architecture": {}, "d_in": "a", "metadata": 7}'),
    "a configuration in UTF-16": rewrite("cfg.json", '{"d_in": 3}'.encode("utf-16")),
    "half a configuration": truncate("cfg.json", 0.5),
    "half the weights": truncate("sae_weights.safetensors", 0.5),
    "weights that are empty": rewrite("sae_weights.safetensors", b""),
    "weights that are text": rewrite("sae_weights.safetensors", b"version https://git-lfs.github.com/spec/v1\n" * 9),
    "weights that are a folder": lambda folder: (
        (folder / "sae_weights.safetensors").unlink(),
        (folder / "sae_weights.safetensors").mkdir(),
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_named_before_the_model_is_loaded(home: Home, made: Path, tmp_path: Path, name: str, monkeypatch) -> None:
    def loads(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("resources.model_provider.RealModels.subject", loads)
    message = refusal(home, damaged(made, tmp_path / "sae", DAMAGES[name]))
    assert str(tmp_path / "sae") in message and "the model was loaded" not in message


VALUES: list[Any] = [
    None, "", " ", "x" * 5000, -1, 0, 1, 3.7, 10**12, 10**40, -(10**40), float("nan"), float("inf"), True, [], [[]], [None], {},
    {"a": {"b": 1}}, "../../etc/passwd", "blocks.0", "\ud83d", "🎉", "embedded:none", "owner/", "/", ".", ["a", "a"], {"": ""}, "hf:x",
    "jsonl:#", [1, 1], [-1],
]  # fmt: skip


def mutated(record: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The record with one to three of its values, at any depth, replaced, left out, or put under another key."""
    made = json.loads(json.dumps(record))
    for _ in range(rng.randint(1, 3)):
        inside = made
        while True:
            key = rng.choice([*inside, "stages", "features", "rules", "k", "seed", "output_hook"])
            if isinstance(inside.get(key), dict) and inside[key] and rng.random() < 0.7:
                inside = inside[key]
                continue
            break
        how = rng.random()
        if how < 0.15:
            inside.pop(key, None)
        elif how < 0.25 and key in inside:
            inside[key[:-1] + "_"] = inside.pop(key)
        else:
            inside[key] = rng.choice(VALUES)
    return made


@pytest.mark.parametrize("seed", range(8))
def test_mutated_records_are_registered_or_refused_in_words(home: Home, made: Path, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(15):
        record = mutated(rng.choice([callable_record, sae_record])(made), rng)
        text = yaml.dump(record, Dumper=yaml.SafeDumper) if rng.random() < 0.5 else json.dumps(record)
        try:
            register_record(home, text, "my.yaml", check=True, say=lambda line: None)
        except UserError as error:
            assert str(error).strip() and len(str(error)) < 20_000
        for path in home.registry.folder.glob("*"):
            path.unlink()


def with_model(made: Path, folder: Path, config: Any, cls: Any = transformers.AutoModelForCausalLM) -> dict[str, Any]:
    """A record on a random model of a configuration with the tokenizer of the things."""
    torch.manual_seed(0)
    cls.from_config(config).save_pretrained(folder)
    for path in (made / "model").glob("tokenizer*"):
        shutil.copy(path, folder)
    return callable_record(made) | {"model": {"source": str(folder)}}


def configuration(kind: str, **entries: Any) -> Any:
    sizes = {"vocab_size": 63, "hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32}
    return transformers.AutoConfig.for_model(kind, **sizes | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0} | entries)


def test_a_family_whose_names_are_found_from_values_is_registered_and_its_mistakes_are_named(
    home: Home, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = with_model(made, tmp_path / "opt", configuration("opt", ffn_dim=48, word_embed_proj_dim=D))
    said: list[str] = []
    register_record(home, yaml.safe_dump(record), "my.yaml", check=True, say=said.append)
    assert "self-check on" in said[-1]
    for path in home.registry.folder.glob("*"):
        path.unlink()

    def loads(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("resources.model_provider.RealModels.subject", loads)
    assert "nearest: ['blocks.1.hook_resid_post'" in refusal(home, record | {"hook": "blocks.1.hook_resid_pots"})
    assert "it has 2 blocks, from 0 to 1" in refusal(home, record | {"hook": "blocks.2.hook_resid_post"})
    assert "64, and" in refusal(home, record | {"token_sample": record["token_sample"] | {"context_tokens": 64}})


def test_what_is_no_causal_model_and_what_a_wrapper_has_not_is_named_before_its_weights_are_read(
    home: Home, made: Path, tmp_path: Path
) -> None:
    encoder = with_model(made, tmp_path / "bert", configuration("bert", intermediate_size=48), transformers.AutoModel)
    assert "an encoder that reads its text both ways" in refusal(home, encoder)
    text = configuration("llama", intermediate_size=48).to_dict()
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    wrapper = transformers.LlavaConfig(vision_config=vision | {"image_size": 8, "patch_size": 4}, text_config=text, image_token_index=3)
    record = with_model(made, tmp_path / "llava", wrapper, transformers.AutoModelForImageTextToText)
    (tmp_path / "llava" / "model.safetensors").unlink()
    assert "nearest: ['blocks.1.hook_resid_post'" in refusal(home, record | {"hook": "blocks.1.hook_resid_pots"})


def test_a_model_folder_that_lacks_files_or_has_half_of_them_is_named(home: Home, made: Path, tmp_path: Path) -> None:
    def changed(name: str, change: Callable[[Path], Any]) -> str:
        shutil.copytree(made / "model", tmp_path / name)
        change(tmp_path / name)
        return refusal(home, callable_record(made) | {"model": {"source": str(tmp_path / name)}})

    def without_tokenizer(folder: Path) -> None:
        for path in folder.glob("tokenizer*"):
            path.unlink()

    said = changed("words", without_tokenizer)
    assert f"the tokenizer of {tmp_path / 'words'}" in said and "Save the model's own tokenizer" in said
    cut = changed("cut", truncate("model.safetensors", 0.5))
    assert f"the weights of {tmp_path / 'cut'} cannot be read" in cut and "copy them again" in cut
    none = changed("none", lambda folder: (folder / "model.safetensors").unlink())
    assert f"the weights of {tmp_path / 'none'} cannot be read" in none
    unknown = changed("unknown", rewrite("config.json", b'{"model_type": "nonsense"}'))
    assert "model type `nonsense`" in unknown and "\n" not in unknown


def test_the_longest_context_counts_stretched_positions_and_models_without_any(tmp_path: Path) -> None:
    from resources.subject.outline import ModelOutline

    stretched = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    assert ModelOutline(configuration("llama", rope_parameters=stretched), {}).longest_context == 128
    assert ModelOutline(configuration("falcon", alibi=True), {}).longest_context is None


def test_every_key_of_records_and_settings_is_known_by_its_place() -> None:
    assert "hook" in known_keys(DictionaryRecord, ())
    assert known_keys(DictionaryRecord, ("features", "FeatureSubset")) == ["count", "seed"]
    assert "silent_share" in known_keys(StageSettings, ("examples",))
    assert "per_prompt" in known_keys(StageSettings, ("scoring", "detection"))
    with pytest.raises(UserError, match=r"per_promt: .*; did you mean 'per_prompt'"):
        validated(StageSettings, {"scoring": {"detection": {"per_promt": 3}}}, "stages")


def test_the_nearest_word_is_named_where_there_is_one() -> None:
    assert nearest_hint("Hok", ["hook", "key"]) == "; did you mean 'hook'?"
    assert nearest_hint("hook", ["hook"]) == nearest_hint("zzz", ["hook", "key"]) == nearest_hint("x", []) == ""


def test_the_command_names_a_file_that_is_no_text_and_the_nearest_view_and_key(home: Home, made: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
        return result.output

    (tmp_path / "latin.yaml").write_bytes(b"key: caf\xe9")
    assert "is not a text file" in run("register", str(tmp_path / "latin.yaml"))
    assert "did you mean 'feature_overview'" in run("query", "feature_overveiw")
    assert "did you mean 'feature_overview'" in run("query", "SELECT * FROM feature_overveiw")
    home.registry.write(DictionaryRecord.model_validate(sae_record(made)))
    with pytest.raises(UserError, match="did you mean 'tiny/01/x'"):
        home.registry.get("tiny/01/y")
