"""What differs between two snapshots of a share: added, removed, changed, moved.

A tree tells what was added and what was removed. A name that went and one that came are the same thing moved where the
tree says so (a directory keeps its node when its store names directories by numbers of its own), or where both have
the same content: size and 64-bit checksum agree, and the name rather than not. That is a way of showing things, nothing
depends on it. It works on what was found, so where a comparison was cut short some moves are told as both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.web.backup.looks import PATIENCE
from dunlin.web.backup.words import Late, patience, raw, text, tidy

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.backup.tree.diff import Change as Found
    from dunlin.backup.tree.view import Directory, File
    from dunlin.web.vaults import Vault

WHATS = ("added", "removed", "changed", "moved", "metadata")
MOST = 20_000
"""Names that are told at most."""


class Change(NamedTuple):
    """A name that differs: how (`WHATS`), bytes of a file before and after (None: not there), where it came from."""

    path: str
    what: str
    directory: bool
    before: int | None
    after: int | None
    source: str = ""


class Compared(NamedTuple):
    """What differs, by path. `whole`: nothing was left out. `counts`: how many of each sort are among them."""

    old: Manifest
    new: Manifest
    path: str
    changes: list[Change]
    counts: dict[str, int]
    whole: bool

    def only(self, what: str) -> list[Change]:
        """Those of one sort (`WHATS`); "": all."""
        return [each for each in self.changes if what in ("", each.what)]


def compare(vault: Vault, share: str, old: str, new: str, path: str = "") -> Compared:
    """What differs between two snapshots of a share, below a path. Raises NOT_FOUND, USAGE."""
    before, after, path = vault.snapshot(share, old), vault.snapshot(share, new), tidy(path)
    return vault.large.get(("compare", before.id, after.id, path), lambda: _compared(vault, before, after, path))


def _compared(vault: Vault, old: Manifest, new: Manifest, path: str) -> Compared:
    from dunlin.backup.tree.diff import diff

    one, other, look = vault.tree(old), vault.tree(new), patience(PATIENCE)
    inside = raw(path)
    if path and one.lookup(inside) is None and other.lookup(inside) is None:
        raise DunlinError("find", path, ErrorKind.NOT_FOUND, "neither of the two snapshots holds such a thing")
    found: list[Found] = []
    whole = True
    try:
        for change in diff(one, other):
            look()
            if inside and change.path != inside and not change.path.startswith(inside + b"/"):
                continue
            if len(found) == MOST:
                whole = False
                break
            found.append(change)
    except Late:
        whole = False
    changes = sorted(_told(found))
    counts = {what: sum(each.what == what for each in changes) for what in WHATS}
    return Compared(old, new, path, changes, counts, whole)


def _told(found: list[Found]) -> list[Change]:
    moved = _moves(found)
    gone = set(moved.values())
    told = []
    for at, each in enumerate(found):
        if at in gone:
            continue
        source = moved.get(at)
        old = found[source].old if source is not None else each.old
        told.append(
            Change(
                text(each.path), each.what.value if source is None else "moved", _is_directory(each),
                _size(old), _size(each.new),
                "" if source is None else text(found[source].path),
            )
        )  # fmt: skip
    return told


def _moves(found: list[Found]) -> dict[int, int]:
    """For each number of what came the number of what went that it was, where one is known."""
    from dunlin.backup.tree.diff import What

    went: dict[Hashable, list[int]] = defaultdict(list)
    for at, each in enumerate(found):
        if each.what is What.REMOVED and (key := _same(each)) is not None:
            went[key].append(at)
    moved: dict[int, int] = {}
    for at, each in enumerate(found):
        if each.what is not What.ADDED or (key := _same(each)) is None or not went.get(key):
            continue
        name = each.path.rpartition(b"/")[2]
        others = went[key]
        best = next((i for i in islice(others, 100) if found[i].path.rpartition(b"/")[2] == name), others[0])
        others.remove(best)
        moved[at] = best
    return moved


def _same(change: Found) -> Hashable | None:
    """What two names have in common of which one is the other, moved; None where that cannot be told."""
    from dunlin.backup.tree.columns import NO_CONTENT
    from dunlin.backup.tree.view import File

    node = change.old or change.new
    if not isinstance(node, File):
        return node.node if node is not None else None
    if node.flags & NO_CONTENT or not node.size:
        return None
    return node.kind, node.size, node.hash


def _size(node: Directory | File | None) -> int | None:
    from dunlin.backup.tree.view import File

    return node.size if isinstance(node, File) else None


def _is_directory(change: Found) -> bool:
    from dunlin.backup.tree.view import File

    return not isinstance(change.new or change.old, File)
