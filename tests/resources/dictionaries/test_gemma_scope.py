"""Params files of Gemma Scope against sae-lens's own Gemma Scope loaders on the same files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from resources.dictionaries import DictionaryError, load_dictionary

SMALL = (12, 40)


def arrays(d_in: int, width: int) -> dict[str, np.ndarray]:
    """The arrays of one release, drawn at random."""
    draw = np.random.default_rng(0)
    shapes = {"W_enc": (d_in, width), "b_enc": (width,), "W_dec": (width, d_in), "b_dec": (d_in,)}
    found = {name: draw.standard_normal(shape, dtype=np.float32) / 2 for name, shape in shapes.items()}
    return found | {"threshold": draw.random(width, dtype=np.float32)}


def hub_of(loaders: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let sae-lens find the hub's files in `folder`."""

    def download(repo_id: str, filename: str, subfolder: str = "", **_: Any) -> str:
        path = folder / subfolder / filename
        if not path.is_file():
            raise loaders.EntryNotFoundError(filename)
        return str(path)

    monkeypatch.setattr(loaders, "hf_hub_download", download)


def loaded_by_sae_lens(config: dict[str, Any], weights: dict[str, torch.Tensor], kind: Any) -> Any:
    """sae-lens's module with these weights, as its own `from_pretrained` builds it."""
    lens = pytest.importorskip("sae_lens")
    from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting

    config = handle_config_defaulting(config)
    sae = kind(lens.registry.get_sae_class(config["architecture"])[1].from_dict(config))
    sae.load_state_dict(weights)
    return sae


def test_params_npz_equals_sae_lens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agrees: Any) -> None:
    lens = pytest.importorskip("sae_lens")
    from sae_lens.loading import pretrained_sae_loaders as loaders

    name = "layer_20/width_16k/average_l0_71"
    (tmp_path / name).mkdir(parents=True)
    np.savez(tmp_path / name / "params.npz", **arrays(*SMALL))
    hub_of(loaders, monkeypatch, tmp_path)
    config, weights, _ = loaders.gemma_2_sae_huggingface_loader(
        "google/gemma-scope-2b-pt-res", name, cfg_overrides={"d_in": SMALL[0], "d_sae": SMALL[1]}
    )
    theirs = loaded_by_sae_lens(config, weights, lens.JumpReLUSAE)
    assert theirs.cfg.metadata.hook_name == "blocks.20.hook_resid_post"
    x = torch.randn(25, SMALL[0])
    with torch.no_grad():
        encoded, decoded = theirs.encode(x), theirs(x)
    for source in (tmp_path / name, tmp_path / name / "params.npz"):
        ours = load_dictionary("gemma_scope", str(source), "blocks.20.hook_resid_post", width=SMALL[1], d_in=SMALL[0])
        agrees(ours, x, encoded, decoded)
        assert ours.l0_expected == 71


@pytest.mark.parametrize("affine", [False, True])
def test_params_safetensors_of_a_transcoder_equals_sae_lens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agrees: Any, affine: bool
) -> None:
    pytest.importorskip("sae_lens")
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.saes import transcoder

    name = f"transcoder/layer_5_width_16k_l0_small{'_affine' * affine}"
    (tmp_path / name).mkdir(parents=True)
    tensors = {key.lower(): torch.from_numpy(array) for key, array in arrays(*SMALL).items()}
    if affine:
        tensors["affine_skip_connection"] = torch.randn(SMALL[0], SMALL[0])
    save_file(tensors, tmp_path / name / "params.safetensors")
    hub_of(loaders, monkeypatch, tmp_path)
    shapes = {key: list(tensor.shape) for key, tensor in tensors.items()}
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", lambda repo_id, filename: shapes)
    config, weights, _ = loaders.gemma_3_sae_huggingface_loader("google/gemma-scope-2-270m-pt", name)
    theirs = loaded_by_sae_lens(config, weights, transcoder.JumpReLUSkipTranscoder if affine else transcoder.JumpReLUTranscoder)
    assert theirs.cfg.metadata.hf_hook_name == "model.layers.5.pre_feedforward_layernorm.output"
    x = torch.randn(25, SMALL[0])
    with torch.no_grad():
        encoded, decoded = theirs.encode(x), theirs(x)
    ours = load_dictionary("gemma_scope", str(tmp_path / name), "blocks.5.mlp.hook_in", "blocks.5.hook_mlp_out")
    agrees(ours, x, encoded, decoded)


def test_releases_on_the_hub_are_asked_for_the_file_that_they_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    asked: list[tuple[str, ...]] = []

    def download(repository: str, allow_patterns: list[str], revision: str | None) -> str:
        asked.append((repository, *allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    folder = tmp_path / "layer_20" / "width_16k" / "average_l0_71"
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **arrays(*SMALL))
    hook = "blocks.20.hook_resid_post"
    ours = load_dictionary("gemma_scope", "google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71", hook)
    assert (ours.width, ours.l0_expected) == (40, 71)
    with pytest.raises(DictionaryError, match=r"has no \['params.safetensors'\]"):
        load_dictionary("gemma_scope", "google/gemma-scope-2-1b-pt/layer_20/width_16k/average_l0_71", hook)
    folder = "layer_20/width_16k/average_l0_71"
    assert asked == [
        ("google/gemma-scope-2b-pt-res", f"{folder}/params.npz"),
        ("google/gemma-scope-2-1b-pt", f"{folder}/params.safetensors"),
    ]


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    def load() -> None:
        load_dictionary("gemma_scope", str(tmp_path), "blocks.0.hook_resid_post", width=40)

    with pytest.raises(DictionaryError, match=r"has no \['params.npz'\]"):
        load()
    (tmp_path / "params.npz").write_bytes(b"not a zip")
    with pytest.raises(DictionaryError, match="cannot be read"):
        load()
    held = arrays(*SMALL)
    np.savez(tmp_path / "params.npz", **{name: array for name, array in held.items() if name != "threshold"})
    with pytest.raises(DictionaryError, match=r"lacks \['threshold'\]"):
        load()
    np.savez(tmp_path / "params.npz", **held | {"W_dec": held["W_dec"][:-1]})
    with pytest.raises(DictionaryError, match=r"W_dec of shape \(39, 12\)"):
        load()
    np.savez(tmp_path / "params.npz", **arrays(12, 41))
    with pytest.raises(DictionaryError, match="has width 41, but its record says 40"):
        load()
