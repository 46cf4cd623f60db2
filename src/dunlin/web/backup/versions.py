"""What stood at a path in each snapshot of a share: the versions of a file, and when there was none.

Each snapshot's tree is opened for one look. Trees of a share have most of their segments in common, and those lie in
the cache, so this takes milliseconds for each; it goes back as far as `PATIENCE` allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.web.backup.looks import Name, name_of
from dunlin.web.backup.words import Late, patience, raw, tidy

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.web.vaults import Vault

PATIENCE = 3.0
MOST = 200
"""Snapshots that are looked at."""


class Version(NamedTuple):
    """Snapshots one after the other in which the same stood at a path. `name`: what; None: nothing."""

    newest: Manifest
    oldest: Manifest
    snapshots: int
    name: Name | None


class History(NamedTuple):
    """The versions, the newest first. `whole`: all snapshots were looked at."""

    path: str
    versions: list[Version]
    whole: bool


def history(vault: Vault, share: str, path: str) -> History:
    """What stood at a path. Raises NOT_FOUND where there is no such share, or nothing in any snapshot."""
    names, path = vault.names(share), tidy(path)
    found = vault.large.get(("history", names[-1].id, share, path), lambda: _history(vault, share, path))
    if all(each.name is None for each in found.versions):
        raise DunlinError("find", path, ErrorKind.NOT_FOUND, "no snapshot that was looked at holds such a thing")
    return found


def _history(vault: Vault, share: str, path: str) -> History:
    from dunlin.backup.tree.columns import NO_CONTENT
    from dunlin.backup.tree.view import File

    names = vault.names(share)[::-1]
    versions: list[Version] = []
    look, inside = patience(PATIENCE), raw(path)
    before: object = None
    for at, each in enumerate(names):
        try:
            if at:
                look()
            if at == MOST:
                return History(path, versions, False)
        except Late:
            return History(path, versions, False)
        for snapshot in vault.manifests(share, [each]):
            node = vault.glance(snapshot).lookup(inside)
            name = None if node is None else name_of(node, path)
            key: object = name
            if isinstance(node, File) and not node.flags & NO_CONTENT:
                key = (name, node.hash)
            if versions and key == before:
                last = versions[-1]
                versions[-1] = last._replace(oldest=snapshot, snapshots=last.snapshots + 1)
            else:
                versions.append(Version(snapshot, snapshot, 1, name))
            before = key
    return History(path, versions, True)
