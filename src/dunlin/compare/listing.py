"""One side of a merge: a listing in windows, in order, in bounded memory.

A directory of up to `RUN` names is one window and needs no order at all: the merge compares two
dictionaries. Only when a second batch arrives must both sides be in order, so that they can be
cut at the same keys. A store whose order is not proven is then sorted here: each batch is a sorted
run, runs are spilled to an unnamed temporary file with all their facts (so that nothing is fetched
again), and merged from there, a slice of each in memory. A store whose order is proven streams
through, checked as it goes; `OrderError` tells the caller to list again and sort.

A million names spilled this way take about 150 MB of disk and, at `RUN` = 50,000, 30 MB of memory;
as live tuples they took 500 MB. Where the window of the crawl is small, runs are shorter (`pace.window`), and there may
be more of them than slices fit into memory: then so many at a time are merged into longer ones first, each pass over
the names at the cost of as much disk again.

A side tells how many names it has in memory to whoever keeps count of them (`Holds`): a batch when it is read, less
when it was spilled or the caller is through with it.
"""

from __future__ import annotations

import heapq
import marshal
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import IO, NamedTuple, Protocol

from dunlin.model import DIRECTORY_BITS, MODE, TYPE_BITS, Collate, Facts, sort_key

RUN = 50_000
"""Names held in memory per run of one side."""

SLICE = 250
"""Names per slice in which a spilled run is read back: with 200 runs (10 million names) one run's worth."""

LEAST_SLICE = 25

Named = tuple[str, Facts]
Keyed = tuple[bytes, str, Facts]


class OrderError(Exception):
    """A listing that was promised to be in order was not; the directory must be listed again and sorted."""


class Holds(Protocol):
    """Keeps count of names in memory: `pace.window.Slot`."""

    def hold(self, n: int) -> None:
        """So many more."""

    def let_go(self, n: int) -> None:
        """So many fewer."""


