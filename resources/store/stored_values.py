"""Stored activations: rounded to 9 significant bits, as float16 where its range holds them and as float32 where it does not.

bfloat16, the type of most models, has 8 significant bits. While activations wait to be sorted, a code of 16 bits stands for either type:
the bits of the float16; or, for a value above its range, the first bit set and the index of the value among the float32 numbers of 9
significant bits.
"""

import numpy as np

LARGEST_FLOAT16 = float(np.finfo(np.float16).max)
DROPPED_BITS = 2
"""Bits to drop, of the 11 significant bits of a float16."""

WIDE = np.uint16(1 << 15)
"""The bit of the codes of values that float16 does not hold."""

_WIDE_STEP_BITS = 15  # of the 24 significant bits of a float32
_FIRST_WIDE = np.float32(2.0**16).view(np.uint32) >> _WIDE_STEP_BITS
_LAST_WIDE = np.finfo(np.float32).max.view(np.uint32) >> _WIDE_STEP_BITS


def stored_values(values: np.ndarray) -> np.ndarray:
    """[n] of positive values, rounded to 9 significant bits, half to even: a relative error of at most 0.25 % from 2^-14 on, and below that
    an absolute error of at most 2^-22.

    float16 where its range holds all values, else float32. An active feature is never stored as zero. Raises `ValueError` for a value that
    is not finite.
    """
    return decoded(codes(values))


def codes(values: np.ndarray) -> np.ndarray:
    """uint16 [n]: the codes of positive values. Raises `ValueError` for a value that is not finite."""
    values = np.asarray(values, dtype=np.float32)
    if not np.isfinite(values).all():
        n_nan, n_infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        raise ValueError(f"{n_nan} NaN and {n_infinite} infinite among {len(values)} activations; all must be finite")
    step = 1 << DROPPED_BITS
    bits = np.clip(values, 0, LARGEST_FLOAT16).astype(np.float16).view(np.uint16).astype(np.uint32)
    rounded = (bits + (step // 2 - 1) + (bits >> DROPPED_BITS & 1)) // step * step
    largest = int(np.finfo(np.float16).max.view(np.uint16)) // step * step
    found = np.clip(rounded, step, largest).astype(np.uint16)
    above = values > LARGEST_FLOAT16
    if above.any():
        found[above] = _wide_codes(values[above])
    return found


def decoded(found: np.ndarray) -> np.ndarray:
    """[n]: the values of codes; float16 where its range holds all values, else float32."""
    wide = found >= WIDE
    if not wide.any():
        return found.view(np.float16)
    values = np.where(wide, np.uint16(0), found).view(np.float16).astype(np.float32)
    places = (found[wide] ^ WIDE).astype(np.uint32) + _FIRST_WIDE
    values[wide] = (places << _WIDE_STEP_BITS).view(np.float32)
    return values


def fits_float16(values: np.ndarray) -> bool:
    """Whether float16 holds all of `values`, which are rounded already."""
    return values.dtype == np.float16 or not len(values) or float(values.max()) <= LARGEST_FLOAT16


def _wide_codes(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values).view(np.uint32)
    half = np.uint32((1 << (_WIDE_STEP_BITS - 1)) - 1)
    places = np.minimum((bits + half + (bits >> _WIDE_STEP_BITS & 1)) >> _WIDE_STEP_BITS, _LAST_WIDE)
    return (places - _FIRST_WIDE).astype(np.uint16) | WIDE
