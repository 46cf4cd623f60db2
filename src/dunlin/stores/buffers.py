"""Reusable blocks of memory: the bound on what a pipeline holds.

Allocating a fresh megabyte for every block costs more than copying it (256 page faults), so
blocks are taken from and given back to a pool of fixed size. `take` waits while all are in use:
that is the whole back-pressure of a pipeline.
"""

from __future__ import annotations

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
                    return memoryview(bytearray(self.size))
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
