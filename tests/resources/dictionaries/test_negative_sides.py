"""Features with negative activations: the negative side of each is a feature of its own. And matching pursuit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_sae_lens import CLASSES, D_IN, WIDTH, drawn

from interp_assets.measuring.harvest import notes_of
from resources.dictionaries import DictionaryError, load_dictionary

FIXTURES = Path(__file__).parent / "fixtures"


def saved(folder: Path, architecture: str, **options: Any) -> Any:
    """A random abstopk or matching pursuit of sae-lens, saved to `folder` and loaded by sae-lens again."""
    lens = pytest.importorskip("sae_lens")
    name = {"abstopk": "AbsTopKSAE", "matching_pursuit": "MatchingPursuitSAE"}[architecture]
    metadata = lens.saes.sae.SAEMetadata(hook_name="blocks.0.hook_resid_post")
    config = getattr(lens, f"{name}Config")(d_in=D_IN, d_sae=WIDTH, dtype="float32", device="cpu", metadata=metadata, **options)
    sae = drawn(getattr(lens, name)(config))
    if architecture == "matching_pursuit":
        sae.W_dec.data /= sae.W_dec.data.norm(dim=-1, keepdim=True)
    sae.save_model(folder)
    return lens.SAE.load_from_disk(folder, device="cpu")


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [{}, {"apply_b_dec_to_input": False}, {"normalize_activations": "layer_norm"}, {"rescale_acts_by_decoder_norm": True}],
)
def test_abstopk_equals_sae_lens_by_sides(tmp_path: Path, options: dict[str, Any], agrees: Any) -> None:
    theirs = saved(tmp_path, "abstopk", k=5, **options)
    x = torch.randn(30, D_IN) * 3
    signed = theirs.encode(x)
    assert (signed < 0).any() and (signed > 0).any()
    ours = load_dictionary("sae_lens", str(tmp_path), width=2 * WIDTH)
    assert ours.l0_expected == 5
    agrees(ours, x, torch.cat([signed.relu(), (-signed).relu()], dim=1), theirs(x))
    torch.testing.assert_close(ours.decoder_row(WIDTH + 3), -ours.decoder_row(3))
    assert f"feature f + {WIDTH} is the negative side of feature f" in notes_of(ours)[0]
    with pytest.raises(DictionaryError, match=rf"has width {2 * WIDTH}, but its record says {WIDTH} \(its features keep negative"):
        load_dictionary("sae_lens", str(tmp_path), width=WIDTH)


def test_signed_sparse_coders_have_negative_sides(tmp_path: Path, agrees: Any) -> None:
    """sparsify's rule for `signed`: no relu, and the k largest by magnitude keep their signs."""
    folder = tmp_path / "signed"
    shutil.copytree(FIXTURES / "sparsify" / "topk", folder)
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | {"signed": True}))
    weights = load_file(folder / "sae.safetensors")
    x = torch.randn(20, 8)
    hidden = (x - weights["b_dec"]) @ weights["encoder.weight"].T + weights["encoder.bias"]
    places = hidden.abs().topk(config["k"], dim=-1).indices
    kept = torch.zeros_like(hidden).scatter(1, places, hidden.gather(1, places))
    ours = load_dictionary("sparsify", str(folder), "blocks.1.hook_resid_post", width=48)
    agrees(ours, x, torch.cat([kept.relu(), (-kept).relu()], dim=1), kept @ weights["W_dec"] + weights["b_dec"])
    (folder / "cfg.json").write_text(json.dumps(config | {"signed": True, "activation": "groupmax"}))
    with pytest.raises(DictionaryError, match="signed with activation 'groupmax'"):
        load_dictionary("sparsify", str(folder), "blocks.1.hook_resid_post")


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"residual_threshold": 2.0},
        {"max_iterations": 3},
        {"stop_on_duplicate_support": False, "max_iterations": 7, "residual_threshold": 0.0},
        {"apply_b_dec_to_input": False},
    ],
)
def test_matching_pursuit_equals_sae_lens(tmp_path: Path, options: dict[str, Any], agrees: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = saved(tmp_path, "matching_pursuit", **options)
    x = torch.randn(30, D_IN) * 3
    ours = load_dictionary("sae_lens", str(tmp_path), width=WIDTH)
    assert len(ours.encode(x[:0]).token) == 0
    agrees(ours, x, theirs.encode(x), theirs(x))
    monkeypatch.setitem(__import__("resources.dictionaries.matching_pursuit", fromlist=["BLOCK_BYTES"]).BLOCK_BYTES, "cpu", 4 * WIDTH * 7)
    agrees(ours, x, theirs.encode(x), theirs(x))  # seven tokens at a time
    with pytest.raises(DictionaryError, match="width 40, but its record says 41"):
        load_dictionary("sae_lens", str(tmp_path), width=41)
    assert "matching_pursuit" not in CLASSES


def test_a_matching_pursuit_without_weights_or_with_a_norm_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "matching_pursuit")
    config = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"normalize_activations": "layer_norm"}))
    with pytest.raises(DictionaryError, match="matching pursuit with normalize_activations 'layer_norm'"):
        load_dictionary("sae_lens", str(tmp_path))
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    weights = load_file(tmp_path / "sae_weights.safetensors")
    weights["W_dec"][0, 0] = torch.nan
    save_file(weights, tmp_path / "sae_weights.safetensors")
    with pytest.raises(DictionaryError, match="1 of 480 numbers in W_dec that are NaN"):
        load_dictionary("sae_lens", str(tmp_path))
