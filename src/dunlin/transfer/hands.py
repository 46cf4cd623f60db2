"""Many files of one unit at a time: where every request takes a round trip, waiting for one after the other is slow.

A unit's files go to a pool of threads that all units of the process share; each file's outcome comes back to
the unit's thread, which alone adds them up. Memory stays bounded: no more files are begun than there are threads,
and the service's own wishes are obeyed through the gate around each request (`pace.gate`).
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Hands:
    """Threads that carry files. Safe to use from many threads.

    Args:
        most: files under way at a time, in this process.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="hand")

    def each(self, things: Iterable[T], do: Callable[[T], R]) -> Iterator[R]:
        """What `do` returns for each of the things, in the order in which they are through.

        When the receiver goes away, nothing new is begun, and what was begun is waited for. An exception of `do`
        is raised here.
        """
        left = iter(things)
        done: queue.SimpleQueue[tuple[R | None, BaseException | None]] = queue.SimpleQueue()

        def carry(thing: T) -> None:
            try:
                done.put((do(thing), None))
            except BaseException as error:  # passed on, not swallowed: the receiver raises it
                done.put((None, error))

        under_way = 0
        try:
            while True:
                while under_way < self.most and (thing := next(left, None)) is not None:
                    self._pool.submit(carry, thing)
                    under_way += 1
                if not under_way:
                    return
                result, error = done.get()
                under_way -= 1
                if error is not None:
                    raise error
                yield result  # type: ignore[misc]
        finally:
            for _ in range(under_way):
                done.get()

    def close(self) -> None:
        """End the threads once they are idle."""
        self._pool.shutdown(wait=True, cancel_futures=True)
