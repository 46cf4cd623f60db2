"""Very many names at once: where they lie, which comes first, which are equal, a number for each.

Names stand one behind the other in a *heap* of bytes; `offsets` and `lengths` tell where. To compare thousands of them
without a Python object for each, eight bytes of every name are fetched at once: an array that begins at any byte of
the heap, with a stride of one byte, and eight-byte elements, indexed by the offsets (`words`). What lies behind the
end of a short name is masked off. Read as big-endian numbers, such words compare as the bytes do. Only names that are
still equal need the next eight bytes, so the work goes with the length of common beginnings, in a few passes.

A name that is the beginning of another one and the same name with zero bytes behind it give equal words; the shorter
one comes first, as with bytes. So `order` and `sorted_within` fall back to lengths when the words are used up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dunlin.backup.tree.columns import SLACK, Array, Bytes, Ints, Words

NDArrayBool = NDArray[np.bool_]

_MASK = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_OTHER = np.uint64(0xC2B2AE3D27D4EB4F)
_HALF = np.uint64(32)


def padded(names: bytes | Array) -> Bytes:
    """A heap of its own: `names`, and the bytes behind them that `words` may touch."""
    heap = np.zeros(len(names) + SLACK, np.uint8)
    heap[: len(names)] = np.frombuffer(names, np.uint8) if isinstance(names, bytes) else names
    return heap


def starts(lengths: Array) -> Ints:
    """Where each name begins when they lie one behind the other from 0 on; one more: where the last ends."""
    found = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def words(heap: Bytes, offsets: Ints, lengths: Ints, number: int) -> Words:
    """Bytes 8 * number … of each name as one little-endian number; 0 where a name ends before."""
    every = np.ndarray((len(heap) - SLACK + 1,), "<u8", heap, 0, (1,))
    left = np.clip(lengths - 8 * number, 0, 8)
    at = np.where(left > 0, offsets + 8 * number, 0)
    found: Words = every[at]
    found &= _MASK[left]
    return found


def order(groups: Array, heap: Bytes, offsets: Ints, lengths: Ints) -> Ints:
    """The permutation that sorts by group, then by name bytes."""
    found = np.arange(len(lengths), dtype=np.int64)
    if len(found) < 2:
        return found
    # Rows that are still equal form blocks, neighbours in `found`; each pass sorts within blocks by the next word.
    positions, block, number = found.copy(), groups, 0
    while len(positions):
        rows = found[positions]
        part = words(heap, offsets[rows], lengths[rows], number).byteswap()
        number += 1
        last = 8 * number >= int(lengths[rows].max())
        again = np.lexsort((lengths[rows], part, block) if last else (part, block))
        found[positions] = rows[again]
        if last:
            break
        blocks, parts = block[again], part[again]
        fresh = np.ones(len(again) + 1, bool)
        fresh[1:-1] = (blocks[1:] != blocks[:-1]) | (parts[1:] != parts[:-1])
        tied = ~(fresh[:-1] & fresh[1:])
        positions, block = positions[tied], np.cumsum(fresh[:-1])[tied]
    return found


def first_unsorted(runs: Array, heap: Bytes, offsets: Ints, lengths: Ints) -> int | None:
    """The first row that does not stand behind the row before it, both being of one run; None: all in order.

    `runs`: a number for each row, equal within a run. Equal names are out of order, too.
    """
    pending = np.flatnonzero(runs[1:] == runs[:-1])
    number = 0
    while len(pending):
        one = words(heap, offsets[pending], lengths[pending], number).byteswap()
        other = words(heap, offsets[pending + 1], lengths[pending + 1], number).byteswap()
        wrong = one > other
        tie = one == other
        ended = np.maximum(lengths[pending], lengths[pending + 1]) <= 8 * (number + 1)
        wrong |= tie & ended & (lengths[pending] >= lengths[pending + 1])
        if wrong.any():
            return int(pending[wrong][0]) + 1
        pending = pending[tie & ~ended]
        number += 1
    return None


def equal(heap: Bytes, offsets: Ints, lengths: Ints, heap2: Bytes, offsets2: Ints, lengths2: Ints) -> NDArrayBool:
    """Row by row, whether two names are the same."""
    same = lengths == lengths2
    pending = np.flatnonzero(same)
    number = 0
    while len(pending):
        one = words(heap, offsets[pending], lengths[pending], number)
        differ = one != words(heap2, offsets2[pending], lengths2[pending], number)
        same[pending[differ]] = False
        number += 1
        pending = pending[~differ & (lengths[pending] > 8 * number)]
    return np.asarray(same)


def mixed(value: Words) -> Words:
    """Every bit of a number spread over all of them."""
    value = (value ^ (value >> _HALF)) * _PRIME
    value = (value ^ (value >> np.uint64(29))) * _OTHER
    return np.asarray(value ^ (value >> _HALF))


def hashes(heap: Bytes, offsets: Ints, lengths: Ints, seed: int = 0) -> Words:
    """A 64-bit number for each name. Fast, and no defence against somebody who knows the seed."""
    # Mixed before the first word comes in: a length next to a word would make "b" and "a\0" one.
    found = mixed(mixed(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64)) ^ lengths.astype(np.uint64))
    pending: Ints | slice = slice(None)
    number = 0
    while True:
        found[pending] = mixed(found[pending] ^ words(heap, offsets[pending], lengths[pending], number))
        number += 1
        pending = np.flatnonzero(lengths > 8 * number)
        if not len(pending):
            return found
