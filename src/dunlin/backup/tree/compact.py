"""Makes one segment of several that shows the same view: of a base and its deltas, or of deltas alone.

Every backup that finds something changed adds a delta, so something has to keep a view from consisting of hundreds. A
new base costs what the whole tree costs, however little has changed. So it is written only when the deltas have grown
to a quarter of it; between, the newest deltas become one, which costs what has changed (`since`). Small ones are put
together often and large ones seldom: with nine segments at most a row is written again once for each time that what
is newer than it has grown fivefold.

Rows are copied as columns, not one by one: directories in the order in which pages speak of them, and runs in the order
in which they stand in their segments, put together where they touch. In a base with a few deltas that is a few long
pieces. A new base leaves out what nothing reaches any more (replaced runs, removed directories and all below them).
Joined deltas (`join`) say what they said together: the newest row of each directory, its newest run where any of them
has one, and what is removed, for all of this may concern older segments, which are not looked at.

Metadata pages follow the rows of a segment, so they must be rewritten in the new order: `Compacted` tells where each
entry of the new pages stood (`backup.joining` does it).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dunlin.backup.tree import columns, walk
from dunlin.backup.tree.build import SegmentInfo, SegmentWriter, empty
from dunlin.backup.tree.columns import NO_RUN, RAW, Array, Ints
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Tree

MOST_SEGMENTS = 9
"""A base, and so many deltas less one: one more, and some are joined."""

_GROWN = 4
_CHUNK = 1 << 18


class Compacted(NamedTuple):
    """What was written, and where it came from.

    `directories`: for each entry of the new pages of directories (in the order of their numbers, which is not that of
    the rows: column ``d.page``) the old one, as columns (number of the segment, number of the entry).
    `files`: pieces (number of the segment, first row, rows) whose rows are those of the new segment, in its order.
    """

    info: SegmentInfo
    directories: Ints
    files: Ints


def since(segments: Sequence[Segment]) -> int:
    """The first of the segments, oldest first, that should become one with all behind it; as many as there are: none.

    0 is a new base: deltas have a quarter as many rows as the base. Else, where there are more than 9 segments, it is
    the oldest delta that is, like each behind it, at most 4 times as large as what is newer than it.
    """
    rows = [segment.directories.rows + segment.files.rows + len(segment.removed) for segment in segments]
    if sum(rows) >= NO_RUN:
        return len(rows)  # there is no room for all of it in one
    if len(rows) > 1 and _GROWN * sum(rows[1:]) > rows[0]:
        return 0
    if len(rows) <= MOST_SEGMENTS:
        return len(rows)
    first = len(rows) - 2
    while first > 1 and rows[first - 1] <= _GROWN * sum(rows[first:]):
        first -= 1
    return first


def compact(segments: Sequence[Segment], path: str | os.PathLike[str], *, names: int = RAW) -> Compacted:
    """Write the view of `segments`, oldest first, as one segment. `names`: as in `SegmentWriter`."""
    tree = Tree(segments)
    handles, pages = _by_page(tree, walk.below(tree))
    segment, start, count = walk.places(tree, handles)
    some = count > 0
    with SegmentWriter(path, hashes=_hashes(segments), names=names) as writer:
        for at in range(0, len(handles), _CHUNK):
            part = slice(at, at + _CHUNK)
            size, check = (
                np.where(some[part], walk.take(tree, column, handles[part]), np.uint64(0))
                for column in ("size", "check")
            )
            _add_directories(writer, tree, handles[part], count[part], size, check)
        owner = walk.take(tree, "node", handles)[some]
        pieces = _add_runs(writer, tree, owner, segment[some], start[some], count[some])
        return Compacted(writer.finish(), pages, pieces)


def join(deltas: Sequence[Segment], path: str | os.PathLike[str], *, names: int = RAW) -> Compacted:
    """Write some deltas, oldest first, that follow each other, as one delta that says what they said together."""
    tree = Tree([empty(), *deltas])
    overlay = tree.overlay
    assert overlay is not None
    handles, pages = _by_page(tree, np.arange(overlay.rows))
    own = overlay.run_start[handles] >= 0  # one of no rows, too: the directory has been emptied
    with SegmentWriter(path, hashes=_hashes(deltas), names=names) as writer:
        for at in range(0, len(handles), _CHUNK):
            part = handles[at : at + _CHUNK]
            _add_directories(writer, tree, part, *(walk.take(tree, each, part) for each in ("files", "size", "check")))
        segment, start = overlay.run_segment[handles][own], overlay.run_start[handles][own]
        count = overlay.columns["files"][handles][own].astype(np.int64)
        pieces = _add_runs(writer, tree, overlay.node[handles][own], segment, start, count)
        for node in overlay.removed.tolist():
            writer.remove(node)
        info = writer.finish()
    pages[:, 0] -= 1
    pieces[:, 0] -= 1
    return Compacted(info, pages, pieces)


def _by_page(tree: Tree, handles: Ints) -> tuple[Ints, Ints]:
    """Handles in the order in which pages speak of them, with the segment, and the number, of the entry of each."""
    segment, row = walk.rows_of(tree, handles)
    found = np.stack((segment, row), axis=1)
    for number in np.unique(segment).tolist():
        mine = segment == number
        found[mine, 1] = tree.segments[number].array("d.page")[row[mine]]
    order = np.lexsort((found[:, 1], found[:, 0]))
    return handles[order], found[order]


def _hashes(segments: Sequence[Segment]) -> str:
    known = {number: name for name, number in columns.HASHES.items()}
    return known[max((segment.header.hashes for segment in segments), default=0)]


def _add_directories(writer: SegmentWriter, tree: Tree, handles: Ints, files: Array, size: Array, check: Array) -> None:
    name = walk.names_of(tree, handles)
    node, parent, fingerprint, flags = (
        walk.take(tree, column, handles) for column in ("node", "parent", "fingerprint", "flags")
    )
    writer.add_directories(
        node, parent, name.blob(), name.lengths, walk.ticks_of(tree, handles), fingerprint, flags, files, size, check
    )


def _add_runs(writer: SegmentWriter, tree: Tree, owner: Ints, segment: Ints, start: Ints, count: Ints) -> Ints:
    """Copy runs: the node of each, its segment, first row, and rows. The pieces that they were copied in."""
    order = np.lexsort((count, start, segment))  # an empty run begins where the next one does
    owner, segment, start, count = owner[order], segment[order], start[order], count[order]
    if not len(owner):
        return np.empty((0, 3), np.int64)
    # A piece ends where the next run stands elsewhere, or where it has enough rows.
    total = np.cumsum(count)
    fresh = (segment[1:] != segment[:-1]) | (start[1:] != start[:-1] + count[:-1])
    fresh |= total[1:] // _CHUNK != total[:-1] // _CHUNK
    cuts = np.concatenate(([0], np.flatnonzero(fresh) + 1, [len(owner)]))
    pieces = np.empty((len(cuts) - 1, 3), np.int64)
    pieces[:, 0], pieces[:, 1] = segment[cuts[:-1]], start[cuts[:-1]]
    pieces[:, 2] = np.add.reduceat(count, cuts[:-1])
    for (number, first, rows), begin, end in zip(pieces.tolist(), cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        files, last = tree.segments[number].files, first + rows
        arrays = [tree.segments[number].array(f"f.{name}")[first:last] for name in ("hash", "flags", "fingerprint")]
        writer.add_runs(
            owner[begin:end], count[begin:end], files.names(first, last),
            (files.lengths(first, last), files.nodes(first, last), files.sizes(first, last), files.ticks(first, last),
             *arrays),
        )  # fmt: skip
    return pieces
