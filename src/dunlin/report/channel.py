"""The channel through which the errors of a run reach whoever tells of them: bounded, and never in the way.

Theory. A tree can fail a million times, and faster than anybody writes it down. A queue that makes its writers wait
turns the failures into a hang; one that takes everything turns them into memory. So an error that finds the channel
full is told at once, in short, by whoever brought it, and is not kept. What is counted, by class and kind, is counted
before that: no number depends on the room there was.

A consumer takes what is kept, in order, for whatever costs more than a count: rows, lines, a web page. The first paths
of each kind stay until the end, so that the last word of a run names some: "37 errors: 30 denied (a, b, c, ...),
7 timeout (d, ...)".

Any number of threads may offer and take. Nothing here raises, waits for anybody, or touches a file.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dunlin.errors import ErrorClass, ErrorKind, printable

ROOM = 1_000
"""Errors that are kept for the consumer."""

FIRST = 3
"""Paths of each kind that the last word names."""


class Trouble(NamedTuple):
    """One error.

    Attributes:
        severity, kind: what it means, and what it is.
        path: below the roots. directory: it is about the directory itself.
        message: the line about it.
        attempt: how often it was tried. operation: what ties it to other news.
    """

    severity: ErrorClass
    kind: ErrorKind
    path: str
    message: str
    attempt: int = 1
    operation: int = 0
    directory: bool = False


class Channel:
    """Takes errors from any thread and keeps a bounded number of them.

    Args:
        overflow: gets each error that found no room, in the thread that brought it.
        room: errors that are kept at most.
    """

    def __init__(self, overflow: Callable[[Trouble], None], room: int = ROOM) -> None:
        if room < 1:
            raise ValueError("a channel holds at least one error")
        self._overflow = overflow
        self._room = room
        self._kept: deque[Trouble] = deque()
        self._counts: Counter[tuple[ErrorClass, ErrorKind]] = Counter()
        self._first: dict[ErrorKind, list[str]] = {}
        self._lock = threading.Lock()
        self.overflowed = 0

    def offer(self, trouble: Trouble) -> bool:
        """Count an error and keep it; False where there was no room, and it went to `overflow`. Never waits."""
        with self._lock:
            self._counts[trouble.severity, trouble.kind] += 1
            if trouble.severity is not ErrorClass.EXPECTED:
                first = self._first.setdefault(trouble.kind, [])
                if len(first) < FIRST:
                    first.append(trouble.path)
            kept = len(self._kept) < self._room
            if kept:
                self._kept.append(trouble)
            else:
                self.overflowed += 1
        if not kept:
            self._overflow(trouble)
        return kept

    def count(self, severity: ErrorClass, kind: ErrorKind, n: int) -> None:
        """Count errors that nobody wants to hear of one by one."""
        with self._lock:
            self._counts[severity, kind] += n

    def take(self) -> list[Trouble]:
        """What was kept since the last time, oldest first; there is room again."""
        with self._lock:
            taken = list(self._kept)
            self._kept.clear()
        return taken

    @property
    def counts(self) -> Mapping[tuple[ErrorClass, ErrorKind], int]:
        """How many errors there were of each class and kind, kept or not."""
        with self._lock:
            return dict(self._counts)

    def total(self) -> int:
        """How many errors there were, without the expected ones."""
        return sum(n for (severity, _), n in self.counts.items() if severity is not ErrorClass.EXPECTED)

    def summary(self) -> str:
        """The last word: how many errors of which kind, most of them first, and the first paths; "" without any."""
        counts = self.counts
        kinds: Counter[ErrorKind] = Counter()
        for (severity, kind), n in counts.items():
            if severity is not ErrorClass.EXPECTED:
                kinds[kind] += n
        if not kinds:
            return ""
        parts = [f"{n:,} {kind.value}{self._named(kind, n)}" for kind, n in kinds.most_common()]
        total = sum(kinds.values())
        return f"{total:,} error{'s' if total != 1 else ''}: {', '.join(parts)}"

    def _named(self, kind: ErrorKind, n: int) -> str:
        names = [printable(path) or "." for path in self._first.get(kind, ())]
        return f" ({', '.join(names)}{', ...' if n > len(names) else ''})" if names else ""
