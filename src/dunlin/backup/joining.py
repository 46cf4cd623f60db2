"""Several tree segments with their metadata pages as one: what `tree.compact` does for rows, done for both.

The pages of the new segment are those of the old ones, cut into pieces and put together in the order of its rows. They
are read and written a page at a time, whatever their number.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dunlin.backup.pages import Page, PagesReader, PagesWriter, Part
from dunlin.backup.repository import Area
from dunlin.backup.tree.columns import Ints
from dunlin.backup.tree.compact import compact, join
from dunlin.backup.tree.segment import Segment
from dunlin.backup.words import new_id
from dunlin.errors import DunlinError, ErrorKind


class Written(NamedTuple):
    """A segment that is not stored yet: its id, directories and files in it, the file of it, and that of its pages."""

    id: str
    rows: int
    segment: Path
    pages: Path


def joined(
    area: Area, segments: Sequence[Segment], pages: Sequence[Callable[[], PagesReader]], folder: Path, *, base: bool
) -> Written:
    """Write segments that follow each other as one.

    Args:
        area: of the share whose they are.
        segments: oldest first; pages: those of each.
        folder: where both files are written.
        base: the first one is the base of the tree; else all are deltas, and so is what they become.

    Raises CORRUPT where pages are damaged, NOT_FOUND where they are gone, and what reading a store raises.
    """
    number = new_id()
    path, beside = folder / number, folder / f"{number}.pages"
    made = (compact if base else join)(segments, path)
    with open(beside, "wb") as file:
        writer = PagesWriter(area.codec(f"{area.root}/tree/{number}.pages"), file.write, folder)
        try:
            for which, first, count in _pieces(made.directories):
                for many, part in _parts(pages[which]().directory, first, count):
                    writer.add_directories(many, part)
            for which, first, count in made.files.tolist():
                for many, part in _parts(pages[which]().file, first, count):
                    writer.add_files(many, part)
            writer.finish(Segment.open(path, check=False))
        finally:
            writer.close()
    return Written(number, made.info.directories + made.info.files, path, beside)


def written_pages(area: Area, made: Written) -> PagesReader:
    """The pages of a segment that is not stored yet."""
    with open(made.pages, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    codec = area.codec(f"{area.root}/tree/{made.id}.pages")
    return PagesReader(codec, lambda start, length: data[start : start + length], len(data))


def _pieces(entries: Ints) -> Iterator[list[int]]:
    """Entries, as (segment, number), as pieces of those that follow each other: (segment, first, how many)."""
    if not len(entries):
        return
    steps = np.diff(entries, axis=0)
    cuts = np.flatnonzero((steps[:, 0] != 0) | (steps[:, 1] != 1)) + 1
    begins = np.concatenate(([0], cuts))
    counts = np.diff(np.append(begins, len(entries)))
    yield from np.column_stack((entries[begins], counts)).tolist()


def _parts(entry: Callable[[int], tuple[Page, int]], row: int, count: int) -> Iterator[tuple[int, Part]]:
    while count:
        page, at = entry(row)
        here = min(count, page.count - at)
        if here <= 0:
            reason = f"there is no entry for row {row}"
            raise DunlinError("read the metadata pages", "", ErrorKind.CORRUPT, reason)
        yield here, page.part(at, at + here)
        row, count = row + here, count - here
