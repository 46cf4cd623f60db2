"""What a run put on record of the files that went well: some of them by name, all of them by number.

A run may copy 50,000 files a second, and nobody reads so many lines. So of each span between two writings `MOST` files
that were copied or deleted are kept by name, and one line says how many more there were ("and 1,234 more"). Nothing is
done per file: an outcome is asked how many it holds, and only the first few of a span give the names of their last
files.

Failures and retries are events of their own (`workers.telling`), which have a bound of their own.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from dunlin.model import join
from dunlin.transfer.outcome import Outcome

MOST = 10
"""Files that are named between two writings: five a second, when they are two seconds apart."""


class Done(NamedTuple):
    """One row: `name` of the event, path ("" for many), bytes, and how many files it is about."""

    name: str
    path: str
    size: int | None
    number: int = 1


class Activity:
    """Takes in outcomes, gives rows."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._named: deque[Done] = deque(maxlen=most)
        self._files = self._bytes = self._deleted = 0
        self._open = most  # outcomes that may still give names; the later ones are only counted

    def take(self, directory: str, outcome: Outcome) -> None:
        """Take in what became of one unit."""
        count = outcome.counts.get  # a Counter's own way of saying 0 is slow
        copied, deleted = count("copied_files", 0), count("deleted_files", 0)
        if not (copied or deleted):
            return
        self._files += copied
        self._bytes += count("copied_bytes", 0)
        self._deleted += deleted
        if self._open <= 0:
            return
        self._open -= 1
        for row in outcome.copied[-self._most :]:
            self._named.append(Done("file.copied", join(directory, row[0]), row[1]))
        if deleted:
            told = [fields["path"] for _, name, _, fields in outcome.news if name == "file.deleted"]
            for path in told[-self._most :]:
                self._named.append(Done("file.deleted", str(path), None))

    def give(self) -> list[Done]:
        """The rows since the last call, oldest first, and begin anew."""
        rows = list(self._named)
        copied = [row for row in rows if row.name == "file.copied"]
        files, deleted = self._files - len(copied), self._deleted - (len(rows) - len(copied))
        size = self._bytes - sum(row.size or 0 for row in copied)
        more = [Done("files.more", "", max(0, size), files)] if files > 0 else []
        if deleted > 0:
            more.append(Done("files.more_deleted", "", None, deleted))
        self._named.clear()
        self._files = self._bytes = self._deleted = 0
        self._open = self._most
        return more + rows
