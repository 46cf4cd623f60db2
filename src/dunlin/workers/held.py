"""What of a backup waits on disk: the parts of huge directories until these are whole, and units not yet handed out.

Rows of one directory stand next to each other in a segment, and other directories are done meanwhile; so what has come
of a huge one is kept apart. It is dropped, and begun anew, when the directory is done once more: part 0 comes again.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Generic, Self, TypeVar, cast

from dunlin.backup.rows import Outcome
from dunlin.backup.save import Child, Saved
from dunlin.backup.scratch import on_disk
from dunlin.errors import DunlinError, ErrorKind

LIVE = 10_000
"""Units at least that wait in memory, 8 MB of them, before as many go to disk."""

T = TypeVar("T")


class Held:
    """The parts of one directory that have come (`Saved.more`).

    Args:
        folder: for a temporary file, which is there from the first part on.

    Attributes:
        count: how many.
        damage: why what one of them relies on cannot be read; None: it can.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._rows: list[int] = []
        self._folders: list[int] = []
        self.count = 0
        self.damage: DunlinError | None = None

    def add(self, part: Saved) -> None:
        """The next part; the first one drops what was there. Raises INTERNAL where one is missing."""
        if part.place == 0:
            self.close()
        self._see(part.place)
        with on_disk("keep a huge directory", self._folder):
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it lives as long as this
            for places, what in ((self._rows, part.outcome), (self._folders, part.children)):
                if what:
                    places.append(self._file.tell())
                    pickle.dump(what, self._file, pickle.HIGHEST_PROTOCOL)
        self.count += 1

    def end(self, last: Saved) -> None:
        """No more parts. Those that `last` does not go with are dropped. Raises INTERNAL where one is missing."""
        if last.error is not None or last.place == 0:
            self.close()
        else:
            self._see(last.place)

    def outcomes(self) -> Iterator[Outcome]:
        """The rows, in order."""
        for place in self._rows:
            yield cast(Outcome, self._read(place))

    def children(self) -> Iterator[Child]:
        """The directories."""
        for place in self._folders:
            yield from cast(list[Child], self._read(place))

    def close(self) -> None:
        """Drop everything, and give the disk back."""
        if self._file is not None:
            self._file.close()
        self._file, self._rows, self._folders = None, [], []
        self.count, self.damage = 0, None

    def _see(self, place: int) -> None:
        if place != self.count:
            reason = f"parts of a directory are missing: {self.count} of {place} have come"
            raise DunlinError("back up", "", ErrorKind.INTERNAL, reason)

    def _read(self, place: int) -> object:
        assert self._file is not None
        with on_disk("read a huge directory", self._folder):
            self._file.seek(place)
            return pickle.load(self._file)


class Stack(Generic[T]):
    """The last in is the first out; what lies deep lies on disk.

    `folder`: for a temporary file. `live`: items at least that are held in memory; None: `LIVE`.
    """

    def __init__(self, folder: Path, live: int | None = None) -> None:
        self._folder, self._live = folder, live or LIVE
        self._top: list[T] = []
        self._file: IO[bytes] | None = None
        self._places: list[int] = []

    def __len__(self) -> int:
        return len(self._top) + self._live * len(self._places)

    def append(self, item: T) -> None:
        """Put something on top."""
        self._top.append(item)
        if len(self._top) >= 2 * self._live:
            with on_disk("keep what waits", self._folder):
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it lives as long as this
                self._places.append(self._file.tell())
                pickle.dump(self._top[: self._live], self._file, pickle.HIGHEST_PROTOCOL)
            del self._top[: self._live]

    def __iadd__(self, items: Iterable[T]) -> Self:
        for item in items:
            self.append(item)
        return self

    def pop(self) -> T:
        """Take away what is on top. Raises IndexError where nothing is."""
        if not self._top and self._places:
            assert self._file is not None
            place = self._places.pop()
            with on_disk("read what waits", self._folder):
                self._file.seek(place)
                self._top = pickle.load(self._file)
                self._file.seek(place)
                self._file.truncate()
        return self._top.pop()

    def close(self) -> None:
        """Give the disk back."""
        if self._file is not None:
            self._file.close()
