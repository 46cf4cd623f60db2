"""The backlog: files that wait for their transfer, as units, a bounded number of them in memory.

What waits is on record (status pending), so memory is only a window on it; or, where transfers keep up with
the scan, its directory is still queued and would be listed again (a *light* one). A directory whose
files did not all fit is marked; when those that did are done, the rest is read back from the state.
So a directory is at any time either in the window or to be read back, never both, and no file is
handed out twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dunlin.model import SIZE, Action
from dunlin.state.store import State
from dunlin.transfer.outcome import Waiting
from dunlin.transfer.site import STREAM
from dunlin.workers.tasks import Move, Turn

WINDOW = 60_000
"""Files in memory where there is enough of it."""

PAGE_FILES = 1_000
PAGE_BYTES = 64 << 20
"""What one unit of small files holds at most; a large file is a unit of its own."""

PAGE_SECONDS = 2
"""Seconds of a bandwidth limit that a unit of small files holds at most, and the fewest bytes that it then may hold.

What is in a unit is counted, and safe from a kill, when the unit is through.
"""
PAGE_LEAST = 1 << 20

_PAST = "\udcff" * 300
"""A name behind every name: the cursor that skips the rest of a directory."""


@dataclass(slots=True, eq=False, repr=False)
class Open:
    """A directory with files in the window or in flight.

    `left`: units not done. `more`: files beyond the window, to be read back. `scanning`: its listing goes on.
    `light`: its waiting files are not on record. `fresh`: no file of it was on record before. `complete`: all of its
    files have rows of this run once these are done, so other rows are of files that are gone.
    """

    id: int
    path: str
    left: int = 0
    more: bool = False
    scanning: bool = False
    failed: bool = False
    sweep: bool = False
    light: bool = False
    fresh: bool = False
    complete: bool = False
    ctime: int | None = None
    digest: bytes | None = None


class Backlog:
    """The window, with the queues of what is handed out next.

    `parts`: into how many units the small files of a directory are split when no other unit waits, so that none of so
    many movers is idle. For far stores: there a unit of a few files takes longer than a message. `share`: of
    `WINDOW`, as there is memory. `page`: most files of a unit; 0: `PAGE_FILES`. `rate`: bytes per second that may
    move, 0: as many as can.
    """

    def __init__(
        self,
        state: State,
        run: int,
        parts: int = 1,
        share: float = 1.0,
        page: int = 0,
        rate: Callable[[], int] = lambda: 0,
    ) -> None:
        self._most = max(1, int(WINDOW * share))
        self._parts = parts
        self._page = page or PAGE_FILES
        self._rate = rate
        self._state = state
        self._run = run
        self._pages: deque[tuple[int, Move]] = deque()
        self._large: deque[tuple[int, Move]] = deque()
        self._in_window = 0
        self.open: dict[int, Open] = {}
        self.on_disk = False
        self.resumed = False  # a killed run may have left temporary files in directories that are not listed again
        self._swept = 0  # directories are read back in the order of their ids

    @property
    def room(self) -> int:
        """Files that the window still takes."""
        return max(0, self._most - self._in_window)

    def __bool__(self) -> bool:
        return bool(self._pages or self._large or self.on_disk)

    def add(self, directory: Open, waiting: Iterable[Waiting]) -> None:
        """Take in what waits in one directory; it is on record already."""
        self.open.setdefault(directory.id, directory)
        turns = [(name, facts[SIZE], action, exists) for name, facts, action, exists in waiting]
        if directory.more or self._in_window + len(turns) > self._most:
            directory.more = True
            return
        self._put(directory, turns)

    def _put(self, directory: Open, turns: Sequence[Turn]) -> None:
        most = self._page if self._pages else min(self._page, -(-len(turns) // self._parts))
        page: list[Turn] = []
        size = 0
        for turn in turns:
            self._in_window += 1
            if turn[1] > STREAM:
                self._queue(directory, (turn,), self._large)
                continue
            if page and (len(page) >= most or size + turn[1] > PAGE_BYTES):
                self._queue(directory, tuple(page), self._pages)
                page, size = [], 0
            page.append(turn)
            size += turn[1]
        if page:
            self._queue(directory, tuple(page), self._pages)

    def _queue(self, directory: Open, turns: tuple[Turn, ...], queue: deque[tuple[int, Move]]) -> None:
        queue.append((directory.id, Move(directory.path, turns, directory.sweep)))
        directory.sweep = False
        directory.left += 1

    def next(self) -> tuple[int, Move] | None:
        """The next unit with its directory's id: large files first, for they take longest; None if there is none."""
        if not self._pages and not self._large and self.on_disk:
            self._refill()
        for queue in (self._large, self._pages):
            if queue:
                directory, task = queue.popleft()
                if (number := self._within_limit(task.turns)) < len(task.turns):
                    # The limit of this moment counts, not that of the time when the unit was made.
                    queue.appendleft((directory, Move(task.directory, task.turns[number:])))
                    self.open[directory].left += 1
                    task = task._replace(turns=task.turns[:number])
                self._in_window -= len(task.turns)
                return directory, task
        return None

    def _within_limit(self, turns: Sequence[Turn]) -> int:
        """How many of the files, from the first and at least one, a unit may hold under the limit there is."""
        rate = self._rate()
        if not rate:
            return len(turns)
        room = max(PAGE_LEAST, rate * PAGE_SECONDS)
        for number, turn in enumerate(turns):
            room -= turn[1]
            if room < 0 and number:
                return number
        return len(turns)

    def _refill(self) -> None:
        """Read directories back from the state until the window has something, or nothing is left."""
        after: tuple[int, str] | None = None
        room = self._most // 2
        self.on_disk = False
        filling: int | None = None  # the directory whose rows the last page ended in
        while room > 0:
            rows = self._state.pending(self._run, 1_000, after)
            if not rows:
                return
            by_directory: dict[int, list[Turn]] = {}
            for row in rows:
                by_directory.setdefault(row.directory_id, []).append(
                    (row.name, row.size, int(Action.COPY), True)
                )
            last = rows[-1]
            after = last.after
            for row_id, turns in by_directory.items():
                known = self.open.get(row_id)
                if known is not None and row_id != filling:
                    after = (row_id, _PAST) if row_id == last.directory_id else after
                    continue
                if known is None:
                    path = next(r.directory for r in rows if r.directory_id == row_id)
                    known = self.open[row_id] = Open(row_id, path, sweep=self.resumed and row_id > self._swept)
                    self._swept = max(self._swept, row_id)
                filling = row_id
                self._put(known, turns)
                room -= len(turns)
            if len(rows) < 1_000:
                return
        # The window is full in the middle of a directory, or before the next one.
        if filling is not None:
            self.open[filling].more = True
        self.on_disk = True

    def done(self, directory: int) -> Open | None:
        """A unit of the directory is done; returns the directory when it was the last one and it may be finished."""
        known = self.open[directory]
        known.left -= 1
        return self.settle(known)

    def settle(self, known: Open) -> Open | None:
        """Close a directory that has nothing in the window any more; None unless all of it is through."""
        if known.left or known.scanning:
            return None
        del self.open[known.id]
        if known.more:
            self.on_disk = True
            return None
        return known
