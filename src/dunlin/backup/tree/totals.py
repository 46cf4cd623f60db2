"""Sums over trees: how many files and bytes (`du`), how large they are, how old.

Each directory row holds the number and the bytes of the files in its run, so sums touch directories only: of the whole
tree two columns from end to end, of a part the rows below it, level by level (`walk`), about 0.3 us for a directory.
Sums that hold what lies below would have to be changed on the whole way up with every file, in every delta; this
costs a `du` of a large part up to seconds, and nothing anywhere else.

Histograms look at sizes and times of the files themselves, some hundred thousand at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dunlin.backup.tree import walk
from dunlin.backup.tree.columns import Ints
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import ROOT, Tree

_CHUNK = 1 << 18
_BUCKETS = 64


class Totals(NamedTuple):
    """What lies in a tree: `files` counts everything that is no directory, `size` is the sum of their sizes in bytes.

    `directories` counts the directory itself, too.
    """

    directories: int
    files: int
    size: int


class Bucket(NamedTuple):
    """A bar of a histogram: files from `least` on, below the next bar; their number, and their bytes."""

    least: int
    files: int
    size: int


def totals(tree: Tree, node: int | None = None) -> Totals:
    """Counts and bytes below a directory; None: of the whole tree, which takes only a pass over two columns."""
    if node is not None and node != ROOT:
        return _sum(tree, walk.below(tree, node))
    files, size = tree.base.array("d.files"), tree.base.array("d.size")
    directories = tree.base.directories.rows
    found = Totals(directories, int(files.sum(dtype=np.int64)), int(size.sum()))
    if tree.overlay is None:
        return found
    gone = _sum(tree, np.flatnonzero(tree.overlay.gone))
    over = _sum(tree, np.arange(directories, directories + tree.overlay.rows))
    lost = _sum(tree, walk.lost(tree))
    return Totals(*(a - b + c - d for a, b, c, d in zip(found, gone, over, lost, strict=True)))


def _sum(tree: Tree, handles: Ints) -> Totals:
    files, size = walk.take(tree, "files", handles), walk.take(tree, "size", handles)
    return Totals(len(handles), int(files.sum(dtype=np.int64)), int(size.sum()))


def sizes(tree: Tree, node: int | None = None) -> list[Bucket]:
    """Files by size: 0, 1, 2–3, 4–7, … bytes; only bars with something in them."""
    counts, heights = np.zeros(_BUCKETS, np.int64), np.zeros(_BUCKETS, np.float64)
    for segment, rows in _rows(tree, node):
        size = segment.files.sizes_at(rows)
        # frexp gives the number of bits; it is exact below 2^53, and one too large for a few sizes above.
        bucket = np.minimum(np.frexp(size.astype(np.float64))[1], _BUCKETS - 1)
        counts += np.bincount(bucket, minlength=_BUCKETS)
        heights += np.bincount(bucket, size, minlength=_BUCKETS)
    return [Bucket(1 << at - 1 if at else 0, int(counts[at]), int(heights[at])) for at in range(_BUCKETS) if counts[at]]


def ages(tree: Tree, now: int, edges: Sequence[int], node: int | None = None) -> list[Bucket]:
    """Files by age: `edges` are seconds before `now` (ns since 1970), rising; what is younger than the first is 0.

    Files of the future count as new. `least` of a bar is its edge.
    """
    seconds = np.array(edges, np.int64)
    counts, heights = np.zeros(len(edges) + 1, np.int64), np.zeros(len(edges) + 1, np.float64)
    for segment, rows in _rows(tree, node):
        age = now // 1_000_000_000 - segment.files.seconds_at(rows)
        bucket = np.searchsorted(seconds, age, "right")
        counts += np.bincount(bucket, minlength=len(counts))
        heights += np.bincount(bucket, segment.files.sizes_at(rows), minlength=len(counts))
    return [Bucket(least, int(n), int(size)) for least, n, size in zip((0, *edges), counts, heights, strict=True)]


def _rows(tree: Tree, node: int | None) -> Iterator[tuple[Segment, Ints]]:
    """The rows of all files below a directory (None: of the whole tree), a segment and some rows at a time."""
    handles = walk.live(tree) if node is None else walk.below(tree, node)
    segment, start, count = walk.places(tree, handles)
    for number in np.unique(segment).tolist():
        mine = np.flatnonzero((segment == number) & (count > 0))
        mine = mine[np.argsort(start[mine])]
        ends = np.cumsum(count[mine])
        cuts = np.searchsorted(ends, np.arange(_CHUNK, int(ends[-1]) if len(ends) else 0, _CHUNK)) + 1
        for part in np.split(mine, np.unique(cuts)):
            if len(part):
                yield tree.segments[number], walk.ranges(start[part], count[part])
