"""Many directories of a view at once: their columns, names, children, everything below.

Questions about whole trees go level by level: all directories of one depth are one array of handles, their children
the next. A level is a few array operations, so a million directories take a second and no object each. Children of a
directory are found by its node id in the column of parents, which is sorted; those of the overlay likewise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dunlin.backup.tree import names
from dunlin.backup.tree.build import gathered
from dunlin.backup.tree.columns import NO_RUN, SLACK, Array, Bytes, Ints, Words, broken
from dunlin.backup.tree.view import ROOT, Tree


class Names(NamedTuple):
    """Names of some directories, one behind the other."""

    heap: Bytes
    offsets: Ints
    lengths: Ints

    def blob(self) -> bytes:
        """Without the slack."""
        return self.heap[:-SLACK].tobytes()

    def hashes(self, seed: int) -> Words:
        """A 64-bit number for each."""
        return names.hashes(self.heap, self.offsets, self.lengths, seed)


def ranges(starts: Array, counts: Array) -> Ints:
    """start, start + 1, … (count of them) for each pair, one behind the other."""
    ends = np.cumsum(counts)
    found = np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64)
    found += np.repeat(starts - (ends - counts), counts)
    return found


def take(tree: Tree, name: str, handles: Ints) -> Array:
    """A column of directories (without its ``d.``) for some handles."""
    base = tree.base.array(f"d.{name}")
    overlay = tree.overlay
    if overlay is None:
        return np.asarray(base[handles])
    rows = tree.base.directories.rows
    under = handles < rows
    found = np.empty(len(handles), base.dtype)
    found[under] = base[handles[under]]
    found[~under] = overlay.columns[name][handles[~under] - rows]
    return found


def rows_of(tree: Tree, handles: Ints) -> tuple[Ints, Ints]:
    """Segment and row of each handle."""
    overlay = tree.overlay
    if overlay is None:
        return np.zeros(len(handles), np.int64), handles
    rows = tree.base.directories.rows
    over = handles >= rows
    segment, row = np.zeros(len(handles), np.int64), handles.copy()
    segment[over], row[over] = overlay.segment[handles[over] - rows], overlay.row[handles[over] - rows]
    return segment, row


def ticks_of(tree: Tree, handles: Ints) -> Ints:
    """Times of directories, ticks since 1970."""
    segment, row = rows_of(tree, handles)
    found = np.empty(len(handles), np.int64)
    for number in np.unique(segment).tolist():
        mine = segment == number
        found[mine] = tree.segments[number].directories.ticks_at(row[mine])
    return found


def places(tree: Tree, handles: Ints) -> tuple[Ints, Ints, Ints]:
    """Segment, first row and rows of the run of each directory."""
    base = tree.base.array("d.start")
    counts = take(tree, "files", handles).astype(np.int64)
    rows = tree.base.directories.rows
    under = handles < rows
    segment, start = np.zeros(len(handles), np.int64), np.full(len(handles), -1, np.int64)
    begin = base[handles[under]].astype(np.int64)
    start[under] = np.where(begin == NO_RUN, -1, begin)
    if tree.overlay is not None:
        over = handles[~under] - rows
        segment[~under], start[~under] = tree.overlay.run_segment[over], tree.overlay.run_start[over]
    counts[start < 0] = 0
    return segment, np.maximum(start, 0), counts


def names_of(tree: Tree, handles: Ints) -> Names:
    """The names of some directories in a heap of their own."""
    heap, offsets, lengths = tree.base.directories.places()
    rows, overlay = tree.base.directories.rows, tree.overlay
    if overlay is None:
        return _gather(heap, offsets[handles].astype(np.int64), lengths[handles].astype(np.int64))
    under = handles < rows
    inside, over = handles[under], handles[~under] - rows
    one = _gather(heap, offsets[inside].astype(np.int64), lengths[inside].astype(np.int64))
    two = _gather(overlay.heap, overlay.offsets[over], overlay.lengths[over])
    begin, size = np.empty(len(handles), np.int64), np.empty(len(handles), np.int64)
    begin[under], size[under] = one.offsets, one.lengths
    begin[~under], size[~under] = two.offsets + len(one.heap) - SLACK, two.lengths
    both = np.concatenate((one.heap[:-SLACK], two.heap))
    return _gather(both, begin, size) if len(over) else Names(both, begin, size)


def _gather(heap: Bytes, offsets: Ints, lengths: Ints) -> Names:
    parts = [*gathered(heap, offsets, lengths), np.zeros(SLACK, np.uint8)]
    return Names(np.concatenate(parts), names.starts(lengths)[:-1], lengths)


def children(tree: Tree, nodes: Ints) -> tuple[Ints, Ints]:
    """The directories in each of `nodes`: the number of the parent among `nodes`, and the child's handle.

    Sorted by parent and, where there are no deltas, by name.
    """
    owner, found = _below(tree.base.array("d.parent"), nodes)
    overlay = tree.overlay
    if overlay is None:
        return owner, found
    kept = ~overlay.gone[found]
    other, more = _below(overlay.parent, nodes)
    owner = np.concatenate((owner[kept], other))
    found = np.concatenate((found[kept], more + tree.base.directories.rows))
    order = np.argsort(owner, kind="stable")
    return owner[order], found[order]


def _below(parents: Ints, nodes: Ints) -> tuple[Ints, Ints]:
    first = parents.searchsorted(nodes)
    counts = parents.searchsorted(nodes, "right") - first
    return np.repeat(np.arange(len(nodes)), counts), ranges(first, counts)


def levels(tree: Tree, handles: Ints, without: Ints | None = None) -> Iterator[Ints]:
    """`handles`, the directories in these, and so on down to the deepest. Raises CORRUPT where one lies in itself.

    `without`: nodes, sorted, that are left out with all that is below them.
    """
    seen, most = 0, tree.base.directories.rows + (tree.overlay.rows if tree.overlay else 0)
    while len(handles):
        seen += len(handles)
        if seen > most:
            raise broken(tree.base.where, "a directory lies in itself")
        yield handles
        handles = children(tree, take(tree, "node", handles))[1]
        if without is not None:
            handles = handles[~np.isin(take(tree, "node", handles), without)]


def below(tree: Tree, node: int = ROOT) -> Ints:
    """The handles of a directory and all directories below it; none if it is not there."""
    handle = tree.handle(node)
    if handle < 0:
        return np.empty(0, np.int64)
    return np.concatenate(list(levels(tree, np.array([handle], np.int64))))


def lost(tree: Tree) -> Ints:
    """The handles of what lies below removed directories: rows that no delta mentions and no path reaches."""
    if tree.overlay is None or not len(tree.overlay.removed):
        return np.empty(0, np.int64)
    first = children(tree, tree.overlay.removed)[1]
    return np.concatenate([np.empty(0, np.int64), *levels(tree, first)])


def live(tree: Tree) -> Ints:
    """The handles of all directories that can be reached, in the order of their handles."""
    rows = tree.base.directories.rows
    overlay = tree.overlay
    if overlay is None:
        return np.arange(rows, dtype=np.int64)
    there = np.concatenate((~overlay.gone, np.ones(overlay.rows, bool)))
    there[lost(tree)] = False
    return np.flatnonzero(there)
