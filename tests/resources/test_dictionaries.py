"""Encoders against sae-lens's own, the refusals, and the self-check."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from resources.dictionaries import DictionaryError, load_dictionary, refuse_bad_dictionary, self_check

D_IN, WIDTH = 12, 40


def saved(folder: Path, architecture: str, **options: Any) -> Any:
    """A random autoencoder of sae-lens, saved to `folder`."""
    lens = pytest.importorskip("sae_lens")
    kinds = {
        "topk": (lens.TopKSAE, lens.TopKSAEConfig, {"k": 5}),
        "jumprelu": (lens.JumpReLUSAE, lens.JumpReLUSAEConfig, {}),
        "standard": (lens.StandardSAE, lens.StandardSAEConfig, {}),
        "gated": (lens.GatedSAE, lens.GatedSAEConfig, {}),
    }
    kind, config, extra = kinds[architecture]
    metadata = lens.saes.sae.SAEMetadata(hook_name="blocks.0.hook_resid_post")
    sae = kind(config(d_in=D_IN, d_sae=WIDTH, dtype="float32", device="cpu", metadata=metadata, **extra, **options))
    torch.manual_seed(0)
    for name, weight in sae.named_parameters():
        weight.data = torch.rand_like(weight) if name == "threshold" else torch.randn_like(weight) * 0.5
    sae.save_model(folder)
    return lens.SAE.load_from_disk(folder, device="cpu")


@pytest.mark.parametrize("architecture", ["topk", "jumprelu", "standard", "gated"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"apply_b_dec_to_input": False},
        {"normalize_activations": "constant_norm_rescale"},
        {"normalize_activations": "layer_norm"},
    ],
)
def test_encoder_and_decoder_equal_sae_lens(tmp_path: Path, architecture: str, options: dict[str, Any]) -> None:
    theirs = saved(tmp_path, architecture, **options)
    ours = load_dictionary("sae_lens", str(tmp_path))
    x = torch.randn(30, D_IN) * 3
    with torch.no_grad():
        expected = theirs.encode(x)
        decoded = theirs.decode(expected)
    encoded = ours.encode(x)
    found = torch.zeros(30, WIDTH).index_put_((encoded.token, encoded.feature), encoded.value)
    torch.testing.assert_close(found, expected.relu(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.reconstruct(x, encoded), decoded, atol=1e-4, rtol=1e-4)
    assert (encoded.value > 0).all() and (encoded.token.diff() >= 0).all()


def test_topk_rescaled_by_decoder_norm_equals_sae_lens(tmp_path: Path) -> None:
    theirs = saved(tmp_path, "topk", rescale_acts_by_decoder_norm=True)
    ours = load_dictionary("sae_lens", str(tmp_path))
    x = torch.randn(20, D_IN)
    encoded = ours.encode(x)
    found = torch.zeros(20, WIDTH).index_put_((encoded.token, encoded.feature), encoded.value)
    with torch.no_grad():
        torch.testing.assert_close(found, theirs.encode(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.reconstruct(x, encoded), theirs.decode(theirs.encode(x)), atol=1e-4, rtol=1e-4)
    assert ours.decoder_row(3).norm().item() == pytest.approx(1.0)


def test_neurons_keep_positive_parts_and_topk_the_largest() -> None:
    x = torch.tensor([[1.0, -2.0, 3.0], [-1.0, -1.0, 0.0]])
    neurons = load_dictionary("neurons", hook="blocks.0.mlp.hook_post", width=3).encode(x)
    assert (neurons.token.tolist(), neurons.feature.tolist(), neurons.value.tolist()) == ([0, 0], [0, 2], [1.0, 3.0])
    top = load_dictionary("topk_neurons", hook="blocks.0.mlp.hook_post", width=3, k=1).encode(x)
    assert (top.token.tolist(), top.feature.tolist(), top.value.tolist()) == ([0], [2], [3.0])


def test_self_check_of_a_perfect_dictionary_and_of_a_bad_one(tmp_path: Path) -> None:
    saved(tmp_path, "standard")
    random = load_dictionary("sae_lens", str(tmp_path))
    x = torch.randn(50, D_IN)
    assert self_check(random, x).fvu >= 1
    with pytest.raises(DictionaryError, match=r"L0 = \d+\.\d .*FVU = \d+\.\d+ \(must be below 1\)"):
        refuse_bad_dictionary(random, x)
    with pytest.raises(DictionaryError, match=r"reads 12 dimensions, but .* has 7"):
        self_check(random, torch.randn(5, 7))


def test_l0_that_contradicts_the_metadata_is_refused() -> None:
    class Half:
        kind, hook, d_in, width, revision, l0_expected = "half", "h", 4, 4, "0", 30.0
        encode = staticmethod(load_dictionary("neurons", hook="h", width=4).encode)
        reconstruct = staticmethod(lambda x, encoded: x)

    with pytest.raises(DictionaryError, match=r"L0 = 4\.0 \(stated 30\.0.*FVU = 0\.000"):
        refuse_bad_dictionary(Half(), torch.rand(10, 4) + 0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "transcoder"}, "unknown dictionary kind"),
        ({"kind": "sae_lens"}, "needs a source"),
        ({"kind": "sae_lens", "source": "/no/such"}, "neither a folder"),
        ({"kind": "neurons", "width": 3}, "needs its hook"),
        ({"kind": "neurons", "hook": "h"}, "need their number"),
        ({"kind": "neurons", "hook": "h", "width": 3, "k": 2}, "neurons have none"),
        ({"kind": "topk_neurons", "hook": "h", "width": 3, "k": 4}, "1 to its width"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DictionaryError, match=message):
        load_dictionary(**arguments)


def test_malformed_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=r"has no \['cfg.json'"):
        load_dictionary("sae_lens", str(tmp_path))
    saved(tmp_path, "topk")
    with pytest.raises(DictionaryError, match="has width 40, but its record says 41"):
        load_dictionary("sae_lens", str(tmp_path), width=41)
    config = json.loads((tmp_path / "cfg.json").read_text())
    for change, message in [
        ({"architecture": "temporal"}, "supported"),
        ({"normalize_activations": "expected_average_only_in"}, "Fold"),
        ({"d_in": 13}, "W_enc of shape"),
    ]:
        (tmp_path / "cfg.json").write_text(json.dumps(config | change))
        with pytest.raises(DictionaryError, match=message):
            load_dictionary("sae_lens", str(tmp_path))
