"""Units of the queue `publish`, as the loop of a worker takes them (`agent.Handler`).

Theory. What a unit uploads or deletes must not become final once its lease is somebody else's (`fence`). Each place is
opened once, for all units of the process, and is asked about the lease of the unit, which is a matter of the thread:
right before a local file gets its name (`WriteOptions.commit`), before each request that changes something and after
the last byte of content (`Guarded`), and before a request that failed is made again (`Gate.sleep`): a store that tries
again for minutes would else put an old version over what a successor has uploaded meanwhile.

A unit of a share whose server is gone is given up before its time is over (`publish_hung`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dunlin.pace.bucket import Paces
from dunlin.pace.gate import Gate
from dunlin.queue.base import Lease
from dunlin.report import Report
from dunlin.stores.base import Store
from dunlin.stores.local import WriteOptions
from dunlin.stores.login import Login
from dunlin.stores.open import Far, is_far, open_store
from dunlin.stores.wrap import Guarded, refuses
from dunlin.workers.fence import MARGIN, current, guard
from dunlin.workers.publish_hung import Hung, Looks
from dunlin.workers.publish_words import unpack_unit
from dunlin.workers.publishing import Notes, Tools, publish_unit

QUEUE = "publish"

LONGEST = 86_400.0
"""Seconds that a unit may take, however many files it has."""

CONNECTIONS = 32


class TaskOptions(NamedTuple):
    """How units are done.

    Attributes:
        parallel: files of one in flight where the destination is far away.
        margin: seconds before its end from which a lease counts as lost.
        limits, recorded: see `Tools`. notes: the existence cache, where this process reaches it.
    """

    parallel: int = 8
    margin: float = MARGIN
    limits: Callable[[Sequence[str]], Paces] | None = None
    notes: Notes | None = None
    recorded: Callable[[str], bytes | None] = lambda name: None


class PublishTasks:
    """Does units; see `agent.Handler`. Safe to use from many threads.

    Args:
        where: from the place that a unit names to its URL here, and what lets us in. Raises what is wrong with it.
    """

    def __init__(
        self, where: Callable[[str], tuple[str, Login]], options: TaskOptions, report: Report
    ) -> None:
        self._where = where
        self._report = report
        self._options = options
        self._check = guard(options.margin)
        self._run_id = os.urandom(4).hex()
        self._stores: dict[str, Store] = {}
        self._hung = Hung()
        self._lock = threading.Lock()

    def do(self, lease: Lease, tell: Callable[[bytes], bool], may: Callable[[], bool]) -> bytes:
        """See `agent.Handler`."""
        options, looks = self._options, Looks()
        tools = Tools(
            self._open,
            tell=tell,
            recorded=options.recorded,
            may=may,
            attempt=lease.attempt,
            notes=options.notes,
            limits=options.limits,
            report=self._report,
            parallel=options.parallel,
            looks=looks,
        )
        roots = [root.path for root in unpack_unit(lease.payload).roots]
        return self._hung.do(roots, looks, lambda: publish_unit(lease.payload, tools), _lose)

    def limit(self, lease: Lease) -> float:
        """See `agent.Handler`: what its files may take together, up to `LONGEST`."""
        unit = unpack_unit(lease.payload)
        return min(LONGEST, unit.seconds * max(1, len(unit.files)))

    def close(self) -> None:
        """Close what was opened. Units that are still at it fail."""
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()

    def _open(self, place: str) -> Store:
        with self._lock:
            if place not in self._stores:
                url, login = self._where(place)
                self._stores[place] = guarded(url, login, self._check, self._run_id)
            return self._stores[place]


def _lose() -> None:
    """What this thread has a lease of may change nothing any more."""
    held = current()
    if held is not None:
        held.lost = True


def guarded(url: str, login: Login, check: Callable[[], None], run_id: str) -> Store:
    """The store of a place, asking before anything becomes final there.

    Args:
        check: raises where the lease of this thread is not good any more.
        run_id: names temporary files.
    """
    far = Far(login=login, listings=1, gate=Gate(CONNECTIONS, lambda: refuses(check))) if is_far(url) else None
    return Guarded(open_store(url, options=WriteOptions(run_id=run_id, commit=check), far=far), check)
