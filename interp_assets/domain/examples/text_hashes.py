"""Hashes of runs of tokens of a sample, so that texts of windows are compared without reading them token by token."""

from dataclasses import dataclass

import numpy as np

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)
_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class HashedTokens:
    """The tokens of a sample, int [rows, context], and 8 bytes a token from which the hash of any run of them is read off.

    Every token id has a 64-bit number, and the hash of a run is the polynomial with its tokens' numbers as coefficients, modulo 2^64 at an
    odd base. `prefix` uint64 [tokens + 1] holds the polynomials of all beginnings of the sample, so that two differences and a power of the
    base give the hash of a run (Karp and Rabin 1987).
    """

    rows: np.ndarray
    prefix: np.ndarray
    low_powers: np.ndarray
    high_powers: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> "HashedTokens":
        """Hash a sample; ids must be >= 0."""
        flat = rows.reshape(-1)
        prefix = np.zeros(len(flat) + 1, dtype=np.uint64)
        powers, step = _powers(_BASE, _CHUNK), pow(_BASE, _CHUNK, 1 << 64)
        factor = 1
        for first in range(0, len(flat), _CHUNK):
            terms = numbers_of(flat[first : first + _CHUNK])
            terms *= powers[: len(terms)]
            terms *= np.uint64(factor)
            np.cumsum(terms, out=terms)
            terms += prefix[first]
            prefix[first + 1 : first + 1 + len(terms)] = terms
            factor = factor * step % (1 << 64)
        n_chunks = len(flat) // _CHUNK + 1
        return cls(rows, prefix, _powers(_INVERSE, _CHUNK), _powers(pow(_INVERSE, _CHUNK, 1 << 64), n_chunks))

    def of_runs(self, begin: np.ndarray, length: np.ndarray) -> np.ndarray:
        """uint64 [n]: the hash of `length` [n] tokens from place `begin` [n] (row · context + position) on.

        Equal token sequences have equal hashes. Unequal sequences of a window's length have equal hashes with a chance of about 2^-60 a
        pair. Such a collision drops a window; it never lets a repeated text through.
        """
        hashes = self.prefix.take(begin + length)
        hashes -= self.prefix.take(begin)
        hashes *= self.low_powers.take(begin & (_CHUNK - 1))
        hashes *= self.high_powers.take(begin >> 16)
        return hashes


def hashes_of_runs(rows: np.ndarray, begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """uint64 [n]: `HashedTokens.of_runs` of a few runs, read token by token, without hashing the whole sample."""
    offset = np.arange(int(length.max(initial=0)))
    inside = offset < length[:, None]
    terms = numbers_of(rows.reshape(-1)[np.where(inside, begin[:, None] + offset, 0)]) * _powers(_BASE, len(offset))
    return np.where(inside, terms, np.uint64(0)).sum(axis=1, dtype=np.uint64)


def numbers_of(token_ids: np.ndarray) -> np.ndarray:
    """uint64 of the same shape: a fixed number for each token id (SplitMix64, Steele, Lea and Flood 2014)."""
    mixed = token_ids.astype(np.uint64)
    mixed += np.uint64(1)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


@dataclass(frozen=True, eq=False)
class HashSet:
    """A set of hashes in which many hashes are looked up at a time, without sorting them.

    `hashes` uint64 [n] may repeat; `is_first` bool [n] says whether no earlier hash is equal. `table` has, by the upper bits of a hash, the
    place of the first hash with these bits, -1 where there is none. Hashes that have their upper bits in common with another hash before
    them are few; they are kept in order, `others`.
    """

    hashes: np.ndarray
    is_first: np.ndarray
    table: np.ndarray
    shift: np.uint64
    others: np.ndarray

    @classmethod
    def of(cls, hashes: np.ndarray) -> "HashSet":
        """The set of some hashes, whose upper bits are as random as all their bits."""
        bits = max((4 * len(hashes)).bit_length(), 1)
        shift = np.uint64(64 - bits)
        upper = (hashes >> shift).astype(np.intp)
        places = np.arange(len(hashes), dtype=np.int32)
        table = np.full(1 << bits, -1, dtype=np.int32)
        table[upper[::-1].copy()] = places[::-1]  # of equal numbers the last assignment stays
        there = table.take(upper)
        is_first = there == places
        again = np.flatnonzero(~is_first)
        apart = again[hashes[there[again]] != hashes[again]]
        is_first[apart] = first_of_equal(hashes[apart])
        return cls(hashes, is_first, table, shift, np.sort(hashes[apart]))

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Bool [m]: whether each of `values`, uint64 [m], is in the set."""
        if not len(self.hashes):
            return np.zeros(len(values), dtype=bool)
        place = self.table.take((values >> self.shift).astype(np.intp))
        is_near = place >= 0
        found = is_near & (self.hashes.take(place, mode="clip") == values)
        unsure = np.flatnonzero(is_near & ~found)
        found[unsure] = in_sorted(values[unsure], self.others)
        return found


def in_sorted(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Bool [n]: whether each value is among `ascending`, which is sorted."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    place = np.searchsorted(ascending, values)
    place[place == len(ascending)] = 0
    return ascending[place] == values


def first_of_equal(values: np.ndarray) -> np.ndarray:
    """Bool [n]: whether no earlier value is equal."""
    ascending = np.sort(values)
    repeated = ascending[1:][ascending[1:] == ascending[:-1]]
    first = np.ones(len(values), dtype=bool)
    if len(repeated):
        again = np.flatnonzero(in_sorted(values, repeated))
        first[again] = False
        first[again[np.unique(values[again], return_index=True)[1]]] = True
    return first


def _powers(base: int, n: int) -> np.ndarray:
    """uint64 [n]: base^0, base^1, … modulo 2^64."""
    factors = np.full(n, np.uint64(base))
    factors[:1] = 1
    return np.multiply.accumulate(factors)
