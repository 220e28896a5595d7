"""Blocks of latents give what the whole product gives, and never hold more than they may."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

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
    sizes = {group: [block.hidden.shape[1] for block in encoding.blocks(X, WEIGHT, None, group)] for group in (1, 6, 20)}
    assert sizes == {1: [13, 13, 13, 13, 8], 6: [12, 12, 12, 12, 12], 20: [20, 20, 20]}  # a group of 20 does not fit, but stays whole
    places = {(block.hidden.data_ptr(), block.mask.data_ptr()) for block in encoding.blocks(X, WEIGHT, BIAS)}
    assert len(places) == 1


class LargestTensor(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation made."""

    n_bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        tensors = [tensor for tensor in pytree.tree_leaves(made) if isinstance(tensor, torch.Tensor)]
        self.n_bytes = max([self.n_bytes, *(tensor.numel() * tensor.element_size() for tensor in tensors)])
        return made


@pytest.mark.parametrize("activation", [TopK(8), Threshold(torch.full((16_384,), 3.0)), Gate(torch.ones(16_384), torch.zeros(16_384))])
def test_no_tensor_of_tokens_times_width_is_made(activation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """512 tokens x 16,384 latents would be 32 MiB; nothing larger than the 2 MiB block, or the encoder itself, is made."""
    monkeypatch.setitem(encoding.BLOCK_BYTES, "cpu", 2 << 20)
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(512, 4, generator=draw), torch.randn(4, 16_384, generator=draw) / 2
    if isinstance(activation, Gate):
        x = x * 0 + 1e-3 * (x > 2.5)  # few gates are open
        weight = weight - 0.4
    with LargestTensor() as largest:
        encoded = encode_in_blocks(x, weight, torch.full((16_384,), -1e-9), activation)
    assert len(encoded.token) > 0 and largest.n_bytes <= 2 << 20


PEAK = """
import resource, torch
from resources.dictionaries import encoding
encoding.BLOCK_BYTES["cpu"] = 4 << 20
torch.set_num_threads(1)
x, weight, threshold = torch.randn(1024, 4), torch.randn(4, 131_072) / 2, torch.full((131_072,), 3.2)
encoding.encode_in_blocks(x[:64], weight[:, :2048], None, encoding.Threshold(3.2))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n = len(encoding.encode_in_blocks(x, weight, None, encoding.Threshold(threshold)).token)
print(n, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_stays_that_of_blocks_while_features_are_kept() -> None:
    """1,024 tokens x 131,072 latents would be 512 MiB, and a mask of them 128. 4 MiB blocks and the features kept take less than 64."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    n, grown = map(int, done.stdout.split())
    assert n > 100_000 and grown < 64, (n, grown)


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
