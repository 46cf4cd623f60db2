"""Looking into a repository: its snapshots, and what is in them, from the index alone.

    SNAPSHOT          latest, the beginning of an id, or of a time: 3f2a, 20260131, 20260131T18
    SNAPSHOT:PATH     a directory or file in it

Which share is meant is said by name, or is plain: the tenant has one only, or the id is in one only.
"""

from __future__ import annotations

import heapq
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dunlin.backup.manifest import Manifest
from dunlin.backup.repository import LATEST, Area, Repository, SnapshotName, meant
from dunlin.backup.snapshot import SnapshotStore, open_tree
from dunlin.backup.tree import diff as trees
from dunlin.backup.tree import find as names
from dunlin.backup.tree import totals as counted
from dunlin.backup.tree.totals import Totals, totals
from dunlin.backup.tree.view import Directory, File, Tree
from dunlin.backup.words import check_name
from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.jobs.repo import visible
from dunlin.model import GID, MODE, MTIME, SIZE, UID, join

_DAY = 86_400
AGES = tuple(days * _DAY for days in (1, 7, 30, 90, 365, 2 * 365, 5 * 365, 10 * 365))
"""Ages, in seconds, at which the bars of `ages` begin; the first begins at 0."""


class Wanted(NamedTuple):
    """What a person asks for: a snapshot, as written, and a path in it, "" for all of it."""

    snapshot: str
    path: str = ""


class Place(NamedTuple):
    """A snapshot, and a path in it."""

    area: Area
    manifest: Manifest
    path: str


class Line(NamedTuple):
    """A name in a listing.

    Attributes:
        path: from the root of the snapshot; kind: the type bits of st_mode.
        mode, uid, gid, target: None and "" where nobody asked for them, or the source had none.
        size: bytes; mtime: ns since 1970.
    """

    path: str
    kind: int
    size: int
    mtime: int
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    target: str = ""


class Sum(NamedTuple):
    """A directory with all that lies below it; `files` is everything that is no directory, `size` in bytes."""

    path: str
    directories: int
    files: int
    size: int


class Bar(NamedTuple):
    """Files from a size or age on, below another: bytes or seconds, None: without end; how many, and their bytes."""

    of: str
    least: int
    below: int | None
    files: int
    size: int


class Change(NamedTuple):
    """A name that differs: how (`tree.diff.What`), and its sizes before and after; None: it was not there."""

    path: str
    what: str
    directory: bool
    before: int | None
    after: int | None


def parse(text: str) -> Wanted:
    """``SNAPSHOT[:PATH]``. Raises USAGE."""
    snapshot, _, path = text.partition(":")
    if not snapshot:
        raise usage(f"{printable(text)!r} names no snapshot", "write latest, or the beginning of an id or of a time")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise usage(f"{printable(path)!r} goes up", "write the path from the root of the snapshot")
    return Wanted(snapshot, "/".join(parts))


def snapshots(
    opened: Repository, tenant: str, share: str = "", tags: tuple[str, ...] = (),
    damaged: list[tuple[SnapshotName, DunlinError]] | None = None,
) -> list[Manifest]:  # fmt: skip
    """The snapshots of a tenant, or of one of its shares, oldest first; with `tags` those that have all of them.

    `damaged`: gets those that cannot be read; None: the first of them is raised.
    """
    shares = [check_name("share", share)] if share else opened.shares(check_name("tenant", tenant))
    found = []
    for name in shares:
        area = opened.area(tenant, name)
        if share and not area.snapshots():
            raise _none(opened, tenant, name)
        found += area.manifests(damaged)
    found = [each for each in found if all(tag in each.tags for tag in tags)]
    return sorted(found, key=lambda each: (each.time, each.id))


