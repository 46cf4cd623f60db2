"""A worker's part in one run: its stores opened here, its limit, what the units bring along."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.pace.drawn import Drawn
from dunlin.pace.window import WindowLimits
from dunlin.queue.base import Queue
from dunlin.report import Report
from dunlin.state.files import KnownFile
from dunlin.stores.base import Store
from dunlin.stores.login import Login
from dunlin.stores.open import Far, is_far, local_path, shown_place
from dunlin.transfer.outcome import Outcome
from dunlin.workers import packing
from dunlin.workers.accounts import Accounts
from dunlin.workers.context import Context
from dunlin.workers.fence import Held, bound, still_held
from dunlin.workers.packing import RunSetup, Side, SnapshotSide
from dunlin.workers.remote import orders_name, setup_name
from dunlin.workers.root import same
from dunlin.workers.setup import Setup, build
from dunlin.workers.units import run_unit

if TYPE_CHECKING:  # numpy comes with it
    from dunlin.backup.repository import Repository

Resolve = Callable[[str, str], tuple[str, Login]]
"""(a place as the coordinator names it, "source" or "dest") -> its URL here, and what lets us in. Raises USAGE."""

Vaults = Callable[[str, float, float], "Repository"]
"""(a repository as the coordinator names it, seconds that a request waits without a byte, and altogether) -> it, open.
Raises USAGE, and what keeps this worker from opening it."""

MOST_FILES = 200_000
"""Names that the listings of one process hold at most: some 130 MB."""

ALONE = 60.0
"""Seconds without word of a coordinator after which what is under way is given up."""


class Brought:
    """The rows that came with units (`context.Remembers`). Safe to use from many threads."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, KnownFile]] = {}
        self._lock = threading.Lock()

    def rows(self, directory: str, names: Sequence[str]) -> Mapping[str, KnownFile]:
        """See `Remembers`."""
        return self._rows.get(directory, {})

    def close(self) -> None:
        """Nothing was opened."""

    @contextmanager
    def knowing(self, directory: str, rows: Sequence[KnownFile]) -> Iterator[None]:
        """The rows of a directory while its unit is done. Only one unit at a time looks through a directory."""
        if not rows:
            yield
            return
        with self._lock:
            self._rows[directory] = {row.name: row for row in rows}
        try:
            yield
        finally:
            with self._lock:
                self._rows.pop(directory, None)


class Done(NamedTuple):
    """What became of a unit.

    Attributes:
        body: for the coordinator. seconds: that it took.
        whole: it was not broken off.
        trouble: why this worker had better leave the run to others for a while; None: it need not.
    """

    body: bytes
    seconds: float
    whole: bool = True
    trouble: DunlinError | None = None


class Work(Protocol):
    """What a worker does for a run. Units are done by many threads at a time."""

    @property
    def title(self) -> str:
        """From where to where; for people."""
        ...

    def do(self, held: Held, tell: Callable[[bytes], object]) -> Done:
        """Do the unit of a lease. `tell` sends parts of the result, and raises where the lease is lost."""
        ...

    def cancel(self) -> None:
        """Have units end soon."""
        ...

    def close(self) -> None:
        """Close the stores. No unit may be under way."""
        ...


class Shares(Protocol):
    """The setup of a run, as far as all are alike. `accounts`: of `queue.caps`, from which its bytes are drawn."""

    @property
    def accounts(self) -> tuple[str, ...]: ...


W = TypeVar("W", bound=Work)
S = TypeVar("S", bound=Shares)


class Part(Generic[W]):
    """One run in this process.

    Attributes:
        work: does its units. bucket: its limit, drawn from accounts.
        over: the run is to stop, so units end at the next file and what became of them is wanted all the same.
        alone: since when nothing was heard of the coordinator, on the monotonic clock; None: it is there.
        used: when a unit was done last.
    """

    def __init__(self, work: W, bucket: Drawn, now: float, accounts: Accounts) -> None:
        self.work = work
        self.accounts = accounts
        self.bucket = bucket
        self.over = False
        self.alone: float | None = None
        self.used = now

    def obey(self, orders: bytes | None, now: float) -> None:
        """What the board says; None: nothing, so nobody may be there to take what is done. Raises as the queue does."""
        if orders is None:
            self.alone = now if self.alone is None else self.alone
            self.bucket.paused = True
            if now - self.alone > ALONE:
                self.stop()
            return
        self.alone = None
        rate, paused, stopped = packing.unpack_orders(orders)
        self.bucket.rate = self.accounts.look(rate)
        self.bucket.paused = paused
        if stopped:
            self.over = True
            self.stop()

    def stop(self) -> None:
        """Have units end at the next file."""
        self.bucket.stop()
        self.work.cancel()

    def close(self) -> None:
        """Close the stores. No unit may be under way."""
        self.work.close()


class SyncWork:
    """The units of a sync (`Work`). `context`: for them; `brought`: rows that come with them."""

    def __init__(self, context: Context, brought: Brought) -> None:
        self.context = context
        self.brought = brought

    @property
    def title(self) -> str:
        """See `Work`."""
        return f"{self.context.site.source.url} -> {self.context.site.target.url}"

    def do(self, held: Held, tell: Callable[[bytes], object]) -> Done:
        """See `Work`."""
        unit = packing.unpack_unit(held.lease.payload)
        if unit.announce:
            tell(packing.pack_texts(packing.BEGUN))
        directory = str(getattr(unit.task, "directory", ""))
        with bound(held), self.brought.knowing(directory, unit.known):
            outcome = run_unit(self.context, unit.task, partial(_emit, tell))
        interrupted = outcome.fatal is not None and outcome.fatal[0] == ErrorKind.INTERRUPTED.value
        return Done(packing.pack_outcome(outcome), outcome.seconds, whole=not interrupted)

    def cancel(self) -> None:
        """See `Work`."""
        self.context.window.cancel()

    def close(self) -> None:
        """See `Work`."""
        site = self.context.site
        if site.hands is not None:
            site.hands.close()
        for store in (site.source, site.target, site.backup):
            if store is not None:
                store.close()


