"""Random generators keyed by their purpose, so that results depend on neither order nor batch size nor concurrency."""

import hashlib

import numpy as np


def generator(run_seed: int, feature: int, purpose: str) -> np.random.Generator:
    """A fresh generator for one purpose of one feature: equal keys give equal streams on every machine and in every order.

    The PCG64 seed is the first 128 bits of SHA-256 over "run_seed/feature/purpose".
    """
    digest = hashlib.sha256(f"{run_seed}/{feature}/{purpose}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
