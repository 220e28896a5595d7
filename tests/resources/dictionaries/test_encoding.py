"""Blocks of latents give what the whole product gives, and never hold more than they may."""

from typing import Any

import pytest
import torch

from resources.dictionaries import encoding
from resources.dictionaries.encoding import Gate, GroupMax, Threshold, TopK, encode_in_blocks, encoded_from_dense

TOKENS, D_IN, WIDTH, K = 37, 6, 60, 7
DRAW = torch.Generator().manual_seed(3)
X, WEIGHT = torch.randn(TOKENS, D_IN, generator=DRAW), torch.randn(D_IN, WIDTH, generator=DRAW)
BIAS, LIMIT = torch.randn(WIDTH, generator=DRAW) * 0.2, torch.randn(WIDTH, generator=DRAW)
GAIN, OFFSET = torch.rand(WIDTH, generator=DRAW) + 0.5, torch.randn(WIDTH, generator=DRAW)
HIDDEN = X @ WEIGHT + BIAS


def largest(hidden: torch.Tensor, k: int) -> torch.Tensor:
    values, index = hidden.topk(k, dim=-1)
    return torch.zeros_like(hidden).scatter_(-1, index, values)


ACTIVATIONS: dict[str, tuple[Any, torch.Tensor]] = {
    "relu": (Threshold(), HIDDEN.relu()),
    "one threshold": (Threshold(0.7), HIDDEN * (HIDDEN > 0.7)),
    "thresholds, some below zero": (Threshold(LIMIT), HIDDEN.relu() * (HIDDEN > LIMIT)),
    "topk": (TopK(K), largest(HIDDEN, K).relu()),
    "topk of more than fire": (TopK(WIDTH), HIDDEN.relu()),
    "groupmax": (
        GroupMax(6),
        torch.zeros_like(HIDDEN).scatter_(
            -1, HIDDEN.view(TOKENS, 10, 6).max(-1).indices + torch.arange(0, 60, 6), HIDDEN.view(TOKENS, 10, 6).amax(-1)
        ).relu(),
    ),
    "gate": (Gate(GAIN, OFFSET), (HIDDEN * GAIN + OFFSET).relu() * (HIDDEN > 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("block_latents", [1, 7, 13, 59, 60, 1000])
@pytest.mark.parametrize("chunk_tokens", [16_384, 10, 1])
def test_blocks_equal_the_dense_formula(
    name: str, block_latents: int, chunk_tokens: int, monkeypatch: pytest.MonkeyPatch, dense: Any
) -> None:
    activation, expected = ACTIVATIONS[name]
    monkeypatch.setitem(encoding.BLOCK_BYTES, "cpu", block_latents * 4 * min(TOKENS, chunk_tokens))
    monkeypatch.setattr(encoding, "CHUNK_TOKENS", chunk_tokens)
    encoded = encode_in_blocks(X, WEIGHT, BIAS, activation)
    torch.testing.assert_close(dense(encoded, TOKENS, WIDTH), expected, atol=1e-5, rtol=1e-5)


def test_a_block_is_no_larger_than_allowed_and_holds_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(encoding.BLOCK_BYTES, "cpu", 13 * 4 * TOKENS)  # 13 latents fit
    sizes = {group: [hidden.shape[1] for _, hidden in encoding.blocks(X, WEIGHT, None, group)] for group in (1, 6, 20)}
    assert sizes == {1: [13, 13, 13, 13, 8], 6: [12, 12, 12, 12, 12], 20: [20, 20, 20]}  # a group of 20 does not fit, but stays whole
    buffers = {hidden.data_ptr() for _, hidden in encoding.blocks(X, WEIGHT, BIAS)}
    assert len(buffers) == 1


def test_without_bias_and_without_tokens(dense: Any) -> None:
    encoded = encode_in_blocks(X, WEIGHT, None, Threshold())
    torch.testing.assert_close(dense(encoded, TOKENS, WIDTH), (X @ WEIGHT).relu(), atol=1e-5, rtol=1e-5)
    for activation, _ in ACTIVATIONS.values():
        assert len(encode_in_blocks(X[:0], WEIGHT, BIAS, activation).token) == 0


def test_activations_on_one_token_come_in_order_of_their_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(encoding.BLOCK_BYTES, "cpu", 5 * 4 * TOKENS)
    for encoded in (encode_in_blocks(X, WEIGHT, BIAS, Threshold()), encoded_from_dense(HIDDEN)):
        assert ((encoded.token * WIDTH + encoded.feature).diff() > 0).all()


def test_of_equal_values_k_are_kept() -> None:
    encoded = encode_in_blocks(torch.ones(3, 1), torch.ones(1, 40), None, TopK(4))
    assert encoded.token.bincount().tolist() == [4, 4, 4] and (encoded.value == 1).all()
