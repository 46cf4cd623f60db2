"""Reusable blocks of memory: the bound on what a pipeline holds.

Allocating a fresh megabyte for every block costs more than copying it (256 page faults), so
blocks are taken from and given back to a pool of fixed size. `take` waits while all are in use:
that is the whole back-pressure of a pipeline.

A block is mapped, not allocated. Once glibc has seen a block of some megabytes freed, it takes the next ones from a
heap of the thread's own, and such a heap seldom gets smaller: pools of 10 MiB, one after the other in many threads,
left a process with 70 MiB. What is mapped is the system's again as soon as the last view of it is gone.
"""

from __future__ import annotations

import mmap
import sys
import threading


class Buffers:
    """A pool of `count` buffers of `size` bytes each, made when first needed."""

    def __init__(self, size: int, count: int) -> None:
        if size < 1 or count < 1:
            raise ValueError(f"a pool needs at least one byte and one buffer, not {size} x {count}")
        self.size = size
        self.count = count
        self._free: list[memoryview] = []
        self._made = 0
        self._closed = False
        self._ready = threading.Condition()

    @property
    def ready(self) -> bool:
        """Whether `take` would not wait; true until somebody takes."""
        with self._ready:
            return bool(self._free) or self._made < self.count

    def take(self) -> memoryview:
        """A free buffer, whole; waits until there is one. Raises `BrokenPipeError` after `abandon`."""
        with self._ready:
            while not self._free:
                if self._closed:
                    raise BrokenPipeError("the pipeline was abandoned")
                if self._made < self.count:
                    self._made += 1
                    return memoryview(_mapped(self.size))
                self._ready.wait()
            return self._free.pop()

    def give(self, block: bytes | memoryview) -> None:
        """Give a buffer back: the one taken, or any slice of it."""
        if isinstance(block, memoryview):
            with self._ready:
                self._free.append(memoryview(block.obj))
                self._ready.notify()

    def abandon(self) -> None:
        """Wake whoever waits in `take` with an error: nobody will give buffers back any more."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()


def _mapped(size: int) -> mmap.mmap:
    """Memory of our own; where the system knows of no other, memory that children would share."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
