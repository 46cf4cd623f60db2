"""What the pages and the API stand on, and how they call it.

Everything below `web` is synchronous: a call to the ledger is a statement to a database, a look at a store is a
request. The event loop never makes such a call; `Calls` makes it in one of a few threads. So at most `THREADS` requests
hold a database at a time, and the others wait their turn in order, which keeps the service answering when the
database is slow.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Protocol, TypeVar

from dunlin.queue.ledger.words import Job, Role

if TYPE_CHECKING:
    from dunlin.config.service import Service, Tenant
    from dunlin.queue.base import Queue
    from dunlin.queue.ledger.ledger import Ledger
    from dunlin.web.bounded import Bounded
    from dunlin.web.exposition import ServiceMetrics
    from dunlin.web.hub import Hub
    from dunlin.web.limits import Failures, Rates
    from dunlin.web.vaults import Vaults

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16
"""Calls into the synchronous part at a time."""

EVERYBODY = "*"
"""The tenant of an administrator of the whole service."""


class Principal(NamedTuple):
    """Who makes a request.

    Attributes:
        name: for the audit: a user's or a key's.
        tenant: whose jobs it may see; `EVERYBODY`: all.
        way: "local" (nobody had to log in), "key" or "session".
        csrf: what forms of a session must carry; "" for others.
        id: of the key, which no other has; two may have one name.
    """

    name: str
    role: Role
    tenant: str
    way: str
    csrf: str = ""
    id: str = ""

    def may_see(self, tenant: str) -> bool:
        """Whether what belongs to a tenant is this one's as well."""
        return self.tenant in (EVERYBODY, tenant)

    @property
    def only(self) -> str | None:
        """The tenant that lists are limited to; None: they are not."""
        return None if self.tenant == EVERYBODY else self.tenant


class Item(NamedTuple):
    """A line of a publish request."""

    source: str
    to: str
    delete_after_sync: bool = False
    overwrite: bool = False


class Found(NamedTuple):
    """Whether a key exists. `cached`: nobody was asked now; `timestamp`: seconds since 1970."""

    exists: bool
    cached: bool
    timestamp: float
    size: int


class Publishes(Protocol):
    """Takes what is to be published."""

    def publish(
        self, items: Sequence[Item], tenant: Tenant, by: str, key: str, body: bytes, priority: int = 0
    ) -> Job:
        """Check all items, put the job on record and begin with it. Raises USAGE, DENIED, NOT_FOUND, CLASH."""
        ...

    def retry(self, job: Job) -> int:
        """Do a job's failed files again; how many there are."""
        ...

    def cancel(self, job: Job) -> None:
        """Do no more of a job."""
        ...

    def pause(self, job: Job) -> bool:
        """Have a running job wait; False where it cannot."""
        ...

    def resume(self, job: Job) -> bool:
        """Let a paused job go on; False where it is not paused."""
        ...

    def result(self, job: Job) -> dict[str, Any] | None:
        """What became of the items so far, as Sync4Loong tells it (its SyncResult)."""
        ...


class Looks(Protocol):
    """Tells whether keys exist."""

    def check(self, key: str, prefixes: Sequence[str]) -> Found:
        """Raises USAGE for what is no key, DENIED for one outside the prefixes, TIMEOUT, and what the store raises."""
        ...

    def invalidate(self, key: str, prefixes: Sequence[str]) -> None:
        """Forget the answer for a key."""
        ...


class Runs(Protocol):
    """Does syncs and checks."""

    def check(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        """Whether such a job can be done for a tenant; returns its label. Raises USAGE, DENIED."""
        ...

    def host(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        """The label of the machine whose paths such a job names; "": of none. Raises as `check`."""
        ...

    def wake(self) -> None:
        """There is something new in the ledger."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """All of it. `publisher` and `existence` are None where there is no publish.destination, `vaults` where nobody
    looks into repositories of backups.

    Looks at the store, which may take as long as it likes, have threads of their own (`lookups`), and so have those at
    paths that a request names: what is to be published, synced, looked after by a schedule (`publishes`).
    """

    ledger: Ledger
    queue: Queue
    publisher: Publishes | None
    existence: Looks | None
    runner: Runs
    settings: Callable[[], Service]
    states: Callable[[], str]
    hub: Hub
    metrics: ServiceMetrics
    calls: Calls
    lookups: Calls
    publishes: Bounded
    rates: Rates
    failures: Failures
    clock: Callable[[], float]
    version: str
    ready: Callable[[], Mapping[str, str]]
    fault: Callable[[Exception], None]
    vaults: Vaults | None = None


class Calls:
    """Makes calls in threads, a few at a time."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, "web")

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call. One that is given up goes on in its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, functools.partial(call, *args, **kwargs))

    def close(self) -> None:
        """Begin no more calls; those that go on are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


__all__ = ["EVERYBODY", "Calls", "Found", "Item", "Looks", "Principal", "Publishes", "Runs", "Services"]
