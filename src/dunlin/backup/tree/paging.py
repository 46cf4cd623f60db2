"""A directory of a tree as people look at it: a page at a time, in an order of their choice, with what lies below.

Directories come first, then everything else. By name, files need no sorting: their run has that order, and a page is a
slice of it. By size or time the columns are sorted, 0.1 s for a million files, and only the rows of the page become
objects. What a directory holds altogether is summed up for all directories of a page's directory in one pass: level by
level, each directory below remembers in which of them it lies. Trees never change, so the number of a row in such an
order is a good place to go on from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dunlin.backup.tree import walk
from dunlin.backup.tree.columns import Ints, broken
from dunlin.backup.tree.view import Directory, File, Run, Tree

ORDERS = ("name", "size", "time")
"""What a directory can be sorted by."""

MOST = 2_000_000
"""Directories that are summed up at most: more take longer than somebody waits."""


class Sums(NamedTuple):
    """For each directory in a directory, by name: the directories in it, itself included, files, bytes."""

    directories: Ints
    files: Ints
    size: Ints


class Row(NamedTuple):
    """A name. `below`: of a directory its (directories, files, bytes), None where nobody summed them up."""

    node: Directory | File
    below: tuple[int, int, int] | None


class Page(NamedTuple):
    """Some rows of a directory, and how many there are: directories, and everything else."""

    rows: list[Row]
    directories: int
    files: int


def _nothing() -> None:
    return None


def children(tree: Tree, node: int) -> Ints:
    """The handles of the directories in a directory, by name."""
    handles = walk.children(tree, np.array([node], np.int64))[1]
    if tree.overlay is None or len(handles) < 2:
        return handles
    names = walk.names_of(tree, handles)
    blob = names.blob()
    text = [blob[at : at + size] for at, size in zip(names.offsets.tolist(), names.lengths.tolist(), strict=True)]
    return handles[np.array(sorted(range(len(text)), key=text.__getitem__), np.int64)]


def sums(tree: Tree, handles: Ints, look: Callable[[], object] = _nothing, most: int = MOST) -> Sums | None:
    """What lies in each of some directories and below; None where that is more than `most` directories.

    `look`: called at each level; what it raises ends the pass.
    """
    count = len(handles)
    found = Sums(*(np.zeros(count, np.int64) for _ in Sums._fields))
    there = tree.base.directories.rows + (tree.overlay.rows if tree.overlay else 0)
    label, at, seen = np.arange(count), handles, 0
    while len(at):
        look()
        seen += len(at)
        if seen > there:
            raise broken(tree.base.where, "a directory lies in itself")
        if seen > most:
            return None
        found.directories[:] += np.bincount(label, minlength=count)
        np.add.at(found.files, label, walk.take(tree, "files", at).astype(np.int64))
        np.add.at(found.size, label, walk.take(tree, "size", at).astype(np.int64))
        owner, below = walk.children(tree, walk.take(tree, "node", at))
        label, at = label[owner], below
    return found


def page(
    tree: Tree, node: int, handles: Ints, total: Sums | None, order: str, start: int, count: int, *, down: bool = False
) -> Page:
    """Some rows of a directory.

    Args:
        node: of the directory. handles: of the directories in it (`children`). total: of these.
        order: one of `ORDERS`; directories that were not summed up stay by name where it is "size".
        start, count: the rows that are wanted. down: the largest, newest, last first.
    """
    run = tree.run(node)
    end = min(start + count, len(handles) + len(run))
    rows = [
        Row(tree.row(int(handles[at])), _below(total, at))
        for at in _directories(tree, handles, total, order, down)[start:end].tolist()
    ]
    first, last = max(0, start - len(handles)), max(0, end - len(handles))
    rows += [Row(file, None) for file in _files(tree, run, order, first, last, down)]
    return Page(rows, len(handles), len(run))


def _below(total: Sums | None, at: int) -> tuple[int, int, int] | None:
    return None if total is None else (int(total.directories[at]), int(total.files[at]), int(total.size[at]))


def _directories(tree: Tree, handles: Ints, total: Sums | None, order: str, down: bool) -> Ints:
    if order == "time":
        found = np.argsort(walk.ticks_of(tree, handles), kind="stable")
    elif order == "size" and total is not None:
        found = np.argsort(total.size, kind="stable")
    else:
        found = np.arange(len(handles))
    return found[::-1] if down else found


def _files(tree: Tree, run: Run, order: str, first: int, last: int, down: bool) -> list[File]:
    if first >= last:
        return []
    if order == "name":
        begin = len(run) - last if down else first
        part = Run(tree.segments[run.segment], run.segment, run.start + begin, last - first, run.directory)
        found = list(part.files())
        return found[::-1] if down else found
    by = np.argsort(run.sizes if order == "size" else run.ticks, kind="stable")
    return [run.file(at) for at in (by[::-1] if down else by)[first:last].tolist()]
