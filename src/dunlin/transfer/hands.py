"""Many files of one unit at a time: where every request takes a round trip, waiting for one after the other is slow.

A unit's files go to a pool of threads that all units of the process share. Each thread that is free takes the next
file from the unit, and the next, until none is left, and then hands over what became of all it took. (To hand each
file over and its outcome back would be two switches between threads for each, which costs more than a small file's
request.) Memory stays bounded: no more files are begun than there are threads, and the service's own wishes are
obeyed through the gate around each request (`pace.gate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Hands:
    """Threads that carry files. Safe to use from many threads.

    Args:
        most: files under way at a time, in this process.
        around: calls what it is given, in each thread; None: the threads call it themselves.
    """

    def __init__(self, most: int, around: Callable[[Callable[[], Any]], Any] | None = None) -> None:
        self.most = most
        self._around = around
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="hand")

    def share(self, things: Iterable[T], work: Callable[[Iterator[T]], R], begin: int) -> list[R]:
        """Let up to `begin` threads do `work`, each on those of the things that it takes; what they returned.

        Args:
            things: taken by one thread at a time, in their order.
            work: has to take its things one by one, each when it is about to be done, until there are no more.
                After an exception, which is raised here, the others find no more to take, and are waited for.
        """
        left = _Shared(iter(things))

        def carry() -> R:
            try:
                return work(left)
            except BaseException:
                left.end()
                raise

        do = carry if self._around is None else partial(self._around, carry)
        under_way = [self._pool.submit(do) for _ in range(min(begin, self.most))]
        try:
            wait(under_way)
        except BaseException:
            left.end()
            wait(under_way)
            raise
        return [each.result() for each in under_way]

    def close(self) -> None:
        """End the threads once they are idle."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Shared(Iterator[T]):
    """An iterator from which many threads take."""

    def __init__(self, things: Iterator[T]) -> None:
        self._things = things
        self._lock = Lock()

    def __next__(self) -> T:
        with self._lock:
            return next(self._things)

    def end(self) -> None:
        """Nobody gets anything any more."""
        with self._lock:
            self._things = iter(())
