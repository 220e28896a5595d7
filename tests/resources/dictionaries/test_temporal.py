"""SAELens's temporal autoencoders against sae-lens, on whole contexts: in the self-check, the harvest and clamping."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_sae_lens import drawn
from tiny_models import subject_of, tiny_model

from interp_assets.measuring.missing_outputs import missing_outputs
from resources.dictionaries import DictionaryError, load_dictionary, refuse_bad_dictionary
from resources.dictionaries.temporal import AtTokens, TemporalAutoencoder
from resources.subject.clamper import Clamper
from resources.subject.steerer import Interventions, Steerer

D, WIDTH, HOOK = 24, 48, "blocks.0.hook_resid_post"


def saved(folder: Path, **options: Any) -> Any:
    """A random temporal autoencoder of sae-lens, saved to `folder` and loaded by sae-lens again."""
    lens = pytest.importorskip("sae_lens")
    metadata = lens.saes.sae.SAEMetadata(hook_name=HOOK)
    fields = {"n_heads": 2, "bottleneck_factor": 4, "kval_topk": 6, "n_attn_layers": 2} | options
    config = lens.TemporalSAEConfig(d_in=D, d_sae=WIDTH, dtype="float32", device="cpu", metadata=metadata, **fields)
    drawn(lens.TemporalSAE(config)).save_model(folder)
    return lens.SAE.load_from_disk(folder, device="cpu")


def load(folder: Path, **record: Any) -> TemporalAutoencoder:
    found = load_dictionary("sae_lens", str(folder), **record)
    assert isinstance(found, TemporalAutoencoder)
    return found


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied_weights": False, "n_attn_layers": 1},
        {"sae_diff_type": "relu"},
        {"normalize_activations": "constant_scalar_rescale", "activation_normalization_factor": 0.3, "apply_b_dec_to_input": False},
    ],
)
def test_contexts_equal_sae_lens(tmp_path: Path, options: dict[str, Any], dense: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = saved(tmp_path, **options)
    x = torch.randn(5, 9, D) * 3
    ours = load(tmp_path, width=WIDTH, d_in=D)
    assert ours.l0_expected == (None if "sae_diff_type" in options else 6) and ours.to("cpu").revision == ours.revision
    for most in (1 << 20, 4 * 9 * WIDTH * 2):  # all rows at once, and two at a time
        monkeypatch.setitem(__import__("resources.dictionaries.temporal", fromlist=["BLOCK_BYTES"]).BLOCK_BYTES, "cpu", most)
        encoded = ours.encode(x)
        torch.testing.assert_close(dense(encoded, 45, WIDTH), theirs.encode(x).flatten(0, 1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours.reconstruct(x, encoded), theirs(x).flatten(0, 1), atol=1e-4, rtol=1e-4)
    alone = ours.encode(x[1])  # one context
    torch.testing.assert_close(dense(alone, 9, WIDTH), theirs.encode(x[1:2])[0], atol=1e-5, rtol=1e-4)


def test_the_harvest_and_clamping_read_whole_contexts(tmp_path: Path) -> None:
    """Special tokens are read as context, and are in no result."""
    theirs, subject = saved(tmp_path), subject_of(tiny_model("llama"))
    ours = load(tmp_path)
    windows = np.concatenate([np.ones((3, 1), dtype=np.int64), np.random.default_rng(3).integers(3, 50, size=(3, 7))], axis=1)
    x = subject.hook_values(windows, [HOOK])[HOOK]
    expected = theirs.encode(x).detach()
    (batch,) = subject.sparse_activations(windows, {"one": ours}, {"one": np.arange(WIDTH)}, batch_rows=3)
    found = torch.zeros(3, 8, WIDTH)
    found[batch.row.astype(int), batch.position.astype(int), batch.feature.astype(int)] = torch.from_numpy(batch.value)
    ordinary = torch.from_numpy(~np.isin(windows, list(subject.special_token_ids)))
    assert not ordinary[:, 0].any()
    torch.testing.assert_close(found, expected * ordinary[..., None], atol=1e-5, rtol=1e-4)
    at_tokens = AtTokens(ours, x, ordinary)
    kept = x[ordinary]
    assert refuse_bad_dictionary_l0(at_tokens, kept) == pytest.approx(float((expected[ordinary] > 0).sum() / len(kept)))
    torch.testing.assert_close(at_tokens.reconstruct(kept, at_tokens.encode(kept)), theirs(x).detach()[ordinary], atol=1e-4, rtol=1e-4)
    assert any(line.startswith("no zero-ablation: features depend on earlier tokens") for line in missing_outputs(subject, ours))
    feature = int(expected[:, 1:].sum((0, 1)).argmax())
    clamper = Clamper(subject, ours, windows, first_counted=1)
    own = clamper._activations_of(np.array([feature]))[0]
    torch.testing.assert_close(own, expected[..., feature], atol=1e-5, rtol=1e-4)
    steerer = Steerer(subject, ours)
    ready = steerer.prepare([windows[0]])
    assert steerer.divergences(ready, Interventions.adding(np.array([0]), np.array([feature]), np.array([30.0])))[0] > 0
    with pytest.raises(DictionaryError, match=r"reads whole contexts .* Set steering.zero_ablation to false"):
        steerer.divergences(ready, Interventions.ablating(np.array([0]), np.array([feature])))


def refuse_bad_dictionary_l0(dictionary: Any, x: torch.Tensor) -> float:
    """L0 by the self-check, for a random autoencoder whose FVU is refused."""
    with pytest.raises(DictionaryError, match="L0 = ") as raised:
        refuse_bad_dictionary(dictionary, x)
    from resources.dictionaries import self_check

    assert "FVU" in str(raised.value)
    return self_check(dictionary, x).l0


def test_what_contradicts_the_weights_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    config, weights = json.loads((tmp_path / "cfg.json").read_text()), load_file(tmp_path / "sae_weights.safetensors")
    with pytest.raises(DictionaryError, match="width 48, but its record says 49"):
        load(tmp_path, width=49)
    with pytest.raises(DictionaryError, match=r"is temporal at .* Leave it out"):
        load(tmp_path, output_hook="blocks.1.hook_resid_post")
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"normalize_activations": "layer_norm"}))
    with pytest.raises(DictionaryError, match="temporal with normalize_activations 'layer_norm'"):
        load(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    save_file({name: weight for name, weight in weights.items() if "layers.1" not in name}, tmp_path / "sae_weights.safetensors")
    with pytest.raises(DictionaryError, match=r"lacks \['attn_layers\.1\.k_ctx\.weight'"):
        load(tmp_path)
