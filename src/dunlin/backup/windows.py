"""A huge directory in windows: its names in order, and its run of the last snapshot cut at the same names.

Memory must not grow with a directory. A name with its facts is some 700 bytes as an object, a row with its page entry
about 250 packed, and both were there for all names of a directory at once. So one with more than `HUGE` names, now or
in the last snapshot, is done in windows:

* Its listing is sorted on disk (`compare.listing`, as a sync does it) and read back `WINDOW` names at a time. It has
  ended without an error before the first window is looked at, so half a listing is never taken for all of it.
* Both sides are in the order of their names, so what the last snapshot has of the names of a window stands together:
  the rows from the end of the window before, up to the last name of this one. Where that is more than two windows
  (names were taken away by the thousand), this window is cut instead. So neither side of a `Cut` is long, all names
  are in one of them, and what was removed is told from what is there within each.
* What became of a cut is sent back before the next one is looked at, as a *part* (`save.Saved.more`), and waits on
  disk until the directory is whole (`workers.held`): rows of one directory stand next to each other in a segment, and
  other directories are done meanwhile.

A directory that is as it was is known to be so only at its end. Until the first difference nothing is sent: rows that
were equal so far are taken out of the old run when they are wanted, not out of the listing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from dunlin.backup.pages import Part
from dunlin.backup.rows import Kept, Listed, Outcome
from dunlin.backup.scratch import on_disk
from dunlin.backup.tree.view import Run
from dunlin.model import is_directory

if TYPE_CHECKING:
    from dunlin.compare.listing import Side

HUGE = 20_000
"""Names of a directory that are held as objects, 14 MB of them in each mover; from there on it is done in windows."""

WINDOW = 4096
"""Names of a window: as many as a metadata page has entries, and a part of about 1 MB."""

NOTHING = Outcome((b"",) * 8, [], {}, [])
"""No rows."""


class Cut(NamedTuple):
    """Names of a directory that follow each other: directories among them, all others, and what they were before."""

    folders: Sequence[Listed]
    others: list[Listed]
    old: Run | None


def in_order(batches: Iterable[Sequence[Listed]], folder: str | None) -> Iterator[list[Listed]]:
    """The names of a directory, sorted by their bytes, a window at a time.

    Args:
        batches: them in any order; used up before this returns. folder: where they are spilled, as `Side` has it.

    Raises what the batches raise, and what writing a file may, which ends a run.
    """
    from dunlin.compare.listing import Side  # only a huge directory needs it

    with on_disk("sort the names of a directory", folder or ""):
        named = ([(each.name, (*each.facts, each.print)) for each in batch] for batch in batches)
        side = Side(named, run=HUGE, folder=folder)
        side.start()
    return _windows(side, folder)


def _windows(side: Side, folder: str | None) -> Iterator[list[Listed]]:
    last = b""
    while True:
        with on_disk("sort the names of a directory", folder or ""):
            run = side.cut(None)
        if not run:
            return
        for at in range(0, len(run), WINDOW):
            window = []
            for key, name, facts in run[at : at + WINDOW]:
                if key != last:  # while names come and go, a file system may list one twice
                    window.append(Listed(key[:-1] if is_directory(facts) else key, name, facts[:-1], facts[-1]))
                last = key
            yield window


def cuts(windows: Iterable[list[Listed]], run: Run | None) -> Iterator[Cut]:
    """Windows of names, and the run of the last snapshot (None: there is none), cut at the same names; see above."""
    at, most = 0, 2 * WINDOW
    for window in windows:
        folders = [each for each in window if is_directory(each.facts)]
        others = [each for each in window if not is_directory(each.facts)] if folders else window
        if run is None or not others:
            yield Cut(folders, others, run.part(at, at) if run is not None else None)
            continue
        while run.count - at > most and run.name(at + most - 1) < others[-1].key:
            here = bisect_right(others, run.name(at + most - 1), key=itemgetter(0))
            yield Cut((), others[:here], run.part(at, at + most))
            others, at = others[here:], at + most
        end = bisect_right(range(run.count), others[-1].key, at, min(at + most, run.count), key=run.name)
        yield Cut(folders, others, run.part(at, end))
        at = end
    while run is not None and at < run.count:
        yield Cut((), [], run.part(at, at := min(at + most, run.count)))


def kept(run: Run) -> Outcome:
    """The rows of a run that go on as they were."""
    columns = (run.lengths, run.nodes, run.sizes, run.ticks, run.hashes, run.flags, run.fingerprints)
    parts: list[Kept | tuple[int, Part]] = [Kept(run.segment, run.start, run.count)] if run.count else []
    return Outcome((run.names, *(column.tobytes() for column in columns)), parts, {}, [])


def all_kept(run: Run, count: int) -> Iterator[Outcome]:
    """The first `count` rows of a run, as they were, a window at a time."""
    return (kept(run.part(at, min(at + WINDOW, count))) for at in range(0, count, WINDOW))