class Side:
    """The windows of one side.

    Args:
        listing: batches of (name, facts); None for a side that does not exist.
        proven: whether the store promises the order of `model.sort_key`.
        collate: the pair's idea of equal names; None for the identity.
        run: names per run.
        holds: is told how many names are in memory; None: nobody counts.
        folder: where runs are spilled; None: where the system has temporary files.
    """

    def __init__(
        self,
        listing: Iterator[list[Named]] | None,
        *,
        proven: bool = False,
        collate: Collate | None = None,
        run: int = RUN,
        holds: Holds | None = None,
        folder: str | None = None,
    ) -> None:
        self._holds = holds
        self._folder = folder
        self._taken = 0
        self._batches = _split(listing if listing is not None else iter(()), run, holds)
        self.proven = proven and collate is None
        self._collate = collate
        self._run = run
        self._stream: Iterator[list[Keyed]] | None = None
        self._window: list[Keyed] = []
        self.first: list[Named] = next(self._batches, [])
        self._second: list[Named] = next(self._batches, [])

    def gather(self) -> None:
        """Take in up to a whole run of names: a listing that is not longer becomes `single`."""
        while self._second and len(self.first) + len(self._second) <= self._run:
            self.first = self.first + self._second
            self._second = next(self._batches, [])

    @property
    def empty(self) -> bool:
        """Whether there is no name at all."""
        return not self.first

    @property
    def single(self) -> bool:
        """Whether everything is in `first`: the listing has ended and no order is needed."""
        return not self._second

    def start(self) -> None:
        """Go over to ordered windows; `cut` works from here on."""
        if self.single:
            self._stream = iter((self._keyed(self.first),))
            self.first = []
        elif self.proven:
            self._stream = _whole(self._checked())
        else:
            self._stream = _whole(self._sorted())
        self._refill()

    def boundary(self) -> bytes | None:
        """The last key that is in memory, or None when nothing more will come."""
        return self._window[-1][0] if self._window else None

    def cut(self, boundary: bytes | None) -> list[Keyed]:
        """Take everything up to and including `boundary` (None: everything in memory) out of the window."""
        at = len(self._window) if boundary is None else bisect_right(self._window, boundary, key=lambda k: k[0])
        taken, self._window = self._window[:at], self._window[at:]
        self._let_go(self._taken)  # who comes back is through with what it had before
        self._taken = len(taken)
        if not self._window:
            self._refill()
        return taken

    def _let_go(self, n: int) -> None:
        if self._holds is not None and n:
            self._holds.let_go(n)

    def _refill(self) -> None:
        assert self._stream is not None
        self._window = next(self._stream, [])

    def _keyed(self, batch: list[Named]) -> list[Keyed]:
        collate = self._collate
        keyed = [
            (sort_key(collate(name) if collate else name, what[MODE] & TYPE_BITS == DIRECTORY_BITS), name, what)
            for name, what in batch
        ]
        keyed.sort(key=lambda k: k[0])
        return keyed

    def batches(self) -> Iterator[list[Named]]:
        """The listing as it came, batch by batch; instead of `start` and `cut`. Who reads has two of them at a time."""
        before = 0
        for batch in self._rest():
            yield batch
            self._let_go(before)
            before = len(batch)

    def _rest(self) -> Iterator[list[Named]]:
        first, second = self.first, self._second
        self.first = self._second = []
        if first:
            yield first
        if second:
            yield second
        yield from self._batches

    def drain(self) -> Iterator[None]:
        """Go on to the end of the listing, whose names are of no use any more, a step for each batch or window."""
        if self._stream is None:
            for _ in self.batches():
                yield
            return
        for window in self._stream:
            self._let_go(len(window))
            yield

    def _checked(self) -> Iterator[list[Keyed]]:
        previous = b""
        for batch in _regroup(self._rest(), self._run):
            keyed = [(sort_key(name, what[MODE] & TYPE_BITS == DIRECTORY_BITS), name, what) for name, what in batch]
            for key, name, _ in keyed:
                if key < previous:
                    raise OrderError(name)
                previous = key
            yield keyed

    def _sorted(self) -> Iterator[list[Keyed]]:
        import tempfile

        size = max(LEAST_SLICE, min(SLICE, self._run // 200))
        most = max(2, self._run // size)
        with tempfile.TemporaryFile(prefix="dunlin-sort-", dir=self._folder) as file:
            runs = []
            for batch in _regroup(self._rest(), self._run):
                runs.append(_spill(file, iter(self._keyed(batch)), size))
                self._let_go(len(batch))
            while len(runs) > most:
                runs = [_spill(file, _merged(file, runs[at : at + most]), size) for at in range(0, len(runs), most)]
            for window in _windows(_merged(file, runs), self._run):
                if self._holds is not None:
                    self._holds.hold(len(window))
                yield window


def _split(listing: Iterator[list[Named]], run: int, holds: Holds | None) -> Iterator[list[Named]]:
    """The batches of a store, none empty and none longer than `run`."""
    for batch in listing:
        if holds is not None:
            holds.hold(len(batch))
        for at in range(0, len(batch), run):
            yield batch[at : at + run] if len(batch) > run else batch


def _regroup(listing: Iterator[list[Named]], run: int) -> Iterator[list[Named]]:
    """Batches of exactly `run` names (the last may be smaller), whatever the store's batches are."""
    held: list[Named] = []
    for batch in listing:
        held = held + batch if held else batch
        while len(held) > run:
            yield held[:run]
            held = held[run:]
    if held:
        yield held


def _whole(windows: Iterator[list[Keyed]]) -> Iterator[list[Keyed]]:
    """The same names in windows that never part two of one key: a clash, or a name that was listed twice."""
    held: list[Keyed] = []
    for window in windows:
        window = held + window
        at = bisect_left(window, window[-1][0], key=lambda k: k[0])
        held = window[at:]
        if at:
            yield window[:at]
    if held:
        yield held


def _windows(names: Iterator[Keyed], run: int) -> Iterator[list[Keyed]]:
    window: list[Keyed] = []
    for keyed in names:
        window.append(keyed)
        if len(window) >= run:
            yield window
            window = []
    if window:
        yield window


class _Run(NamedTuple):
    """A sorted run in the file: where it begins, and the bytes of each slice."""

    start: int
    lengths: array[int]


def _spill(spill: IO[bytes], keyed: Iterator[Keyed], size: int) -> _Run:
    """Append a sorted run in slices of `size` names."""
    start = end = spill.seek(0, 2)
    lengths = array("I")
    while slice := list(islice(keyed, size)):
        data = marshal.dumps(slice)
        spill.seek(end)  # it is read from meanwhile, where runs are merged
        spill.write(data)
        lengths.append(len(data))
        end += len(data)
    return _Run(start, lengths)


def _merged(spill: IO[bytes], runs: list[_Run]) -> Iterator[Keyed]:
    return heapq.merge(*(_unspill(spill, run) for run in runs), key=lambda k: k[0])


def _unspill(spill: IO[bytes], run: _Run) -> Iterator[Keyed]:
    at = run.start
    for length in run.lengths:
        spill.seek(at)
        yield from marshal.loads(spill.read(length))
        at += length
