"""Bringing back what a snapshot holds: a sync whose source is a snapshot.

Everything that a sync does is done here by the same engine: two listings are merged, a plan decides, movers carry out.
So a restore that was interrupted is begun again and brings only what is missing; filters, limits, hard links,
metadata, progress and exit codes are those of `sync`.

It keeps no state unless one is asked for. State saves a sync the second look at a tree that is synced again and again;
a restore is made once, its source never changes, and what it finished stands at the destination with the snapshot's
own sizes and times.

Whoever restores says what becomes of files that stand there already:

    always       every file is written, whatever stands there
    if-changed   what differs in size or time; the default, and what lets a restore be continued
    if-newer     what is newer in the snapshot
    never        only what is missing
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dunlin.backup.keys import Secrets
from dunlin.backup.manifest import Manifest, to_bytes
from dunlin.backup.repository import Repository
from dunlin.backup.snapshot import Index, SnapshotStore
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.browse import Place as Spot
from dunlin.jobs.options import SyncOptions
from dunlin.jobs.repo import Place
from dunlin.jobs.vaults import GivenVault, as_told
from dunlin.stores.base import Store
from dunlin.stores.login import Login
from dunlin.stores.open import canonical_url, is_far, shown_place
from dunlin.transfer import Options as Transfer

if TYPE_CHECKING:  # only a restore over a queue needs them
    from dunlin.workers.packing import SnapshotSide
    from dunlin.workers.part import Vaults

OVERWRITE = ("if-changed", "always", "if-newer", "never")
"""What may be said about files that stand at the destination; the first is the default."""


class Snapshot:
    """Opens a path of a snapshot in any process of a run (`workers.setup.Opens`).

    Args:
        place: of the repository.
        opened: it, for what its password has opened; only the tenant's key is handed on.
        spot: the snapshot and the path in it.
    """

    def __init__(self, place: Place, opened: Repository, spot: Spot) -> None:
        self._place = place
        self._told: tuple[dict[str, Any], Secrets, Path | None] = opened.told(spot.area.tenant)
        self._where: tuple[str, str, Manifest, str] = (spot.area.tenant, spot.area.share, spot.manifest, spot.path)
        self._index: Index | None = None

    @property
    def manifest(self) -> Manifest:
        """Of the snapshot."""
        return self._where[2]

    @property
    def url(self) -> str:
        """The repository, the share, the snapshot and the path in it; no secrets."""
        tenant, share, manifest, path = self._where
        return f"snapshot://{shown_place(self._place.url)}#{tenant}/{share}/{manifest.id[:8]}/{path}"

    @property
    def forks(self) -> bool:
        """A client of an object store has threads of its own, and must not be forked."""
        return not is_far(self._place.url)

    @property
    def beside(self) -> tuple[str, ...]:
        """The repository and its cache: a restore to a place around them neither overwrites nor deletes them."""
        repository = canonical_url(self._place.url, self._place.login)
        return (repository, canonical_url(self._place.cache)) if self._place.cache else (repository,)

    def __call__(self) -> Store:
        """The tree, opened for this process. Forked ones share what the first has read of it."""
        tenant, share, manifest, path = self._where
        repository = self.vault(self._place.url, self._place.timeout, self._place.request_timeout)
        try:
            found = SnapshotStore(repository.area(tenant, share), manifest, path, self._index, repository.close)
        except DunlinError:
            repository.close()
            raise
        self._index = found.index
        return found

    @property
    def lies(self) -> tuple[str, Login]:
        """See `Opens`."""
        return self._place.url, self._place.login

    @property
    def vault(self) -> Vaults:
        """See `Opens`."""
        return GivenVault(self._place, self._told)

    def elsewhere(self, named: str) -> SnapshotSide:
        """See `Opens`."""
        from dunlin.workers.packing import SnapshotSide

        tenant, share, manifest, path = self._where
        place = self._place
        id = str(self._told[0]["id"])
        return SnapshotSide(
            as_told(named, place), id, tenant, share, to_bytes(manifest), path, place.timeout, place.request_timeout
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        # What is mapped into memory stays here: another process maps it from the cache.
        return {**self.__dict__, "_index": None}


def restoring(options: SyncOptions, snapshot: Snapshot, overwrite: str = OVERWRITE[0]) -> SyncOptions:
    """A sync's options as those of a restore of `snapshot`.

    `options`: with the destination, the selection, what is kept of the metadata. Raises USAGE for a scan.
    """
    manifest = snapshot.manifest
    if not manifest.content and options.mode == "sync":
        reason = f"snapshot {manifest.id[:8]} is a scan: it holds the tree without content"
        raise DunlinError("restore", "", ErrorKind.USAGE, reason, "dunlin backup makes snapshots with content")
    if not manifest.complete and options.policy.delete:
        reason = f"snapshot {manifest.id[:8]} is incomplete: what could not be read then would be deleted now"
        raise DunlinError("delete while restoring", "", ErrorKind.USAGE, reason, "leave out --delete")
    policy = options.policy._replace(
        links=True,
        specials=True,
        devices=True,
        force=overwrite == "always",
        update=overwrite == "if-newer",
        skip_existing=overwrite == "never",
    )
    checksum = "none" if options.state_db in (None, "none") else Transfer().checksum
    return options._replace(
        source=snapshot.url,
        opens=snapshot,
        policy=policy,
        transfer=options.transfer._replace(checksum=checksum),
        state_db=options.state_db or "none",
        # A snapshot is no disk that may be missing: what it lacks it lacks on purpose.
        accept_source=True,
    )


def verifying(options: SyncOptions) -> SyncOptions:
    """The comparison, byte by byte, of what was restored with the snapshot; nothing is changed by it."""
    policy = options.policy._replace(compare="checksum", force=False, update=False, skip_existing=False, delete=False)
    return options._replace(mode="check", policy=policy)
