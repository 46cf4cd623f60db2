"""A worker's part in a verification: it looks at packs, reads them where that is asked, and tells what is wrong.

Nothing is written, so nothing can go wrong by doing a unit twice, and a worker that died costs its unit. The ledger of
what was verified, what backups must not count on, and all about snapshots are the coordinator's.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from dunlin.backup.repository import Repository
from dunlin.backup.verify import Index, look_at
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Paces
from dunlin.queue.base import Queue
from dunlin.stores.open import shown_place
from dunlin.workers import verify_wire as wire
from dunlin.workers.fence import Held, bound
from dunlin.workers.part import Done, Part, Vaults, join, open_vault
from dunlin.workers.verify_wire import Packs, Seen, VerifySetup

LONG = 5.0
"""Seconds after which a unit begins no other pack."""


def take_verify(queue: Queue, token: str, vaults: Vaults | None) -> Part[VerifyWork] | None:
    """Make ready for units of a verification; None when the board does not know it. See `part.take_part`.

    `vaults`: opens repositories; None: this worker has none. Raises `DunlinError` where this worker cannot take part.
    """

    def begin(setup: VerifySetup, bucket: Paces) -> VerifyWork:
        opened = open_vault(vaults, setup.repository, setup.id, setup.idle, setup.total)
        return VerifyWork(opened, setup.tenant, bucket)

    return join(queue, token, wire.unpack_setup, begin)


class VerifyWork:
    """The units of a verification (`part.Work`).

    Args:
        opened: the repository, closed with this. tenant: whose packs they are.
        bucket: asked before each pack.
    """

    def __init__(
        self, opened: Repository, tenant: str, bucket: Paces, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._opened, self._tenant, self._bucket, self._clock = opened, tenant, bucket, clock

    @property
    def title(self) -> str:
        """See `Work`."""
        return f"verifies {shown_place(self._opened.objects.url)}"

    def do(self, held: Held, tell: Callable[[bytes], object]) -> Done:
        """See `Work`."""
        begun, seen = self._clock(), list[Seen]()
        trouble: DunlinError | None = None
        unit = wire.unpack_unit(held.lease.payload)
        with bound(held):
            try:
                self._look(unit, seen, begun)
            except DunlinError as error:
                trouble = error
        seconds = self._clock() - begun
        if trouble is not None and trouble.kind is ErrorKind.INTERRUPTED:
            return Done(wire.pack_result(seen, None, seconds), seconds, whole=False)
        return Done(wire.pack_result(seen, trouble, seconds), seconds, trouble=trouble)

    def cancel(self) -> None:
        """See `Work`. The limit was told to stop, and is asked before each pack."""

    def close(self) -> None:
        """See `Work`."""
        self._opened.close()

    def _look(self, unit: Packs, seen: list[Seen], begun: float) -> None:
        area = self._opened.area(self._tenant, unit.share)
        index = Index(area, unit.small, unit.known, {pack.name: pack.found for pack in unit.packs})
        for pack in unit.packs:
            self._bucket.take(pack.found.size if pack.read else 0)
            reasons, read = look_at(index, pack.name, pack.found, read=pack.read)
            bad = np.flatnonzero(index.bad[index.rows(pack.name)]).tolist()
            seen.append(Seen(pack.name, reasons, read, bad))
            if self._clock() - begun >= LONG:
                return
