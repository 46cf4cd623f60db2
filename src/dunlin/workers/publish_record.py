"""Whether what a worker told of a unit of a publish job stands in the ledger: before that no file of it is deleted.

Theory. A worker tells the queue what became of files, and whoever has the publisher's office puts that into the ledger
a moment later. In between the queue alone knows of an upload, and a queue may forget: it is emptied by hand, or its
server comes back from an older copy. A file that were deleted then would look lost to everybody. So a worker that wants
to delete puts a *mark* on what it tells. The publisher writes the mark on the queue's board when the ledger has taken
what was told with it, and not where the ledger refused it (the job was called off, the unit is another worker's).
The worker reads the board.

A mark is 8 bytes of chance, drawn for each doing of a unit, and the number of the telling: a mark of another doing, or
of one that the queue has handed out in a time that it forgot, says nothing. Each telling has all that is known of the
unit so far, so a later mark covers the earlier ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable

CHANCE = 8
LASTS = 3600.0
"""Seconds that a mark stands on the board: longer than any worker waits for it."""


def record_name(job: str, unit: int) -> str:
    """Where on the board the last mark of a unit stands that is on record."""
    return f"published/{job}/{unit}"


class Record:
    """What is on record of one doing of a unit.

    Args:
        read: reads the board.
    """

    def __init__(self, job: str, unit: int, read: Callable[[str], bytes | None]) -> None:
        self._name = record_name(job, unit)
        self._read = read
        self._chance = os.urandom(CHANCE)
        self._known = 0
        self.told = 0

    def mark(self) -> bytes:
        """The mark of the next telling, whose number is `told` then."""
        self.told += 1
        return self._chance + self.told.to_bytes(4, "big")

    def has(self, number: int) -> bool:
        """Whether the telling of that number is on record. Raises what the queue raises."""
        if self._known < number:
            mark = self._read(self._name) or b""
            if mark[:CHANCE] == self._chance:
                self._known = int.from_bytes(mark[CHANCE:], "big")
        return self._known >= number
