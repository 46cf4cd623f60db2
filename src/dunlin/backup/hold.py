"""A backup's hold on its share: the lease, taken again when it was lost, and the look back that this costs.

A process that stood still (a laptop asleep, a paused machine) comes back to a repository that took it for dead: its
new packs looked like garbage. It takes the lease again. If nobody else has written to the share, it can go on; before
it commits, every tree segment and every chunk that the snapshot refers to must be there and not marked (`check`). If
the lease is lost in the very moment of the commit, the same is asked afterwards, and the snapshot is withdrawn where
the answer is no. Another backup may have gone on from it by then: who finds at its commit that the snapshot it went on
from is no longer there, asks the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Protocol

from dunlin.backup import marks
from dunlin.backup.chunks import merge
from dunlin.backup.lease import Lease
from dunlin.backup.manifest import Manifest
from dunlin.backup.needs import needed
from dunlin.backup.repository import Area
from dunlin.backup.tree.view import ROOT
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.clock import passed


class Hold:
    """The lease of a share for one backup. Not for several threads.

    Args:
        area: of the share.
        who: shown to others who want the share.
        clock: seconds; see `Lease`.

    Raises LOCKED, naming who holds the share.
    """

    def __init__(self, area: Area, who: str, clock: Callable[[], float] = passed) -> None:
        self._area, self._who, self._clock = area, who, clock
        self._lease = self._take()
        self._parent = ""
        self.lost = False

    @property
    def began(self) -> int:
        """When it was taken, by the store's clock, ns since 1970; 0: the store does not say."""
        return self._lease.began

    def rest(self) -> AbstractContextManager[None]:
        """Nobody renews it meanwhile: for the moment in which processes are forked."""
        return self._lease.rest()

    def pin(self, parent: str) -> None:
        """Keep what the snapshot `parent` (its id, "" for none) needs for as long as this is held."""
        self._parent = parent
        self._lease.pin(parent)

    def renew(self) -> None:
        """See that it is kept, now and then. Raises BUSY when the share is somebody else's by now."""
        if not self._lease.renew():
            self._again()

    def commit(self, manifest: Manifest) -> None:
        """Make the snapshot appear. Raises BUSY when it was held too loosely, and nothing appears then."""
        if not self._lease.alive():
            self._again()
        if self.lost or not self._parent_there():
            check(self._area, manifest)
        try:
            self._area.put_manifest(manifest)
            if not self._lease.alive():
                self._once_more(manifest)
        except DunlinError:
            # Also where the answer to one of the questions was lost: nobody has looked whether it is whole.
            with suppress(DunlinError):
                self._area.objects.remove([manifest.key])
            raise

    def _once_more(self, manifest: Manifest) -> None:
        """Look whether what was committed without a lease is whole; with one, so that nobody goes on from it yet."""
        try:
            self._again(manifest.id)
        except DunlinError as error:
            if error.kind is not ErrorKind.BUSY:
                raise  # else somebody has begun, and looks for itself whether what it goes on from has stayed
        check(self._area, manifest)

    def _parent_there(self) -> bool:
        return not self._parent or any(name.id == self._parent for name in self._area.snapshots())

    def release(self) -> None:
        """End it."""
        self._lease.release()

    def _take(self) -> Lease:
        return Lease(self._area.objects, self._area.tenant, self._area.share, self._who, self._clock)

    def _again(self, mine: str = "") -> None:
        """Take the lease anew. `mine`: the snapshot that was just made."""
        self.lost = True
        with suppress(DunlinError):  # it may still look alive to others: they would be this process
            self._lease.release()
        try:
            self._lease = self._take()
        except DunlinError as error:
            if error.kind is not ErrorKind.LOCKED:
                raise
            raise _lost(self._area, "another backup of the share began meanwhile") from error
        self._lease.pin(self._parent)
        names = [name.id for name in self._area.snapshots() if name.id != mine]
        if (names[-1] if names else "") != self._parent:
            raise _lost(self._area, "another snapshot was made, or the last one was forgotten, meanwhile")


class Pins(Protocol):
    """What keeps a snapshot's things from being removed."""

    def pin(self, parent: str) -> None:
        """See `Hold.pin`."""


def newest(area: Area, hold: Pins) -> Manifest | None:
    """The newest snapshot of a share, pinned; None: there is none. Raises CORRUPT, NEWER."""
    while True:
        names = area.snapshots()
        hold.pin(names[-1].id if names else "")
        try:
            return area.manifest(names[-1]) if names else None
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise  # else somebody forgot it in this moment


def check(area: Area, manifest: Manifest) -> None:
    """See that everything a snapshot refers to is there and that nobody wants it removed. Raises BUSY.

    Args:
        area: of the share, whose lease is held.
        manifest: whose segments are stored.
    """
    found = marks.read(area)
    marked, absent = found.wanted, marks.packs(found.keys)
    for ref in manifest.segments:
        for key in (f"{area.root}/tree/{ref.id}", f"{area.root}/tree/{ref.id}.pages"):
            if key in marked or area.objects.find(key) is None:
                raise _lost(area, "a part of its tree was removed meanwhile")
    need = needed(area, [manifest])
    for small in (True, False):
        there = area.packs(small).keys() - absent
        index = merge([each.part(there, inside=True) for _, each in marks.stored_segments(area, small)])
        need = need.take(index.rows(*need) < 0)
    if len(need.high):
        raise _lost(area, f"{len(need.high)} chunks that it counted on were removed meanwhile")


def _lost(area: Area, reason: str) -> DunlinError:
    reason = f"this process stood still for too long, and {reason}"
    return DunlinError("back up to", area.root, ErrorKind.BUSY, reason, "run it again; what was stored is found")


class NoHold:
    """What a dry run has, which writes nothing."""

    began = 0

    def pin(self, parent: str) -> None:
        pass

    def renew(self) -> None:
        pass

    def commit(self, manifest: Manifest) -> None:
        pass

    def release(self) -> None:
        pass

    def rest(self) -> AbstractContextManager[None]:
        return nullcontext()


_UNKNOWN_NODES = 1 << 32
"""More nodes than a snapshot that cannot be read has given ids to."""


def floor(area: Area) -> tuple[int, int]:
    """Time (ns since 1970) and next node, above those of a newest snapshot that cannot be read."""
    readable = area.manifests([])
    names = area.snapshots()
    time = names[-1].moment + 1000 if names else 0
    return time, max((each.next_node for each in readable), default=ROOT + 1) + _UNKNOWN_NODES
