"""Long looks at a repository, told as they go on: in which stage they are, how much there is of it, how much is done.

A stage is told under the names that every view of a run knows: what is done is copied, what is left is pending. Each
stage begins at nothing (`stage.begins`), since nobody knows how long the later ones take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, NullReport, Report

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

POLL = 0.2
"""Seconds without news after which somebody is told that there is none: whoever shows the time goes by it."""

AHEAD = 16
"""Items that are handed to a pool before anything is known of the first."""

T = TypeVar("T")
R = TypeVar("R")


class Stages:
    """The stages of one piece of work. Not for several threads.

    Args:
        operation: what is done, for the error of who is asked to stop: "verify".
        report: is told.
        stop: asked at each step; None: nobody stops this.
    """

    def __init__(self, operation: str, report: Report | None = None, stop: Stop | None = None) -> None:
        self._operation, self._report, self._stop = operation, report or NullReport(), stop
        self._left = (0, 0)

    def begin(self, words: str, unit: str, items: int, size: int = 0) -> None:
        """A stage begins: what is done in it, with how many of what, and bytes. Raises INTERRUPTED."""
        self.look()
        self._left = items, size
        self._report.event(
            Event(Level.DEBUG, "stage.begins", words, {"unit": unit, "items": items, "bytes": size})
        )
        self._tell()

    def done(self, items: int = 1, size: int = 0) -> None:
        """So many more of the stage are done, and bytes. Raises INTERRUPTED."""
        self._left = max(0, self._left[0] - items), max(0, self._left[1] - size)
        if size:
            self._report.count("copied_bytes", size)
        if items:
            self._report.count("copied_files", items)
        self._tell()
        self.look()

    def bad(self, items: int) -> None:
        """So many things are damaged."""
        if items:
            self._report.count("damaged_objects", items)

    def look(self) -> None:
        """Raises INTERRUPTED when somebody wants this to stop."""
        if self._stop is not None and self._stop.requested:
            raise DunlinError(self._operation, "", ErrorKind.INTERRUPTED, self._stop.reason)

    def results(self, pool: Executor, call: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """What `call` makes of each of some items in the threads of a pool, as it comes. Raises INTERRUPTED."""
        from concurrent.futures import FIRST_COMPLETED, wait

        waiting = iter(items)
        under_way: set[Future[R]] = set()
        while True:
            under_way |= {pool.submit(call, each) for each in islice(waiting, AHEAD - len(under_way))}
            if not under_way:
                return
            ended, under_way = wait(under_way, POLL, FIRST_COMPLETED)
            self._tell()
            self.look()
            for each in ended:
                yield each.result()

    def _tell(self) -> None:
        self._report.gauge("pending_files", self._left[0])
        self._report.gauge("pending_bytes", self._left[1])