def resolve(opened: Repository, tenant: str, share: str, wanted: Wanted, *, content: bool = False) -> Place:
    """The snapshot that is meant. Raises USAGE where it could be several, NOT_FOUND.

    `content`: the latest is the latest that is no scan, if there is one.
    """
    if share:
        area = opened.area(tenant, share)
        if not area.snapshots():
            raise _none(opened, tenant, share)
        return Place(area, _one(area, wanted.snapshot, content), wanted.path)
    shares = opened.shares(check_name("tenant", tenant))
    if len(shares) == 1:
        area = opened.area(tenant, shares[0])
        return Place(area, _one(area, wanted.snapshot, content), wanted.path)
    if not shares:
        raise _none(opened, tenant, "")
    if wanted.snapshot == LATEST:
        raise usage(f"latest of which share? there are {_listed(shares)}", "write --share NAME")
    return _among(opened, tenant, shares, wanted)


def _one(area: Area, text: str, content: bool) -> Manifest:
    found = area.manifest(area.resolve(text))
    if content and text == LATEST and not found.content:
        each = (area.manifest(name) for name in reversed(area.snapshots()))
        return next((manifest for manifest in each if manifest.content), found)
    return found


def _among(opened: Repository, tenant: str, shares: list[str], wanted: Wanted) -> Place:
    areas = [opened.area(tenant, name) for name in shares]
    area, found = only([(area, area.snapshots()) for area in areas], wanted.snapshot)
    return Place(area, area.manifest(found), wanted.path)


def only(listed: Sequence[tuple[Area, Sequence[SnapshotName]]], text: str) -> tuple[Area, SnapshotName]:
    """The one snapshot of some shares that `text` means. Raises USAGE where it could be several, NOT_FOUND."""
    hits = [(area, name) for area, names in listed for name in meant(names, text)]
    if len(hits) == 1:
        return hits[0]
    if hits:
        where = sorted({area.share for area, _ in hits})
        raise usage(f"{printable(text)!r} could be {len(hits)} snapshots of {_listed(where)}", "give more of the id")
    raise DunlinError(
        "find the snapshot", printable(text), ErrorKind.NOT_FOUND, "there is none", "dunlin snapshots lists them"
    )


def _none(opened: Repository, tenant: str, share: str) -> DunlinError:
    known = opened.shares(tenant)
    if not known:
        others = [each for each in visible(opened) if each != tenant]
        hint = f"--tenant: there are {_listed(others)}" if others else "dunlin backup makes one"
        return DunlinError("find a snapshot of", tenant, ErrorKind.NOT_FOUND, "there is none yet", hint)
    hint = f"there are shares {_listed(known)}" if len(known) > 1 else f"there is a share {known[0]}"
    return DunlinError("find a snapshot of", f"{tenant}/{share}", ErrorKind.NOT_FOUND, "there is none", hint)


def _listed(words: list[str]) -> str:
    shown = ", ".join(words[:8])
    return f"{shown}, ..." if len(words) > 8 else shown


# ---- in a snapshot ----


def _sort_key(each: Directory | File) -> bytes:
    return each.name + b"/" if isinstance(each, Directory) else each.name


def listing(place: Place, *, deep: bool = False, long: bool = False) -> Iterator[Line]:
    """What lies in a directory, or the one file there; `deep`: all below it, too; `long`: modes, owners, targets."""
    store = SnapshotStore(place.area, place.manifest) if long else None
    tree = store.tree if store is not None else open_tree(place.area, place.manifest)
    node = _node(tree, place)
    if isinstance(node, File):
        yield _line(node, place.path, store)
        return
    waiting = [(node, place.path)]
    while waiting:
        directory, path = waiting.pop()
        directories, run = tree.children(directory.node)
        folders = sorted(directories, key=_sort_key)
        below: Iterator[Directory | File] = heapq.merge(folders, run.files(), key=_sort_key)
        yield from (_line(each, join(path, _text(each.name)), store) for each in below)
        if deep:
            waiting += [(each, join(path, _text(each.name))) for each in reversed(directories)]


def find(place: Place, pattern: str, *, ignore_case: bool = False) -> Iterator[Line]:
    """The names below a directory that fit a pattern; see `tree.find`."""
    tree = open_tree(place.area, place.manifest)
    node = _node(tree, place)
    if isinstance(node, File):
        raise usage(f"{printable(place.path)} is a file", "names are looked for in directories")
    for hit in names.find(tree, pattern, ignore_case=ignore_case, node=node.node):
        yield _line(hit.row, _text(hit.path), None)


