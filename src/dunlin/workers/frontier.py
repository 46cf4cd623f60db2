"""The frontier: directories that are to be scanned, a bounded number of them in memory.

Every directory is on record as queued before it is handed out, so memory is only a window on the state: where more
are found than the window takes, the rest is read back when it has run empty. Those that are handed out are *held*:
they are still queued on record, and must not be read back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from dunlin.model import join
from dunlin.state.frontier import Known
from dunlin.state.store import State
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.workers.flat import ROOM, Carried

WINDOW = 5_000
"""Directories in memory where there is enough of it."""


@dataclass(slots=True, eq=False, repr=False)
class Queued:
    """A directory in the window; `listing`, `there` and `bookmark` are those of `tasks.Scan`."""

    id: int
    path: str
    presence: int
    digest: bytes | None
    doubtful: bool
    listing: bytes | None = None
    there: bytes | None = None
    bookmark: tuple[str, bytes] | None = None


class Frontier:
    """The window, and what there is beyond it.

    `share`: of `WINDOW`, and of the room for listings that wait for their directories, as there is memory.
    """

    def __init__(self, state: State, pair: int, run: int, share: float = 1.0) -> None:
        self._most = max(1, int(WINDOW * share))
        self._state = state
        self._pair = pair
        self._run = run
        self._window: deque[Queued] = deque()
        room = int(ROOM * share)
        self._source, self._target = Carried(room), Carried(room)
        self.on_disk = False
        self.resumed = False  # what the run that is continued has made may hold something by now
        self.marked = False  # listings that were cut short may be taken up again
        self.held: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._window or self.on_disk)

    @property
    def queued(self) -> int:
        """How many directories are in it; -1 where there are more beyond the window."""
        return -1 if self.on_disk else len(self._window)

    def put(self, queued: Queued) -> None:
        """Take in one directory, the root."""
        self._window.append(queued)

    def next(self) -> Queued | None:
        """The next directory, which is held from now on; None when there is none."""
        if not self._window and self.on_disk:
            self._refill()
        if not self._window:
            return None
        # First in, first out while there is little (every mover finds work soon), then the newest first.
        queued = self._window.popleft() if len(self._window) < self._most // 2 else self._window.pop()
        queued.listing, queued.there = self._source.take(queued.path), self._target.take(queued.path)
        self.held.add(queued.id)
        if self.marked:
            queued.bookmark = self._state.bookmark(self._pair, queued.path)
            if queued.bookmark is not None:
                # What was done of it before is at the destination, also where that had none then.
                queued.presence = int(Presence.UNKNOWN)
        return queued

    def _refill(self) -> None:
        found = self._state.next_directories(self._run, self._most, self.held, newest=True)
        self.on_disk = len(found) == self._most
        known = self._state.digests(self._pair, [each.path for each in found])
        for each in found:
            made = self.resumed and int(each.target) == Presence.SOURCE
            presence = int(Presence.UNKNOWN) if made else int(each.target)
            self._window.append(_queued(each.id, each.path, presence, known.get(each.path)))

    def add(self, parent: str, found: list[tuple[str, int]]) -> None:
        """Put directories (name, `Presence` value) on record as queued, and as many as fit into the window.

        Those that the run has on record already are in the window, held, through, or will be read back.
        """
        paths = [(join(parent, name), presence) for name, presence in found]
        ids = self._state.add_directories(self._run, paths)
        known = self._state.digests(self._pair, [path for path, _ in paths])
        for (path, presence), number in zip(paths, ids, strict=True):
            if not number:
                continue
            if len(self._window) >= self._most:
                self.on_disk = True
            else:
                self._window.append(_queued(number, path, presence, known.get(path)))

    def add_found(self, parent: str, outcome: Outcome) -> None:
        """The same for the sub-directories that a scan found, with what it knows of them."""
        self._source.put_all(parent, outcome.below)
        self._target.put_all(parent, outcome.below_target)
        self.add(parent, outcome.subdirectories)


def _queued(number: int, path: str, presence: int, seen: Known | None) -> Queued:
    return Queued(number, path, presence, seen.digest if seen else None, bool(seen and seen.doubtful))
