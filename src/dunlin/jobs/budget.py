"""What each process of a run may hold in memory, out of what the whole run may.

Most of the memory of a run is content under way: the buffers of large files (`transfer.site`), which are a
budget, and where a store is far away small files, which are held whole, one in each hand (`transfer.content`). Beside
that each process takes what Python and its libraries take. A limit on the whole (`--max-memory-mb`) leaves
for content what the processes do not need: first half of it for buffers, the rest for hands.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from dunlin.jobs.options import SyncOptions
from dunlin.pace.window import LEAST_FILES, LOCAL, NAME_BYTES
from dunlin.transfer.content import FETCHED

PROCESS = 40 << 20
"""Bytes that a process takes with nothing under way: measured with the client of an object store loaded, rounded up."""

LEAST = 4 << 20
"""Bytes of buffers that a process gets in any case."""

FAR_LEAST = 16 << 20
"""Bytes that a mover takes there for a single large file: two of its parts, and what a request takes beside them."""

BESIDE = max(FAR_LEAST, LOCAL * LEAST_FILES * NAME_BYTES * 4)
"""Bytes that each mover is to have beside what its process takes, before there is another one: a quarter of that holds
names (`pace.window.active_files`), enough for as many directories as a processor lists of a local tree."""

THREADS = 16
"""Most threads per mover when nobody says otherwise; they are grown only while waiting dominates."""

FAR_FILES = 32
"""Files under way in the whole run when a store is far away and nobody says otherwise: at the beginning.

The same as `pace.climb.START`, which is not loaded where no store is far away.
"""

IN_HAND = 2 * FETCHED
"""Bytes that one small file may take: its pieces, and the whole that they become."""


def needed(movers: int) -> int:
    """Bytes of memory from which on there are so many movers."""
    return PROCESS + movers * (PROCESS + BESIDE)


def fitting(memory: int) -> int:
    """How many movers fit into so many bytes; at least one. The reverse of `needed`."""
    return max(1, (memory - PROCESS) // (PROCESS + BESIDE))


class Budget(NamedTuple):
    """Bytes of one mover's buffers for large files; files under way at a time from or to far away, in the whole run."""

    buffers: int
    hands: int


def budget(options: SyncOptions, movers: int, hands: int) -> Budget:
    """What the run may hold.

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
    return Budget(max(1, buffers // movers), max(movers, carried))


def far_most(options: SyncOptions, asked: int, movers: int, hands: int) -> int:
    """How many files to or from far away there may come to be under way, when there are `hands` at the beginning.

    Args:
        options: as capped by the machine. asked: files in flight that the user asked for, 0: automatic; exactly so many
            are under way then, and no more than what the class of the machine has where that says how many.
    """
    if asked or options.crew.workers:
        return hands
    from dunlin.pace.climb import MOST

    return max(hands, budget(options, movers, MOST).hands)


def crew_size(options: SyncOptions) -> tuple[int, int]:
    """(movers, most threads of all of them) for what was asked.

    Never more movers than processors, unless they were asked for, nor more of either than files may be in flight.
    """
    crew = options.crew
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    movers = crew.movers or min(cores, 8)
    movers = min(movers, crew.workers or movers)
    most = movers * (crew.threads or crew.workers or THREADS)
    return movers, min(most, crew.workers or most)
