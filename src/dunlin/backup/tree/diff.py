"""What changed between two views: directories side by side, level by level; names only where something differs.

Two views of one share usually have most of their rows in the same base segment, but nothing here depends on it: two
trees are compared by names, as a person would, so they may come from different repositories and number their nodes
differently.

A level is two arrays of directories that correspond to each other. For each pair three things can differ:

* the runs: not where `check` and number of files agree (see `build`); else name by name,
* the directories themselves: their stat fingerprint,
* which directories lie in them. All children of the level get a number made of parent and name, on both sides; equal
  numbers are the pairs of the next level (their names are compared, too: an accident costs another pass with
  other numbers, never a wrong answer), the others were added or removed.

Nothing is made per directory but numbers, so 1.5 million equal pairs take a second. Changes come level by level, not
in order of their paths. A moved directory is told as removed and added: its node id says that it is the same.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dunlin.backup.tree import names, walk
from dunlin.backup.tree.columns import KIND, NO_CONTENT, Ints
from dunlin.backup.tree.find import Paths
from dunlin.backup.tree.view import ROOT, Directory, File, Run, Tree


class What(enum.Enum):
    """How a name differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    """Another kind, size, content, or (where the content was not read) time or fingerprint."""
    METADATA = "metadata"
    """The content is the same; time, mode, owner or another property is not."""


class Change(NamedTuple):
    """One difference: `old` is None for what was added, `new` for what was removed."""

    path: bytes
    what: What
    old: Directory | File | None
    new: Directory | File | None


def diff(old: Tree, new: Tree, before: int = ROOT, after: int = ROOT) -> Iterator[Change]:
    """Every name that differs; of an added or removed directory also everything below it.

    `before`, `after`: nodes of the directories that are compared; each path is that of its own tree.
    """
    roots = (old.handle(before), new.handle(after))
    one, other = (np.array([handle] if handle >= 0 else [], np.int64) for handle in roots)
    if len(one) != len(other):
        tree, handle, what = (new, roots[1], What.ADDED) if len(other) else (old, roots[0], What.REMOVED)
        row = tree.row(handle)
        yield from _whole(tree, row, tree.path(row.node) or b"", what)
        return
    paths = Paths(new)
    while len(one):
        yield from _changed(old, one, new, other, paths)
        pairs, only_old, only_new = _match(old, one, new, other)
        yield from _one_sided(old, only_old, Paths(old), What.REMOVED)
        yield from _one_sided(new, only_new, paths, What.ADDED)
        one, other = pairs


def _changed(old: Tree, one: Ints, new: Tree, other: Ints, paths: Paths) -> Iterator[Change]:
    """What differs in the directories themselves and in their runs."""
    prints = walk.take(old, "fingerprint", one) != walk.take(new, "fingerprint", other)
    runs = walk.take(old, "check", one) != walk.take(new, "check", other)
    runs |= walk.take(old, "files", one) != walk.take(new, "files", other)
    for at in np.flatnonzero(prints | runs).tolist():
        before, after = old.row(int(one[at])), new.row(int(other[at]))
        path = paths.of(after.node) or b""
        if prints[at]:
            yield Change(path, What.METADATA, before, after)
        if runs[at]:
            prefix = path + b"/" if path else b""
            for what, file, fresh in compare(old.run_at(int(one[at])), new.run_at(int(other[at]))):
                yield Change(prefix + (file or fresh).name, what, file, fresh)  # type: ignore[union-attr]


def compare(old: Run, new: Run) -> Iterator[tuple[What, File | None, File | None]]:
    """What differs between two runs, in the order of names."""
    if len(old) == len(new) and old.names == new.names and bool((old.lengths == new.lengths).all()):
        differ = (old.fingerprints != new.fingerprints) | (old.sizes != new.sizes) | (old.ticks != new.ticks)
        differ |= (old.hashes != new.hashes) | (old.flags != new.flags)
        for at in np.flatnonzero(differ).tolist():
            yield from judged(old.file(at), new.file(at))
        return
    before, after = ({file.name: file for file in run.files()} for run in (old, new))
    for name in sorted(before.keys() | after.keys()):
        file, fresh = before.get(name), after.get(name)
        if file is not None and fresh is not None:
            yield from judged(file, fresh)
        else:
            yield What.ADDED if file is None else What.REMOVED, file, fresh


def judged(old: File, new: File) -> Iterator[tuple[What, File | None, File | None]]:
    """How two files differ that stand for each other; nothing where they do not."""
    known = not (old.flags | new.flags) & NO_CONTENT
    # A fingerprint of 0 says that a file was so new when it was read that it has none (`backup.rows`).
    prints = (not known or (old.fingerprint and new.fingerprint)) and old.fingerprint != new.fingerprint
    stat = old.mtime != new.mtime or prints
    if (old.flags ^ new.flags) & KIND or old.size != new.size or (known and old.hash != new.hash):
        yield What.CHANGED, old, new
    elif stat:
        yield What.METADATA if known else What.CHANGED, old, new


def _match(old: Tree, one: Ints, new: Tree, other: Ints) -> tuple[tuple[Ints, Ints], Ints, Ints]:
    """The children of pairs: those of both sides, pair by pair; those of one side only."""
    owner, handles = walk.children(old, walk.take(old, "node", one))
    owner2, handles2 = walk.children(new, walk.take(new, "node", other))
    name, name2 = walk.names_of(old, handles), walk.names_of(new, handles2)
    while True:
        seed = secrets.randbits(64)
        key = names.mixed(name.hashes(seed) ^ owner.astype(np.uint64))
        key2 = names.mixed(name2.hashes(seed) ^ owner2.astype(np.uint64))
        if len(key) == len(key2) and bool((key == key2).all()):
            left, right = np.arange(len(key)), np.arange(len(key))
        else:
            _, left, right = np.intersect1d(key, key2, return_indices=True)
        same = names.equal(
            name.heap, name.offsets[left], name.lengths[left], name2.heap, name2.offsets[right], name2.lengths[right]
        )
        if bool(same.all()) and bool((owner[left] == owner2[right]).all()):
            break
    order = np.argsort(left)
    left, right = left[order], right[order]
    rest, rest2 = np.ones(len(handles), bool), np.ones(len(handles2), bool)
    rest[left], rest2[right] = False, False
    return (handles[left], handles2[right]), handles[rest], handles2[rest2]


def _one_sided(tree: Tree, handles: Ints, paths: Paths, what: What) -> Iterator[Change]:
    for handle in handles.tolist():
        row = tree.row(handle)
        yield from _whole(tree, row, paths.of(row.node) or b"", what)


def _whole(tree: Tree, row: Directory, path: bytes, what: What) -> Iterator[Change]:
    """A directory and everything below it."""
    waiting = [(row, path)]
    while waiting:
        row, path = waiting.pop()
        yield _sided(path, what, row)
        prefix = path + b"/" if path else b""
        directories, run = tree.children(row.node)
        for file in run.files():
            yield _sided(prefix + file.name, what, file)
        waiting += [(directory, prefix + directory.name) for directory in reversed(directories)]


def _sided(path: bytes, what: What, row: Directory | File) -> Change:
    return Change(path, what, None, row) if what is What.ADDED else Change(path, what, row, None)
