"""Neurons, rotated neurons and random autoencoders against their formulas."""

from typing import Any

import pytest
import torch

from resources.dictionaries import DictionaryError, load_dictionary, refuse_bad_dictionary

HOOK = "blocks.0.mlp.hook_post"


def test_neurons_keep_positive_parts_and_topk_the_largest() -> None:
    x = torch.tensor([[1.0, -2.0, 3.0], [-1.0, -1.0, 0.0]])
    neurons = load_dictionary("neurons", hook=HOOK, width=3).encode(x)
    assert (neurons.token.tolist(), neurons.feature.tolist(), neurons.value.tolist()) == ([0, 0], [0, 2], [1.0, 3.0])
    top = load_dictionary("topk_neurons", hook=HOOK, width=3, k=1).encode(x)
    assert (top.token.tolist(), top.feature.tolist(), top.value.tolist()) == ([0], [2], [3.0])


def test_a_rotation_keeps_lengths_and_its_topk_is_taken_after_it(agrees: Any) -> None:
    rotated = load_dictionary("rotated_topk_neurons", hook=HOOK, width=20, k=3, seed=5)
    rows = torch.stack([rotated.decoder_row(i) for i in range(20)])
    torch.testing.assert_close(rows @ rows.T, torch.eye(20), atol=1e-5, rtol=0)
    x = torch.randn(30, 20)
    turned = x @ rows.T
    values, index = turned.topk(3)
    agrees(rotated, x, torch.zeros_like(turned).scatter_(1, index, values), None)


def test_rotations_are_uniform_in_sign() -> None:
    """Without the sign correction LAPACK's diagonal of R is of one sign, and the first direction always points the same way."""
    first = [float(load_dictionary("rotated_topk_neurons", hook=HOOK, width=4, k=1, seed=s).decoder_row(0)[0]) for s in range(200)]
    assert 70 < sum(value > 0 for value in first) < 130  # 100 ± 4 standard deviations of a fair coin


def test_a_random_topk_autoencoder_has_unit_rows_and_its_encoder_is_their_transpose(agrees: Any) -> None:
    random = load_dictionary("random_topk", hook="blocks.0.hook_resid_post", width=50, d_in=12, k=6, seed=1)
    rows = torch.stack([random.decoder_row(i) for i in range(50)])
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(50))
    x = torch.randn(40, 12) * 3
    values, index = (x @ rows.T).topk(6)
    agrees(random, x, torch.zeros(40, 50).scatter_(1, index, values), None)
    assert refuse_bad_dictionary(random, x).fvu is None


@pytest.mark.parametrize("record", [{"kind": "random_topk", "d_in": 8}, {"kind": "rotated_topk_neurons"}])
def test_seeds_decide_the_directions_alone(record: dict[str, Any]) -> None:
    def load(**more: Any) -> Any:
        return load_dictionary(**record, hook=HOOK, width=8, k=2, **more)

    torch.manual_seed(1)
    one = load(seed=3)
    torch.manual_seed(2)
    again, other = load(seed=3), load(seed=4)
    assert torch.equal(one.directions, again.directions) and one.revision == again.revision
    assert not torch.equal(one.directions, other.directions) and one.revision != other.revision
    assert torch.equal(load().directions, load(seed=0).directions)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"kind": "transcoder"}, "unknown dictionary kind 'transcoder'; known"),
        ({"kind": "sae_lens"}, r"sae_lens dictionary needs \['source'\]"),
        ({"kind": "neurons", "width": 3}, r"needs \['hook'\]"),
        ({"kind": "neurons", "hook": "h"}, r"needs \['width'\]"),
        ({"kind": "neurons", "hook": "h", "width": 0}, "need their number"),
        ({"kind": "neurons", "hook": "h", "width": 3, "k": 2}, r"has no \['k'\]"),
        ({"kind": "topk_neurons", "hook": "h", "width": 3}, r"needs \['k'\]"),
        ({"kind": "topk_neurons", "hook": "h", "width": 3, "k": 4}, "1 to its width"),
        ({"kind": "topk_neurons", "hook": "h", "width": 3, "k": 2, "seed": 1}, r"has no \['seed'\]"),
        ({"kind": "rotated_topk_neurons", "hook": "h", "width": 3, "k": 4}, "1 to its width"),
        ({"kind": "random_topk", "hook": "h", "width": 3, "k": 4, "d_in": 2}, "1 to its width"),
        ({"kind": "random_topk", "hook": "h", "width": 3, "k": 2}, r"needs \['d_in'\]"),
        ({"kind": "callable", "hook": "h", "width": 3}, r"needs \['source', 'd_in'\]"),
        ({"kind": "gemma_scope", "source": "x", "hook": "h", "k": 2}, r"has no \['k'\]\. It takes \['source', 'hook'\] and may have"),
    ],
)
def test_wrong_fields_are_refused_by_name(record: dict[str, Any], message: str) -> None:
    with pytest.raises(DictionaryError, match=message):
        load_dictionary(**record)
