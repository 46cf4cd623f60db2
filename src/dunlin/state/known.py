"""What the state remembers of files, for the processes that look at their directories.

Movers read the state file themselves: with WAL a reader never blocks the one writer. A directory's rows need not
travel with its unit then. Only what was committed is seen, that is what units sent that ended before.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from dunlin.report import NullReport
from dunlin.state.files import KnownFile
from dunlin.state.store import State


class KnownFiles:
    """Reads the rows of one pair. Safe to use from many threads; opened at first use, in the process that uses it.

    Args:
        path: the state file; "" when nothing is remembered.
        pair: number of the pair.
    """

    def __init__(self, path: str, pair: int) -> None:
        self._path = path
        self._pair = pair
        self._state: State | None = None
        self._lock = threading.Lock()

    def rows(self, directory: str, names: Sequence[str]) -> dict[str, KnownFile]:
        """What is remembered of these names of a directory; the others are absent from the answer."""
        if not self._path:
            return {}
        with self._lock:
            if self._state is None:
                self._state = State.open(self._path, NullReport(), create=False, write=False)
            known = self._state.digests(self._pair, [directory]).get(directory)
            return self._state.known_names(known.id, names) if known is not None else {}

    def close(self) -> None:
        """Close the file, if it was opened."""
        with self._lock:
            if self._state is not None:
                self._state.close()
                self._state = None