def sums(place: Place, depth: int = 1) -> Iterator[Sum]:
    """A directory and those below it, `depth` levels deep, each with all that it holds; the directory itself last."""
    tree = open_tree(place.area, place.manifest)
    node = _node(tree, place)
    if isinstance(node, File):
        yield Sum(place.path, 0, 1, node.size)
        return
    yield from _sums(tree, node, place.path, depth)


def _sums(tree: Tree, node: Directory, path: str, depth: int) -> Iterator[Sum]:
    if depth:
        for child in tree.directories(node.node):
            yield from _sums(tree, child, join(path, _text(child.name)), depth - 1)
    found: Totals = totals(tree, node.node)
    yield Sum(path, *found)


def sizes(place: Place) -> list[Bar]:
    """Everything below a directory that is no directory, by size: 0, 1, 2 to 3, 4 to 7, ... bytes; no empty bars."""
    bars = counted.sizes(*_below(place))
    return [Bar("size", bar.least, max(2 * bar.least, 1), bar.files, bar.size) for bar in bars]


def ages(place: Place) -> list[Bar]:
    """The same by age: seconds from the last modification to the snapshot; what seems to come after it is new."""
    tree, node = _below(place)
    bars = counted.ages(tree, place.manifest.time, AGES, node)
    return [Bar("age", bar.least, below, bar.files, bar.size) for bar, below in zip(bars, (*AGES, None), strict=True)]


def _below(place: Place) -> tuple[Tree, int]:
    tree = open_tree(place.area, place.manifest)
    node = _node(tree, place)
    if isinstance(node, File):
        raise usage(f"{printable(place.path)} is a file", "sizes and ages are those of the files in a directory")
    return tree, node.node


def diff(old: Place, new: Place) -> Iterator[Change]:
    """What differs between two snapshots, or between what stands at a path of each; told under the path of `new`.

    Raises NOT_FOUND where a snapshot holds nothing at its path.
    """
    before, after = open_tree(old.area, old.manifest), open_tree(new.area, new.manifest)
    one, other = _node(before, old), _node(after, new)
    if isinstance(one, Directory) and isinstance(other, Directory):
        for change in trees.diff(before, after, one.node, other.node):
            path = _text(change.path)
            yield _change(change.what, change.old, change.new, path if change.new else _moved(path, old.path, new.path))
    elif isinstance(one, Directory) or isinstance(other, Directory):
        yield _change(trees.What.CHANGED, one, other, new.path)
    else:
        for what, _, _ in trees.judged(one, other):
            yield _change(what, one, other, new.path)


def _moved(path: str, old: str, new: str) -> str:
    """A path below `old` as it would be called below `new`."""
    return join(new, path[len(old) :].removeprefix("/"))


def _change(what: trees.What, old: Directory | File | None, new: Directory | File | None, path: str) -> Change:
    sizes = [None if each is None else each.size for each in (old, new)]
    return Change(path, what.value, isinstance(new or old, Directory), *sizes)


def _node(tree: Tree, place: Place) -> Directory | File:
    node = tree.lookup(place.path.encode("utf-8", "surrogateescape"))
    if node is None:
        raise DunlinError(
            "find", place.path, ErrorKind.NOT_FOUND, f"snapshot {place.manifest.id[:8]} holds no such thing",
            "dunlin find looks for names",
        )  # fmt: skip
    return node


def _line(node: Directory | File, path: str, store: SnapshotStore | None) -> Line:
    kind = stat.S_IFDIR if isinstance(node, Directory) else node.kind
    size = 0 if isinstance(node, Directory) else node.size
    if store is None:
        return Line(path, kind, size, node.mtime)
    facts = store.stat(path).facts
    target = store.read_link(path) if stat.S_ISLNK(facts[MODE]) else ""
    return Line(path, kind, facts[SIZE], facts[MTIME] or 0, facts[MODE], facts[UID], facts[GID], target)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
