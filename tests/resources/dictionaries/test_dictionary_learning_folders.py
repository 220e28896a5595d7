"""dictionary_learning's folders as people have them: checkpoints, backups of a training, configurations without a class, transcoders."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from interp_assets.config.records import DictionaryRecord
from resources.dictionaries import DictionaryError, load_dictionary

FIXTURES = Path(__file__).parent / "fixtures" / "dictionary_learning"
HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    """The folder of a training with a checkpoint beside its end."""
    folder = Path(shutil.copytree(FIXTURES / "BatchTopKSAE", tmp_path / "trainer_0"))
    (folder / "checkpoints").mkdir()
    shutil.copy(folder / "ae.pt", folder / "checkpoints" / "ae_1000.pt")
    return folder


def load(source: object, **fields: Any) -> Any:
    return load_dictionary("dictionary_learning", str(source), HOOK, **fields)


def test_a_checkpoint_and_the_file_itself_are_sources(trainer: Path, agrees: Any) -> None:
    expected = load_file(trainer / "expected.safetensors")
    for source in (trainer, trainer / "ae.pt", trainer / "checkpoints" / "ae_1000.pt"):
        agrees(load(source), **expected)
    shutil.copy(trainer / "config.json", trainer / "checkpoints" / "config.json")
    (trainer / "config.json").unlink()
    agrees(load(trainer / "checkpoints" / "ae_1000.pt"), **expected)
    (trainer / "checkpoints" / "config.json").unlink()
    with pytest.raises(DictionaryError, match=r'has no config\.json: it was looked for at .*trainer_0/config\.json.*"dict_class"'):
        load(trainer / "checkpoints" / "ae_1000.pt")
    with pytest.raises(DictionaryError, match="neither a file on this machine nor"):
        load(trainer / "checkpoints" / "ae_7.pt")


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("under", [None, "ae", "state_dict", "model_state_dict"])
def test_names_and_wrappers_of_compiled_and_parallel_trainings_are_understood(
    trainer: Path, agrees: Any, prefix: str, under: str | None
) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in torch.load(trainer / "ae.pt", weights_only=True).items()}
    torch.save(state if under is None else {under: state, "step": 5}, trainer / "ae.pt")
    agrees(load(trainer), **load_file(trainer / "expected.safetensors"))


def test_a_folder_of_checkpoints_alone_asks_which(trainer: Path) -> None:
    shutil.copy(trainer / "ae.pt", trainer / "checkpoints" / "ae_500.pt")
    (trainer / "ae.pt").unlink()
    for source in (trainer, trainer / "checkpoints"):
        with pytest.raises(DictionaryError, match=r"2 checkpoints: ae_500\.pt, ae_1000\.pt\. Name one.*checkpoints/ae_1000\.pt\.$"):
            load(source)


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.iterdir()))
@pytest.mark.parametrize("factor", [None, 3.0])
def test_a_backup_of_a_training_is_scaled_as_the_library_scales_what_it_saves(tmp_path: Path, name: str, factor: float | None) -> None:
    """The library multiplies biases and thresholds by the norm of the activations when it saves; a backup is written before that."""
    folder = Path(shutil.copytree(FIXTURES / name, tmp_path / "trainer"))
    saved, state = load(folder), torch.load(folder / "ae.pt", weights_only=True)
    scaled = ("bias", "encoder.bias", "decoder.bias", "b_enc", "b_dec", "decoder_bias", "mag_bias", "gate_bias", "threshold")
    if factor:
        state = {key: weight / factor if key in scaled else weight for key, weight in state.items()}
    backup = {
        "step": 10,
        "ae": state,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
        "config": {"lr": 0.1},
        "norm_factor": factor,
    }
    torch.save(backup, folder / "ae.pt")
    x = load_file(folder / "expected.safetensors")["x"]
    ours = load(folder)
    encoded, expected = ours.encode(x), saved.encode(x)
    assert torch.equal(encoded.feature, expected.feature) and torch.equal(encoded.token, expected.token)
    torch.testing.assert_close(encoded.value, expected.value)
    torch.testing.assert_close(ours.reconstruct(x, encoded), saved.reconstruct(x, expected))


def test_a_threshold_that_training_has_not_set_stays_so(trainer: Path) -> None:
    state = torch.load(trainer / "ae.pt", weights_only=True)
    state["threshold"] = torch.tensor(-1.0)
    torch.save({"ae": state, "norm_factor": 5.0}, trainer / "ae.pt")
    assert load(trainer).activation.threshold == -1.0


def test_a_configuration_without_a_class_says_which_classes_fit_and_where_to_write_them(trainer: Path, agrees: Any) -> None:
    config = json.loads((trainer / "config.json").read_text())
    stated = config["trainer"].pop("dict_class")
    (trainer / "config.json").write_text(json.dumps(config))
    with pytest.raises(DictionaryError) as raised:
        load(trainer)
    told = str(raised.value)
    assert f"{trainer / 'config.json'} has no trainer.dict_class" in told and stated in told and '"dict_class"' in told
    assert "GatedAutoEncoder" not in told and "\n" not in told
    state = torch.load(trainer / "ae.pt", weights_only=True)
    torch.save({"ae": state, "config": {"dict_class": stated, "k": 4}, "norm_factor": None}, trainer / "ae.pt")  # the backup says it
    agrees(load(trainer), **load_file(trainer / "expected.safetensors"))
    torch.save({"other": torch.ones(2)}, trainer / "ae.pt")
    with pytest.raises(DictionaryError, match=r"its weights \['other'\] fit none of"):
        load(trainer)


def test_a_transcoder_names_its_output_hook(trainer: Path, agrees: Any) -> None:
    config = json.loads((trainer / "config.json").read_text())
    config["buffer"]["io"] = "in_and_out"
    (trainer / "config.json").write_text(json.dumps(config))
    with pytest.raises(DictionaryError, match=r"buffer\.io in config\.json.*Name its output_hook"):
        load(trainer)
    ours = load(trainer, output_hook="blocks.1.hook_mlp_out")
    assert (ours.hook, ours.output_hook) == (HOOK, "blocks.1.hook_mlp_out")
    agrees(ours, **load_file(trainer / "expected.safetensors"))


def test_a_checkpoint_on_the_hub_comes_with_its_configuration(monkeypatch: pytest.MonkeyPatch, trainer: Path, agrees: Any) -> None:
    import huggingface_hub

    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo, allow_patterns, **_: asked.append((repo, *allow_patterns)) or str(trainer.parent)
    )
    expected = load_file(trainer / "expected.safetensors")
    agrees(load("owner/saes/trainer_0/checkpoints/ae_1000.pt"), **expected)
    agrees(load("owner/saes/trainer_0/ae.pt"), **expected)
    below = "trainer_0/checkpoints"
    assert asked == [
        ("owner/saes", f"{below}/ae_1000.pt", f"{below}/config.json", "trainer_0/config.json"),
        ("owner/saes", "trainer_0/ae.pt", "trainer_0/config.json"),
    ]


@pytest.mark.parametrize("kind", ["dictionary_learning", "gemma_scope"])
def test_a_file_that_changes_in_place_is_another_version(trainer: Path, kind: str) -> None:
    source = trainer / "checkpoints" / "ae_1000.pt"
    record = DictionaryRecord(key="m/01/a", hook=HOOK, kind=kind, source=str(source), width=24)
    before = record.fingerprint
    assert record.fingerprint == before and record.source_content not in (None, "gone")
    shutil.copy(FIXTURES / "AutoEncoderTopK" / "ae.pt", source)
    assert record.fingerprint != before
    shutil.copy(trainer / "ae.pt", source)
    assert record.fingerprint == before
    (trainer / "config.json").write_text('{"trainer": {}}')
    assert (record.fingerprint != before) == (kind == "dictionary_learning")
