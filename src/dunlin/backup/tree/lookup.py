"""Hash tables of row numbers that are made by sorting and read in place.

A table is an array of 32-bit row numbers with `EMPTY` between them, found by *linear probing*: a key has a slot, its
row stands there or in one of the next cells, and an empty cell ends the search. Making such a table by insertion would
be a loop over all rows. It is made at once instead: sort the rows by slot and let each take its slot or the cell
behind the one before it, whichever comes later. That is a running maximum:

    cell[i] = max(slot[i], cell[i - 1] + 1)   =>   cell[i] - i = max over j <= i of (slot[j] - j)

Every row lies at or behind its slot with no gap between, so probing finds it. Nothing wraps around: there are cells
behind the last slot where rows need them, and one empty cell at the end. Keys are not stored; whoever probes compares
the row's own columns. With 0.6 rows for each slot a hit takes 1.75 cells and a miss 3.6 on average, 6.7 bytes for a row
(a sorted column of 64-bit hashes with row numbers has 12 and takes 21 steps among two million).

Two kinds of keys: a directory's node id, and its parent's id with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from dunlin.backup.tree.columns import Ints, Words

EMPTY = 0xFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15
_ALL = 0xFFFFFFFFFFFFFFFF

Cells = Sequence[int] | memoryview
_hash: Callable[..., int] = xxhash.xxh3_64_intdigest


def slots(rows: int) -> int:
    """How many slots a table of so many rows has; it may have more cells behind them."""
    return rows * 5 // 3 + 1


def name_slot(parent: int, name: bytes, count: int) -> int:
    """The slot of a name in a directory: the upper half of XXH3-64 of the name, seeded with the parent's id."""
    return (_hash(name, parent) >> 32) * count >> 32


def node_slot(node: int, count: int) -> int:
    """The slot of a node id: the upper half of its product with 2^64 divided by the golden ratio."""
    return ((node * _GOLDEN & _ALL) >> 32) * count >> 32


def node_slots(nodes: Ints, count: int) -> Ints:
    """`node_slot` of many."""
    spread: Words = nodes.view(np.uint64) * np.uint64(_GOLDEN)
    return (((spread >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)).view(np.int64)


def make_table(slot: Ints) -> NDArray[np.uint32]:
    """The table of rows 0, 1, … whose slots, of `slots` of their number, these are."""
    rows = np.argsort(slot, kind="stable")
    number = np.arange(len(rows), dtype=np.int64)
    cell = np.maximum.accumulate(slot[rows] - number) + number if len(rows) else number
    last = int(cell[-1]) if len(rows) else 0
    table = np.full(max(last + 1, slots(len(rows))) + 1, EMPTY, "<u4")
    table[cell] = rows
    return table


def find_nodes(wanted: Ints, table: NDArray[np.uint32], nodes: Ints) -> Ints:
    """The row of each wanted node id, -1 where there is none. `nodes`: the id of each row."""
    found = np.full(len(wanted), -1, np.int64)
    if not len(nodes):
        return found
    pending = np.arange(len(wanted), dtype=np.int64)
    at = node_slots(wanted, slots(len(nodes)))
    while len(pending):
        row = table[at]
        used = row != EMPTY
        pending, at, row = pending[used], at[used], row[used]
        hit = nodes[row] == wanted[pending]
        found[pending[hit]] = row[hit]
        pending, at = pending[~hit], at[~hit] + 1
    return found


def find_node(node: int, table: Cells, nodes: Cells, count: int) -> int:
    """The row of a node id, -1 if there is none. `count`: the slots of the table."""
    at = node_slot(node, count)
    while (row := table[at]) != EMPTY:
        if nodes[row] == node:
            return row
        at += 1
    return -1
