"""A worker's part in one run: its stores opened here, its limit, what the units bring along."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.drawn import Drawn
from dunlin.pace.window import WindowLimits
from dunlin.queue.base import Queue
from dunlin.report import Report
from dunlin.state.files import KnownFile
from dunlin.stores.login import Login
from dunlin.stores.open import Far, is_far, local_path, shown_place
from dunlin.workers import packing
from dunlin.workers.context import Context
from dunlin.workers.fence import still_held
from dunlin.workers.packing import RunSetup, Side
from dunlin.workers.remote import orders_name, setup_name
from dunlin.workers.setup import Setup, build

Resolve = Callable[[str, str], tuple[str, Login]]
"""(a place as the coordinator names it, "source" or "dest") -> its URL here, and what lets us in. Raises USAGE."""

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


class Part:
    """One run in this process.

    Attributes:
        context: for its units. bucket: its limit. brought: rows that come with units.
        over: the run is to stop, so units end at the next file and what became of them is wanted all the same.
        alone: since when nothing was heard of the coordinator, on the monotonic clock; None: it is there.
        used: when a unit was done last.
    """

    def __init__(self, context: Context, bucket: Drawn, brought: Brought, now: float) -> None:
        self.context = context
        self.bucket = bucket
        self.brought = brought
        self.over = False
        self.alone: float | None = None
        self.used = now

    def obey(self, orders: bytes | None, now: float) -> None:
        """What the board says; None: nothing, so nobody may be there to take what is done."""
        if orders is None:
            self.alone = now if self.alone is None else self.alone
            self.bucket.paused = True
            if now - self.alone > ALONE:
                self.stop()
            return
        self.alone = None
        rate, paused, stopped = packing.unpack_orders(orders)
        self.bucket.rate = rate
        self.bucket.paused = paused
        if stopped:
            self.over = True
            self.stop()

    def stop(self) -> None:
        """Have units end at the next file."""
        self.bucket.stop()
        self.context.window.cancel()

    def close(self) -> None:
        """Close the stores. No unit may be under way."""
        site = self.context.site
        if site.hands is not None:
            site.hands.close()
        for store in (site.source, site.target, site.backup):
            if store is not None:
                store.close()


def take_part(
    queue: Queue, token: str, mark: int, slots: int, resolve: Resolve, guard: Callable[[], None], report: Report
) -> Part | None:
    """Make ready for units of a run; None when the board does not know it.

    Args:
        token: of the run. mark: this worker's number, for the names of its temporary files.
        slots: units, or files, under way at a time.
        guard: asked before anything becomes final.

    Raises `DunlinError` where this worker cannot take part: no such location, no such directory, another version.
    """
    body = queue.read(setup_name(token))
    orders = queue.read(orders_name(token))
    if body is None or orders is None:
        return None
    setup = packing.unpack_setup(body)
    account = f"run/{token}/bytes"
    bucket = Drawn(lambda amount, rate, burst: queue.draw(account, amount, rate, burst), check=still_held)
    brought = Brought()
    known = brought if setup.remembered else None
    context = build(_local_setup(setup, slots, resolve), bucket, mark, report, guard, known)
    part = Part(context, bucket, brought, time.monotonic())
    part.obey(orders, part.used)
    return part


def _local_setup(setup: RunSetup, slots: int, resolve: Resolve) -> Setup:
    """What `setup.build` needs, with the places and logins of this machine."""
    source, source_far = _resolved(setup.source, "source", resolve)
    target, target_far = _resolved(setup.target, "dest", resolve)
    roots = frozenset(root for root in (_root(source, setup.source), _root(target, setup.target)) if root is not None)
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
    )


def _resolved(side: Side, which: str, resolve: Resolve) -> tuple[str, Far | None]:
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


def _root(url: str, side: Side) -> tuple[int, int] | None:
    """Device and inode of a local root.

    A share that is not mounted here is an empty directory, or none: files would be written below the mount point, and
    an empty source would make everything look deleted. So it must be the inode that the coordinator saw.
    """
    path = local_path(url)
    if path is None:
        return None
    try:
        status = os.stat(path)
    except OSError as error:
        reason = f"it is not there: {error.strerror}"
        raise DunlinError("take part with", shown_place(url), ErrorKind.NOT_FOUND, reason, "is it mounted?") from error
    if side.inode and status.st_ino != side.inode:
        reason = "it is another directory here than where the run is coordinated"
        raise DunlinError("take part with", shown_place(url), ErrorKind.NOT_FOUND, reason, "is it mounted?")
    return status.st_dev, status.st_ino
