"""A limit on resident memory: when to give out less, and how to give memory back.

The memory of a run is planned (`jobs.budget`): buffers and files in hand get what the processes leave of the limit. The
guard is for what no plan knows: fragments of the heap, what a library keeps, a directory of a million names. It looks
at the resident memory of all processes twice a second, and answers in stages.

    below EASY       as planned
    from TIGHT on    only one file in flight for each mover, nothing waits at them, and each gives back what it can
    from FULL on     nothing is given out while anything is under way, and one mover works at a time

Between EASY and TIGHT it stays as it was, so that a run does not go to and fro.
"""

from __future__ import annotations

import enum
import gc
import os

EASY = 0.75
TIGHT = 0.85
FULL = 0.94
LOOK = 0.5
"""Seconds between two looks."""


class Stage(enum.IntEnum):
    """How much memory is left."""

    EASY = 0
    TIGHT = 1
    FULL = 2


def stage(before: Stage, share: float) -> Stage:
    """The stage that follows on `before` when `share` of the limit is in use."""
    if share >= FULL:
        return Stage.FULL
    if share >= TIGHT:
        return Stage.TIGHT
    if share < EASY:
        return Stage.EASY
    return min(before, Stage.TIGHT)


def trim() -> None:
    """Give back to the system what this process holds and does not use, as far as its allocator lets it."""
    gc.collect()
    try:
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another allocator than that of glibc
        return


def resident(pids: list[int]) -> int:
    """Bytes of memory that these processes have resident, as far as they are still there.

    The second number of /proc/PID/statm, in pages; where there is no such file, psutil is asked.
    """
    total = 0
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        os.stat("/proc/self/statm")
    except (OSError, ValueError, AttributeError):
        from dunlin.pace.load import Psutil

        return sum(held for _, held in Psutil().processes(pids).values())
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", encoding="ascii") as file:
                total += int(file.read().split()[1]) * page
        except (OSError, IndexError):
            continue
    return total
