"""Which files a run wrote: their sizes, the largest of them, and the directories they are in.

Nothing is counted by directory or by size while a run works: it would cost every file something, for a page that few
people open. The rows of files are on record anyway, so the question is how to find those of one run among a hundred
million without reading all of them.

    directories   `directory.written` says when a file in it was last written, and has an index: the directories that
                  the run wrote to are an index range, however large the rest of the tree is
    rows          in each of them those with `file.run` = the run that are synced; one grouped query per directory,
                  a second one where some of them may be among the largest
    bounds        at most `DIRECTORIES` directories and `ROWS` rows are read, a second or two. Where there are more,
                  every n-th directory by number is taken, in an order that has nothing to do with where they lie, so
                  that stopping at any point leaves a fair sample. `Survey.whole` says whether it is one.

What it cannot tell: a row knows only the run that set it last, so what a later run wrote again counts for that one.
A file that was found equal has the same row as one that was copied when another file of its directory was. It is told
by its time: what a unit copied is put on record first, with the time that becomes `directory.written`, what it found
equal after that. In a directory that took several units only what the last of them found equal can be told.

The small questions of a history stand here as well: failures, orders, how long the listing took.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from dunlin.model import join
from dunlin.state.codec import decode_name
from dunlin.state.files import Failed, to_failed_directory
from dunlin.state.runs import Run
from dunlin.state.store import State

BANDS = (1, 1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 24, 1 << 27, 1 << 30)
"""Bytes at which a band of sizes ends, its end not included; a last band has no end. The statement has them too."""

DIRECTORIES = 50_000
ROWS = 5_000_000
COUNTED = 20_000_000
"""Directories that are counted at most: an index entry each."""

TOP = 12
_SPREAD, _MASK = 2654435761, 0xFFFFFFFF


class Band(NamedTuple):
    """Files of sizes from `begin` up to `end` bytes (None: no end)."""

    begin: int
    end: int | None
    files: int
    bytes: int


class Place(NamedTuple):
    """A file or a directory: its path (or what it begins with), and what is in it."""

    path: str
    files: int
    bytes: int


class Survey(NamedTuple):
    """What was found of a run.

    Attributes:
        files, bytes: that were looked at and are the run's. bands: by size. largest: files, the largest first.
        directories: those with the most bytes in themselves. areas: the tops of the tree with all that is below
            them; `rest` are those that have no line there.
        looked, total: directories that were looked into, and that the run wrote to (`COUNTED` at most).
        whole: nothing was left out.
    """

    files: int = 0
    bytes: int = 0
    bands: tuple[Band, ...] = ()
    largest: tuple[Place, ...] = ()
    directories: tuple[Place, ...] = ()
    areas: tuple[Place, ...] = ()
    rest: Place = Place("", 0, 0)
    looked: int = 0
    total: int = 0
    whole: bool = True


def survey(state: State, run: Run, directories: int = DIRECTORIES, rows: int = ROWS) -> Survey:
    """Look at what `run` wrote; see the module docstring for what that is.

    Args:
        directories, rows: how many are read at most.
    """
    database, sql = state.database, state.statements
    since = max(1, run.started)
    total = database.value(sql["survey_count"], (run.pair, since, COUNTED))
    if not total:
        return Survey()
    step = max(1, -(-total // directories))
    found = database.query(sql["survey_directories"], (run.pair, since, step, directories))
    # They come as they were written; stopping early must not mean "the first half of the run".
    found.sort(key=lambda row: row[0] * _SPREAD & _MASK)
    gathered = _Gathered()
    looked = 0
    for number, stored, written in found:
        if rows <= 0:
            break
        path = decode_name(stored)
        bands = database.query(sql["survey_files"], (number, run.id, rows, written))
        ours = [row for row in bands if row[0] >= 0]
        if gathered.wants(max((row[3] for row in ours), default=-1)):
            for name, size in database.query(sql["survey_largest"], (number, run.id, rows, written, TOP)):
                gathered.file(join(path, decode_name(name)), size)
        gathered.add(path, ours)
        rows -= sum(row[1] for row in bands)
        looked += 1
    return gathered.result(looked, total, looked == total and rows > 0)


def crawl_span(state: State, run: int) -> tuple[int, int] | None:
    """When the listing was first sampled, and when it had found its last directory, ns; None: no samples."""
    first, last = state.database.one(state.statements["crawl_span"], (run,))
    return None if first is None else (first, last)


def failed_count(state: State, run: int) -> int:
    """How many files failed in the run and were not tried again since; reads an index entry for each."""
    return int(state.database.value(state.statements["failed_count"], (run,)))


def failed_directories(state: State, run: int, limit: int) -> list[Failed]:
    """Directories that the run could not list or make, and that no later one has looked at."""
    rows = state.database.query(state.statements["failed_directories_of_run"], (run, limit))
    return [to_failed_directory(row) for row in rows]


def orders_of(state: State, run: int, limit: int) -> list[tuple[int, int, str, str]]:
    """The last orders that were given to a run: (id, time in ns, verb, argument), oldest first."""
    rows: list[tuple[int, int, str, str]] = state.database.query(state.statements["control_of"], (run, limit))
    return rows[::-1]


def pauses_of(state: State, run: int, limit: int) -> list[tuple[int, str]]:
    """When the run took its orders to pause and to resume: (time in ns, verb), the first ones, oldest first."""
    rows: list[tuple[int, str]] = state.database.query(state.statements["control_pauses"], (run, limit))
    return rows


class _Gathered:
    """Sums over directories. What grows is one entry per top of the tree, bounded by the directories looked into."""

    def __init__(self) -> None:
        self._files: Counter[int] = Counter()
        self._bytes: Counter[int] = Counter()
        self._largest: list[tuple[int, str]] = []
        self._directories: list[tuple[int, int, str]] = []
        self._tops: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})

    def wants(self, size: int) -> bool:
        """Whether a file of this size would be among the largest."""
        return size >= 0 and (len(self._largest) < TOP or size > self._largest[0][0])

    def file(self, path: str, size: int) -> None:
        """Show it a file that may be one of the largest."""
        _keep(self._largest, (size, path))

    def add(self, path: str, bands: list[tuple[int, int, int, int]]) -> None:
        """Add a directory with its (band, files, bytes, largest size)."""
        files = size = 0
        for band, count, total, _ in bands:
            self._files[band] += count
            self._bytes[band] += total
            files, size = files + count, size + total
        if not files:
            return
        _keep(self._directories, (size, files, path))
        for level, top in zip(self._tops, _tops_of(path), strict=True):
            sums = level.setdefault(top, [0, 0])
            sums[0] += files
            sums[1] += size

    def result(self, looked: int, total: int, whole: bool) -> Survey:
        """All of it."""
        bands = tuple(
            Band(begin, end, self._files[at], self._bytes[at])
            for at, (begin, end) in enumerate(zip((0, *BANDS), (*BANDS, None), strict=True))
        )
        first, second = self._tops
        # One top that holds everything tells nothing.
        tops = second if len(first) < 2 and len(second) > len(first) else first
        ordered = sorted(((sums[1], sums[0], path) for path, sums in tops.items()), reverse=True)
        rest = ordered[TOP:]
        return Survey(
            sum(self._files.values()),
            sum(self._bytes.values()),
            bands,
            tuple(Place(path, 1, size) for size, path in sorted(self._largest, reverse=True)),
            tuple(Place(path, files, size) for size, files, path in sorted(self._directories, reverse=True)),
            tuple(Place(path, files, size) for size, files, path in ordered[:TOP]),
            Place("", sum(row[1] for row in rest), sum(row[0] for row in rest)),
            looked,
            total,
            whole,
        )


def _tops_of(path: str) -> Iterator[str]:
    """The first one, and the first two names of a path: "" for what lies in the root, the top for what lies in it."""
    first, _, rest = path.partition("/")
    yield first
    yield f"{first}/{rest.partition('/')[0]}" if rest else first


def _keep(heap: list[Any], item: tuple[Any, ...]) -> None:
    if len(heap) < TOP:
        heapq.heappush(heap, item)
    else:
        heapq.heappushpop(heap, item)