def _emit(tell: Callable[[bytes], object], outcome: Outcome) -> None:
    for piece in packing.pieces(packing.pack_outcome(outcome)):
        tell(piece)


def take_part(
    queue: Queue, token: str, mark: int, slots: int, resolve: Resolve, guard: Callable[[], None], report: Report,
    vaults: Vaults | None = None,
) -> Part[SyncWork] | None:
    """Make ready for units of a run; None when the board does not know it.

    Args:
        token: of the run. mark: this worker's number, for the names of its temporary files.
        slots: units, or files, under way at a time.
        guard: asked before anything becomes final.
        vaults: opens repositories; None: this worker has none.

    Raises `DunlinError` where this worker cannot take part: no such location, no such directory, another version.
    """

    def begin(setup: RunSetup, bucket: Drawn) -> SyncWork:
        brought = Brought()
        known = brought if setup.remembered else None
        return SyncWork(build(_local_setup(setup, slots, resolve, vaults), bucket, mark, report, guard, known), brought)

    return join(queue, token, packing.unpack_setup, begin)


def join(queue: Queue, token: str, unpack: Callable[[bytes], S], begin: Callable[[S, Drawn], W]) -> Part[W] | None:
    """Take part in a run of any kind; None when the board does not know it.

    Args:
        token: of the run. unpack: reads its setup. begin: makes ready for its units, which ask this limit.

    Raises what these do, and what the queue raises.
    """
    body = queue.read(setup_name(token))
    orders = queue.read(orders_name(token))
    if body is None or orders is None:
        return None
    setup = unpack(body)
    accounts = Accounts(queue, setup.accounts, f"run/{token}/bytes")
    bucket = Drawn(accounts.draw, check=still_held)
    part = Part(begin(setup, bucket), bucket, time.monotonic(), accounts)
    try:
        part.obey(orders, part.used)
    except BaseException:
        part.close()
        raise
    return part


def open_vault(vaults: Vaults | None, place: str, id: str, idle: float, total: float) -> Repository:
    """The repository at a place, if it is the one with that id. Raises what keeps this worker from opening it."""
    if vaults is None:
        raise usage("this worker opens no repositories")
    opened = vaults(place, idle, total)
    if opened.id == id:
        return opened
    opened.close()
    reason = "it is another repository here than where the run is coordinated"
    raise DunlinError("take part with", shown_place(place), ErrorKind.NOT_FOUND, reason, "is it mounted?")


def _opening(side: SnapshotSide, vaults: Vaults | None) -> Callable[[], Store]:
    """What opens the tree of a snapshot here."""

    def opens() -> Store:
        from dunlin.backup.manifest import from_bytes
        from dunlin.backup.snapshot import SnapshotStore

        opened = open_vault(vaults, side.repository, side.id, side.idle, side.total)
        try:
            manifest = from_bytes(side.manifest, side.share)
            return SnapshotStore(opened.area(side.tenant, side.share), manifest, side.path, closes=opened.close)
        except DunlinError:
            opened.close()
            raise

    return opens


def _local_setup(setup: RunSetup, slots: int, resolve: Resolve, vaults: Vaults | None) -> Setup:
    """What `setup.build` needs, with the places and logins of this machine."""
    source, source_far, opens = setup.source.place, None, None
    if setup.snapshot is not None:
        opens = _opening(setup.snapshot, vaults)
    else:
        source, source_far = resolved(setup.source, "source", resolve)
    target, target_far = resolved(setup.target, "dest", resolve)
    seen = (root_of(source, setup.source), root_of(target, setup.target))
    roots = frozenset(root for root in seen if root is not None)
    return Setup(
        source,
        target,
        setup.options,
        setup.rules._replace(roots=roots),
        backup=setup.backup,
        backup_prefix=setup.backup_prefix,
        budget=setup.options.buffer_bytes,
        target_caps=setup.target_caps,
        source_far=source_far,
        target_far=target_far,
        hands=slots,
        window=WindowLimits(directories=slots, files=MOST_FILES),
        opens=opens,
    )


def resolved(side: Side, which: str, resolve: Resolve) -> tuple[str, Far | None]:
    """A side's URL here, and what its store is told where it is far away. Raises USAGE."""
    url, login = resolve(side.place, which)
    if not is_far(url):
        return url, None
    return url, Far(
        login=login,
        begin=side.begin,
        markers=side.markers,
        verify=side.verify,
        page=side.page,
        idle=side.idle,
        total=side.total,
        snapshot=side.snapshot,
    )


def root_of(url: str, side: Side) -> tuple[int, int] | None:
    """Device and inode of a local root.

    A share that is not mounted here is an empty directory, or none: files would be written below the mount point, and
    an empty source would make everything look deleted. So it must be what the coordinator saw (`workers.root`).
    """
    path = local_path(url)
    if path is None:
        return None
    try:
        status = os.stat(path)
    except OSError as error:
        reason = f"it is not there: {error.strerror}"
        raise DunlinError("take part with", shown_place(url), ErrorKind.NOT_FOUND, reason, "is it mounted?") from error
    if (side.inode and status.st_ino != side.inode) or not same(path, side.marks, side.proof):
        reason = "it is another directory here than where the run is coordinated"
        raise DunlinError("take part with", shown_place(url), ErrorKind.NOT_FOUND, reason, "is it mounted?")
    return status.st_dev, status.st_ino
