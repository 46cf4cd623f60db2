"""What each process of a run may hold in memory, out of what the whole run may.

Most of the memory of a run is content under way: the buffers of large files (`transfer.site`), which are a
budget, and where a store is far away small files, which are held whole, one in each hand (`transfer.content`). Beside
that each process takes what Python and its libraries take. A limit on the whole (`--max-memory-mb`) leaves
for content what the processes do not need: first half of it for buffers, the rest for hands.
"""

from __future__ import annotations

from typing import NamedTuple

from dunlin.jobs.options import SyncOptions
from dunlin.transfer.content import FETCHED

PROCESS = 40 << 20
"""Bytes that a process takes with nothing under way: measured with the client of an object store loaded, rounded up."""

LEAST = 4 << 20
"""Bytes of buffers that a process gets in any case."""

IN_HAND = 2 * FETCHED
"""Bytes that one small file may take: its pieces, and the whole that they become."""


class Budget(NamedTuple):
    """For one mover: bytes of buffers for large files, and files under way at a time from or to far away."""

    buffers: int
    hands: int


def budget(options: SyncOptions, movers: int, hands: int) -> Budget:
    """The shares of one mover.

    Args:
        movers: how many processes carry files beside the one that leads.
        hands: files under way in the whole run, as asked for.
    """
    movers = max(1, movers)
    buffers, carried = options.transfer.buffer_bytes, hands
    if options.limits.memory_bytes:
        free = max(0, options.limits.memory_bytes - PROCESS * (movers + 1))
        buffers = min(buffers, max(free // 2, LEAST * movers))
        carried = min(hands, max(free - buffers, 0) // IN_HAND)
    return Budget(max(1, buffers // movers), max(1, carried // movers))
