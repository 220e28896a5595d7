"""Random generators keyed by their purpose, so that results depend on neither order nor batch size nor concurrency."""

import hashlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.random.bit_generator import ISeedSequence


def generator(run_seed: int, feature: int, purpose: str) -> np.random.Generator:
    """A fresh generator for one purpose of one feature: equal keys give equal streams on every machine and in every order.

    The PCG64 seed is the first 128 bits of SHA-256 over "run_seed/feature/purpose".
    """
    return np.random.Generator(np.random.PCG64(int.from_bytes(_key(run_seed, feature, purpose), "little")))


def generators(run_seed: int, features: Sequence[int], purpose: str) -> list[np.random.Generator]:
    """`generator` for each of some features, in a third of the time: numpy mixes one seed at a time, here all are mixed together."""
    keys = b"".join(_key(run_seed, feature, purpose) for feature in features)
    states = _mixed(np.frombuffer(keys, dtype="<u4").reshape(-1, 4))
    return [np.random.Generator(np.random.PCG64(cast(Any, _Mixed(state)))) for state in states]


def _key(run_seed: int, feature: int, purpose: str) -> bytes:
    return hashlib.sha256(f"{run_seed}/{feature}/{purpose}".encode()).digest()[:16]


class _Mixed(ISeedSequence):
    """A seed whose state is known."""

    def __init__(self, state: np.ndarray) -> None:
        self._state = state

    def generate_state(self, n_words: int, dtype: object = np.uint32) -> np.ndarray:
        """The state, uint64 [4], that PCG64 asks for."""
        assert n_words == len(self._state), f"{n_words} words of a state of {len(self._state)}"
        return self._state


def _powers(first: int, factor: int, n: int) -> list[np.uint32]:
    """first · factor^i modulo 2^32 for i below n."""
    return [np.uint32(first * pow(factor, i, 1 << 32) % (1 << 32)) for i in range(n)]


_POOL_WORDS = 4
_POOL_FACTORS = _powers(0x43B0D7E5, 0x931E8875, 17)
_STATE_FACTORS = _powers(0x8B51F9DD, 0x58F38DED, 9)
_LEFT, _RIGHT, _SHIFT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715), np.uint32(16)


def _mixed(entropy: np.ndarray) -> np.ndarray:
    """uint64 [n, 4]: the state that `numpy.random.SeedSequence` makes for PCG64 out of each 128-bit number, uint32 [n, 4], lowest first.

    numpy's documentation fixes this function, M. E. O'Neill's seed_seq_fe with four words; its numbers stand in the constants above.
    """

    def hashed(value: np.ndarray, factors: list[np.uint32], place: int) -> np.ndarray:
        value = (value ^ factors[place]) * factors[place + 1]
        return value ^ (value >> _SHIFT)

    pool = [hashed(entropy[:, i], _POOL_FACTORS, i) for i in range(_POOL_WORDS)]
    pairs = [(source, to) for source in range(_POOL_WORDS) for to in range(_POOL_WORDS) if source != to]
    for place, (source, to) in enumerate(pairs, _POOL_WORDS):
        both = _LEFT * pool[to] - _RIGHT * hashed(pool[source], _POOL_FACTORS, place)
        pool[to] = both ^ (both >> _SHIFT)
    words = [hashed(pool[i % _POOL_WORDS], _STATE_FACTORS, i) for i in range(8)]
    low, high = (np.stack(words[first::2], axis=1).astype(np.uint64) for first in (0, 1))
    return low | high << np.uint64(32)
