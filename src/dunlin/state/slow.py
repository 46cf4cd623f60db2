"""Where the time of a run went: its slowest units.

How long a single file took is known for units that are one file. A directory is one unit, moved by one process or by
several threads at once, so the time of its files is not theirs alone; what is put on record is the unit: its
directory, how many files it copied, and its seconds. At most `KEPT` rows per run, written when it ends. A unit that
took less than `LEAST` is no answer to where the time went; so the cycles of a watch that find nothing write nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from dunlin.state.codec import decode_name, encode_name
from dunlin.state.store import State

KEPT = 20
LEAST = 0.02
"""Seconds."""


class Slow(NamedTuple):
    """A unit that took long. `path` ends with a slash where it is a directory, "/" is the root; `files` it copied."""

    seconds: float
    files: int
    bytes: int
    path: str


class Slowest:
    """The slowest of all units that it is shown; costs a comparison for those that are not among them."""

    def __init__(self, kept: int = KEPT, least: float = LEAST) -> None:
        self._kept = kept
        self._heap: list[Slow] = []
        self.floor = least
        """Seconds that a unit must have taken to be kept."""

    def add(self, slow: Slow) -> None:
        """Show it a unit that took longer than `floor`."""
        heapq.heappush(self._heap, slow)
        if len(self._heap) > self._kept:
            heapq.heappop(self._heap)
            self.floor = self._heap[0].seconds

    def rows(self) -> list[Slow]:
        """The slowest units, the slowest first."""
        return sorted(self._heap, reverse=True)


def put_slow(state: State, run: int, rows: Sequence[Slow]) -> None:
    """Put a run's slowest units on record in place of what was there; they go with the run (`thinning`)."""
    if not rows:
        return
    with state.transaction():
        state.database.execute(state.statements["slow_drop"], (run,))
        state.database.many(
            state.statements["slow_put"],
            [(run, at, each.seconds, each.files, each.bytes, encode_name(each.path)) for at, each in enumerate(rows)],
        )


def slow_of(state: State, run: int) -> list[Slow]:
    """The slowest units of a run, the slowest first; none of a run that was killed."""
    rows = state.database.query(state.statements["slow_all"], (run,))
    return [Slow(seconds, files, size, decode_name(path)) for seconds, files, size, path in rows]
